// Options as values, the database by words, printing (common.h).
#include "harness/cli/verbs/common.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>

#include "golden/bless.h"
#include "reports/describe.h"
#include "reports/report.h"
#include "runtime/base/process.h"
#include "runtime/base/text.h"
#include "runtime/base/words.h"

namespace isobit::commands {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Result<void> read_partition(const std::string& text, RunOptions& options) {
  if (text.empty()) return {};
  const std::size_t slash = text.find('/');
  std::int64_t part = 0, parts = 0;
  const bool read = slash != std::string::npos &&
                    parse_integer(text.substr(slash + 1), 1, 100'000, parts) &&
                    parse_integer(text.substr(0, slash), 1, parts, part);
  if (!read) return Error{in_quotes(text) + " is not a partition such as 2/4", "--partition"};
  options.partition = int(part);
  options.partitions = int(parts);
  return {};
}

Result<void> read_shuffle(const Arguments& arguments, RunOptions& options) {
  options.shuffle = arguments.has("shuffle");
  if (!options.shuffle) return {};
  const std::string text = arguments.text("shuffle");
  if (text.empty()) {
    options.shuffle_seed = std::uint64_t(::getpid());
    complain("--shuffle=" + std::to_string(options.shuffle_seed) + " repeats this order");
    return {};
  }
  std::int64_t seed = 0;
  if (!parse_integer(text, 0, INT64_MAX, seed)) {
    return Error{in_quotes(text) + " is not a seed (a whole number)" + number_hint(text),
                 "--shuffle"};
  }
  options.shuffle_seed = std::uint64_t(seed);
  return {};
}

Result<void> read_numbers(const Arguments& arguments, RunOptions& options) {
  const auto jobs = arguments.number("jobs", 1, 1, 1024);
  ISOBIT_TRY(jobs);
  const auto repeat = arguments.number("repeat", 1, 1, 1'000'000);
  ISOBIT_TRY(repeat);
  const auto max_fail = arguments.number("maxfail", 0, 1, 1'000'000'000);
  ISOBIT_TRY(max_fail);
  const auto max_skip = arguments.number("max-skip", -1, 0, 1'000'000'000);
  ISOBIT_TRY(max_skip);
  options.jobs = int(*jobs);
  options.repeat = int(*repeat);
  options.max_fail = int(*max_fail);
  options.max_skip = int(*max_skip);
  if (arguments.has("max-time")) {
    const auto seconds = parse_duration(arguments.text("max-time"));
    if (!seconds) return Error{seconds.error().message, "--max-time"};
    options.max_seconds = std::max(*seconds, 1e-9);  // 0s is a limit too
  }
  return {};
}

std::vector<std::string> split_commas(const std::vector<std::string>& lists) {
  std::vector<std::string> out;
  for (const std::string& list : lists) {
    for (std::size_t at = 0; at <= list.size();) {
      const std::size_t comma = std::min(list.find(',', at), list.size());
      if (comma > at) out.push_back(list.substr(at, comma - at));
      at = comma + 1;
    }
  }
  return out;
}

/// The file that a path names, whatever stands for it.
std::filesystem::path file_of(const std::string& path) {
  std::error_code problem;
  const auto whole = std::filesystem::weakly_canonical(std::filesystem::absolute(path), problem);
  return problem ? std::filesystem::path(path) : whole;
}

/// The folder that a path lies in.
std::filesystem::path folder_of(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder;
}

/// A mistyped folder is not made, and one that cannot be written to is found before hours of
/// computing.
Result<void> check_folder_of_report(const std::string& path) {
  const std::filesystem::path folder = folder_of(path);
  std::error_code problem;
  if (!std::filesystem::is_directory(folder, problem)) {
    return Error{"there is no folder " + in_quotes(folder.string()) + " for the report " +
                     in_quotes(path) + "; make it, or correct the path",
                 "--report"};
  }
  const bool there = std::filesystem::exists(path, problem);
  const bool replaced = !there || std::filesystem::is_regular_file(path, problem);
  if (::access(replaced ? folder.c_str() : path.c_str(), W_OK) == 0) return {};
  return Error{"the report " + in_quotes(path) + " cannot be written: " + std::strerror(errno),
               "--report"};
}

/// The folders of --golden and --db, and of their variables, unless the verb is one that makes
/// them.
Result<void> check_named_folders(const Arguments& arguments) {
  namespace fs = std::filesystem;
  std::error_code problem;
  const std::string golden = golden_folder(arguments);
  const std::string golden_place = arguments.has("golden") ? "--golden" : "ISOBIT_GOLDEN";
  if (!golden.empty() && !fs::is_directory(golden, problem)) {
    if (fs::exists(golden, problem)) {
      return Error{in_quotes(golden) + " is no folder", golden_place};
    }
    const bool makes_it = arguments.verb == "bless" || arguments.has("golden-from");
    if (!makes_it) {
      return Error{
          "there is no folder " + in_quotes(golden) + "; correct it, or let `isobit bless` make it",
          golden_place};
    }
  }
  const bool named = arguments.has("db") || !variable("ISOBIT_DB").empty();
  const std::string database = database_path(arguments);
  const fs::path folder = folder_of(database);
  if (!named || fs::is_directory(folder, problem) || folder.filename() == kOwnFolder) return {};
  return Error{"there is no folder " + in_quotes(folder.string()) + " for the database " +
                   in_quotes(database) + "; make it, or correct the path",
               arguments.has("db") ? "--db" : "ISOBIT_DB"};
}

}  // namespace

Result<void> check_reports(const Arguments& arguments) {
  const std::string database = file_of(database_path(arguments)).string();
  std::set<std::filesystem::path> seen;
  bool printed = arguments.has("json");
  for (const std::string& target : arguments.all("report")) {
    const auto path = check_report_target(target);
    ISOBIT_TRY(path);
    if (*path == kStandardOutput) {
      if (printed) {
        return Error{"standard output takes one document: one report to -, or --json", "--report"};
      }
      printed = true;
      continue;
    }
    if (auto ok = check_folder_of_report(*path); !ok) return ok.error();
    std::error_code ignored;
    const bool is_file = !std::filesystem::exists(*path, ignored) ||
                         std::filesystem::is_regular_file(*path, ignored);
    if (!is_file) continue;  // a pipe or /dev/stdout takes several
    const std::filesystem::path file = file_of(*path);
    if (!seen.insert(file).second) {
      return Error{"two reports would go to " + in_quotes(*path), "--report"};
    }
    const bool of_database = file.string() == database || file.string().starts_with(database + "-");
    if (of_database || file.extension() == ".golden") {
      return Error{in_quotes(*path) + " is a database or a golden file, not a place for a report",
                   "--report"};
    }
  }
  return {};
}

Result<RunOptions> run_options(const Arguments& arguments) {
  RunOptions options;
  options.command_line = arguments.command_line;
  options.scenarios = arguments.words;
  options.overrides = arguments.all("set");
  if (arguments.has("raw")) options.overrides.emplace_back("prompts.raw=true");
  options.database = database_path(arguments);
  if (options.database.starts_with(":")) {
    return Error{in_quotes(options.database) + " keeps nothing; --dry-run computes nothing",
                 "--db"};
  }
  if (auto ok = check_named_folders(arguments); !ok) return ok.error();
  options.golden_folder = golden_folder(arguments);
  const std::string pending = pending_folder(options.database);
  if (!options.golden_folder.empty() && file_of(options.golden_folder) == file_of(pending)) {
    return Error{in_quotes(options.golden_folder) + " is where blocks wait, not where goldens are",
                 "--golden"};
  }
  options.golden_from = arguments.text("golden-from");
  options.baseline = arguments.text("baseline");
  if (!options.baseline.empty() && !options.golden_from.empty()) {
    return Error{"is given with --golden-from; a run is judged by one of them", "--baseline"};
  }
  options.update = arguments.text("update", variable("CI").empty() ? "new" : "none");
  options.filter = arguments.text("filter");
  options.cells = arguments.all("cell");
  options.only_failed = arguments.has("failed");
  options.until_fail = arguments.has("until-fail");
  options.isolate = arguments.has("isolate");
  options.fresh = arguments.has("fresh");
  options.lenient = arguments.has("lenient");
  options.allow_large = arguments.has("allow-large");
  allow_external(arguments.has("allow-external"));
  options.offline = arguments.has("offline");
  options.quiet = arguments.has("quiet");
  options.verbose = arguments.has("verbose");
  options.progress = !options.quiet && !arguments.has("json");
  options.require = split_commas(arguments.all("require"));
  for (const std::string& what : options.require) {
    const std::vector<std::string> known = {"gpu", "nccl"};
    if (std::find(known.begin(), known.end(), what) != known.end()) continue;
    return Error{"nobody can enforce " + in_quotes(what) + among_known(what, known), "--require"};
  }
  if (auto ok = check_reports(arguments); !ok) return ok.error();
  if (auto ok = read_numbers(arguments, options); !ok) return ok.error();
  if (auto ok = read_partition(arguments.text("partition"), options); !ok) return ok.error();
  if (auto ok = read_shuffle(arguments, options); !ok) return ok.error();
  return options;
}

std::string database_path(const Arguments& arguments) {
  const std::string chosen = variable("ISOBIT_DB");
  return arguments.text("db", chosen.empty() ? ".isobit/isobit.db" : chosen);
}

std::string golden_folder(const Arguments& arguments) {
  return arguments.text("golden", variable("ISOBIT_GOLDEN"));
}

bool wants_color(const Arguments& arguments) {
  const std::string when = arguments.text("color", "auto");
  if (when != "auto") return when == "always";
  return variable("NO_COLOR").empty() && variable("TERM") != "dumb" && ::isatty(1) == 1;
}

std::string who(const Arguments& arguments) {
  if (arguments.has("by")) return arguments.text("by");
  const auto git = run_git({"config", "user.name"});
  std::string name = git && git->status == 0 ? git->out : variable("USER");
  while (!name.empty() && (name.back() == '\n' || name.back() == ' ')) name.pop_back();
  return name.empty() ? "unknown" : name;
}

Result<std::unique_ptr<Store>> open_database(const Arguments& arguments) {
  const std::string path = database_path(arguments);
  std::error_code problem;
  if (!std::filesystem::exists(path, problem)) {
    return Error{
        "no such database; `isobit run SCENARIO` makes it, --db or ISOBIT_DB names another", path};
  }
  // Reading needs write access only for the migration of an older schema.
  auto store = Store::open(path, Store::Mode::read_only);
  return store ? std::move(store) : Store::open(path, Store::Mode::read_write);
}

bool names_run(const std::string& word) {
  const bool digits = !word.empty() && word.size() <= 10 &&
                      word.find_first_not_of("0123456789") == std::string::npos;
  return digits || word == "last" || word.rfind("last~", 0) == 0;
}

Result<bool> means_run(Store& store, const std::string& word) {
  if (!names_run(word)) return false;
  if (word.rfind("last", 0) == 0) return true;
  std::int64_t number = 0;
  std::from_chars(word.data(), word.data() + word.size(), number);
  const auto run = store.run(number);
  ISOBIT_TRY(run);
  if (*run) return true;
  const auto cells = store.history(word);
  ISOBIT_TRY(cells);
  return cells->empty();
}

Result<RunInfo> find_run(Store& store, const std::string& word) {
  const Error unknown{"there is no run " + in_quotes(word) + "; `isobit history` lists the runs",
                      ""};
  std::int64_t number = 0;
  if (word.rfind("last", 0) != 0) {
    if (!parse_integer(word, 0, INT64_MAX, number)) {
      return Error{in_quotes(word) + " is no number of a run" + number_hint(word), ""};
    }
    auto run = store.run(number);
    ISOBIT_TRY(run);
    if (!*run) return unknown;
    return **run;
  }
  if (word.size() > 5 && !parse_integer(word.substr(5), 0, INT64_MAX, number)) return unknown;
  auto runs = store.runs();
  ISOBIT_TRY(runs);
  if (number >= std::int64_t(runs->size())) return unknown;
  return (*runs)[std::size_t(number)];
}

Result<CellInfo> find_cell(Store& store, const std::string& word) {
  const std::size_t colon = word.find(':');
  const bool in_run = colon != std::string::npos && names_run(word.substr(0, colon));
  std::int64_t run = 0;
  if (in_run) {
    auto found = find_run(store, word.substr(0, colon));
    ISOBIT_TRY(found);
    run = found->id;
  }
  const std::string name = in_run ? word.substr(colon + 1) : word;
  auto cells = store.history(name);
  ISOBIT_TRY(cells);
  bool only_pending = false;
  for (const CellInfo& cell : *cells) {
    if (run != 0 && cell.run != run) continue;
    if (!cell.pending) return cell;
    only_pending = true;
  }
  return Error{(only_pending ? "no finished execution of cell " : "no cell ") + in_quotes(name) +
                   (run != 0 ? " in run " + std::to_string(run) : " in the database") +
                   "; give a name, a hash as /3fa91c0d, or RUN:CELL",
               ""};
}

void print_styled(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void print(const std::string& text) {
  print_styled(text::printable_lines(text));
}

void print_json(const Json& json) {
  print_styled(json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n");
}

void complain(const std::string& message) {
  const std::string line = "isobit: " + text::printable(message) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    if (row.size() > widths.size()) widths.resize(row.size());
    for (std::size_t c = 0; c < row.size(); ++c) {
      widths[c] = std::max(widths[c], text::length(row[c]));
    }
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      line += row[c];
      if (c + 1 < row.size()) line += std::string(widths[c] - text::length(row[c]) + 2, ' ');
    }
    while (!line.empty() && line.back() == ' ') line.pop_back();
    out += line + "\n";
  }
  return out;
}

std::string shown_text(const std::string& bytes) {
  return text::printable(bytes);
}

void add_verdict(const CellInfo& cell, Json& out) {
  const bool judged = cell.judged;
  out["verdict"] = judged ? name_of(cell.judgement.verdict) : cell.pending ? "PENDING" : "UNJUDGED";
  out["severity"] = judged ? name_of(cell.judgement.severity) : "";
  out["reason"] = judged ? cell.judgement.reason : "";
}

std::string file_word(const std::string& id) {
  constexpr std::size_t kLongest = 100, kKept = 60, kHash = 16;
  constexpr const char* kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : id) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                       (c == '.' && !out.empty());
    if (plain) {
      out += c;
    } else {
      out += {'%', kDigits[byte / 16U], kDigits[byte % 16U]};
    }
  }
  if (out.size() <= kLongest) return out.empty() ? "%" : out;
  return out.substr(0, kKept) + "~" + to_hex(sha256(id.data(), id.size())).substr(0, kHash);
}

std::string verdict_of(const CellInfo& cell) {
  if (!cell.judged) return cell.pending ? "PENDING" : "UNJUDGED";
  return verdict_text(cell.judgement.verdict, cell.judgement.severity);
}

}  // namespace isobit::commands
