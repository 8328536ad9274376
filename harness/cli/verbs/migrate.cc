// `isobit migrate`: what a change of libraries or GPUs will do to a scenario, before it is there.
// The twins of two schedule books compute it; the products whose order changes are told beside.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/probe_shapes.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/environment/environment.h"
#include "harness/probe/migration.h"
#include "harness/scenario/scenario.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/text.h"
#include "runtime/base/words.h"

namespace isobit::commands {
namespace {

using BookPointer = std::shared_ptr<const ProductBook>;

struct Sides {
  BookPointer a, b;
  std::string file_a, file_b;
};

/// One product of the scenario whose order changes.
struct ProductChange {
  std::string model, precision, product;
  std::int64_t outputs = 0, inputs = 0;
  probe::OrderChange change;
  std::vector<std::int64_t> batches;  // whose decode steps have so many rows
};

/// What a cell gives by the second book, against the same by the first.
struct CellForecast {
  std::string name;     // its axes
  std::string problem;  // why there is nothing to tell; empty: there is
  std::string root_a, root_b;
  Difference first;
  std::int64_t rows = 0, differing = 0, flips = 0, at_risk = 0;
  double bound = 0;  // of the rate of flips, 95 %
  double kl_mean = 0, kl_max = 0, max_abs = 0, least_margin = 0;
};

Result<Sides> read_sides(const Arguments& arguments) {
  Sides out;
  for (const char* option : {"from", "to"}) {
    const auto files = arguments.all(option);
    if (files.size() != 1) {
      return Error{"one schedule book on each side: --from BOOK --to BOOK",
                   std::string("--") + option};
    }
    auto book = read_product_book(files.front(), "");
    if (!book) return book.error();
    const bool first = option == std::string("from");
    (first ? out.a : out.b) = *book;
    (first ? out.file_a : out.file_b) = files.front();
  }
  if (out.a->digest == out.b->digest && out.a->name == out.b->name) {
    return Error{"is the book that --from names", "--to"};
  }
  return out;
}

/// A book as an engine of the scenario, whose folder paths are relative to.
std::string engine_text(const std::string& file, const std::string& scenario) {
  std::error_code problem;
  const auto folder = std::filesystem::absolute(scenario, problem).parent_path();
  const auto path =
      std::filesystem::relative(std::filesystem::absolute(file, problem), folder, problem);
  return "{twin: " + Json(path.string()).dump() + ", forecast: true}";
}

/// Axes that both twins take the place of must not be tied to others.
Result<void> check_axes(const Scenario& scenario) {
  for (const auto& group : scenario.zip) {
    for (const char* axis : {"engine", "device", "teacher_forced"}) {
      if (group.count(axis) == 0) continue;
      return Error{std::string("axis ") + axis + " is in a zip; migrate sets it for both books",
                   scenario.path};
    }
  }
  for (const auto& [axis, values] : scenario.axes) {
    if (axis != "teacher_forced" || values.size() < 2) continue;  // decode: may say it too
    return Error{"axis teacher_forced: migrate feeds both books' cells the reference's tokens",
                 scenario.path};
  }
  return {};
}

/// The scenario with both twins in place of its engines, asked for differences alone.
void ask_twins(const Sides& sides, RunOptions& options) {
  const std::string& scenario = options.scenarios.front();
  const std::string a = engine_text(sides.file_a, scenario),
                    b = engine_text(sides.file_b, scenario);
  for (const std::string& set :
       {"axes.engine=[" + a + ", " + b + "]", std::string("axes.device=[cpu]"),
        std::string("include=[]"), std::string("exclude=[]"), std::string("pairwise=[]"),
        std::string("xfail=[]"), std::string("score=[]"), std::string("ensemble=[]"),
        std::string("golden=none"), std::string("min_tokens=1"),
        std::string("observe={level: ops}"), std::string("decode.teacher_forced=true"),
        std::string("expect=[{same_bits: {across: [engine]}}]"),
        "measure=[{across: [engine], against: {engine: " + a +
            "}, metrics: [flip_rate, kl, kl_max, "
            "max_abs, margin_law]}]"}) {
    options.overrides.push_back(set);
  }
  options.update = "none";
}

struct Changes {
  std::vector<ProductChange> all;
  std::int64_t compared = 0;  // products, by number of rows, of which both books know the order
};

Changes changes_of(const Sides& sides, const Loaded& loaded, const Plan& plan) {
  std::map<std::pair<std::string, Precision>, std::set<std::int64_t>> batches;
  for (const Cell& cell : plan.matrix.cells) {
    const GenerateRequest asked = cell.requested();
    batches[{loaded.session.of(cell).name, asked.precision}].insert(asked.batch.size);
  }
  Changes out;
  for (const ModelSession& model : loaded.session.models) {
    std::int64_t longest = 1;
    for (const PromptTokens& prompt : model.tokens) {
      longest = std::max(longest, std::int64_t(prompt.tokens.size()));
    }
    longest += loaded.scenario.decode.max_new_tokens;  // with the cache off
    for (const auto& [of, sizes] : batches) {
      const Mode& mode = mode_of(of.second);
      if (of.first != model.name || mode.wide()) continue;
      for (const ModelProduct& product : products_of(model.model.config)) {
        const bool scaled = !product.is_head && mode.scaled();
        const auto found = probe::order_changes(*sides.a, *sides.b, mode, scaled, product.outputs,
                                                product.inputs, *sizes.rbegin() * longest);
        out.compared += found.compared;
        for (const probe::OrderChange& change : found.changes) {
          ProductChange one{model.name, mode.name, product.name, product.outputs, product.inputs,
                            change,     {}};
          for (const std::int64_t size : sizes) {
            if (size >= change.from_rows && size <= change.to_rows) one.batches.push_back(size);
          }
          out.all.push_back(std::move(one));
        }
      }
    }
  }
  return out;
}

/// The axes that the scenario names, but for those that are set here.
std::string axes_text(const ReportCell& cell) {
  std::string out;
  for (const auto& [axis, value] : cell.axes) {
    const bool named = cell.name.find("%" + axis + "=") != std::string::npos ||
                       cell.name.find("," + axis + "=") != std::string::npos;
    if (!named || axis == "engine" || axis == "device" || axis == "teacher_forced") continue;
    out += (out.empty() ? "" : ",") + axis + "=" + value;
  }
  return out.empty() ? "the only cell" : out;
}

/// The rows by value of the pair that ends in a cell.
void add_distances(const Report& report, int cell, CellForecast& out) {
  for (const MeasuredGroup& group : report.measured) {
    for (const MeasuredPair& pair : group.pairs) {
      if (pair.cells.empty() || pair.cells.front().second != cell) continue;
      if (!pair.problem.empty()) out.problem = pair.problem;
      out.rows = std::int64_t(pair.rows.size());
      for (const PairRow& row : pair.rows) {
        out.flips += row.flip ? 1 : 0;
        out.at_risk += row.max_abs > 0 && row.margin <= 2 * row.max_abs ? 1 : 0;
        out.kl_mean += row.kl / double(out.rows);
        out.kl_max = std::max(out.kl_max, row.kl);
        out.max_abs = std::max(out.max_abs, row.max_abs);
        out.least_margin =
            &row == &pair.rows.front() ? row.margin : std::min(out.least_margin, row.margin);
      }
      for (const MetricValue& value : pair.values) {
        for (const auto& [name, part] : value.parts) {
          if (value.metric == "flip_rate" && name == "bound_95") out.bound = part;
        }
      }
    }
  }
}

std::vector<CellForecast> forecasts_of(const Report& report) {
  std::vector<CellForecast> out;
  for (const GroupResult& group : report.groups) {
    if (group.cells.size() != 2) continue;
    const ReportCell& a = report.cells[std::size_t(group.cells[0])];
    const ReportCell& b = report.cells[std::size_t(group.cells[1])];
    CellForecast one;
    one.name = axes_text(b);
    one.root_a = a.root;
    one.root_b = b.root;
    one.first = b.divergence;
    one.differing = b.divergence.present ? b.divergence.differing : 0;
    for (const ReportCell* cell : {&a, &b}) {
      const bool done = cell->verdict == Verdict::pass || cell->verdict == Verdict::diff;
      const bool failed = cell->verdict == Verdict::fail;  // the other has nothing beside it
      if (!done && (failed || one.problem.empty())) one.problem = cell->reason;
    }
    if (one.problem.empty()) add_distances(report, group.cells[1], one);
    out.push_back(std::move(one));
  }
  return out;
}

std::string order_of(const ProductLine* line) {
  return line == nullptr ? "unknown" : text_of(line->order);
}
std::string evidence_of(const ProductLine* line) {
  if (line == nullptr) return "none";
  return line->evidence == ProductLine::Evidence::proved ? "proved" : "forecast";
}
std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

void print_side(const char* side, const ProductBook& book) {
  std::int64_t counts[3] = {};
  for (const ProductLine& line : book.lines) counts[std::size_t(line.evidence)] += 1;
  const auto key = [&](const char* name) {
    const auto found = book.keys.find(name);
    return found == book.keys.end() ? std::string("?") : found->second;
  };
  print(std::string(side) + "  " + book.name + ": " + key("engine") + " on " +
        (book.keys.count("variant") != 0 ? key("variant") : key("device")) +
        ", lines: " + std::to_string(counts[0]) + " proved, " + std::to_string(counts[1]) +
        " forecast, " + std::to_string(counts[2]) + " open\n");
}

/// The changes of one product of one model in one precision, from `first` on: those that a decoding
/// step of a batch meets one by one, the others counted.
std::size_t add_product(const std::vector<ProductChange>& changes, std::size_t first,
                        std::vector<std::vector<std::string>>& rows) {
  const ProductChange& one = changes[first];
  const std::vector<std::string> head = {
      one.model, one.precision, one.product,
      std::to_string(one.outputs) + " x " + std::to_string(one.inputs)};
  const auto add = [&](const std::vector<std::string>& rest) {
    rows.push_back(head);
    rows.back().insert(rows.back().end(), rest.begin(), rest.end());
  };
  std::int64_t others = 0;
  std::size_t end = first;
  for (; end < changes.size() && changes[end].model == one.model &&
         changes[end].precision == one.precision && changes[end].product == one.product;
       ++end) {
    const probe::OrderChange& change = changes[end].change;
    others += change.to_rows - change.from_rows + 1 - std::int64_t(changes[end].batches.size());
    for (const std::int64_t batch : changes[end].batches) {
      add({"decoding, batch " + std::to_string(batch), order_of(change.a), order_of(change.b),
           evidence_of(change.a) + ", " + evidence_of(change.b)});
    }
  }
  if (others > 0) add({std::to_string(others) + " other numbers of rows", "", "", ""});
  return end;
}

void print_changes(const Changes& found) {
  const std::vector<ProductChange>& changes = found.all;
  if (changes.empty()) {
    print(found.compared > 0 ? "no product of the scenario has another order\n"
                             : "the books share no product of the scenario\n");
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"model", "precision", "products", "outputs x inputs", "where", "A", "B", "evidence"}};
  for (std::size_t i = 0; i < changes.size();) i = add_product(changes, i, rows);
  print("products of one rank whose order is another:\n" + table(rows));
}

std::string first_text(const Difference& first) {
  return "prompt " + shown_text(first.prompt_id) + ", token " + std::to_string(first.index) +
         (first.layer_site.empty() ? "" : ": " + first.layer_site);
}

void print_cells(const std::vector<CellForecast>& cells) {
  std::vector<std::vector<std::string>> rows = {{"cell", "bits", "rows", "first difference", "KL",
                                                 "KL max", "logits", "margin", "at risk", "flips",
                                                 "below"}};
  std::map<std::string, int> problems;  // and how many cells have it
  for (const CellForecast& cell : cells) {
    if (!cell.problem.empty()) {
      rows.push_back({cell.name, "none"});
      problems[cell.problem] += 1;
      continue;
    }
    // Inner rows may differ where no row of logits does.
    const bool equal = !cell.first.present;
    rows.push_back({cell.name,
                    equal                 ? "same"
                    : cell.differing == 0 ? "inner"
                                          : "other",
                    std::to_string(cell.differing) + " of " + std::to_string(cell.rows),
                    equal ? "-" : first_text(cell.first), number(cell.kl_mean), number(cell.kl_max),
                    number(cell.max_abs), number(cell.least_margin), std::to_string(cell.at_risk),
                    std::to_string(cell.flips), number(cell.bound) + " %"});
  }
  print("cells, each by both books, fed the same tokens:\n" + table(rows));
  print(
      "KL in nats, mean and largest; logits: largest distance of two; margin: least of A's two\n"
      "largest logits; at risk: rows whose margin is not above twice their distance; below: the\n"
      "rate of flips, one-sided, 95 %\n");
  for (const auto& [problem, count] : problems) {
    print("no forecast of " + text::count(count, "cell") + ": " + shown_text(problem) + "\n");
  }
}

Json side_json(const ProductBook& book, const std::string& file) {
  return {{"file", file}, {"book", book.name}, {"digest", book.digest}, {"keys", book.keys}};
}

Json json_of(const Sides& sides, const std::vector<ProductChange>& changes,
             const std::vector<CellForecast>& cells, const Report& report) {
  Json out = {{"format", kOutputFormat},
              {"scenario", report.scenario},
              {"run", report.run},
              {"from", side_json(*sides.a, sides.file_a)},
              {"to", side_json(*sides.b, sides.file_b)},
              {"products", Json::array()},
              {"cells", Json::array()},
              {"exit_code", report.exit_code}};
  for (const ProductChange& one : changes) {
    out["products"].push_back({{"model", one.model},
                               {"precision", one.precision},
                               {"product", one.product},
                               {"outputs", one.outputs},
                               {"inputs", one.inputs},
                               {"from_rows", one.change.from_rows},
                               {"to_rows", one.change.to_rows},
                               {"decode_batches", one.batches},
                               {"order_from", order_of(one.change.a)},
                               {"order_to", order_of(one.change.b)},
                               {"evidence_from", evidence_of(one.change.a)},
                               {"evidence_to", evidence_of(one.change.b)}});
  }
  for (const CellForecast& cell : cells) {
    Json first = nullptr;
    if (cell.first.present) {
      first = {{"prompt", cell.first.prompt_id},
               {"token", cell.first.index},
               {"position", cell.first.position},
               {"layer_site", cell.first.layer_site}};
    }
    out["cells"].push_back({{"cell", cell.name},
                            {"problem", cell.problem},
                            {"root_from", cell.root_a},
                            {"root_to", cell.root_b},
                            {"rows", cell.rows},
                            {"differing", cell.differing},
                            {"first", first},
                            {"kl_mean", cell.kl_mean},
                            {"kl_max", cell.kl_max},
                            {"max_abs", cell.max_abs},
                            {"least_margin", cell.least_margin},
                            {"rows_at_risk", cell.at_risk},
                            {"flips", cell.flips},
                            {"flip_rate_bound_95", cell.bound}});
  }
  return out;
}

}  // namespace

Result<int> migrate(const Arguments& arguments) {
  auto sides = read_sides(arguments);
  ISOBIT_TRY(sides);
  auto options = run_options(arguments);
  ISOBIT_TRY(options);
  const std::string path = options->scenarios.front();
  install_interrupt_handler();
  const auto fetched = fetch_missing_model(path, *options);
  if (!fetched && interrupted != 0) return int(kExitInterrupted);
  ISOBIT_TRY(fetched);
  const auto written = load_scenario(path, options->overrides);
  ISOBIT_TRY(written);
  if (written->operation.kind != OperationKind::none) {
    return Error{"is about one operation; a migration is forecast for a model", path};
  }
  if (auto ok = check_axes(*written); !ok) return ok.error();
  ask_twins(*sides, *options);
  auto loaded = load_selected(path, *options);
  ISOBIT_TRY(loaded);
  auto selection = selection_of(loaded->scenario, *options);
  ISOBIT_TRY(selection);
  const auto plan = make_plan(*loaded, *selection, fingerprint());
  ISOBIT_TRY(plan);
  const auto changes = changes_of(*sides, *loaded, *plan);
  const bool json = arguments.has("json");
  if (!json) {
    print_side("A", *sides->a);
    print_side("B", *sides->b);
    print_changes(changes);
  }
  const auto report = run_scenario(path, *options);
  if (!report && interrupted != 0) return int(kExitInterrupted);
  ISOBIT_TRY(report);
  const auto cells = forecasts_of(*report);
  if (json) {
    print_json(json_of(*sides, changes.all, cells, *report));
  } else {
    print_cells(cells);
    if (report->run > 0)
      print("the whole of it: isobit report " + std::to_string(report->run) + "\n");
  }
  return report->exit_code;
}

}  // namespace isobit::commands
