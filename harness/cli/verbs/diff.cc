// `isobit diff A B`: two runs cell by cell, or two cells down to values, layer and operation.
#include <map>
#include <set>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/explain/cause.h"
#include "harness/explain/values.h"
#include "reports/describe.h"
#include "runtime/base/text.h"
#include "runtime/base/words.h"

namespace isobit::commands {
namespace {

struct Pair {
  CellInfo a, b;
  std::string cause;  // of a difference
  Store::CellDifference difference;
  bool same_trace = false;  // one side reuses the other's: nothing was compared
};

Json json_of(const Store::TokenDifference& d) {
  return {{"prompt", d.prompt_id},
          {"position", d.position},
          {"id_a", d.id_a},
          {"id_b", d.id_b},
          {"digest_a", d.a.none() ? Json(nullptr) : Json(to_hex(d.a))},
          {"digest_b", d.b.none() ? Json(nullptr) : Json(to_hex(d.b))}};
}

Json json_of(const Pair& pair) {
  Json first = Json::array();
  for (const auto& d : pair.difference.first) first.push_back(json_of(d));
  return {{"name_a", pair.a.name},
          {"name_b", pair.b.name},
          {"imported_a", pair.a.imported},
          {"imported_b", pair.b.imported},
          {"equal", !pair.same_trace && pair.difference.equal()},
          {"same_trace", pair.same_trace},
          {"compared", pair.difference.compared},
          {"differing", pair.difference.differing},
          {"flipped", pair.difference.flipped},
          {"only_a", pair.difference.only_a},
          {"only_b", pair.difference.only_b},
          {"cause", pair.cause},
          {"first", first}};
}

std::string place_of(const Store::TokenDifference& d) {
  std::string out = "prompt " + shown_text(d.prompt_id);
  if (d.position < 0) return out + " is only in " + (d.id_a < 0 && d.a.none() ? "B" : "A");
  out += ", position " + std::to_string(d.position);
  if (d.a.none() || d.b.none()) return out + ": only " + (d.a.none() ? "B" : "A") + " has this row";
  return out + ": " + to_hex(d.a).substr(0, 16) + " / " + to_hex(d.b).substr(0, 16) +
         (d.id_a == d.id_b
              ? ", token " + std::to_string(d.id_a)
              : ", token " + std::to_string(d.id_a) + " became " + std::to_string(d.id_b));
}

/// A difference may be one between a row and what became of it in the database.
Result<void> complain_of_damage(Store& store, const CellInfo& cell) {
  auto damage = store.damage(cell);
  ISOBIT_TRY(damage);
  if (!damage->empty()) {
    complain("what run " + std::to_string(cell.run) + " stored of " + cell.name +
             " is damaged: " + *damage);
  }
  return {};
}

Result<Pair> compare_pair(Store& store, CellInfo a, CellInfo b) {
  Pair pair;
  pair.same_trace = trace_id(a) == trace_id(b);
  if (!pair.same_trace) {
    auto difference = store.diff(a, b);
    ISOBIT_TRY(difference);
    pair.difference = std::move(*difference);
    for (const CellInfo* cell : {&a, &b}) {
      if (pair.difference.equal()) break;
      auto complained = complain_of_damage(store, *cell);
      ISOBIT_TRY(complained);
    }
  }
  pair.a = std::move(a);
  pair.b = std::move(b);
  return pair;
}

/// What is not the same in the two executions.
Result<std::string> cause_of(Store& store, const CellInfo& a, const CellInfo& b) {
  Provenance sides[2];
  for (const CellInfo* cell : {&a, &b}) {
    auto trace = store.trace(*cell, false);
    ISOBIT_TRY(trace);
    auto executed = store.cell(trace_id(*cell));
    ISOBIT_TRY(executed);
    auto run = store.run(*executed ? (*executed)->run : cell->run);
    ISOBIT_TRY(run);
    if (*run) sides[cell == &b] = provenance_of(*cell, *trace, **run);
  }
  return cause_text(causes_of(sides[0], sides[1]));
}

/// Finished first attempts of a run by hash.
Result<std::map<std::string, CellInfo>> finished_cells(Store& store, std::int64_t run,
                                                       std::int64_t& pending) {
  auto cells = store.cells(run);
  ISOBIT_TRY(cells);
  std::map<std::string, CellInfo> out;
  for (CellInfo& cell : *cells) {
    pending += cell.pending && !cell.judged ? 1 : 0;  // skipped cells are judged
    if (!cell.pending) out.emplace(cell.hash, std::move(cell));
  }
  return out;
}

struct RunsDifference {
  std::vector<Pair> pairs;
  std::vector<std::string> only_a, only_b;
  std::int64_t pending_a = 0, pending_b = 0;

  [[nodiscard]] std::int64_t differing() const {
    std::int64_t count = 0;
    for (const Pair& pair : pairs) count += pair.difference.equal() ? 0 : 1;
    return count;
  }
  [[nodiscard]] std::int64_t reused() const {
    std::int64_t count = 0;
    for (const Pair& pair : pairs) count += pair.same_trace ? 1 : 0;
    return count;
  }
  [[nodiscard]] std::int64_t rows() const {
    std::int64_t count = 0;
    for (const Pair& pair : pairs) count += pair.difference.compared;
    return count;
  }
};

Result<RunsDifference> compare_runs(Store& store, const RunInfo& a, const RunInfo& b) {
  RunsDifference out;
  auto cells_a = finished_cells(store, a.id, out.pending_a);
  ISOBIT_TRY(cells_a);
  auto cells_b = finished_cells(store, b.id, out.pending_b);
  ISOBIT_TRY(cells_b);
  for (auto& [hash, cell] : *cells_a) {
    const auto other = cells_b->find(hash);
    if (other == cells_b->end()) {
      out.only_a.push_back(cell.name);
      continue;
    }
    auto pair = compare_pair(store, std::move(cell), std::move(other->second));
    ISOBIT_TRY(pair);
    if (!pair->same_trace && !pair->difference.equal()) {
      auto cause = cause_of(store, pair->a, pair->b);
      ISOBIT_TRY(cause);
      pair->cause = std::move(*cause);
    }
    out.pairs.push_back(std::move(*pair));
    cells_b->erase(other);
  }
  for (const auto& [hash, cell] : *cells_b) out.only_b.push_back(cell.name);
  return out;
}

/// What two runs that agree can have missed; empty when they do not, or when nothing was compared.
/// Each cell was executed by two programs, one after the other: two process lifetimes.
std::string agreement_of(const RunsDifference& d) {
  if (d.differing() > 0 || d.rows() == 0) return "";
  return "0 of " + text::count(d.rows(), "row") +
         " differ; 2 executions of each cell agree: " + seen_text(2);
}

/// The same of two cells. Executions of one cell in two runs are two trials of it; those of two
/// cells are one of each, and may have been in one process.
Result<std::string> agreement_of(Store& store, const Pair& pair) {
  if (pair.same_trace || !pair.difference.equal() || pair.difference.compared == 0) {
    return std::string();
  }
  std::vector<std::int64_t> runs;
  for (const CellInfo* cell : {&pair.a, &pair.b}) {
    const auto executed = store.cell(trace_id(*cell));
    ISOBIT_TRY(executed);
    runs.push_back(*executed ? (*executed)->run : cell->run);
  }
  const bool twice = pair.a.hash == pair.b.hash && runs[0] != runs[1];
  return "0 of " + text::count(pair.difference.compared, "row") + " differ; " +
         (twice ? "2 executions agree: " : "each cell was executed once: ") +
         seen_text(twice ? 2 : 1);
}

std::string origin_of(const CellInfo& cell) {
  return cell.imported.empty() ? "" : ", imported from " + shown_text(cell.imported);
}

/// Of the first cell of a run that was imported.
std::string origin_of(const RunsDifference& d, CellInfo Pair::*side) {
  for (const Pair& pair : d.pairs) {
    if (std::string origin = origin_of(pair.*side); !origin.empty()) return origin;
  }
  return "";
}

void print_runs(const RunInfo& a, const RunInfo& b, const RunsDifference& d, bool verbose) {
  for (const RunInfo* run : {&a, &b}) {
    print((run == &a ? "A  run " : "B  run ") + std::to_string(run->id) + "  " + run->started +
          "  " + shown_text(run->scenario) +
          (run->commit.empty() ? "" : "  commit " + run->commit.substr(0, 12)) +
          origin_of(d, run == &a ? &Pair::a : &Pair::b) + "\n");
  }
  constexpr std::size_t kMostShown = 50;
  std::size_t shown = 0;
  for (const Pair& pair : d.pairs) {
    if (pair.difference.equal() || (!verbose && ++shown > kMostShown)) continue;
    print("DIFF  " + shown_text(pair.a.name) + "\n      " +
          std::to_string(pair.difference.differing) + " of " +
          std::to_string(pair.difference.compared) + " rows differ, " +
          std::to_string(pair.difference.flipped) +
          " tokens flipped\n      first: " + place_of(pair.difference.first.front()) + "\n");
  }
  if (shown > kMostShown) {
    print("      and " + std::to_string(shown - kMostShown) + " more cells: -v shows all\n");
  }
  std::map<std::string, std::int64_t> causes;
  for (const Pair& pair : d.pairs) {
    if (!pair.difference.equal()) ++causes[pair.cause];
  }
  for (const std::string& line : counted_causes(causes, "cell")) print(shown_text(line) + "\n");
  for (const auto& name : d.only_a) print("only in A  " + shown_text(name) + "\n");
  for (const auto& name : d.only_b) print("only in B  " + shown_text(name) + "\n");
  std::string totals = std::to_string(std::int64_t(d.pairs.size()) - d.reused()) +
                       " cells compared, " + std::to_string(d.rows()) + " token rows, " +
                       std::to_string(d.differing()) + " cells differ";
  const auto add = [&totals](std::int64_t count, const char* what) {
    if (count > 0) totals += ", " + std::to_string(count) + what;
  };
  add(d.reused(), " are one stored trace in both and prove nothing");
  add(std::int64_t(d.only_a.size()), " only in A");
  add(std::int64_t(d.only_b.size()), " only in B");
  add(d.pending_a + d.pending_b, " unfinished");
  print(totals + "\n");
  if (const std::string agreement = agreement_of(d); !agreement.empty()) print(agreement + "\n");
}

Result<int> diff_runs(Store& store, const Arguments& arguments) {
  auto a = find_run(store, arguments.words[0]);
  ISOBIT_TRY(a);
  auto b = find_run(store, arguments.words[1]);
  ISOBIT_TRY(b);
  if (a->id == b->id) return Error{"A and B are the same run " + std::to_string(a->id), "diff"};
  auto difference = compare_runs(store, *a, *b);
  ISOBIT_TRY(difference);
  if (arguments.has("json")) {
    Json cells = Json::array();
    for (const Pair& pair : difference->pairs) cells.push_back(json_of(pair));
    print_json({{"format", kOutputFormat},
                {"run_a", a->id},
                {"run_b", b->id},
                {"rows", difference->rows()},
                {"cells_differing", difference->differing()},
                {"cells_reused", difference->reused()},
                {"agreement", agreement_of(*difference)},
                {"only_a", difference->only_a},
                {"only_b", difference->only_b},
                {"cells", cells}});
  } else {
    print_runs(*a, *b, *difference, arguments.has("verbose"));
  }
  if (difference->differing() > 0) return int(kExitDifferent);
  return int(difference->rows() == 0 ? kExitNothing : kExitOk);
}

Json values_json(const ValueDifference& v) {
  Json out = {{"same_bits", v.same_bits}, {"notes", v.notes}};
  if (v.has_distance) {
    out["distance"] = {{"differing", v.distance.differing},
                       {"first_element", v.distance.first_element},
                       {"first_segment", v.distance.first_segment},
                       {"max_abs", v.distance.max_abs},
                       {"max_abs_hex", text::hex_float(v.distance.max_abs)},
                       {"max_ulp", v.distance.max_ulp},
                       {"kl", v.distance.kl},
                       {"kl_hex", text::hex_float(v.distance.kl)},
                       {"js", v.distance.js},
                       {"total_variation", v.distance.total_variation},
                       {"margin_a", v.distance.margin_a},
                       {"margin_b", v.distance.margin_b},
                       {"argmax_a", v.distance.argmax_a},
                       {"argmax_b", v.distance.argmax_b},
                       {"severity", name_of(severity_of(v.distance))}};
  }
  if (v.location) {
    out["location"] = {{"position", v.location->position},
                       {"layer", v.location->layer},
                       {"site", name_of(v.location->site)},
                       {"compared", v.location->compared},
                       {"recomputed", v.location_recomputed}};
  }
  if (v.stored) {
    out["stored"] = {{"logits", v.stored->logits},
                     {"max_ulp", v.stored->distance.max_ulp},
                     {"kl", v.stored->distance.kl}};
  }
  return out;
}

void print_values(const ValueDifference& v) {
  const RowDistance& d = v.distance;
  print("values at that row, computed again" +
        std::string(v.same_bits ? "" : " (NOT the stored bits)") + ":\n");
  print(table({{"  elements that differ", text::count(d.differing)},
               {"  first element", std::to_string(d.first_element) + " (segment " +
                                       std::to_string(d.first_segment) + " of 8)"},
               {"  max ULP", std::to_string(d.max_ulp)},
               {"  max distance", text::with_bits(d.max_abs)},
               {"  KL(A || B)", text::with_bits(d.kl)},
               {"  margin A, B", text::number(d.margin_a) + ", " + text::number(d.margin_b)},
               {"  severity", name_of(severity_of(d))}}));
}

std::string location_text(const Location& l) {
  std::string out = "position " + std::to_string(l.position);
  if (l.layer >= 0) out += ", layer " + std::to_string(l.layer);
  return out + ", " + name_of(l.site) + " (" + std::to_string(l.compared) +
         " recorded rows compared)";
}

Result<int> diff_cells(Store& store, const Arguments& arguments) {
  auto a = find_cell(store, arguments.words[0]);
  ISOBIT_TRY(a);
  auto b = find_cell(store, arguments.words[1]);
  ISOBIT_TRY(b);
  auto pair = compare_pair(store, std::move(*a), std::move(*b));
  ISOBIT_TRY(pair);
  const bool json = arguments.has("json"), equal = pair->difference.equal();
  const auto agreement = agreement_of(store, *pair);
  ISOBIT_TRY(agreement);
  Json out = json_of(*pair);
  out["agreement"] = *agreement;
  if (!json) {
    print("A  " + shown_text(pair->a.name) + "  run " + std::to_string(pair->a.run) +
          origin_of(pair->a) + "\nB  " + shown_text(pair->b.name) + "  run " +
          std::to_string(pair->b.run) + origin_of(pair->b) + "\n");
    if (pair->same_trace)
      print("one stored trace: a comparison with itself says nothing\n");
    else
      print(std::to_string(pair->difference.compared) + " token rows compared, " +
            std::to_string(pair->difference.differing) + " differ, " +
            std::to_string(pair->difference.flipped) + " tokens flipped\n");
    for (const auto& d : pair->difference.first) print("  " + place_of(d) + "\n");
    if (!agreement->empty()) print(*agreement + "\n");
  }
  if (!equal) {
    const auto cause = cause_of(store, pair->a, pair->b);
    ISOBIT_TRY(cause);
    out["cause"] = *cause;
    if (!json) print("cause: " + shown_text(*cause) + "\n");
    const auto values =
        explain_pair(store, pair->a, pair->b, pair->difference.first, !arguments.has("bits-only"));
    ISOBIT_TRY(values);
    out["values"] = values_json(*values);
    if (!json) {
      if (values->has_distance) print_values(*values);
      if (values->stored) print("values at that row: " + text_of(*values->stored) + "\n");
      if (values->location)
        print("first difference inside: " + location_text(*values->location) + "\n");
      for (const std::string& note : values->notes) print("note: " + shown_text(note) + "\n");
    }
  }
  if (json) {
    out["format"] = kOutputFormat;
    print_json(out);
  }
  if (!equal) return int(kExitDifferent);
  return int(pair->same_trace || pair->difference.compared == 0 ? kExitNothing : kExitOk);
}

}  // namespace

Result<int> diff(const Arguments& arguments) {
  allow_external(arguments.has("allow-external"));
  auto store = open_database(arguments);
  ISOBIT_TRY(store);
  const auto run_a = means_run(**store, arguments.words[0]);
  ISOBIT_TRY(run_a);
  const auto run_b = means_run(**store, arguments.words[1]);
  ISOBIT_TRY(run_b);
  if (*run_a != *run_b) {
    return Error{in_quotes(arguments.words[*run_a ? 0 : 1]) + " is a run, " +
                     in_quotes(arguments.words[*run_a ? 1 : 0]) +
                     " is a cell; give two runs or two cells (a hash of digits only: /123)",
                 "diff"};
  }
  return *run_a ? diff_runs(**store, arguments) : diff_cells(**store, arguments);
}

}  // namespace isobit::commands
