// The tensor-core model: results recorded on real GPUs, replayed; and each rule by hand.
#include "runtime/numerics/tensorcore.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "runtime/numerics/tensorcore_text.h"

namespace isobit {
namespace {

struct Vector {
  std::vector<float> a, b;
  float c = 0, d = 0;
};

/// What was recorded: a GPU, and the formats of operands and results.
struct Recording {
  const char *gpu, *in, *out;
  std::vector<Vector> lines = {};

  [[nodiscard]] bool half() const { return out == std::string("fp16"); }
  [[nodiscard]] std::string name() const { return std::string(gpu) + "-" + in + "-to-" + out; }
  [[nodiscard]] bool hopper_fp8() const {
    return gpu == std::string("h100") && (in == std::string("e4m3") || in == std::string("e5m2"));
  }
};

std::vector<Recording> recordings() {
  std::vector<Recording> all;
  for (const char* gpu : {"v100", "a100", "ada", "h100"}) {
    for (const char* in : {"fp16", "bf16", "tf32", "e4m3", "e5m2"}) {
      const std::string g = gpu, i = in;
      const bool fp8 = i == "e4m3" || i == "e5m2";
      if ((g == "v100" && i != "fp16") || (g == "a100" && fp8)) continue;
      all.push_back({gpu, in, "fp32"});
      if (fp8 || i == "fp16") all.push_back({gpu, in, "fp16"});
    }
  }
  return all;
}

Format format_of(const std::string& in) {
  return in == "fp16"   ? Format::fp16
         : in == "bf16" ? Format::bf16
         : in == "tf32" ? Format::tf32
         : in == "e4m3" ? Format::e4m3
                        : Format::e5m2;
}

/// The unit that a recording was made on. On the H100 the 8-bit files to fp16 went through
/// mma.sync, those to fp32 through the 8-bit tensor core itself.
TensorUnit unit_of(const Recording& r) {
  const std::string gpu = r.gpu;
  const TensorCore chip = gpu == "v100"   ? TensorCore::sm70
                          : gpu == "a100" ? TensorCore::sm80
                          : gpu == "ada"  ? TensorCore::sm89
                                          : TensorCore::sm90;
  return r.half() ? mma_sync_unit(chip, format_of(r.in)).value()
                  : tensor_unit(chip, format_of(r.in)).value();
}

/// The model's d. The H100's 8-bit results in fp32 hold the products alone, without the file's c.
float model(const Recording& r, const TensorUnit& unit, const Vector& v) {
  float c = r.half() ? round_to(Format::fp16, v.c) : v.c;
  if (r.hopper_fp8() && !r.half()) c = 0;
  for (std::size_t k = 0; k < v.a.size(); k += std::size_t(unit.group)) {
    const int n = int(std::min(v.a.size() - k, std::size_t(unit.group)));
    const auto a = [&](int i) { return v.a[k + std::size_t(i)]; };
    const auto b = [&](int i) { return v.b[k + std::size_t(i)]; };
    c = r.half() ? tensor_group_fp16(unit, a, b, n, c) : tensor_group(unit, a, b, n, c);
  }
  return c;
}

int mismatches(const Recording& r, const TensorUnit& unit) {
  return int(std::count_if(r.lines.begin(), r.lines.end(),
                           [&](const Vector& v) { return !same_bits(model(r, unit, v), v.d); }));
}

std::vector<float> floats(const std::string& words) {
  std::vector<float> out;
  std::istringstream all(words);
  for (std::string word; std::getline(all, word, ',');) {
    out.push_back(float_of(std::uint32_t(std::stoul(word, nullptr, 16))));
  }
  return out;
}

bool parse(const std::string& line, Vector& v) {
  std::istringstream words(line);
  std::string a, b, c, d;
  if (!(words >> a >> b >> c >> d)) return false;
  v = {floats(a), floats(b), floats(c).at(0), floats(d).at(0)};
  return v.a.size() == v.b.size();
}

/// The selection that is kept beside this file.
std::vector<Recording> kept() {
  std::vector<Recording> all = recordings();
  std::ifstream file(ISOBIT_SOURCE_DIR "/tests/unit/runtime/numerics/data/mma-vectors/vectors.txt");
  Recording* now = nullptr;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    Vector v;
    if (parse(line, v)) {
      if (now != nullptr) now->lines.push_back(v);
      continue;
    }
    std::istringstream words(line);
    std::string gpu, in, out;
    words >> gpu >> in >> out;
    const std::string name = gpu.append("-").append(in).append("-to-").append(out);
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const Recording& r) { return r.name() == name; });
    now = found == all.end() ? nullptr : &*found;
  }
  return all;
}

std::string folder_of_vectors() {
  return std::string(ISOBIT_SOURCE_DIR) + "/../shared/data/mma-vectors";
}

/// One whole file. zcat, since nothing that this program links reads gzip.
void read_all(const std::string& folder, Recording& r) {
  const std::string command = "zcat '" + folder + "/" + r.name() + ".txt.gz'";
  std::FILE* pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string line;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
    if (c != '\n') {
      line.push_back(char(c));
      continue;
    }
    ASSERT_TRUE(parse(line, r.lines.emplace_back())) << line;
    line.clear();
  }
  EXPECT_EQ(pclose(pipe), 0) << command;
}

/// The model fits, and these lines could have shown that it does not: wrong units differ.
/// `least`: mismatches that each must have.
void fits(const Recording& r, int least) {
  SCOPED_TRACE(r.name());
  const TensorUnit unit = unit_of(r);
  EXPECT_EQ(mismatches(r, unit), 0);
  TensorUnit wrong = unit;
  if (unit.split_fp8) {  // both passes end in fp16, which hides F; their order shows
    Recording swapped = r;
    for (Vector& v : swapped.lines) {
      for (std::vector<float>* x : {&v.a, &v.b}) {
        for (std::size_t k = 0; k + 4 <= x->size(); k += 4) {
          std::swap_ranges(x->begin() + std::ptrdiff_t(k), x->begin() + std::ptrdiff_t(k) + 2,
                           x->begin() + std::ptrdiff_t(k) + 2);
        }
      }
    }
    EXPECT_GE(mismatches(swapped, unit), least);
    wrong.split_fp8 = false;
    EXPECT_GE(mismatches(r, wrong), least);
    return;
  }
  if (r.half() && unit.kept == 23) return;  // the result's 10 bits hide F: no power
  for (const int off : {-1, 1}) {
    wrong.fraction = unit.fraction + off;
    EXPECT_GE(mismatches(r, wrong), least) << "F " << wrong.fraction;
  }
  if (unit.kept == 13 && !r.half()) {
    wrong = unit;
    wrong.kept = 23;
    EXPECT_GE(mismatches(r, wrong), least);
  }
}

TEST(TensorCore, ReplaysTheKeptVectors) {
  std::size_t lines = 0;
  for (const Recording& r : kept()) {
    EXPECT_EQ(r.lines.size(), 20u) << r.name();
    fits(r, 2);
    lines += r.lines.size();
  }
  EXPECT_EQ(lines, 440u);
}

TEST(TensorCore, ReplaysEveryVector) {
  const std::string folder = folder_of_vectors();
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << "there is no " << folder;
  std::size_t lines = 0, files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files += entry.path().extension() == ".gz" ? 1 : 0;
  }
  std::vector<Recording> all = recordings();
  EXPECT_EQ(files, all.size());
  for (Recording& r : all) {
    read_all(folder, r);
    if (HasFatalFailure()) return;
    fits(r, 100);
    lines += r.lines.size();
    r.lines.clear();
  }
  EXPECT_EQ(lines, 110000u);
  RecordProperty("vectors", int(lines));
}

// --- by hand -------------------------------------------------------------------------------------

using Products = std::vector<std::pair<float, float>>;

const float kInfinity = float_of(0x7f800000u);

float group(const TensorUnit& unit, const Products& p, float c) {
  return tensor_group(
      unit, [&](int k) { return p[std::size_t(k)].first; },
      [&](int k) { return p[std::size_t(k)].second; }, int(p.size()), c);
}

TensorUnit unit(TensorCore chip, Format format) {
  return tensor_unit(chip, format).value();
}

TEST(TensorCore, SubnormalOperandsKeepTheFormatsExponent) {
  // The product 2^-24 * 1 has exponent -14 in fp16, so that c is cut to units of 2^-38.
  const float c = 0x1p-24f + 0x1p-40f;
  EXPECT_EQ(group(unit(TensorCore::sm80, Format::fp16), {{0x1p-24f, 1}}, c), 0x1p-23f);
  // In bf16 the same number is normal: E is c's, and nothing is cut.
  EXPECT_EQ(group(unit(TensorCore::sm80, Format::bf16), {{0x1p-24f, 1}}, c), 0x1p-23f + 0x1p-40f);
  // 8-bit formats: e4m3's subnormal exponent is -6, e5m2's -14. F = 13.
  const TensorUnit e4m3 = unit(TensorCore::sm89, Format::e4m3);
  EXPECT_EQ(group(e4m3, {{0x1p-9f, 1}}, 0x1p-19f), 0x1p-9f + 0x1p-19f);
  EXPECT_EQ(group(e4m3, {{0x1p-9f, 1}}, 0x1p-20f), 0x1p-9f);
  const TensorUnit e5m2 = unit(TensorCore::sm89, Format::e5m2);
  EXPECT_EQ(group(e5m2, {{0x1p-16f, 1}}, 0x1p-27f), 0x1p-16f + 0x1p-27f);
  EXPECT_EQ(group(e5m2, {{0x1p-16f, 1}}, 0x1p-28f), 0x1p-16f);
}

TEST(TensorCore, AProductsExponentIsNotNormalised) {
  // 1.5 * 1.5 = 2.25 has exponent 0: units of 2^-23 on Volta. Two of them make one place of 2.25;
  // with exponent 1 both would be cut.
  const TensorUnit volta = unit(TensorCore::sm70, Format::fp16);
  EXPECT_EQ(group(volta, {{1.5f, 1.5f}, {0x1p-12f, 0x1p-11f}}, 0x1p-23f), 2.25f + 0x1p-22f);
  EXPECT_EQ(group(volta, {{1.5f, 1.5f}, {0x1p-12f, 0x1p-12f}}, 0x1.8p-23f), 2.25f);
}

TEST(TensorCore, TermsAreCutTowardZeroAndC) {
  const TensorUnit ampere = unit(TensorCore::sm80, Format::bf16);  // units of 2^-24 beside 1
  // Each term alone is below a unit, so that even seven of them do not count, of either sign.
  for (const float sign : {1.0f, -1.0f}) {
    Products p(8, {sign * 0x1.ep-25f, 1.0f});
    p[0] = {1.0f, 1.0f};
    EXPECT_EQ(group(ampere, p, 0), 1.0f);
    EXPECT_EQ(group(ampere, {{1.0f, 1.0f}}, sign * 0x1.fffffep-25f), 1.0f);
  }
  // One unit below 1: the sum is exact, and fits fp32.
  EXPECT_EQ(group(ampere, {{1.0f, 1.0f}, {-0x1p-24f, 1.0f}}, 0), 0x1.fffffep-1f);
  // One unit above 1 does not fit: cut, whatever the sign.
  EXPECT_EQ(group(ampere, {{1.0f, 1.0f}, {0x1p-24f, 1.0f}}, 0), 1.0f);
  EXPECT_EQ(group(ampere, {{-1.0f, 1.0f}, {-0x1p-24f, 1.0f}}, 0), -1.0f);
  // Three quarters of a place would round up.
  const TensorUnit hopper = unit(TensorCore::sm90, Format::bf16);
  EXPECT_EQ(group(hopper, {{1.0f, 1.0f}, {0x1.8p-24f, 1.0f}}, 0), 1.0f);
}

TEST(TensorCore, LargeSumsAreExact) {
  // 32 * 448^2 in units of 2^(16-25) is 3288334336, over 2^31.
  const Products p(32, {448.0f, 448.0f});
  EXPECT_EQ(group(unit(TensorCore::sm100, Format::e4m3), p, 0), 6422528.0f);
  // 16 products of 1.9921875^2 at F = 25 are 2130837504 units; c brings them over 2^31.
  const Products q(16, {1.9921875f, 1.9921875f});
  EXPECT_EQ(group(unit(TensorCore::sm90, Format::bf16), q, 1.5f), 16 * 3.96881103515625f + 1.5f);
}

TEST(TensorCore, CancellationLeavesWhatWasNotCut) {
  const TensorUnit hopper = unit(TensorCore::sm90, Format::fp16);
  const Products p = {{1.0f, 1.0f}, {-1.0f, 1.0f}, {0x1p-12f, 0x1p-13f}, {0x1p-13f, 0x1p-13f}};
  EXPECT_EQ(group(hopper, p, 0), 0x1p-25f);
  EXPECT_TRUE(same_bits(group(hopper, {{1.0f, 1.0f}, {-1.0f, 1.0f}}, 0), 0.0f));
  EXPECT_TRUE(same_bits(group(hopper, {{-1.0f, 1.0f}}, 1.0f), 0.0f));
}

TEST(TensorCore, CThatDominatesStays) {
  const Products p(16, {1.5f, 1.5f});
  const float c = 0x1.234566p+30f;
  EXPECT_EQ(group(unit(TensorCore::sm90, Format::fp16), p, c), c);
  // Native fp8 cuts c too: 13 fraction bits.
  EXPECT_EQ(group(unit(TensorCore::sm90, Format::e4m3), p, c), 0x1.2340p+30f);
}

TEST(TensorCore, ZerosDoNotCount) {
  const TensorUnit hopper = unit(TensorCore::sm90, Format::fp16);
  // A zero times a large number has no exponent: c keeps its last bit.
  EXPECT_EQ(group(hopper, {{0.0f, 65504.0f}, {-65504.0f, 0.0f}}, 0x1.000002p-30f), 0x1.000002p-30f);
  // Nothing but zeros: +0, of whatever signs, since the sum is an integer.
  EXPECT_TRUE(same_bits(group(hopper, {{-0.0f, 1.0f}, {0.0f, -2.0f}}, -0.0f), 0.0f));
  EXPECT_TRUE(same_bits(group(hopper, {}, -0.0f), 0.0f));
  EXPECT_EQ(group(hopper, {}, -3.0f), -3.0f);
  // A zero c has no exponent either.
  EXPECT_EQ(group(hopper, {{0x1p-14f, 0x1p-14f}}, 0.0f), 0x1p-28f);
}

TEST(TensorCore, InfinityAndNaN) {
  const TensorUnit hopper = unit(TensorCore::sm90, Format::bf16);
  const auto nan = [](float x) { return same_bits(x, float_of(0x7fffffffu)); };
  EXPECT_EQ(group(hopper, {{kInfinity, 2.0f}, {1.0f, 1.0f}}, 1.0f), kInfinity);
  EXPECT_EQ(group(hopper, {{kInfinity, -2.0f}}, 1.0f), -kInfinity);
  EXPECT_EQ(group(hopper, {{1.0f, 1.0f}}, -kInfinity), -kInfinity);
  EXPECT_TRUE(nan(group(hopper, {{kInfinity, 2.0f}}, -kInfinity)));
  EXPECT_TRUE(nan(group(hopper, {{kInfinity, 2.0f}, {kInfinity, -1.0f}}, 0.0f)));
  EXPECT_TRUE(nan(group(hopper, {{kInfinity, 0.0f}}, 0.0f)));
  EXPECT_TRUE(nan(group(hopper, {{0.0f, -kInfinity}}, 0.0f)));
  EXPECT_TRUE(nan(group(hopper, {{float_of(0xffc00001u), 1.0f}}, 0.0f)));
  EXPECT_TRUE(nan(group(hopper, {}, float_of(0x7fc00000u))));
  // A sum past the largest number.
  EXPECT_EQ(group(hopper, {{0x1p+127f, 1.0f}, {0x1p+127f, 1.0f}}, 0), kInfinity);
  EXPECT_EQ(group(hopper, {{0x1p+127f, -1.0f}, {0x1.8p+127f, -1.0f}}, 0), -kInfinity);
}

TEST(TensorCore, ResultsBelowTheSmallestNormalAreCut) {
  const TensorUnit hopper = unit(TensorCore::sm90, Format::bf16);
  EXPECT_TRUE(same_bits(group(hopper, {{0x1p-70f, 0x1.8p-70f}}, 0), 0x1.8p-140f));
  EXPECT_TRUE(same_bits(group(hopper, {{0x1p-75f, 0x1.fp-74f}}, 0), 0x1p-149f));
  EXPECT_TRUE(same_bits(group(hopper, {{0x1p-90f, -0x1p-90f}}, 0), 0.0f));  // +0, as on an H200
}

TEST(TensorCore, Fp16ResultsAreRoundedToNearestEven) {
  const TensorUnit volta = unit(TensorCore::sm70, Format::fp16);
  const auto half = [&](const Products& p, float c) {
    return tensor_group_fp16(
        volta, [&](int k) { return p[std::size_t(k)].first; },
        [&](int k) { return p[std::size_t(k)].second; }, int(p.size()), c);
  };
  EXPECT_EQ(half({{1.0f, 1.0f}, {0x1p-11f, 1.0f}}, 0), 1.0f);  // a tie, to even
  EXPECT_EQ(half({{1.0f, 0x1.004p+0f}, {0x1p-11f, 1.0f}}, 0), 0x1.008p+0f);
  EXPECT_EQ(half({{1.0f, 1.0f}, {0x1p-11f, 1.0f}}, 0x1p-14f), 0x1.004p+0f);
  EXPECT_EQ(half({{-0x1.8p-12f, 0x1p-12f}}, 0), -0x1p-23f);  // 1.5 places: a tie
  EXPECT_EQ(half({{0x1p-13f, 0x1p-12f}}, 0), 0.0f);          // half a place
  EXPECT_EQ(half({{65504.0f, 1.0f}}, 15.0f), 65504.0f);
  EXPECT_EQ(half({{65504.0f, 1.0f}}, 16.0f), kInfinity);
}

TEST(TensorCore, MmaSyncOnHopperTakesFp8InTwoFp16Groups) {
  const TensorUnit split = mma_sync_unit(TensorCore::sm90, Format::e4m3).value();
  ASSERT_TRUE(split.split_fp8);
  // In the first pass 2^16 cancels; 2^-17 is in the second, alone, and stays. Moved into the first
  // it is cut.
  Products p(32, {0.0f, 0.0f});
  p[0] = {256.0f, 256.0f};
  p[4] = {-256.0f, 256.0f};
  p[2] = {0x1p-9f, 0x1p-8f};
  EXPECT_EQ(group(split, p, 0), 0x1p-17f);
  std::swap(p[2], p[1]);
  EXPECT_EQ(group(split, p, 0), 0.0f);
  // c is added last, to nearest: half a place of c and a little more.
  Products q(32, {0.0f, 0.0f});
  q[3] = {0x1p-9f, 0x1p-9f};
  EXPECT_EQ(group(split, q, 64.0f), 64.0f);
  EXPECT_EQ(group(split, q, 0x1.000002p+6f), 0x1.000004p+6f);
  EXPECT_EQ(mma_sync_unit(TensorCore::sm90, Format::bf16),
            tensor_unit(TensorCore::sm90, Format::bf16));
}

TEST(TensorCore, AChainIsItsGroups) {
  const TensorUnit ampere = unit(TensorCore::sm80, Format::fp16);
  std::vector<float> x(40), y(40);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = round_to(Format::fp16, float((i * 37) % 41) / 7.0f - 3.0f);
    y[i] = round_to(Format::fp16, float((i * 29) % 43) / 9.0f - 2.0f);
  }
  const auto a = [&](std::int64_t k) { return x[std::size_t(k)]; };
  const auto b = [&](std::int64_t k) { return y[std::size_t(k)]; };
  float c = 0;
  for (const auto& [from, to] : {std::pair{3, 11}, {11, 19}, {19, 27}, {27, 35}, {35, 38}}) {
    Products p;
    for (int k = from; k < to; ++k) p.emplace_back(a(k), b(k));
    c = group(ampere, p, c);
  }
  EXPECT_TRUE(same_bits(tensor_chain(ampere, a, b, 3, 38), c));
  EXPECT_NE(c, 0.0f);
  EXPECT_TRUE(same_bits(tensor_chain(ampere, a, b, 7, 7), 0.0f));
}

TEST(TensorCore, ChipsHaveWhatTheTableSays) {
  const auto formats = [](TensorCore chip) {
    std::string text;
    for (const Format f : {Format::fp16, Format::bf16, Format::tf32, Format::e4m3, Format::e5m2}) {
      const auto has = tensor_unit(chip, f);
      text += has ? std::to_string(has->group) + "/" + std::to_string(has->fraction) + "/" +
                        std::to_string(has->kept) + " "
                  : "- ";
    }
    return text;
  };
  EXPECT_EQ(formats(TensorCore::sm70), "4/23/23 - - - - ");
  EXPECT_EQ(formats(TensorCore::sm75), "8/24/23 - - - - ");
  EXPECT_EQ(formats(TensorCore::sm80), "8/24/23 8/24/23 4/24/23 - - ");
  EXPECT_EQ(formats(TensorCore::sm89), "8/24/23 8/24/23 4/24/23 16/13/13 16/13/13 ");
  EXPECT_EQ(formats(TensorCore::sm90), "16/25/23 16/25/23 8/25/23 32/13/13 32/13/13 ");
  EXPECT_EQ(formats(TensorCore::sm100), "16/25/23 16/25/23 8/25/23 32/25/23 32/25/23 ");
  EXPECT_FALSE(tensor_unit(TensorCore::sm90, Format::f32));
}

TEST(TensorCore, NamesReadBackAsThemselves) {
  EXPECT_EQ(tensor_cores().size(), 6u);
  for (const TensorCore chip : tensor_cores()) EXPECT_EQ(*parse_tensor_core(text_of(chip)), chip);
  EXPECT_EQ(text_of(TensorCore::sm100), "sm100");
  const auto wrong = parse_tensor_core("sm9");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("\"sm9\""), std::string::npos);
}

}  // namespace
}  // namespace isobit
