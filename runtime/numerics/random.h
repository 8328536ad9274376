// Philox4x32-10 (Salmon et al., SC 2011): a counter-based generator, so that a draw depends on
// what is drawn and on nothing that happened before. Host and device.
#pragma once

#include "runtime/numerics/platform.h"

namespace isobit {

struct PhiloxBlock {
  std::uint32_t word[4];
};

/// Ten rounds over a 128-bit counter with a 64-bit key.
ISOBIT_HD inline PhiloxBlock philox4x32(PhiloxBlock counter, std::uint64_t key) {
  std::uint32_t k0 = std::uint32_t(key), k1 = std::uint32_t(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t(0xD2511F53u) * counter.word[0];
    const std::uint64_t b = std::uint64_t(0xCD9E8D57u) * counter.word[2];
    counter = {{std::uint32_t(b >> 32) ^ counter.word[1] ^ k0, std::uint32_t(b),
                std::uint32_t(a >> 32) ^ counter.word[3] ^ k1, std::uint32_t(a)}};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

/// n of NUMERICS.md, "Sampling": odd, in [1, 2^24); the uniform number is n / 2^24.
/// Counter: low and high half of the prompt's hash, the position of the token drawn, the stream.
ISOBIT_HD inline std::uint32_t draw24(std::uint64_t seed, std::uint64_t prompt_hash,
                                      std::uint32_t position, std::uint32_t stream) {
  const PhiloxBlock out = philox4x32(
      {{std::uint32_t(prompt_hash), std::uint32_t(prompt_hash >> 32), position, stream}}, seed);
  return 2u * (out.word[0] >> 9) + 1u;
}

}  // namespace isobit
