// Ensemble metrics against NumPy in fp64, to the last printed digit.
#include "harness/judge/ensemble.h"

#include <gtest/gtest.h>

#include <string>

#include "runtime/base/text.h"
#include "runtime/numerics/bits.h"

namespace isobit {
namespace {

constexpr int kVocabulary = 11, kTargets = 6;
constexpr std::int32_t kTarget[kTargets] = {2, 2, 8, 9, 6, 3};

/// x[v] = ((7m + 13t + 29v + 3mv) mod 101)/17 + c·((t + v + m) mod 5)/64
std::vector<double> logits(int member, int configuration, int t) {
  std::vector<double> row;
  for (int v = 0; v < kVocabulary; ++v) {
    const int base = (7 * member + 13 * t + 29 * v + 3 * member * v) % 101;
    row.push_back(base / 17.0 + configuration * ((t + v + member) % 5) / 64.0);
  }
  return row;
}

/// Two prompts of three targets.
EnsembleResult measured(const std::vector<EnsembleCell>& cells, std::int64_t bins) {
  EnsembleSums sums(cells, bins);
  for (int t = 0; t < kTargets; ++t) {
    std::vector<std::vector<double>> rows;
    for (const EnsembleCell& cell : cells) {
      rows.push_back(logits(cell.member, cell.configuration, t));
    }
    sums.add(rows, kTarget[t]);
    if (t % 3 == 2) sums.end_prompt();
  }
  return sums.result();
}

std::string told(const EnsembleSize& size) {
  std::string out = std::to_string(size.members);
  for (const double x : {size.nll, size.error, size.ece, size.member_nll, size.ambiguity}) {
    out += " " + text::number(x);
  }
  return out + " " + std::to_string(size.right);
}

// numpy 2.4, with lp = x - max - log(sum(exp(x - max))), p = exp(lp), tp = p[target] and n members:
//   nll = -log(p[:n].mean(0)[target]).mean(), member_nll = -log(tp[:n]).mean()
//   right = p[:n].mean(0).argmax(-1) == target, conf = p[:n].mean(0).max(-1)
//   ece = sum over bins k of (b == k).sum()/6 * |right[b == k].mean() - conf[b == k].mean()|,
//         b = ceil(15*conf) - 1
//   members: (-log(tp)).mean(-1).std(ddof=1), tp.std(0, ddof=1).mean(); runtime: the same over the
//   configurations of each member, then .mean()
TEST(Ensemble, AgreesWithNumPy) {
  std::vector<EnsembleCell> cells;
  for (int member = 0; member < 4; ++member) {
    for (int configuration = 0; configuration < 2; ++configuration) {
      cells.push_back({member, configuration});
    }
  }
  const EnsembleResult out = measured(cells, 15);
  EXPECT_EQ(out.targets, 6);
  EXPECT_EQ(out.prompts, 2);
  ASSERT_EQ(out.sizes.size(), 3u);
  EXPECT_EQ(told(out.sizes[0]), "1 3.05738 0.833333 0.236361 3.05738 0 0");
  EXPECT_EQ(told(out.sizes[1]), "2 2.55106 1 0.267456 2.88804 0.336988 0");
  EXPECT_EQ(told(out.sizes[2]), "4 1.84534 0.333333 0.477965 2.59278 0.747443 1");
  ASSERT_EQ(out.alone.size(), 4u);
  EXPECT_EQ(text::number(out.alone[0].nll), "3.05738");
  EXPECT_EQ(text::number(out.alone[0].ece), "0.236361");
  EXPECT_EQ(out.members.of, 4);
  EXPECT_EQ(text::number(out.members.nll), "0.367947");
  EXPECT_EQ(text::number(out.members.probability), "0.170914");
  EXPECT_EQ(out.runtime.of, 2);
  EXPECT_EQ(text::number(out.runtime.nll), "0.00643579");
  EXPECT_EQ(text::number(out.runtime.probability), "0.00207585");
}

TEST(Ensemble, SizesArePowersOfTwoAndAll) {
  std::vector<EnsembleCell> cells;
  for (int member = 0; member < 6; ++member) cells.push_back({member, 0});
  const EnsembleResult out = measured(cells, 10);
  std::string sizes;
  for (const EnsembleSize& size : out.sizes) sizes += std::to_string(size.members) + " ";
  EXPECT_EQ(sizes, "1 2 4 6 ");
  EXPECT_EQ(out.runtime.of, 1);
  EXPECT_EQ(out.runtime.nll, 0);
}

/// Members that agree are one model: no ambiguity and no spread, however many there are.
TEST(Ensemble, EqualMembersAreOneModel) {
  EnsembleSums sums({{0, 0}, {1, 0}, {2, 0}, {3, 0}}, 15);
  for (int t = 0; t < kTargets; ++t) {
    const std::vector<std::vector<double>> rows(4, logits(0, 0, t));
    sums.add(rows, kTarget[t]);
  }
  sums.end_prompt();
  const EnsembleResult out = sums.result();
  for (const EnsembleSize& size : out.sizes) {
    EXPECT_EQ(bits_of(size.nll), bits_of(out.sizes[0].nll));
    EXPECT_EQ(bits_of(size.ambiguity), 0u);
  }
  EXPECT_EQ(bits_of(out.members.nll), 0u);
  EXPECT_EQ(bits_of(out.members.probability), 0u);
}

/// A target that one member gives probability 0 (to fp64) costs the ensemble log M, not infinity.
TEST(Ensemble, AnImpossibleTargetStaysFinite) {
  EnsembleSums sums({{0, 0}, {1, 0}}, 15);
  const std::vector<std::vector<double>> rows = {{0.0, 1000.0, 0.0}, {1000.0, 0.0, 0.0}};
  sums.add(rows, 1);
  sums.end_prompt();
  const EnsembleResult out = sums.result();
  EXPECT_EQ(text::number(out.sizes[1].nll), "0.693147");
  EXPECT_EQ(text::number(out.sizes[1].member_nll), "500");
  EXPECT_EQ(out.sizes[1].error, 1);  // a tie: the lowest id is the most probable token
}

TEST(Ensemble, WithoutTargetsThereIsNothing) {
  const EnsembleResult out = EnsembleSums({{0, 0}, {1, 0}}, 15).result();
  EXPECT_TRUE(out.sizes.empty());
  EXPECT_EQ(out.targets, 0);
}

}  // namespace
}  // namespace isobit
