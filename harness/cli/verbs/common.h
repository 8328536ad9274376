// What several commands need: options as values, the database, printing. For harness/cli only.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "harness/cli/cli.h"
#include "harness/run.h"
#include "harness/store/store.h"

namespace isobit::commands {

using Json = nlohmann::ordered_json;
constexpr int kOutputFormat = 1;  // "format" of every JSON output

/// Every --report target: a known kind, a file of its own, neither a golden nor the database.
Result<void> check_reports(const Arguments& arguments);
/// The options that run, check, list, bless and repro share, defaults and variables applied.
Result<RunOptions> run_options(const Arguments& arguments);
/// Gets a scenario's model when it is one that can be fetched and is not there. A scenario that
/// cannot be read is left for whoever runs it to report. One that comes under terms of its own is
/// not fetched without the user's own word. (run.cc)
Result<void> fetch_missing_model(const std::string& path, const RunOptions& options);
std::string database_path(const Arguments& arguments);
std::string golden_folder(const Arguments& arguments);
bool wants_color(const Arguments& arguments);
/// --by, else Git's user.name, else USER.
std::string who(const Arguments& arguments);

/// An existing database; without one the error says which command makes it.
Result<std::unique_ptr<Store>> open_database(const Arguments& arguments);

/// "12", "last", "last~1": whether the word can name a run.
bool names_run(const std::string& word);
/// Whether it does: digits that name no run may be the start of a cell's hash. A word that names
/// neither is one of a run, so that the error speaks of it.
Result<bool> means_run(Store& store, const std::string& word);
Result<RunInfo> find_run(Store& store, const std::string& word);
/// A name, a hash, the start of a hash: the newest finished one. "12:/3fa91c0d": of run 12.
Result<CellInfo> find_cell(Store& store, const std::string& word);

/// Whether this machine is as a file of `isobit env --json` says, host name and commit aside; every
/// difference is a line on standard error. (env.cc)
Result<bool> environment_matches(const std::string& file);

/// Lines on standard output; whatever a terminal would obey, and is not made visible yet, is now.
void print(const std::string& text);
void print_styled(const std::string& text);  // a report that is printable, and may have colours
void print_json(const Json& json);           // indented ASCII, invalid UTF-8 replaced
void complain(const std::string& message);   // "isobit: message", one line, on standard error
/// Left-aligned columns, two spaces apart.
std::string table(const std::vector<std::vector<std::string>>& rows);
/// What a person or a program sends can hold anything: one printable line.
std::string shown_text(const std::string& text);

/// The executed cell behind a cell: its own id, or that of the trace it reuses.
inline std::int64_t trace_id(const CellInfo& cell) {
  return cell.source != 0 ? cell.source : cell.id;
}
/// "PASS", "DIFF (near tie)", "PENDING".
std::string verdict_of(const CellInfo& cell);
/// The keys "verdict", "severity" and "reason" of a cell in every JSON output.
void add_verdict(const CellInfo& cell, Json& out);

/// An id as part of a file's name: other ids give other parts, also where a file system ignores
/// case. Letters in lower case, digits, '-', '_' and inner dots stay; other bytes are %41; a long
/// one ends in '~' and a part of its SHA-256.
std::string file_word(const std::string& id);

}  // namespace isobit::commands
