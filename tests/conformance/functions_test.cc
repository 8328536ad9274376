// exp, silu, gelu and the fp64 functions: hashes of their outputs (so that no compiler, level or
// machine changes a bit unseen), and the SIMD exp and silu against the scalar text. Their errors
// against MPFR are measured by oracle/functions_mpfr.cc: tests/bench/numerics-proofs.txt.
#include "runtime/numerics/functions.h"

#include "tests/conformance/kernel_data.h"
#include "tests/conformance/sweep.h"

namespace isobit::cpu::testing {
namespace {

using isobit::testing::expect_hash;
using isobit::testing::hash_sweep;
using isobit::testing::StreamHash;
using isobit::testing::sweep_fp32;

TEST(Functions, Exp32) {
  expect_hash({"acfedf33a4f282133c23ccecad655ca6", "46787316e75e54e3ef241d27ad080aa8"},
              hash_sweep<float>([](float x) { return exp_(x); }));
}
TEST(Functions, Silu32) {
  expect_hash({"f39e5530145cda7fa6aa8223bddb302e", "cc3317532e6ea6b57e51e6694795b837"},
              hash_sweep<float>([](float x) { return silu_(x); }));
}
TEST(Functions, GeluTanh32) {
  expect_hash({"b75d3c1f313d2088e8c18a7483c55294", "c04bd20284a0ca9015b585813aae61f1"},
              hash_sweep<float>([](float x) { return gelu_tanh_(x); }));
}

TEST(Functions, ExpAtItsEdges) {
  const float inf = float_of(0x7f800000u);
  EXPECT_TRUE(same_bits(exp_(0.0f), 1.0f));
  EXPECT_TRUE(same_bits(exp_(-0.0f), 1.0f));
  EXPECT_TRUE(same_bits(exp_(inf), inf));
  EXPECT_TRUE(same_bits(exp_(-inf), 0.0f));
  EXPECT_TRUE(same_bits(exp_(signalling_nan<float>()), canonical_nan(0.0f)));
  EXPECT_TRUE(same_bits(exp_(89.5f), inf));
  EXPECT_TRUE(same_bits(exp_(-103.97f), 0x1p-149f));
  EXPECT_TRUE(same_bits(exp_(0.0), 1.0));
  EXPECT_TRUE(same_bits(exp_(-744.0), 0x1p-1074 * 2));
}

/// 2^18 doubles: exponents uniform in [low, high), either sign, and the edges.
std::vector<double> doubles(int low, int high) {
  Random random(7);
  std::vector<double> x = {0.0,
                           -0.0,
                           1.0,
                           -1.0,
                           0.5,
                           0x1p-1074,
                           1e30,
                           -1e30,
                           0x1p-1022,
                           0x1p-1023,
                           2.0,
                           0x1.6a09e667f3bcdp+0,
                           canonical_nan(0.0),
                           double_of(0x7ff0000000000000ull),
                           double_of(0xfff0000000000000ull)};
  while (x.size() < (1u << 18)) {
    const std::uint64_t e = std::uint64_t(low + 1023 + random.below(high - low));
    x.push_back(double_of((random.bits() & 0x800fffffffffffffull) | (e << 52)));
  }
  return x;
}

template <class Function>
std::string hash_doubles(int low, int high, const Function& function) {
  StreamHash hash;
  std::vector<double> y = doubles(low, high);
  for (double& value : y) value = function(value);
  hash.add(y);
  return hash.hex();
}

TEST(Functions, Fp64) {
  EXPECT_EQ("e9ca08db1298692c02030d5187252f83",
            hash_doubles(-30, 10, [](double x) { return exp_(x); }));
  EXPECT_EQ("c78eed2e24bfa01a7bedb0dce6718163",
            hash_doubles(-1022, 1023, [](double x) { return log_(x); }));
  EXPECT_EQ("b9a479db8028568c8b5284d149c61ae2",
            hash_doubles(-30, -1, [](double x) { return log_(1 + x); }));
  EXPECT_EQ("70e20741881e57f1a5a6c6ca863cb097",
            hash_doubles(-40, 30, [](double x) { return sin_(x); }));
  EXPECT_EQ("1fba679c3f39bd0bff558e0d4df049fb",
            hash_doubles(-40, 30, [](double x) { return cos_(x); }));
  EXPECT_EQ("b8586e19f248873eecb52b55b0ff1f8f",
            hash_doubles(-40, 5, [](double x) { return tanh_(x); }));
  EXPECT_EQ("6d2534e83852ca815602fa7ba76aba5f",
            hash_doubles(-40, 3, [](double x) { return erf_(x); }));
  EXPECT_EQ("28fed9321efdde23f89bf4421c285e03",
            hash_doubles(-40, 10, [](double x) { return silu_(x); }));
  EXPECT_EQ("b0e09d24a64bb3e298998806a2caa0a5",
            hash_doubles(-40, 10, [](double x) { return gelu_tanh_(x); }));
}

TEST(Functions, RopeFrequenciesOfTheCommonBases) {
  StreamHash hash;
  for (const double base : {1e4, 1e5, 5e5, 1e6}) {
    for (const int d : {32, 64, 80, 96, 128, 256}) {
      std::vector<double> row;
      for (int i = 0; i < d / 2; ++i) row.push_back(rope_inv_freq(i, d, base));
      EXPECT_TRUE(same_bits(row[0], 1.0));
      hash.add(row);
    }
  }
  EXPECT_EQ("dfa44fbe021b731aeb77eded5316ee09", hash.hex());
}

class FunctionTable : public KernelTable {};
INSTANTIATE_TEST_SUITE_P(Isa, FunctionTable, ::testing::ValuesIn(kSimdIsas),
                         [](const auto& isa) { return std::string(isa.param); });

TEST_P(FunctionTable, ExpAndSiluOfEveryInputEqualTheScalarText) {
  std::vector<float> want, got, ones;
  std::uint64_t exp_different = 0, silu_different = 0;
  const std::uint64_t count = sweep_fp32([&](const std::vector<float>& x) {
    const std::int64_t n = std::int64_t(x.size());
    want.resize(x.size());
    got.resize(x.size());
    ones.assign(x.size(), 1.0f);
    scalar<float>().exp(x.data(), n, want.data());
    simd<float>().exp(x.data(), n, got.data());
    exp_different += std::memcmp(want.data(), got.data(), x.size() * sizeof(float)) != 0;
    scalar<float>().gated_silu(x.data(), ones.data(), n, Format::f32, want.data());
    simd<float>().gated_silu(x.data(), ones.data(), n, Format::f32, got.data());
    silu_different += std::memcmp(want.data(), got.data(), x.size() * sizeof(float)) != 0;
  });
  EXPECT_EQ(exp_different, 0u) << "chunks of " << count << " inputs";
  EXPECT_EQ(silu_different, 0u) << "chunks of " << count << " inputs";
  EXPECT_GE(count, (1ull << 32) / 251);
}

TEST_P(FunctionTable, Exp64EqualsTheScalarText) {
  for (const int high : {1, 5, 10, 1023}) {
    const std::vector<double> x = doubles(-30, high);
    std::vector<double> want(x.size()), got(x.size());
    scalar<double>().exp(x.data(), std::int64_t(x.size()), want.data());
    simd<double>().exp(x.data(), std::int64_t(x.size()), got.data());
    EXPECT_TRUE(same(want, got)) << "exponents below " << high;
  }
}

}  // namespace
}  // namespace isobit::cpu::testing
