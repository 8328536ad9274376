// Tests of paired outcomes: two cells that answered the same prompts, or two arms of the same
// conditions. Pure; exact to the last few bits whatever the counts, without libm.
#pragma once

#include <cstdint>
#include <vector>

namespace isobit {

/// P(|X - n/2| >= |k - n/2|), X binomial(n, 1/2): two-sided, at most 1; 1 for n = 0.
/// REQUIRES: 0 <= k <= n.
double binomial_half(std::int64_t k, std::int64_t n);

/// Pairs of which one alone is right.
struct Discordant {
  std::int64_t gained = 0;  // right in the second, wrong in the first
  std::int64_t lost = 0;    // the other way round
};
/// REQUIRES: as many outcomes in both.
Discordant discordant(const std::vector<bool>& first, const std::vector<bool>& second);

/// McNemar's exact test: the probability, were both equally often right, of discordant pairs at
/// least as one-sided as these.
double mcnemar_exact(const Discordant& pairs);

/// The sign test over conditions, ties left out: of so many in which one arm was better, and worse.
double sign_test(std::int64_t better, std::int64_t worse);

}  // namespace isobit
