// A scenario: one YAML file, one question. Parsed and checked here, expanded in matrix/matrix.h.
//
// Strict: unknown or duplicate keys, unknown axis values and impossible contracts are errors with
// file:line:column and a suggestion. scenarios/SCHEMA.md is the document of every key.
// yaml-cpp is included by scenario.cc only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/axes/axes.h"
#include "harness/metric.h"
#include "harness/scenario/filter.h"
#include "harness/score/score.h"
#include "runtime/base/result.h"
#include "runtime/trace.h"

namespace isobit {

/// What the key `decode` says; strategy to seed are short for the axis `decode` with one value.
struct Decode {
  std::string strategy = "greedy";  // greedy | sample
  std::int64_t max_new_tokens = 16;
  bool ignore_eos = false;
  double temperature = 1.0;  // sample only
  std::int64_t top_k = 0;    // 0: off
  double top_p = 1.0;        // 1: off
  std::uint64_t seed = 0;
};

struct PromptSelection {
  std::string file;  // relative to the scenario file
  std::int64_t skip = 0;
  std::int64_t take = -1;   // -1: all
  std::int64_t pad_to = 0;  // 0: as they are; else repeat tokens up to this length
  bool raw = false;         // a chat of one user message is its content, without a template
};

/// One rule of the contract.
struct Expectation {
  // measure, ensemble: demand nothing. An ensemble is an entry of the key of that name.
  enum class Kind { same_bits, within, differ, differ_all, measure, ensemble, score };
  Kind kind = Kind::same_bits;
  Filter where;                            // empty: every cell
  std::vector<std::string> across;         // axes the rule ranges over
  std::optional<double> token_match;       // within: smallest share of equal tokens
  std::optional<double> max_kl;            // within: nats, largest KL of any token
  std::optional<double> max_abs;           // within: largest logit distance
  std::optional<std::int64_t> max_ulp;     // within
  Evidence of = Evidence::logits;          // same_bits, differ, differ_all: what must agree
  std::int64_t bins = 15;                  // ensemble: of the calibration error
  std::string score;                       // score: "answer", "ifeval.prompt_loose"
  std::optional<double> min, drop;         // score: least value; most below the reference cell's
  std::optional<double> max, rise;         // the same where less is better
  std::string place;                       // file:line:column of the rule
  [[nodiscard]] std::string text() const;  // as in reports: "within max_kl 1e-06 across cache"
};

/// What is measured of groups of runtime configurations, whatever they give: no part of the
/// contract.
struct Measure {
  std::vector<Metric> metrics;               // in the order of the file
  Filter where;                              // empty: every cell
  std::vector<std::string> across;           // axes whose values make a group's configurations
  std::string over;                          // axis of a configuration's samples ("seed"), or empty
  std::map<std::string, AxisValue> against;  // of pairs: the reference's values of `across`; the
                                             // others follow the configuration; empty: not said
  std::string place;                         // file:line:column of the entry
  [[nodiscard]] bool needs_log_sums() const;
  [[nodiscard]] bool has_pairs() const;           // a metric of pairs
  [[nodiscard]] bool needs(PairNeed need) const;  // of some metric
  [[nodiscard]] bool needs_values() const;        // logits or inner rows by value
  [[nodiscard]] bool needs_inner_values() const;  // rows of `observe: {values: …}`
  [[nodiscard]] std::string text() const;  // as in reports: "measure across gemm, batch over seed"
};

/// Cells that are expected to be bad: their verdict excuses nothing else.
struct ExpectedFailure {
  Filter where;
  std::string verdict = "DIFF";  // DIFF | NONDET | MISTRUSTED: nothing else is excused
  std::string reason;
  std::string until;  // YYYY-MM-DD, empty: no end
  std::string place;
};

/// Cells that may not run without something: `requires: {cublas: gpu}` or `{gpus: real}`.
struct Requirement {
  std::string subject;  // an axis value ("cublas") or an axis ("gpus")
  std::string what;     // gpu | nccl | real | openblas | avx512 …
  std::string place;
};

/// Which cells are judged by goldens; the others are by the contract alone.
struct GoldenChoice {
  bool none = false;
  Filter where;       // empty: every cell
  std::string place;  // file:line:column, empty: the key is not there
  [[nodiscard]] bool wants(const Filter::Subject& cell) const {
    return !none && where.matches(cell);
  }
};

/// `model: {op: gemm, shapes: FILE}`: one operation of a backend instead of a model.
struct OperationChoice {
  OperationKind kind = OperationKind::none;  // none: a model
  std::string shapes;                        // relative to the scenario file
  std::string place;                         // file:line:column of its map
};

struct Scenario {
  std::string path;
  std::string text;  // the file as read (overrides not applied)
  std::vector<std::string> overrides;
  std::int64_t version = 1;
  std::string name;
  std::string question;  // one sentence: what the scenario asks
  std::string model;  // the key: a model's word, "operation gemm"; empty: the axis has the models
  OperationChoice operation;
  PromptSelection prompts;
  Decode decode;
  TraceLevel observe = TraceLevel::logits;
  ValueChoice values;  // inner rows that metrics of pairs need
  std::vector<std::pair<std::string, std::vector<AxisValue>>> axes;             // in file order
  std::vector<std::map<std::string, std::vector<AxisValue>>> zip;               // lock-step groups
  std::vector<std::map<std::string, std::vector<AxisValue>>> exclude, include;  // value or list
  std::vector<Requirement> requirements;
  std::vector<Expectation> expect;
  std::vector<Measure> measures;
  std::vector<ScoreSpec> scores;  // those of rules included; empty: replies against answers alone
  GoldenChoice golden;
  std::vector<ExpectedFailure> xfail;
  std::vector<std::string> tags;
  bool cost = false;                      // reports show what the cells took
  std::int64_t max_cells = 4096;          // size guard
  std::int64_t min_tokens = 8;            // fewer equal tokens of a prompt are MISTRUSTED
  double cell_seconds = 600;              // time_limit: of one cell
  bool pairwise = false;                  // an all-pairs subset of the product (matrix.h) …
  std::vector<std::string> pairwise_per;  // … for every combination of these axes' values
};

/// Reads and checks a scenario. `overrides`: "axes.batch=[1,2]", "decode.max_new_tokens=4".
Result<Scenario> load_scenario(const std::string& path, const std::vector<std::string>& overrides);
/// The same from text (tests, the fuzzer).
Result<Scenario> parse_scenario(const std::string& text, const std::string& path,
                                const std::vector<std::string>& overrides);

/// Which axes a scenario has.
inline AxisScope scope_of(const Scenario& scenario) {
  return scenario.operation.kind == OperationKind::none ? AxisScope::model : AxisScope::operation;
}

/// The values of a cell that names no axis: what the keys `model` and `decode` say, else defaults.
/// Of `model` it is empty where the axis has the models.
AxisPoint defaults_of(const Scenario& scenario);
/// The models that cells may have: of the key, or the different values of the axis in the order of
/// the file. Of one operation: the one that stands for none.
std::vector<AxisValue> models_of(const Scenario& scenario);

/// An axis' values in axes, zip and include, in this order.
std::vector<const AxisValue*> values_on(const Scenario& scenario, const std::string& axis);
/// The texts of an axis' values in axes, zip and include, in this order.
std::vector<std::string> value_texts(const Scenario& scenario, const std::string& axis);

/// Whether cells record the log-probabilities of what they are fed: some score needs them.
bool needs_fed_logits(const Scenario& scenario);

/// Which rule says that a reply is right where one is asked for (`correct`, accuracy): the
/// scenario's first score, where that is last_number, else answer.
ScoreKind reply_score(const Scenario& scenario);

/// Today as YYYY-MM-DD is passed in where it matters (xfail.until), never read from a clock here.

}  // namespace isobit
