// Paired tests against values of exact fractions (2 sum_{i<=k} C(n,i) / 2^n, rounded once; scipy's
// binomtest(k, n).pvalue is the same number).
#include "harness/score/paired.h"

#include <gtest/gtest.h>

#include <cmath>

namespace isobit {
namespace {

TEST(PairedTests, AreExactBinomials) {
  struct Case {
    std::int64_t k, n;
    double p;
  };
  for (const Case& c :
       {Case{0, 0, 1}, Case{0, 1, 1}, Case{1, 9, 0x1.4p-5}, Case{8, 9, 0x1.4p-5},
        Case{2, 12, 0x1.3cp-5}, Case{5, 10, 1}, Case{0, 6, 0x1p-5}, Case{10, 43, 0x1.3dc64146p-11},
        Case{100, 260, 0x1.f518f51929bf4p-13}, Case{400, 1000, 0x1.2bff70401fbcep-32},
        Case{4900, 10000, 0x1.7da0eebeb575fp-5}, Case{3, 2000, 0}, Case{0, 5000, 0}}) {
    const double p = binomial_half(c.k, c.n);
    EXPECT_TRUE(std::abs(p - c.p) <= 4e-13 * c.p) << c.k << " of " << c.n << ": " << p;
    EXPECT_EQ(binomial_half(c.n - c.k, c.n), p);
  }
}

TEST(PairedTests, McNemarLooksAtDiscordantPairsAlone) {
  const std::vector<bool> first = {true, true, false, false, true, false, false, false, false};
  const std::vector<bool> second = {true, false, true, true, true, true, true, true, false};
  const Discordant pairs = discordant(first, second);
  EXPECT_EQ(pairs.gained, 5);
  EXPECT_EQ(pairs.lost, 1);
  EXPECT_EQ(mcnemar_exact(pairs), 0.21875);  // 2 (1 + 6) / 64
  EXPECT_EQ(mcnemar_exact(discordant(first, first)), 1);
}

TEST(PairedTests, SignTestOfEightOfNineConditions) {
  EXPECT_EQ(sign_test(8, 1), 0.0390625);
  EXPECT_EQ(sign_test(1, 8), 0.0390625);
  EXPECT_EQ(sign_test(0, 0), 1);
}

}  // namespace
}  // namespace isobit
