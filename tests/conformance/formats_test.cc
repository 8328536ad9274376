// Narrowing and widening conversions: hashes of all outputs against an independent implementation
// (oracle/conversions.py: ml_dtypes, NumPy), and the SIMD roundings against the integer code.
#include "runtime/numerics/formats.h"

#include "runtime/backends/cpu/packed.h"
#include "tests/conformance/kernel_data.h"
#include "tests/conformance/sweep.h"

namespace isobit::cpu::testing {
namespace {

using isobit::testing::expect_hash;
using isobit::testing::hash_sweep;
using isobit::testing::sweep_fp32;

TEST(Formats, Bf16EqualsTheOracle) {
  expect_hash({"a8a47a359877cdbd26b5ae17f5281161", "d3c7670117254f856ff736f690c9828a"},
              hash_sweep<std::uint16_t>(bf16_from_float));
}
TEST(Formats, Fp16EqualsTheOracle) {
  expect_hash({"1c3f0e1187450ad132c1646389f99750", "143458ea8494d7d204897b5913469a40"},
              hash_sweep<std::uint16_t>(fp16_from_float));
}
TEST(Formats, Tf32EqualsTheOracle) {
  expect_hash({"8d4647e7f97f4f0196fe97134f6b47f9", "e5f6957832190d510e65cb289ed41c04"},
              hash_sweep<float>(round_tf32));
}
TEST(Formats, E4m3EqualsTheOracle) {
  expect_hash({"d2e3fa0a5568dccba248b1c094cf2fcd", "4ed49999f1026b8c86055a037714103d"},
              hash_sweep<std::uint8_t>(e4m3_from_float));
}
TEST(Formats, E5m2EqualsTheOracle) {
  expect_hash({"a131f8ebd49cd633a26c7b1198e7116a", "b7b8d8ea5cc4c3345c4a60910c9bd64e"},
              hash_sweep<std::uint8_t>(e5m2_from_float));
}

/// Widening then narrowing gives every 16- and 8-bit pattern back; a NaN comes back canonical.
TEST(Formats, EveryNarrowValueSurvivesWidening) {
  for (std::uint32_t h = 0; h < 0x10000; ++h) {
    const std::uint16_t bits = std::uint16_t(h);
    const float b = float_from_bf16(bits), f = float_from_fp16(bits);
    EXPECT_EQ(bf16_from_float(b), is_nan(b) ? 0x7fc0 : bits);
    EXPECT_EQ(fp16_from_float(f), is_nan(f) ? 0x7e00 : bits);
    EXPECT_EQ(is_nan(f), (bits & 0x7fff) > 0x7c00);
  }
  for (std::uint32_t h = 0; h < 0x100; ++h) {
    const std::uint8_t bits = std::uint8_t(h);
    const float e4 = float_from_e4m3(bits), e5 = float_from_e5m2(bits);
    EXPECT_EQ(e4m3_from_float(e4), is_nan(e4) ? 0x7f : bits);
    const bool infinite = (bits & 0x7f) == 0x7c;  // narrowing saturates
    EXPECT_EQ(e5m2_from_float(e5), is_nan(e5) ? 0x7e : infinite ? (bits & 0x80) | 0x7b : bits);
  }
}

TEST(Formats, PowerOfTwoScaleIsTheSmallest) {
  for (const Format format : {Format::e4m3, Format::e5m2}) {
    const float largest = largest_finite(format);
    EXPECT_TRUE(same_bits(power_of_two_scale(format, 0.0f), 1.0f));
    EXPECT_TRUE(same_bits(power_of_two_scale(format, largest), 1.0f));
    EXPECT_TRUE(same_bits(power_of_two_scale(format, float_of(bits_of(largest) + 1)), 2.0f));
    EXPECT_TRUE(same_bits(power_of_two_scale(format, largest / 8), 0.125f));
    EXPECT_TRUE(same_bits(power_of_two_scale(format, 0x1p-149f), 0x1p-60f));
    EXPECT_TRUE(same_bits(power_of_two_scale(format, 0x1.fffffep+127f), 0x1p+60f) ||
                0x1.fffffep+127f / 0x1p+60f > largest);
  }
}

class FormatTable : public KernelTable {};
INSTANTIATE_TEST_SUITE_P(Isa, FormatTable, ::testing::ValuesIn(kSimdIsas),
                         [](const auto& isa) { return std::string(isa.param); });

TEST_P(FormatTable, RoundsAsTheIntegerCode) {
  for (const Format format : formats<float>()) {
    std::vector<float> want, got;
    std::uint64_t different = 0;
    const std::uint64_t count = sweep_fp32([&](const std::vector<float>& x) {
      want.resize(x.size());
      got.resize(x.size());
      scalar<float>().round(x.data(), std::int64_t(x.size()), format, want.data());
      simd<float>().round(x.data(), std::int64_t(x.size()), format, got.data());
      different += std::memcmp(want.data(), got.data(), x.size() * sizeof(float)) != 0;
    });
    EXPECT_EQ(different, 0u) << "chunks of " << count << " inputs, format " << int(format);
    EXPECT_GE(count, (1ull << 32) / 251);
  }
}

/// Every 16-bit pattern through the weights of a product: 0 + 1 * w.
TEST_P(FormatTable, WidensEveryWeight) {
  for (const Format format : {Format::bf16, Format::fp16}) {
    PackSpec spec;
    spec.n = 0x10000;
    spec.k = 1;
    spec.bounds = {0, 1};
    spec.rounded = format;
    const PackedMatrix w = pack(spec, [&](std::int64_t row, std::span<float> out) {
      const std::uint16_t bits = std::uint16_t(row);
      out[0] = format == Format::bf16 ? float_from_bf16(bits) : float_from_fp16(bits);
    });
    for (const std::int64_t rows : {1, 14}) {
      const std::vector<float> x(std::size_t(rows), 1.0f);
      std::vector<float> want(std::size_t(rows) * 0x10000), got = want;
      GemmArgs<float> args{x.data(), 1, &w, want.data(), spec.n, 0, rows, 0, w.panels()};
      scalar<float>().gemm(args);
      args.out = got.data();
      simd<float>().gemm(args);
      EXPECT_TRUE(same(want, got)) << "format " << int(format) << " rows " << rows;
    }
  }
}

}  // namespace
}  // namespace isobit::cpu::testing
