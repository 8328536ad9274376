// Codes tiles for tests/integration/check_kv_codecs.py, which builds and drives it.
//
//   g++ -std=c++20 -O2 -march=haswell -ffp-contract=off -I. -o kv_tiles
//       tests/conformance/oracle/kv_tiles.cc
//   kv_tiles KIND R < groups > tiles
// KIND: q8_0, kivi2_tokens, kivi2_channels, kivi4_tokens, kivi4_channels. R: fp64, fp32, bf16,
// fp16. Reads groups of 32 Reals (fp64: doubles, else floats), writes each tile's bytes and its 32
// values.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/numerics/kv/codecs.h"

namespace {

using namespace isobit;

template <class T>
int run(KvCodecKind kind, Format stored) {
  std::vector<T> x(32);
  while (std::fread(x.data(), sizeof(T), x.size(), stdin) == x.size()) {
    with_codec(kind, [&]<class Codec>(Codec) {
      alignas(8) std::uint8_t tile[64] = {};
      Codec::encode(x.data(), 1, 1, stored, tile);
      const auto read = Codec::template open<T>(tile, stored);
      std::vector<T> values;
      for (int i = 0; i < 32; ++i) {
        values.push_back(Codec::kTokens == 1 ? read.at(0, i) : read.at(i, 0));
      }
      std::fwrite(tile, 1, std::size_t(Codec::bytes(stored)), stdout);
      std::fwrite(values.data(), sizeof(T), values.size(), stdout);
    });
  }
  return 0;
}

}  // namespace

int main(int count, char** words) {
  const char* const kinds[] = {"none",           "q8_0",         "kivi2_tokens",
                               "kivi2_channels", "kivi4_tokens", "kivi4_channels"};
  for (int kind = 1; kind < 6 && count == 3; ++kind) {
    if (std::strcmp(words[1], kinds[kind]) != 0) continue;
    for (const Precision precision :
         {Precision::fp64, Precision::fp32, Precision::bf16, Precision::fp16}) {
      const Mode& mode = mode_of(precision);
      if (std::strcmp(words[2], mode.name) != 0) continue;
      return mode.wide() ? run<double>(KvCodecKind(kind), mode.cache)
                         : run<float>(KvCodecKind(kind), mode.cache);
    }
  }
  std::fprintf(stderr, "usage: kv_tiles KIND R < groups > tiles\n");
  return 2;
}
