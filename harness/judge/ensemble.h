// What an ensemble of cells predicts: the mean of its members' probabilities, held against targets
// (Nam & Lee, "Ex Uno Pluria", NeurIPS 2024, arXiv 2411.14860; its ambiguity is Krogh & Vedelsby's,
// 1994). Pure; fp64, sums in ascending order of members, tokens and targets.
//
// With p_m(v) = softmax of member m's logits (fp64), M members and N targets t:
//   NLL        mean over targets of −log((1/M) Σ_m p_m(t)), nats
//   member NLL mean over targets and members of −log p_m(t)
//   ambiguity  member NLL − NLL, at least 0 because −log is convex; 0 for one member
//   error      share of targets other than argmax_v of the mean probability (lowest id on ties)
//   ECE        Σ_b (n_b / N)·|share right in bin b − mean confidence in b|; confidence is the mean
//              probability of the argmax, bin b of B holds (b/B, (b + 1)/B] (Guo et al. 2017)
//   spread     sample deviation (divisor n − 1) over the values of the axes
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "harness/verdict.h"

namespace isobit {

/// Which member a cell is (by its weights) and in which runtime configuration (by other axes).
struct EnsembleCell {
  int member = 0;         // 0, 1, 2, … in matrix order
  int configuration = 0;  // 0 is the first cell's: the ensemble is made of its members
};

/// Takes every target in turn and gives the result.
class EnsembleSums {
 public:
  /// REQUIRES: cell 0 is member 0 in configuration 0; no two cells are alike.
  EnsembleSums(std::vector<EnsembleCell> cells, std::int64_t bins);
  /// The logits of all cells before one target, each (vocabulary).
  /// REQUIRES: finite values, equal lengths, a target inside them.
  void add(std::span<const std::vector<double>> logits, std::int32_t target);
  /// Behind the last target of a prompt.
  void end_prompt();
  [[nodiscard]] EnsembleResult result() const;

 private:
  /// What one distribution, a member's or a mean of some, makes of the targets.
  struct Tally {
    void add(std::span<const double> sum, double n, std::int32_t target, double log_p);
    void end_prompt();
    [[nodiscard]] double ece(double targets) const;
    double nll = 0, error = 0;           // summed
    std::int64_t right = 0;              // prompts
    bool all_right = true;               // of the current prompt
    std::vector<std::int64_t> right_in;  // by bin: targets that are the argmax
    std::vector<double> confidence;      // by bin, summed
  };
  struct Size {
    std::int64_t members = 0;
    double member_nll = 0;  // summed
    Tally tally;
  };
  void add_sizes(std::span<const std::vector<double>> logits, std::int32_t target);
  /// Deviation over the values of the cells in configuration 0, or, for each member with several
  /// configurations, over these, and of that the mean.
  [[nodiscard]] double over_members(const std::vector<double>& values) const;
  [[nodiscard]] double over_runtime(const std::vector<double>& values) const;

  std::vector<EnsembleCell> cells_;
  std::vector<std::size_t> members_;  // cells of configuration 0, by member
  std::vector<Size> sizes_;
  std::vector<Tally> alone_;  // by member
  std::int64_t bins_, targets_ = 0, prompts_ = 0;
  std::vector<double> log_sums_, log_p_, p_;  // by cell, of the current target
  std::vector<double> nll_;                   // by cell, summed
  double member_spread_ = 0, runtime_spread_ = 0;
  std::int64_t in_prompt_ = 0;  // targets of the current prompt
};

}  // namespace isobit
