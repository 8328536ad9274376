// Three numbers, added in three orders, each sum rounded to the format: the smallest example of
// what a change of runtime configuration does (Yuan et al., arXiv 2506.09501, section 2.2, table 2,
// whose bits the first two orders have in fp32 and bf16). The expected bits are torch's:
// (torch.tensor(a, dtype=t) + torch.tensor(b, dtype=t)) + torch.tensor(c, dtype=t).
#include <gtest/gtest.h>

#include <array>
#include <bit>

#include "runtime/numerics/formats.h"

namespace isobit {
namespace {

using Three = std::array<float, 3>;

/// Sums in which term 2, 1 and 0 comes last, as bit patterns of fp32.
std::array<std::uint32_t, 3> orders(Format format, const Three& terms) {
  std::array<std::uint32_t, 3> out{};
  Three x{};
  for (std::size_t i = 0; i < 3; ++i) x[i] = round_to(format, terms[i]);
  for (std::size_t last = 3; last-- > 0;) {
    const float first = round_to(format, x[(last + 1) % 3] + x[(last + 2) % 3]);
    out[2 - last] = std::bit_cast<std::uint32_t>(round_to(format, first + x[last]));
  }
  return out;
}

std::array<std::uint32_t, 3> bits(float a, float b, float c) {
  return {std::bit_cast<std::uint32_t>(a), std::bit_cast<std::uint32_t>(b),
          std::bit_cast<std::uint32_t>(c)};
}

TEST(ThreeTerms, TermsThatCancelLeaveWhatTheOrderRounded) {
  const Three terms = {0.1F, -0.1F, 0.2F};
  EXPECT_EQ(orders(Format::bf16, terms), bits(0x1.9ap-3F, 0x1.9cp-3F, 0x1.9ap-3F));
  EXPECT_EQ(orders(Format::fp16, terms), bits(0x1.998p-3F, 0x1.994p-3F, 0x1.998p-3F));
  EXPECT_EQ(orders(Format::f32, terms), bits(0x1.99999ap-3F, 0x1.99999cp-3F, 0x1.99999ap-3F));
}

TEST(ThreeTerms, SmallTermsCountOnlyTogether) {
  const Three terms = {0.0016F, 0.0027F, 1.0F};
  EXPECT_EQ(orders(Format::bf16, terms), bits(0x1.02p+0F, 1.0F, 1.0F));
  EXPECT_EQ(orders(Format::fp16, terms), bits(0x1.01p+0F, 0x1.014p+0F, 0x1.014p+0F));
  EXPECT_EQ(orders(Format::f32, terms), bits(0x1.0119cep+0F, 0x1.0119cep+0F, 0x1.0119cep+0F));
}

}  // namespace
}  // namespace isobit
