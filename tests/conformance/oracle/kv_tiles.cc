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
#include <utility>
#include <vector>

#include "runtime/numerics/kv/codecs.h"

namespace {

using namespace isobit;

template <class T>
int run(KvCodecKind kind, Format stored) {
  std::vector<T> x(32);
  while (std::fread(x.data(), sizeof(T), x.size(), stdin) == x.size()) {
    const KvCodec made = make_codec(kind, stored);
    with_codec(made, [&](const auto& codec) {
      alignas(8) std::uint8_t tile[64] = {};
      codec.encode(x.data(), 1, 1, tile);
      const auto read = codec.template open<T>(tile);
      std::vector<T> values;
      for (int i = 0; i < 32; ++i) {
        values.push_back(made.tokens == 1 ? read.at(0, i) : read.at(i, 0));
      }
      std::fwrite(tile, 1, std::size_t(made.bytes), stdout);
      std::fwrite(values.data(), sizeof(T), values.size(), stdout);
    });
  }
  return 0;
}

}  // namespace

int main(int count, char** words) {
  const std::pair<const char*, KvCodecKind> kinds[] = {
      {"q8_0", KvCodecKind::q8_0},
      {"kivi2_tokens", KvCodecKind::kivi2_tokens},
      {"kivi2_channels", KvCodecKind::kivi2_channels},
      {"kivi4_tokens", KvCodecKind::kivi4_tokens},
      {"kivi4_channels", KvCodecKind::kivi4_channels}};
  for (const auto& [name, kind] : kinds) {
    if (count != 3 || std::strcmp(words[1], name) != 0) continue;
    for (const Precision precision :
         {Precision::fp64, Precision::fp32, Precision::bf16, Precision::fp16}) {
      const Mode& mode = mode_of(precision);
      if (std::strcmp(words[2], mode.name) != 0) continue;
      return mode.wide() ? run<double>(kind, mode.cache) : run<float>(kind, mode.cache);
    }
  }
  std::fprintf(stderr, "usage: kv_tiles KIND R < groups > tiles\n");
  return 2;
}
