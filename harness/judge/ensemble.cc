// Sums over targets. libm's exp and log are used here as in metrics.cc: these values enter no
// digest.
#include "harness/judge/ensemble.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "runtime/base/result.h"

namespace isobit {
namespace {

/// log((1/n) Σ exp(x)), ascending, the largest taken out: exactly x where all are x and n is their
/// number.
double log_mean_exp(std::span<const double> x, double n) {
  const double most = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (const double each : x) sum += std::exp(each - most);
  return most + (std::log(sum) - std::log(n));
}

/// Sample deviation; 0 for fewer than two.
double deviation(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  double sum = 0, squares = 0;
  for (const double x : values) sum += x;
  const double mean = sum / double(values.size());
  for (const double x : values) squares += (x - mean) * (x - mean);
  return std::sqrt(squares / double(values.size() - 1));
}

}  // namespace

EnsembleSums::EnsembleSums(std::vector<EnsembleCell> cells, std::int64_t bins)
    : cells_(std::move(cells)), bins_(bins) {
  ISOBIT_CHECK(!cells_.empty() && cells_[0].member == 0 && cells_[0].configuration == 0);
  ISOBIT_CHECK(bins > 0);
  for (std::size_t i = 0; i < cells_.size(); ++i) {
    if (cells_[i].configuration == 0) members_.push_back(i);
  }
  std::sort(members_.begin(), members_.end(),
            [this](std::size_t a, std::size_t b) { return cells_[a].member < cells_[b].member; });
  Tally empty;
  empty.right_in.resize(std::size_t(bins));
  empty.confidence.resize(std::size_t(bins));
  for (std::size_t n = 1;; n *= 2) {
    sizes_.push_back({std::int64_t(std::min(n, members_.size())), 0, empty});
    if (n >= members_.size()) break;
  }
  alone_.assign(members_.size(), empty);
  for (auto* by_cell : {&log_sums_, &log_p_, &p_, &nll_}) by_cell->resize(cells_.size());
}

void EnsembleSums::add(std::span<const std::vector<double>> logits, std::int32_t target) {
  ISOBIT_CHECK(logits.size() == cells_.size());
  for (std::size_t i = 0; i < cells_.size(); ++i) {
    ISOBIT_CHECK(target >= 0 && std::size_t(target) < logits[i].size());
    log_sums_[i] = log_mean_exp(logits[i], 1);
    log_p_[i] = logits[i][std::size_t(target)] - log_sums_[i];
    p_[i] = std::exp(log_p_[i]);
    nll_[i] -= log_p_[i];
  }
  add_sizes(logits, target);
  member_spread_ += over_members(p_);
  runtime_spread_ += over_runtime(p_);
  ++targets_;
  ++in_prompt_;
}

void EnsembleSums::add_sizes(std::span<const std::vector<double>> logits, std::int32_t target) {
  std::vector<double> sum(logits[0].size()), own(sum.size());  // probabilities
  std::vector<double> of_target;
  double member_nll = 0;
  std::size_t next = 0;
  for (const std::size_t i : members_) {
    ISOBIT_CHECK(logits[i].size() == sum.size());
    for (std::size_t v = 0; v < sum.size(); ++v) {
      own[v] = std::exp(logits[i][v] - log_sums_[i]);
      sum[v] += own[v];
    }
    alone_[of_target.size()].add(own, 1, target, log_p_[i]);
    of_target.push_back(log_p_[i]);
    member_nll -= log_p_[i];
    Size& size = sizes_[next];
    if (std::int64_t(of_target.size()) != size.members) continue;
    ++next;
    const double n = double(of_target.size());
    size.member_nll += member_nll / n;
    size.tally.add(sum, n, target, log_mean_exp(of_target, n));
  }
}

/// `sum` over `n` is the distribution.
void EnsembleSums::Tally::add(std::span<const double> sum, double n, std::int32_t target,
                              double log_p) {
  nll -= log_p;
  const auto best = std::max_element(sum.begin(), sum.end());
  const bool is_right = best - sum.begin() == target;
  all_right &= is_right;
  error += is_right ? 0 : 1;
  const auto bins = std::int64_t(confidence.size());
  const auto bin = std::int64_t(std::ceil(*best / n * double(bins))) - 1;
  const auto at = std::size_t(std::clamp<std::int64_t>(bin, 0, bins - 1));
  right_in[at] += is_right ? 1 : 0;
  confidence[at] += *best / n;
}

void EnsembleSums::Tally::end_prompt() {
  right += all_right ? 1 : 0;
  all_right = true;
}

double EnsembleSums::Tally::ece(double targets) const {
  double sum = 0;
  for (std::size_t b = 0; b < confidence.size(); ++b) {
    sum += std::abs(double(right_in[b]) - confidence[b]) / targets;
  }
  return sum;
}

double EnsembleSums::over_members(const std::vector<double>& values) const {
  std::vector<double> own;
  for (const std::size_t i : members_) own.push_back(values[i]);
  return deviation(own);
}

double EnsembleSums::over_runtime(const std::vector<double>& values) const {
  std::map<int, std::vector<double>> by_member;
  for (std::size_t i = 0; i < cells_.size(); ++i) by_member[cells_[i].member].push_back(values[i]);
  double sum = 0;
  std::int64_t counted = 0;
  for (const auto& [member, own] : by_member) {
    if (own.size() < 2) continue;
    sum += deviation(own);
    ++counted;
  }
  return counted == 0 ? 0 : sum / double(counted);
}

void EnsembleSums::end_prompt() {
  if (in_prompt_ == 0) return;
  in_prompt_ = 0;
  ++prompts_;
  for (Size& size : sizes_) size.tally.end_prompt();
  for (Tally& tally : alone_) tally.end_prompt();
}

EnsembleResult EnsembleSums::result() const {
  EnsembleResult out;
  out.targets = targets_;
  out.prompts = prompts_;
  out.bins = bins_;
  if (targets_ == 0) return out;
  const double n = double(targets_);
  for (const Size& size : sizes_) {
    EnsembleSize made;
    made.members = size.members;
    made.nll = size.tally.nll / n;
    made.error = size.tally.error / n;
    made.ece = size.tally.ece(n);
    made.member_nll = size.member_nll / n;
    made.ambiguity = made.member_nll - made.nll;
    made.right = size.tally.right;
    // Jensen's inequality; what rounding leaves below 0 is a few units of the last place.
    ISOBIT_CHECK(made.ambiguity > -1e-9 * (1 + made.member_nll));
    made.ambiguity = std::max(made.ambiguity, 0.0);
    out.sizes.push_back(made);
  }
  for (const Tally& tally : alone_) {
    out.alone.push_back({"", tally.nll / n, tally.error / n, tally.ece(n), tally.right});
  }
  std::vector<double> nll = nll_;
  for (double& each : nll) each /= n;
  out.members = {std::int64_t(members_.size()), over_members(nll), member_spread_ / n};
  std::map<int, std::int64_t> configurations;
  for (const EnsembleCell& cell : cells_) ++configurations[cell.member];
  for (const auto& [member, count] : configurations) {
    out.runtime.of = std::max(out.runtime.of, count);
  }
  out.runtime.nll = over_runtime(nll);
  out.runtime.probability = runtime_spread_ / n;
  return out;
}

}  // namespace isobit
