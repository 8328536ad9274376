// Codes tiles for tests/integration/check_kv_codecs.py, which builds and drives it.
//
//   g++ -std=c++20 -O2 -march=haswell -ffp-contract=off -I. -o kv_tiles
//       tests/conformance/oracle/kv_tiles.cc
//   kv_tiles KIND R [BITS GROUP [HEAD_DIM ITERATIONS]] < tiles > coded
// KIND: q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl, kivi2_tokens, kivi2_channels, kivi4_tokens,
// kivi4_channels; with two numbers rtn_tokens, rtn_channels; with four kvarn_keys, kvarn_values.
// R: fp64, fp32, bf16, fp16. Reads tiles of Reals (fp64: doubles, else floats), (tokens, channels);
// writes each tile's bytes and its values.
//   kv_tiles scales KIND R NUMBERS < tiles > scales     the balance: row scales, column scales
//   kv_tiles given KIND R NUMBERS < both > coded        each tile followed by such scales
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/numerics/kv/codecs.h"

namespace {

using namespace isobit;

enum class Step { whole, scales, given };

template <class T>
bool read(std::vector<T>& x) {
  return std::fread(x.data(), sizeof(T), x.size(), stdin) == x.size();
}
template <class T>
void write(const std::vector<T>& x) {
  std::fwrite(x.data(), sizeof(T), x.size(), stdout);
}

/// x (tokens, channels) as the codec's (rows, columns): K's tiles lie across.
template <class T>
std::vector<T> as_rows(const KvCodec& made, const std::vector<T>& x) {
  std::vector<T> out(x.size());
  const int across = made.kind == KvCodecKind::kvarn_keys ? made.tokens : made.channels;
  for (int t = 0; t < made.tokens; ++t) {
    for (int c = 0; c < made.channels; ++c) {
      const int at = made.kind == KvCodecKind::kvarn_keys ? c * across + t : t * across + c;
      out[std::size_t(at)] = x[std::size_t(t * made.channels + c)];
    }
  }
  return out;
}

template <class T>
int run(const KvCodec& made, Step step) {
  const bool keys = made.kind == KvCodecKind::kvarn_keys;
  const int rows = keys ? made.channels : made.tokens, columns = keys ? made.tokens : made.channels;
  std::vector<T> x(std::size_t(made.tokens * made.channels)), values(x.size());
  BalanceScales<T> scales{std::vector<T>(std::size_t(rows)), std::vector<T>(std::size_t(columns))};
  std::vector<std::uint64_t> memory(std::size_t(made.bytes + 7) / 8);
  auto* const tile = reinterpret_cast<std::uint8_t*>(memory.data());
  while (read(x)) {
    if (step == Step::scales) {
      scales = Balance<T>(as_rows(made, x), rows, columns).scales(made.iterations);
      write(scales.rows);
      write(scales.columns);
      continue;
    }
    if (step == Step::given && !(read(scales.rows) && read(scales.columns))) return 1;
    with_codec(made, [&](const auto& codec) {
      if constexpr (encodes_on_host<std::remove_cvref_t<decltype(codec)>>()) {
        if (step == Step::given) codec.encode_scaled(as_rows(made, x), scales, tile);
      }
      if (step == Step::whole) codec.encode(x.data(), made.channels, 1, tile);
      const auto opened = codec.template open<T>(tile);
      for (std::size_t i = 0; i < x.size(); ++i) {
        values[i] = opened.at(int(i) / made.channels, int(i) % made.channels);
      }
    });
    std::fwrite(tile, 1, std::size_t(made.bytes), stdout);
    write(values);
  }
  return 0;
}

/// The codec of a kind's name and its numbers.
KvCodec codec_of(const std::string& name, Format stored, const std::vector<int>& numbers) {
  const std::pair<const char*, KvCodecKind> kinds[] = {
      {"q8_0", KvCodecKind::q8_0},
      {"q4_0", KvCodecKind::q4_0},
      {"q4_1", KvCodecKind::q4_1},
      {"q5_0", KvCodecKind::q5_0},
      {"q5_1", KvCodecKind::q5_1},
      {"iq4_nl", KvCodecKind::iq4_nl},
      {"kivi2_tokens", KvCodecKind::kivi2_tokens},
      {"kivi2_channels", KvCodecKind::kivi2_channels},
      {"kivi4_tokens", KvCodecKind::kivi4_tokens},
      {"kivi4_channels", KvCodecKind::kivi4_channels}};
  for (const auto& [known, kind] : kinds) {
    if (name == known && numbers.empty()) return make_codec(kind, stored);
  }
  if (numbers.size() == 2 && name == "rtn_tokens") {
    return Rtn<true>::make(stored, numbers[1], numbers[0]);
  }
  if (numbers.size() == 2 && name == "rtn_channels") {
    return Rtn<false>::make(stored, numbers[1], numbers[0]);
  }
  if (numbers.size() == 4 && name == "kvarn_keys") {
    return Kvarn<true>::make(stored, numbers[1], numbers[2], numbers[0], numbers[3]);
  }
  if (numbers.size() == 4 && name == "kvarn_values") {
    return Kvarn<false>::make(stored, numbers[1], numbers[2], numbers[0], numbers[3]);
  }
  return {};
}

}  // namespace

int main(int count, char** words) {
  std::vector<std::string> args(words + 1, words + count);
  Step step = Step::whole;
  if (!args.empty() && (args[0] == "scales" || args[0] == "given")) {
    step = args[0] == "scales" ? Step::scales : Step::given;
    args.erase(args.begin());
  }
  if (args.size() >= 2) {
    std::vector<int> numbers;
    for (std::size_t i = 2; i < args.size(); ++i) numbers.push_back(std::atoi(args[i].c_str()));
    for (const Precision precision :
         {Precision::fp64, Precision::fp32, Precision::bf16, Precision::fp16}) {
      const Mode& mode = mode_of(precision);
      const KvCodec codec = codec_of(args[0], mode.cache, numbers);
      if (args[1] != mode.name || !codec.codes()) continue;
      return mode.wide() ? run<double>(codec, step) : run<float>(codec, step);
    }
  }
  std::fprintf(stderr, "usage: kv_tiles KIND R [BITS GROUP [HEAD_DIM ITERATIONS]] < tiles\n");
  return 2;
}
