// What a run found out, as plain values: verdicts with their reasons, differences, groups, and the
// exit code made of them. The judge makes them, the store keeps them, reports tell them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace isobit {

enum class Verdict : std::uint8_t {
  pass,
  diff,
  nondet,
  fail,
  mistrusted,
  nogold,
  stale,
  obsolete,
  xfail,
  xpass,
  skip,
  not_run,
  deferred
};
constexpr int kVerdicts = 13;
/// "PASS", "DIFF", ...
const char* name_of(Verdict verdict);

/// How dangerous a DIFF is for tokens.
enum class Severity : std::uint8_t { none, bits_only, near_tie, flipped };
/// "bits only", "near tie", "flipped", "".
const char* name_of(Severity severity);

struct Judgement {
  Verdict verdict = Verdict::pass;
  Severity severity = Severity::none;
  std::string reason;  // one line; empty for a plain PASS
};

/// Distances of two rows, fp64, in ascending index order (judge/metrics.cc).
struct RowDistance {
  std::int64_t differing = 0;  // elements whose bits differ
  double max_abs = 0;
  std::uint64_t max_ulp = 0;  // steps between bit patterns in the order of their values
  double kl = 0;              // KL(a || b), nats, fp64 log-softmax
  double js = 0;
  double total_variation = 0;
  double mean_abs = 0;  // infinite where max_abs is
  double margin_a = 0, margin_b = 0;
  std::int32_t argmax_a = -1, argmax_b = -1;
  int first_segment = -1;  // of eight
  std::int64_t first_element = -1;
};

/// Where a cell parts from what it was compared with.
struct Difference {
  bool present = false;
  std::string against;  // cell name, "golden" or "baseline run 12"
  std::string prompt_id;
  std::int64_t position = -1, index = -1;  // of the logits row; among generated tokens, from 0
  std::int32_t id_a = -1, id_b = -1;
  std::string text_a, text_b;      // the two tokens decoded, when there is a tokenizer
  std::string digest_a, digest_b;  // hex
  double margin = 0;               // of the first row of the two
  std::string layer_site;          // "layer 3, attn", empty when not recorded
  std::int64_t differing = 0, tokens = 0, flipped = 0;
  std::string cause;  // what changed between the two executions (explain/cause.h); may be empty
  bool has_distance = false;  // values were recomputed
  RowDistance distance;
};

/// A cell of a group whose cells need not be equal, against the group's first cell.
struct PairResult {
  int cell = -1;                                      // index among the run's cells
  std::int64_t rows = 0, differing = 0, flipped = 0;  // rows: computed from equal inputs
  std::int64_t prompts = 0, prompts_differing = 0;
  std::int64_t earliest = -1;  // least index of a first differing token, -1: none
};

/// The mean of the probabilities of the first members of an ensemble, held against the targets
/// (judge/ensemble.h has the formulas).
struct EnsembleSize {
  std::int64_t members = 0;
  double nll = 0;          // mean over targets, nats
  double error = 0;        // share of targets that are not the most probable token
  double ece = 0;          // expected calibration error
  double member_nll = 0;   // mean over members and targets
  double ambiguity = 0;    // member_nll - nll, never negative
  std::int64_t right = 0;  // prompts all of whose targets are the most probable token
};

/// How much the cells of an ensemble differ along some axes: sample deviations.
struct EnsembleSpread {
  std::int64_t of = 0;     // values among which the deviation is; below 2: there is none
  double nll = 0;          // of a cell's mean NLL
  double probability = 0;  // of a target's probability, mean over targets
};

/// One member of an ensemble by itself.
struct EnsembleMember {
  std::string weights;  // its value of that axis
  double nll = 0, error = 0, ece = 0;
  std::int64_t right = 0;  // as EnsembleSize's
};

struct EnsembleResult {
  std::int64_t targets = 0, prompts = 0, bins = 0;
  std::vector<EnsembleMember> alone;  // in the first configuration
  std::vector<EnsembleSize> sizes;    // 1, 2, 4, … and all members; empty: nothing was measured
  EnsembleSpread members, runtime;    // over the weights; over the other axes
};

/// One group of one contract rule. Cells are indices among the run's cells, in matrix order.
struct GroupResult {
  std::string rule;  // "same_bits across batch, cache"
  std::string key;   // "engine=reference,precision=bf16"
  Judgement judgement;
  std::vector<int> cells;
  std::int64_t unselected_cells = 0;             // of the whole group: left out by a filter
  std::int64_t compared_cells = 0;               // of `cells`: what the verdict rests on
  std::vector<std::pair<int, int>> equal_pairs;  // differ, differ_all: the pairs that were equal
  std::int64_t compared_tokens = 0, differing = 0, flipped = 0;
  std::int64_t comparable_rows = 0;  // rows of the results that differ among each other, each once
  double flip_rate_bound = 0;        // of these rows, 95 %
  std::vector<std::int64_t> divergence_index;
  std::vector<float> flip_margins;
  int base = -1;                  // of pairs: the cell that the others are compared with
  std::vector<PairResult> pairs;  // of differ, differ_all, measure and ensemble
  EnsembleResult ensemble;        // of ensemble
};

/// One metric of a group of runtime configurations, or of a pair of them (harness/metric.h).
struct MetricValue {
  std::string metric;           // its name
  std::optional<double> value;  // none: `reason` says why
  std::optional<double> error;  // standard error, jackknife over prompts
  std::int64_t prompts = 0;     // that it rests on
  std::string reason;
  /// Of pairs: what else is told with it, by name: {"flips", 3}, {"bound_95", 1.2}.
  std::vector<std::pair<std::string, double>> parts{};
};

/// The distances of one aligned logits row of a pair: a is the reference's.
struct PairRow {
  std::int32_t sample = 0, prompt = 0;
  std::int64_t position = 0;
  double kl = 0, js = 0, total_variation = 0;  // KL(a, b)
  double max_abs = 0, mean_abs = 0;
  double margin = 0;          // of a, top-1 minus top-2
  std::uint64_t max_ulp = 0;  // 0 where the rows are of two types
  bool flip = false;          // the argmax differs
  bool operator==(const PairRow&) const = default;
};

/// Sums over the aligned rows of one layer and site of a pair; of k_seen and v_seen a row is one KV
/// head's at one position. h is the reference's row, h' the configuration's.
struct LayerSum {
  std::int32_t layer = 0;
  std::string site;
  std::int64_t rows = 0;
  double distance = 0;       // sum of |h - h'|
  double norm = 0;           // sum of |h|
  double max_abs = 0;        // of an element
  double squares = 0;        // sum of |h|^2
  double magnitude = 0;      // sum of (|h| - |h'|)^2
  double direction = 0;      // sum of 2 |h| |h'| (1 - cos)
  std::int64_t evicted = 0;  // rows left out: one of the two does not see them
  bool operator==(const LayerSum&) const = default;
};

/// A configuration of a measured group against its reference.
struct MeasuredPair {
  std::string configuration, reference;    // "kv=q8_0,batch=8"
  std::vector<std::pair<int, int>> cells;  // by sample: of the reference, of the configuration
  std::string problem;                     // why there is no number; empty: there are
  std::vector<MetricValue> values;         // in the order of the scenario
  std::vector<LayerSum> layers;            // by site as computed, then layer
  std::vector<PairRow> rows;               // by sample, prompt, position
};

/// Whether equal bits gave distances of exactly 0: pairs of cells of a group that are bit-equal.
struct IdentityControl {
  std::int64_t pairs = 0, exact = 0;
  std::string problem;  // of the first that is not exact; then no other number is given
};

/// One group of one entry of `measure`. It has no verdict.
struct MeasuredGroup {
  std::string rule;                   // "measure across batch, gemm over seed"
  std::string key;                    // "precision=bf16"
  std::vector<int> cells;             // indices among the run's cells, in matrix order
  std::int64_t unselected_cells = 0;  // of the whole group: left out by a filter
  std::int64_t configurations = 0;    // that have a result
  std::int64_t lost = 0;              // configurations without one
  std::int64_t samples = 1;           // of each configuration
  std::int64_t prompts = 0;           // that every configuration has
  std::int64_t left_out = 0;          // prompts that some configuration lacks
  std::vector<MetricValue> values;    // in the order of the scenario, those of pairs apart
  IdentityControl control{};
  std::vector<MeasuredPair> pairs{};  // in the order of the configurations
};

/// One value of a score of a cell (harness/score/score.h), and what it was compared with.
struct ScoreValue {
  std::string score, value_name;  // "ifeval", "prompt_strict"
  std::int64_t n = 0;             // units: prompts, instructions, tokens, bytes
  std::int64_t right = -1;        // of them; -1: the value is no share
  std::int64_t left_out = 0;      // prompts with something that is not judged
  std::optional<double> value;    // none: `reason` says why
  std::optional<double> error;    // standard error over prompt lines
  std::string reason;
  int reference = -1;                 // cell that it is compared with, -1: none, or it is this one
  std::optional<double> difference;   // from that cell's value
  std::int64_t gained = 0, lost = 0;  // units right here and wrong there, and the other way round
  std::optional<double> p;            // McNemar's exact test of these two; only of shares
};

/// Prompts of a cell that have an answer, and those whose reply is it.
struct Score {
  std::int64_t scored = 0, correct = 0;
};

enum ExitCode : int {
  kExitOk = 0,
  kExitDifferent = 1,
  kExitUsage = 2,
  kExitInternal = 3,
  kExitNothing = 4,
  kExitGolden = 5,
  kExitEnvironment = 6,
  kExitMistrusted = 7,
  kExitNotRun = 8,
  kExitSkipped = 77,
  kExitInterrupted = 130,
};

/// What a run knows when it ends; exit_code() applies the precedence
/// 130, 3, 2, 1, 7, 6, 8, 5, 4, 77, 0.
struct RunOutcome {
  std::array<std::int64_t, kVerdicts> counts{};
  bool interrupted = false;
  bool internal_error = false;
  bool environment_mismatch = false;  // --require-env, --require, --max-skip
  bool lenient = false;               // MISTRUSTED only warns
  bool xfail_expired = false;
  bool empty_share = false;  // --partition left no cell, and nothing else was asked
  std::int64_t compared_tokens = 0;
  [[nodiscard]] std::int64_t count(Verdict v) const { return counts[std::size_t(v)]; }
};
int exit_code(const RunOutcome& outcome);
/// Of the codes of two runs the one that comes first in that precedence.
int graver_exit_code(int a, int b);
/// Of several runs together, as one command or one report tells them: the gravest, but what was
/// skipped beside what is fine is fine. No run at all: kExitNothing.
int joint_exit_code(const std::vector<int>& codes);

/// "3 of 8 cells were not selected"
std::string unselected_text(std::int64_t unselected, std::int64_t selected);

/// The least rate of a fault that would have shown in one of n independent executions at least with
/// 95 % probability: 1 - 0.05^(1/n); 1 without any.
double seen_fault_rate(std::int64_t executions);

}  // namespace isobit
