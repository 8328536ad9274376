// The packed matrix against a literal loop over its elements: every format, ragged shapes, odd
// values, and panels packed by several callers in any order.
#include "runtime/backends/cpu/packed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "runtime/numerics/formats.h"

namespace isobit::cpu {
namespace {

constexpr Format kFormats[] = {Format::f64,  Format::f32,  Format::tf32, Format::bf16,
                               Format::fp16, Format::e4m3, Format::e5m2};

/// Bit patterns of every kind: subnormals, ties, infinities, NaN with payloads.
std::vector<float> values(std::size_t count) {
  std::vector<float> out(count);
  std::uint64_t state = 2026;
  for (float& x : out) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const auto bits = std::uint32_t(state >> 32);
    const std::uint32_t exponent = (bits >> 8) % 40 + 107;  // around 1, where the formats round
    x = (bits & 3U) == 0 ? float_of(std::uint32_t(state >> 16))
                         : float_of((bits & 0x807fffffU) | exponent << 23);
  }
  const float odd[] = {0.0F,
                       -0.0F,
                       0x1p-149F,
                       -0x1p-126F,
                       0x1.002p0F,
                       0x1.01p0F,
                       65520.0F,
                       std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity(),
                       float_of(0x7f800001U),
                       float_of(0xffc12345U),
                       0x1.fffffep127F};
  for (std::size_t i = 0; i < std::min(out.size(), std::size(odd)); ++i)
    out[i * 7 % count] = odd[i];
  return out;
}

template <class E>
void put(std::vector<std::byte>& out, std::size_t at, E element) {
  std::memcpy(out.data() + at * sizeof(E), &element, sizeof(E));
}

/// [(n / 32)][k][n % 32], an element at a time.
std::vector<std::byte> literal(const PackSpec& spec, const std::vector<float>& source) {
  const Format element = element_of(spec.rounded);
  const std::size_t size = element == Format::f64 ? 8 : element == Format::f32 ? 4 : 2;
  std::vector<std::byte> out(std::size_t(packed_elements(spec.n, spec.k)) * size);
  for (std::int64_t n = 0; n < spec.n; ++n) {
    for (std::int64_t k = 0; k < spec.k; ++k) {
      float value = source[std::size_t(n * spec.k + k)];
      if (spec.divide) value = value / spec.scale[std::size_t(n)];
      value = round_to(spec.rounded, value);
      const auto at = std::size_t((n / kPanel * spec.k + k) * kPanel + n % kPanel);
      if (element == Format::f64) put(out, at, double(value));
      if (element == Format::f32) put(out, at, value);
      if (element == Format::bf16) put(out, at, bf16_from_float(value));
      if (element == Format::fp16) put(out, at, fp16_from_float(value));
    }
  }
  return out;
}

PackSpec spec_of(std::int64_t n, std::int64_t k, Format format) {
  PackSpec spec;
  spec.n = n;
  spec.k = k;
  spec.bounds = {0, k};
  spec.rounded = format;
  if (format == Format::e4m3 || format == Format::e5m2) {
    spec.divide = true;
    for (std::int64_t i = 0; i < n; ++i) {
      spec.scale.push_back(power_of_two_scale(format, float(i % 9) * 100.0F));
    }
  }
  return spec;
}

RowReader reader_of(const std::vector<float>& source) {
  return [&source](std::int64_t row, std::span<float> out) {
    std::copy_n(source.begin() + row * std::int64_t(out.size()), out.size(), out.begin());
  };
}

bool equal(const PackedMatrix& m, const std::vector<std::byte>& want) {
  return std::memcmp(m.data.get(), want.data(), want.size()) == 0;
}

TEST(Packed, IsTheLiteralLoopInEveryFormatAndShape) {
  for (const Format format : kFormats) {
    for (const std::int64_t n : {1, 31, 32, 33, 70}) {
      for (const std::int64_t k : {1, 7, 8, 9, 16, 37, 100, 1008}) {
        const PackSpec spec = spec_of(n, k, format);
        const std::vector<float> source = values(std::size_t(n * k));
        const PackedMatrix m = pack(spec, reader_of(source));
        EXPECT_TRUE(equal(m, literal(spec, source)))
            << "format " << int(format) << ", " << n << " x " << k;
        EXPECT_EQ(m.element, element_of(format));
        EXPECT_EQ(m.scale, spec.scale);
      }
    }
  }
}

TEST(Packed, PanelsInAnyOrderGiveTheSameBytes) {
  for (const Format format : kFormats) {
    const PackSpec spec = spec_of(150, 61, format);
    const std::vector<float> source = values(std::size_t(spec.n * spec.k));
    PackedMatrix m = make_packed(spec);
    std::vector<float> scratch(pack_scratch(spec.k), -1.0F);
    for (const auto& [begin, end] : {std::pair{3, 5}, {2, 2}, {0, 1}, {1, 3}}) {
      pack_panels(spec, reader_of(source), begin, end, scratch, m);
    }
    EXPECT_TRUE(equal(m, literal(spec, source))) << "format " << int(format);
  }
}

TEST(Packed, HoldsNothingWhenThereIsNothing) {
  EXPECT_EQ(pack(spec_of(0, 5, Format::f32), {}).panels(), 0);
  const PackedMatrix empty =
      pack(spec_of(3, 0, Format::bf16), [](std::int64_t, std::span<float>) {});
  EXPECT_EQ(empty.panels(), 1);
  EXPECT_NE(empty.data, nullptr);
}

/// A register may be loaded at the last element of the last panel.
TEST(Packed, ReadsPastTheEndAreZero) {
  for (const std::size_t bytes : {std::size_t{64}, std::size_t{100}, std::size_t{5} << 20}) {
    const std::shared_ptr<void> memory = packed_memory(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.get()) % 64, 0U);
    for (std::size_t i = 0; i < 64; ++i) {
      EXPECT_EQ(static_cast<const unsigned char*>(memory.get())[bytes + i], 0U);
    }
  }
}

}  // namespace
}  // namespace isobit::cpu
