// The metrics of one configuration against its reference (harness/metric.h). Pure: of traces and of
// distances of rows, in fp64, in the order of samples, prompts and positions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "harness/judge/pair_rows.h"
#include "harness/metric.h"
#include "harness/verdict.h"
#include "runtime/trace.h"

namespace isobit {

/// What a pair's metrics are computed from.
struct PairEvidence {
  std::vector<std::pair<const CellTrace*, const CellTrace*>> traces;  // by sample, reference first
  bool teacher_forced = false;                                        // all of these cells
  std::vector<PairRow> rows;                                          // by sample, prompt, position
  std::vector<LayerSum> layers;                                       // by layer, then site
  VectorErrors keys, values;                                          // of k_seen and v_seen
  bool one_type = true;                                               // rows have ULPs
  std::string no_values;       // why there are no rows by value, or none of inner rows
  std::vector<PairRow> donor;  // of recovery: the same reference against the unpatched recipient
  bool patched = false;        // there is such a recipient
  bool of_donor = true;        // the reference is the donor of the patch
};

/// One value for each metric of pairs in `metrics`, in their order.
///
/// Rows are aligned: those that both sides have and computed from equal tokens; free-running that
/// ends with the first row whose next tokens differ. A prompt that a side lacks is in no metric of
/// tokens. Where it makes sense the standard error is the jackknife's over prompts: not of tails,
/// medians, layers and counters. No value, and the reason: nothing is aligned; a row is infinitely
/// far; the rows are of two types (max_ulp); free-running cells (flip_rate); a flip that the margin
/// law does not explain; a divergence of 0 to recover from.
std::vector<MetricValue> measure_pair(const std::vector<Metric>& metrics,
                                      const PairEvidence& evidence);

/// The q-quantile of some values, between neighbours by distance. REQUIRES: a value, 0 <= q <= 1.
double quantile_of(std::vector<double> values, double q);

/// How much of a divergence a patch takes away: 1 - KL(donor, patched) / KL(donor, recipient), both
/// means over the rows of the donor that are in both. No value: there is none, or the recipient
/// does not diverge.
struct Recovery {
  std::optional<double> value;
  double patched = 0, recipient = 0;  // the two means, nats
  std::int64_t rows = 0;
  std::string reason;
};
Recovery recovery(const std::vector<PairRow>& donor_to_patched,
                  const std::vector<PairRow>& donor_to_recipient);

/// Whether equal cells have distances of exactly 0, or "KL 1e-300 at prompt 0, position 7": of the
/// logits rows, and of the layers at the sites in `sites`.
std::string not_identical(const std::vector<PairRow>& rows, const std::vector<LayerSum>& layers,
                          const std::vector<std::string>& sites);

}  // namespace isobit
