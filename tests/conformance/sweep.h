// Sweeps over fp32 inputs and samples of fp64 ones, and the hash of what a function gives.
//
// By default every 251st of the 2^32 inputs is taken (seconds in all); with ISOBIT_EXHAUSTIVE=1 in
// the environment every one. Outputs are hashed in ascending order of the input's bits, in their
// storage type, little-endian, XXH3-128: oracle/conversions.py hashes the same stream.
#pragma once

#include <gtest/gtest.h>
#include <xxhash.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "runtime/numerics/bits.h"

namespace isobit::testing {

inline bool exhaustive() {
  return std::getenv("ISOBIT_EXHAUSTIVE") != nullptr;
}
inline std::uint64_t sweep_stride() {
  return exhaustive() ? 1 : 251;
}

struct Expected {
  const char* every_251st;
  const char* all;
};
inline void expect_hash(const Expected& want, const std::string& got) {
  EXPECT_EQ(exhaustive() ? want.all : want.every_251st, got);
}

/// XXH3-128 of a stream, as 32 hex digits.
class StreamHash {
 public:
  StreamHash() : state_(XXH3_createState()) { XXH3_128bits_reset(state_); }
  ~StreamHash() { XXH3_freeState(state_); }
  StreamHash(const StreamHash&) = delete;
  StreamHash& operator=(const StreamHash&) = delete;
  template <class T>
  void add(const std::vector<T>& values) {
    XXH3_128bits_update(state_, values.data(), values.size() * sizeof(T));
  }
  std::string hex() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_);
    char text[33];
    std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                  static_cast<unsigned long long>(hash.low64));
    return text;
  }

 private:
  XXH3_state_t* state_;
};

/// Calls chunk(inputs) over the sweep, in ascending order of the bits. Returns the inputs' count.
template <class Chunk>
std::uint64_t sweep_fp32(const Chunk& chunk) {
  constexpr std::size_t kChunk = 1 << 16;
  std::vector<float> x;
  x.reserve(kChunk);
  std::uint64_t count = 0;
  for (std::uint64_t bits = 0; bits < (1ull << 32); bits += sweep_stride()) {
    x.push_back(float_of(std::uint32_t(bits)));
    if (x.size() == kChunk) {
      count += x.size();
      chunk(x);
      x.clear();
    }
  }
  count += x.size();
  if (!x.empty()) chunk(x);
  return count;
}

/// Hash of function(x) over the sweep.
template <class Out, class Function>
std::string hash_sweep(const Function& function) {
  StreamHash hash;
  std::vector<Out> y;
  sweep_fp32([&](const std::vector<float>& x) {
    y.resize(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = Out(function(x[i]));
    hash.add(y);
  });
  return hash.hex();
}

}  // namespace isobit::testing
