// Finding the run, reading its first attempts (baseline.h).
#include "harness/execute/baseline.h"

#include <algorithm>
#include <filesystem>

#include "runtime/base/words.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;

struct Place {
  std::string database, run;
};

/// "12", "other.db" or "other.db:12".
Place place_of(const std::string& word, const std::string& database) {
  std::error_code ignored;
  if (fs::is_regular_file(word, ignored)) return {word, "last"};
  const std::size_t colon = word.rfind(':');
  if (colon != std::string::npos) return {word.substr(0, colon), word.substr(colon + 1)};
  return {database, word};
}

Error bad_baseline(const std::string& why) {
  return {why, "--baseline"};
}

Result<RunInfo> find(Store& store, const Place& place, const std::string& scenario) {
  auto runs = store.runs();
  ISOBIT_TRY(runs);
  const std::string last = "last";
  std::int64_t number = 0;
  if (place.run.starts_with(last)) {
    const std::string back = place.run.substr(last.size());
    const bool fits = back.empty() ||
                      (back.front() == '~' && parse_integer(back.substr(1), 0, 1'000'000, number));
    if (!fits) return bad_baseline(in_quotes(place.run) + " is no run; last~1 is the one before");
    for (const RunInfo& run : *runs) {
      // A red run would turn the next one green.
      const bool fine = run.exit_code == kExitOk || run.exit_code == kExitGolden;
      const bool counts = run.scenario == scenario && !run.finished.empty() && fine;
      if (counts && number-- == 0) return run;
    }
    return bad_baseline(place.database + " has no such finished run of scenario " + scenario +
                        " with exit code 0 or 5");
  }
  if (!parse_integer(place.run, 1, INT64_MAX, number)) {
    return bad_baseline(in_quotes(place.run) +
                        " is neither a run (12, last, last~1) nor a database");
  }
  const auto run = std::find_if(runs->begin(), runs->end(),
                                [&](const RunInfo& each) { return each.id == number; });
  const std::string name = "run " + place.run;
  if (run == runs->end()) return bad_baseline(place.database + " has no " + name);
  if (run->scenario != scenario) {
    return bad_baseline(name + " is of scenario " + run->scenario + ", not of " + scenario);
  }
  if (run->finished.empty()) return bad_baseline(name + " has not ended");
  return *run;
}

/// What a cell was found to be, when its bits are no reference for anything.
std::string fault_of(const CellInfo& cell) {
  const Verdict v = cell.judgement.verdict;
  const bool bad = v == Verdict::diff || v == Verdict::nondet || v == Verdict::fail ||
                   v == Verdict::mistrusted || v == Verdict::xpass;
  return !cell.judged ? "not judged" : bad ? name_of(v) : "";
}

}  // namespace

Result<StoredBaseline> load_baseline(const std::string& word, const std::string& scenario,
                                     const std::string& database) {
  const Place place = place_of(word, database);
  std::error_code ignored;
  if (!fs::exists(place.database, ignored)) {
    return bad_baseline(in_quotes(place.database) + " is no database");
  }
  auto store = Store::open(place.database, Store::Mode::read_only);
  ISOBIT_TRY(store);
  auto run = find(**store, place, scenario);
  ISOBIT_TRY(run);
  StoredBaseline out;
  out.run = std::move(*run);
  const bool here = fs::equivalent(place.database, database, ignored);
  out.baseline.name =
      "run " + std::to_string(out.run.id) + (here ? std::string() : " of " + place.database);
  auto cells = (*store)->cells(out.run.id);
  ISOBIT_TRY(cells);
  for (CellInfo& cell : *cells) {
    const bool whole =
        cell.status == CellStatus::ok || cell.status == CellStatus::recomputed_differs;
    if (cell.pending || cell.attempt != 1 || !whole) continue;
    auto damage = (*store)->damage(cell);
    ISOBIT_TRY(damage);
    if (!damage->empty()) return bad_baseline(cell.name + " is damaged there: " + *damage);
    auto trace = (*store)->trace(cell, false);
    ISOBIT_TRY(trace);
    out.baseline.cells[cell.hash] = {std::move(*trace), fault_of(cell)};
    out.cells.emplace(cell.hash, std::move(cell));
  }
  if (out.cells.empty()) return bad_baseline(out.baseline.name + " has no finished cell");
  return out;
}

}  // namespace isobit
