// The store behind store.h: one class over one connection, its methods by file.
//
//   store.cc    opening, whose file it is
//   migrate.cc  schema versions
//   write.cc    runs, cells, traces
//   judged.cc   verdicts, groups and the end of a run, both ways
//   read.cc     looking up runs and cells
//   traces.cc   traces read back, and held against their roots; reuse
//   diff.cc     comparing two cells; gc
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/store/sqlite.h"
#include "harness/store/store.h"

namespace isobit {

extern const char* const kStoreSchema;                  // schema.sql, embedded by the build
constexpr std::int64_t kStoreApplication = 0x69736F62;  // "isob"
constexpr std::int64_t kStoreVersion = 4;
/// Brings a database of schema `version` to kStoreVersion. REQUIRES: inside a transaction.
Result<void> migrate_schema(Database& db, std::int64_t version);

/// The value of this name among the first `count`, or `otherwise`.
template <class Enum>
Enum enum_of(std::string_view name, int count, Enum otherwise) {
  for (int i = 0; i < count; ++i) {
    if (name == name_of(static_cast<Enum>(i))) return static_cast<Enum>(i);
  }
  return otherwise;
}

/// A number that may be missing: to bind (NaN becomes NULL), and back from a column.
inline double or_null(const std::optional<double>& value) {
  return value.value_or(std::numeric_limits<double>::quiet_NaN());
}
inline std::optional<double> real_of(const Query& row, int column) {
  return row.null(column) ? std::nullopt : std::optional(row.real(column));
}

const char* name_of(CellStatus status);
CellStatus status_of(std::string_view name);
/// A JSON array of texts, and back (anything else: none).
std::string print_texts(const std::vector<std::string>& texts);
std::vector<std::string> parse_texts(std::string_view json);
/// FAIL for a name that is none: nothing is green for not being understood.
Verdict verdict_of(std::string_view name);
/// A difference as JSON, and back; "null" and nothing: none.
std::string print_difference(const Difference& difference);
Difference parse_difference(std::string_view json);
/// Every field of Observed as a JSON object, and back (unknown keys are ignored).
std::string print_observed(const Observed& observed);
Observed parse_observed(std::string_view json);

/// A trace as its rows are, and what was stored beside them to check them by.
struct StoredTrace {
  CellTrace trace;
  Sha256 root{};
  std::vector<std::int64_t> token_counts;  // by prompt
  std::vector<Sha256> roots;               // by prompt
  std::string damage;                      // found while reading, or empty
  bool broken = false;                     // rows without a place: the trace is not whole

  /// The prompt that a row is of; nullptr, and the trace is broken, when it has no such prompt.
  PromptTrace* prompt(std::int64_t index);
  void break_off(const char* why) { broken = true, damage = why; }
};
/// Why the rows do not fit, or empty.
std::string damage_of(const StoredTrace& stored);

class StoreImpl final : public Store {
 public:
  explicit StoreImpl(std::unique_ptr<Database> database) : db_(std::move(database)) {}

  Result<std::int64_t> begin_run(const RunInfo& run) override;
  Result<void> end_run(const RunInfo& run) override;
  Result<void> plan(std::vector<CellInfo>& cells) override;
  Result<void> finish(CellInfo& cell, const CellTrace& trace) override;
  Result<Reuse> reuse(CellInfo& cell, const CellInfo& source, bool with_observations) override;
  Result<void> judge(const std::vector<CellInfo>& cells,
                     const std::vector<GroupResult>& groups) override;
  Result<void> record(std::int64_t run, const std::vector<MeasuredGroup>& groups) override;
  Result<void> record(const GoldenEvent& event) override;

  Result<std::vector<std::optional<CellInfo>>> find(const std::vector<Sha256>& keys) override;
  Result<std::vector<RunInfo>> runs() override;
  Result<std::optional<RunInfo>> run(std::int64_t id) override;
  Result<std::vector<CellInfo>> cells(std::int64_t run) override;
  Result<std::optional<CellInfo>> cell(std::int64_t id) override;
  Result<std::vector<CellCost>> costs(std::int64_t run) override;
  Result<std::vector<CellInfo>> history(const std::string& name_or_hash) override;
  Result<std::optional<CellInfo>> with_rows(const std::string& class_hash,
                                            const std::string& prompt_digest, const Sha256& root,
                                            std::int64_t but_not,
                                            const std::string& rather) override;
  Result<std::vector<GroupResult>> groups(std::int64_t run) override;
  Result<std::vector<std::vector<ScoreValue>>> scores(std::int64_t run) override;
  Result<std::vector<MeasuredGroup>> measured(std::int64_t run) override;
  Result<CellTrace> trace(const CellInfo& cell, bool with_observations) override;
  Result<std::string> damage(const CellInfo& cell) override;
  Result<std::vector<GoldenEvent>> golden_events(const std::string& scenario) override;
  Result<CellDifference> diff(const CellInfo& a, const CellInfo& b) override;
  Result<std::int64_t> gc(int keep, bool dry_run) override;

 private:
  /// The hash of the one cell that a word names (history()); empty: none.
  Result<std::string> hash_named(const std::string& word);
  Result<std::int64_t> environment_id(const std::string& json);
  Result<void> insert_group(std::int64_t run, std::int64_t number, const GroupResult& group,
                            const std::vector<CellInfo>& cells);
  Result<void> insert_scores(const CellInfo& cell);
  Result<void> insert_measured(std::int64_t run, std::int64_t number, const MeasuredGroup& group);
  Result<void> insert_pairs(std::int64_t run, std::int64_t number, const MeasuredGroup& group);
  Result<void> insert_pair(std::int64_t run, std::int64_t number, std::int64_t place,
                           const MeasuredPair& pair);
  /// Adds controls and pairs to the groups of a run of `cells` cells.
  Result<void> read_pairs(std::int64_t run, std::int64_t cells, std::vector<MeasuredGroup>& groups);
  Result<void> read_pair_numbers(std::int64_t run, std::vector<MeasuredGroup>& groups);
  Result<void> insert_prompts(std::int64_t cell, const CellTrace& trace);
  Result<void> insert_observations(std::int64_t cell, int index, TraceLevel level,
                                   const PromptTrace& prompt);
  /// Gives nothing for a cell that is not there or not done.
  Result<std::optional<StoredTrace>> read_trace(std::int64_t cell, bool with_observations);
  Result<void> read_prompts(std::int64_t cell, StoredTrace& out);
  Result<void> read_tokens(std::int64_t cell, StoredTrace& out);
  Result<void> read_observations(std::int64_t cell, StoredTrace& out);

  std::unique_ptr<Database> db_;
};

}  // namespace isobit
