// The SQLite database of traces (schema.sql, docs in harness/store/SCHEMA.md). sqlite3.h is
// included by store*.cc only.
//
// WAL, STRICT tables, foreign keys, application_id and user_version with migrations; one
// transaction a cell; eight processes may write at once (busy time-out with retry). A killed run
// leaves PENDING cells and loses nothing finished. Errors: newer schema, not a database, locked,
// disk full - each named, nothing lost.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/verdict.h"
#include "runtime/base/result.h"
#include "runtime/trace.h"

namespace isobit {

struct RunInfo {
  std::int64_t id = 0;
  std::string command;   // the command line
  std::string scenario;  // name
  std::string scenario_path;
  std::string scenario_text;
  std::string environment_json;  // stored once by its hash, shared by runs
  std::string commit;            // of the scenario's project, may be empty
  bool dirty = false;
  std::string started;   // UTC, "2026-11-22T13:40:00Z"; given by the caller
  std::string finished;  // empty while running or after a kill
  int exit_code = -1;
  std::string unseed;  // hash over the run's traces: two equal runs have equal unseeds
  std::string question;
  std::vector<std::string> overrides;  // of --set, as given
  bool cost = false;                   // the scenario asks for the table of costs
  // Known when it ends:
  std::vector<std::string> notes;
  std::int64_t tokens_compared = 0;
  std::int64_t obsolete = 0;  // golden blocks that no cell asks for
  double seconds = 0;         // wall clock
};

struct CellInfo {
  std::int64_t id = 0;
  std::int64_t run = 0;
  std::string name;        // Cell::name()
  std::string hash;        // Cell::hash
  std::string class_hash;  // hex SHA-256 of the class recipe
  std::string class_recipe;
  std::string axes_json;  // {"batch": "3", …}
  Sha256 key{};           // execution key
  int attempt = 1;        // --repeat counts up
  bool pending = true;
  std::int64_t source = 0;  // the executed cell whose trace this cell reuses; 0: executed
  std::string source_date;  // start of the run that executed it (its own when executed)
  Sha256 root{};            // cell_root
  CellStatus status = CellStatus::ok;
  std::string status_reason;
  Judgement judgement;
  bool judged = false;
  Difference difference;
  Score score;
  std::vector<ScoreValue> scores;          // written by judge(), read by scores()
  double seconds = 0, record_seconds = 0;  // of the execution; 0 when reused
  std::int64_t tokens = 0;                 // rows of its trace
  bool virtual_ranks = false;
  std::string imported;  // name of the file that its trace was imported from; empty: executed
};

/// What one execution took, as its trace says. A cell that reuses another's trace has its costs.
struct CellCost {
  std::int64_t cell = 0;  // CellInfo::id
  double seconds = 0;     // wall clock, load excluded
  std::int64_t prompt_tokens = 0, tokens = 0;
  Observed observed;
};

struct GoldenEvent {
  std::string action;  // bless | retire | reject
  std::string scenario, class_hash, prompt_id;
  std::string block_hash, parent_hash;
  std::string by, reason, at;
};

/// What a stored cell gave one that asked to stand on it.
struct Reuse {
  enum class Outcome { taken, damaged, gone };
  Outcome outcome = Outcome::taken;
  CellTrace trace;     // when it was taken
  std::string damage;  // why it was not: "prompt q7 has 11 token rows, not the 12 …"
};

/// How long a run that has not ended is believed to be going on.
constexpr int kDaysInProgress = 7;

/// The folder that the program makes for itself where nothing else is named. When it makes one, it
/// puts a .gitignore of `*` in it: results are not the project's.
constexpr const char* kOwnFolder = ".isobit";

class Store {
 public:
  enum class Mode { read_write, read_only, in_memory };
  /// read_write makes the file and its folder when they are missing, and migrates an older schema;
  /// read_only refuses both; in_memory has no file, and `path` is for messages. `busy_ms`: how long
  /// to wait for another writer before the error. A store is used by one thread at a time and never
  /// carried across a fork.
  static Result<std::unique_ptr<Store>> open(const std::string& path, Mode mode,
                                             int busy_ms = 30'000);
  virtual ~Store() = default;

  virtual Result<std::int64_t> begin_run(const RunInfo& run) = 0;
  virtual Result<void> end_run(const RunInfo& run) = 0;
  /// Rows of all cells of a run as PENDING, one transaction; fills ids.
  virtual Result<void> plan(std::vector<CellInfo>& cells) = 0;
  /// An executed cell: trace and root, one transaction. Error when the cell is not pending.
  virtual Result<void> finish(CellInfo& cell, const CellTrace& trace) = 0;
  /// A pending cell takes the trace of `source`, one transaction. What is stored is not believed:
  /// rows that do not fit the counts and roots stored beside them are not taken.
  virtual Result<Reuse> reuse(CellInfo& cell, const CellInfo& source, bool with_observations) = 0;
  /// Verdicts of all first attempts of a run and its groups, one transaction. Groups name cells by
  /// their places in `cells`.
  virtual Result<void> judge(const std::vector<CellInfo>& cells,
                             const std::vector<GroupResult>& groups) = 0;
  /// The measured groups of a run, one transaction; cells are places among its first attempts.
  virtual Result<void> record(std::int64_t run, const std::vector<MeasuredGroup>& groups) = 0;
  virtual Result<void> record(const GoldenEvent& event) = 0;

  /// For each key the newest executed, finished cell with status ok, many at once: `check` of 1,000
  /// unchanged cells takes under a second.
  virtual Result<std::vector<std::optional<CellInfo>>> find(const std::vector<Sha256>& keys) = 0;
  virtual Result<std::vector<RunInfo>> runs() = 0;  // newest first
  virtual Result<std::optional<RunInfo>> run(std::int64_t id) = 0;
  virtual Result<std::vector<CellInfo>> cells(std::int64_t run) = 0;  // by id
  virtual Result<std::optional<CellInfo>> cell(std::int64_t id) = 0;
  /// Of every finished cell of a run, all attempts, by id.
  virtual Result<std::vector<CellCost>> costs(std::int64_t run) = 0;
  /// As they were judged; cells are places among the run's first attempts, by id.
  virtual Result<std::vector<GroupResult>> groups(std::int64_t run) = 0;
  /// The scores of a run's first attempts, by place; a reference is such a place.
  virtual Result<std::vector<std::vector<ScoreValue>>> scores(std::int64_t run) = 0;
  /// As they were recorded.
  virtual Result<std::vector<MeasuredGroup>> measured(std::int64_t run) = 0;
  /// By name (with or without its hash; of several cells with one name the newest), hash, or a
  /// start of a hash that no other cell has (with or without '/'); newest first. Several cells: an
  /// error that lists them.
  virtual Result<std::vector<CellInfo>> history(const std::string& name_or_hash) = 0;
  /// The newest executed cell of a golden class, not of run `but_not`, in which a prompt with these
  /// tokens (hex digest) has this token root; one with the hash `rather` when there is one.
  virtual Result<std::optional<CellInfo>> with_rows(const std::string& class_hash,
                                                    const std::string& prompt_digest,
                                                    const Sha256& root, std::int64_t but_not,
                                                    const std::string& rather) = 0;
  /// Trace of a finished cell (follows `source`), as the rows are: damage() says whether they still
  /// are what was stored. `with_observations` reads those blobs too.
  virtual Result<CellTrace> trace(const CellInfo& cell, bool with_observations) = 0;
  /// Why the rows of a finished cell (follows `source`) are not those that were stored, or empty.
  virtual Result<std::string> damage(const CellInfo& cell) = 0;
  virtual Result<std::vector<GoldenEvent>> golden_events(const std::string& scenario) = 0;

  /// Rows that differ between two cells. Prompts are matched by their tokens and order; rows of a
  /// prompt count while everything fed to the model so far agrees (as compare() does). Prompts with
  /// equal roots are decided without reading rows.
  struct TokenDifference {
    std::int32_t prompt = 0;  // index in a (in b, when only b has it)
    std::string prompt_id;
    std::int64_t position = 0;  // -1: one side lacks the whole prompt
    Digest a, b;                // none: that side lacks the row
    std::int32_t id_a = -1, id_b = -1;
  };
  struct CellDifference {
    std::int64_t compared = 0;            // rows on both sides
    std::int64_t differing = 0;           // of them with another digest or id
    std::int64_t flipped = 0;             // of them with another id
    std::int64_t only_a = 0, only_b = 0;  // rows on one side
    std::vector<TokenDifference> first;   // one a prompt: its first difference
    [[nodiscard]] bool equal() const { return first.empty(); }
  };
  virtual Result<CellDifference> diff(const CellInfo& a, const CellInfo& b) = 0;

  /// Deletes the runs (cells, traces, verdicts) older than the newest `keep` of which no remaining
  /// run reuses a cell; returns the number of runs removed. `dry_run` only counts. A run that has
  /// not ended and began in the last kDaysInProgress days stays: it may be going on.
  virtual Result<std::int64_t> gc(int keep, bool dry_run) = 0;
};

}  // namespace isobit
