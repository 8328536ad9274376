// CUDA's functions: near the exact value everywhere, exact where that is known, and their bits.
// Whether the bits are a GPU's is conformance/special_unit_gpu_test.cc's.
#include "runtime/numerics/cuda_functions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "runtime/numerics/digest.h"

namespace isobit {
namespace {

float exp_of(float x) {
  return cuda_exp(kHopperTables, x);
}
float silu_of(float x) {
  return cuda_silu(kHopperTables, x);
}

/// fp32 numbers in order, as whole numbers.
std::int64_t place_of(float x) {
  const std::uint32_t u = bits_of(x);
  return u >> 31 != 0 ? -std::int64_t(u & 0x7fffffffu) : std::int64_t(u);
}
/// How many fp32 numbers a result is from the rounded exact one.
std::int64_t places_apart(float result, long double exact) {
  return std::abs(place_of(result) - place_of(float(exact)));
}

/// Numbers of both signs from `from` to below `to` in magnitude, each a `step` of the one before.
std::vector<float> numbers(float from, float to, float step) {
  std::vector<float> out;
  for (float x = from; x < to; x *= step) {
    out.push_back(x);
    out.push_back(-x);
  }
  return out;
}

TEST(CudaFunctions, AreNearTheExactValue) {
  for (const float x : numbers(0x1p-20f, 87.0f, 1.001f)) {
    ASSERT_LE(places_apart(exp_of(x), std::exp(static_cast<long double>(x))), 2) << x;
  }
  for (const float x : numbers(0x1p-20f, kLargestCudaAngle, 1.001f)) {
    ASSERT_LE(places_apart(cuda_cos(x), std::cos(static_cast<long double>(x))), 2) << x;
    ASSERT_LE(places_apart(cuda_sin(x), std::sin(static_cast<long double>(x))), 2) << x;
  }
  for (const float x : numbers(0x1p-126f, 0x1p127f, 1.003f)) {
    if (x < 0) continue;
    ASSERT_LE(places_apart(cuda_log(x), std::log(static_cast<long double>(x))), 1) << x;
  }
}

TEST(CudaFunctions, AreExactWhereThatIsKnown) {
  EXPECT_TRUE(same_bits(exp_of(0.0f), 1.0f));
  EXPECT_TRUE(same_bits(exp_of(-0.0f), 1.0f));
  EXPECT_TRUE(same_bits(cuda_cos(0.0f), 1.0f));
  EXPECT_TRUE(same_bits(cuda_cos(-0.0f), 1.0f));
  EXPECT_TRUE(same_bits(cuda_sin(0.0f), 0.0f));
  EXPECT_TRUE(same_bits(cuda_sin(-0.0f), -0.0f));
  EXPECT_TRUE(same_bits(cuda_sin(0x1p-60f), 0x1p-60f));
  EXPECT_TRUE(same_bits(cuda_log(1.0f), 0.0f));
  EXPECT_TRUE(same_bits(silu_of(0.0f), 0.0f));
  EXPECT_TRUE(same_bits(silu_of(-0.0f), -0.0f));
  EXPECT_TRUE(same_bits(silu_of(1000.0f), 1000.0f));
}

TEST(CudaFunctions, SinesAreOddAndCosinesEven) {
  for (const float x : numbers(0x1p-30f, kLargestCudaAngle, 1.07f)) {
    EXPECT_TRUE(same_bits(cuda_sin(-x), -cuda_sin(x))) << x;
    EXPECT_TRUE(same_bits(cuda_cos(-x), cuda_cos(x))) << x;
  }
}

TEST(CudaFunctions, HaveLimits) {
  const float inf = float_of(0x7f800000u);
  EXPECT_TRUE(same_bits(exp_of(inf), inf));
  EXPECT_TRUE(same_bits(exp_of(-inf), 0.0f));
  EXPECT_TRUE(same_bits(exp_of(89.0f), inf));
  EXPECT_TRUE(same_bits(exp_of(-104.0f), 0.0f));
  EXPECT_TRUE(std::isnan(exp_of(float_of(0x7fc00000u))));
  EXPECT_EQ(bits_of(exp_of(88.5f)) >> 23, 254u);
  EXPECT_EQ(bits_of(exp_of(-90.0f)) >> 23, 0u);  // subnormal, and not zero
  EXPECT_GT(exp_of(-90.0f), 0.0f);
  EXPECT_TRUE(std::isnan(silu_of(-inf)));  // -inf / inf, as PyTorch's
  EXPECT_TRUE(same_bits(silu_of(inf), inf));
  EXPECT_TRUE(same_bits(silu_of(-100.0f), -0.0f));
  // Up to the largest angle the reduction has the digits that it needs.
  const float last = float_of(bits_of(kLargestCudaAngle) - 1);
  EXPECT_LE(places_apart(cuda_cos(last), std::cos(static_cast<long double>(last))), 1);
  EXPECT_LE(places_apart(cuda_sin(last), std::sin(static_cast<long double>(last))), 1);
}

TEST(CudaFunctions, AFloorIsNoRounding) {
  for (const float part : {0.0f, 0.25f, 0x1.fffffep-1f, 1.0f}) {
    const float sum = cuda_floor_sum(part, 252.0f, 12582913.0f);
    EXPECT_EQ(sum, 12582913.0f + std::floor(part * 252.0f)) << part;
  }
  EXPECT_EQ(cuda_floor_sum(float_of(0x3f7fffffu), 252.0f, 12582913.0f), 12582913.0f + 251.0f);
}

/// Over all binades: no bit may change without notice where there is no GPU.
template <class F>
std::string digest_of(const std::vector<float>& inputs, const F& function) {
  std::vector<float> out;
  for (const float x : inputs) out.push_back(function(x));
  return to_hex(digest_row(std::span<const float>(out)));
}

TEST(CudaFunctions, KeepTheirBits) {
  const std::vector<float> angles = numbers(0x1p-40f, kLargestCudaAngle, 1.003f);
  std::vector<float> positive;
  for (const float x : numbers(0x1p-126f, 0x1p127f, 1.01f)) {
    if (x > 0) positive.push_back(x);
  }
  EXPECT_EQ(digest_of(numbers(0x1p-40f, 100.0f, 1.003f), exp_of),
            "c818c46aa35c5400a449d93f48c055f9");
  EXPECT_EQ(digest_of(angles, cuda_cos), "a13a9f041da47a65354ea778ed6184c0");
  EXPECT_EQ(digest_of(angles, cuda_sin), "31b17f960711f19d5562c03298e8cf6c");
  EXPECT_EQ(digest_of(positive, cuda_log), "a78dba8f206ed75741b68547d97168ed");
  EXPECT_EQ(digest_of(numbers(0x1p-40f, 100.0f, 1.003f), silu_of),
            "ac9299d1dd6e2420ba186da20269c12d");
}

}  // namespace
}  // namespace isobit
