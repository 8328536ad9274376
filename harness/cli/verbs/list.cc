// `isobit list`: the cells of scenarios, why one would be skipped, whether its result is stored.
#include <filesystem>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/models/models.h"
#include "harness/run.h"

namespace isobit::commands {
namespace {

struct Listed {
  std::string name, hash, skip, cached;     // cached: date of the stored execution
  std::map<std::string, std::string> axes;  // only where they are told: they are most of it
  bool reusable = false;                    // a stored result may stand for an execution
};

struct Listing {
  std::string path, scenario, question, note;
  std::vector<Listed> cells;
  std::int64_t unselected = 0;
};

enum class Axes { told, left_out };

Listed listed(const Cell& cell, Axes axes) {
  Listed out;
  out.name = cell.name();
  out.hash = cell.hash;
  if (axes == Axes::left_out) return out;
  for (const auto& [axis, value] : cell.axes) out.axes[axis] = value.text;
  return out;
}

/// Dates of stored results by cell; empty without a database.
Result<std::vector<std::string>> stored_dates(const Plan& plan, const std::string& database) {
  std::vector<std::string> dates(plan.cells.size());
  std::error_code problem;
  if (!std::filesystem::exists(database, problem)) return dates;
  auto store = Store::open(database, Store::Mode::read_only);
  ISOBIT_TRY(store);
  auto found = find_stored(**store, plan);
  ISOBIT_TRY(found);
  for (std::size_t i = 0; i < dates.size(); ++i) {
    if ((*found)[i]) dates[i] = (*found)[i]->source_date;
  }
  return dates;
}

/// Without the model the matrix is still worth seeing; the scenario itself must be right, and its
/// prompts where the model is there.
Result<Listing> listing_without_model(const std::string& path, const RunOptions& options, Axes axes,
                                      const Error& why) {
  auto scenario = load_scenario(path, options.overrides);
  ISOBIT_TRY(scenario);
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const std::vector<AxisValue> models = models_of(*scenario);
  if (std::all_of(models.begin(), models.end(), [&](const AxisValue& value) {
        return open_model(std::get<std::string>(value.setting), folder).has_value();
      })) {
    return why;
  }
  auto matrix = expand(*scenario, options.allow_large);
  ISOBIT_TRY(matrix);
  if (!options.filter.empty() || !options.cells.empty() || options.only_failed) return why;
  Listing out;
  out.path = path;
  out.scenario = scenario->name;
  out.question = scenario->question;
  out.note = "skips and stored results are unknown: " + why.text();
  for (const Cell& cell : matrix->cells) out.cells.push_back(listed(cell, axes));
  return out;
}

Result<Listing> listing_of(const std::string& path, const RunOptions& options, Axes axes) {
  auto loaded = load_selected(path, options);
  if (!loaded) return listing_without_model(path, options, axes, loaded.error());
  auto selection = selection_of(loaded->scenario, options);
  ISOBIT_TRY(selection);
  auto plan = make_plan(*loaded, *selection, fingerprint());
  ISOBIT_TRY(plan);
  const auto dates = stored_dates(*plan, options.database);
  ISOBIT_TRY(dates);
  Listing out;
  out.path = path;
  out.scenario = loaded->scenario.name;
  out.question = loaded->scenario.question;
  out.unselected = plan->unselected();
  const std::vector<bool> reusable = may_be_reused(loaded->scenario, plan->matrix);
  for (std::size_t i = 0; i < plan->cells.size(); ++i) {
    out.cells.push_back(listed(plan->matrix.cells[i], axes));
    out.cells.back().skip = plan->cells[i].skip_reason;
    out.cells.back().cached = (*dates)[i];
    out.cells.back().reusable = reusable[i];
  }
  return out;
}

Json json_of(const Listing& listing) {
  Json cells = Json::array();
  for (const Listed& cell : listing.cells) {
    cells.push_back({{"name", cell.name},
                     {"hash", cell.hash},
                     {"axes", cell.axes},
                     {"skip", cell.skip.empty() ? Json(nullptr) : Json(cell.skip)},
                     {"cached", cell.cached.empty() ? Json(nullptr) : Json(cell.cached)}});
  }
  return {
      {"path", listing.path}, {"scenario", listing.scenario},     {"question", listing.question},
      {"note", listing.note}, {"unselected", listing.unselected}, {"cells", cells}};
}

void print_listing(const Listing& listing, bool quiet) {
  std::int64_t skipped = 0, cached = 0;
  std::vector<std::vector<std::string>> rows;
  for (const Listed& cell : listing.cells) {
    skipped += cell.skip.empty() ? 0 : 1;
    cached += cell.cached.empty() ? 0 : 1;
    std::string state = cell.cached.empty() ? "" : "stored " + cell.cached;
    if (!cell.skip.empty()) state = "SKIP " + shown_text(cell.skip);
    rows.push_back({"  " + shown_text(cell.name), state});
  }
  print(shown_text(listing.scenario) +
        (listing.question.empty() ? "" : ": " + shown_text(listing.question)) + "\n");
  if (!quiet) print(table(rows));
  if (!listing.note.empty()) print("  note: " + shown_text(listing.note) + "\n");
  std::string totals = std::to_string(listing.cells.size()) + " cells";
  const auto add = [&totals](std::int64_t count, const char* what) {
    if (count > 0) totals += ", " + std::to_string(count) + what;
  };
  add(skipped, " skipped here"), add(cached, " stored");
  add(listing.unselected, " not selected");
  print(totals + "\n");
}

/// What a run would do with the cells.
struct Work {
  std::int64_t execute = 0, reuse = 0, skip = 0;
};

Work work_of(const Listing& listing, const RunOptions& options) {
  const bool looks_up = options.reuses();
  Work out;
  for (const Listed& cell : listing.cells) {
    if (!cell.skip.empty()) {
      ++out.skip;
    } else if (looks_up && cell.reusable && !cell.cached.empty()) {
      ++out.reuse;
    } else {
      ++out.execute;
    }
  }
  return out;
}

}  // namespace

Result<int> dry_run(const Arguments& arguments) {
  auto options = run_options(arguments);
  ISOBIT_TRY(options);
  if (auto ok = check_names(*options); !ok) return ok.error();
  Json all = Json::array();
  std::size_t cells = 0;
  for (const std::string& path : options->scenarios) {
    const auto listing = listing_of(path, *options, Axes::left_out);
    ISOBIT_TRY(listing);
    const Work work = work_of(*listing, *options);
    cells += listing->cells.size();
    all.push_back({{"path", path},
                   {"scenario", listing->scenario},
                   {"note", listing->note},
                   {"execute", work.execute},
                   {"reuse", work.reuse},
                   {"skip", work.skip}});
    if (arguments.has("json")) continue;
    if (!listing->note.empty()) print("  note: " + shown_text(listing->note) + "\n");
    print(shown_text(listing->scenario) + ": " + std::to_string(listing->cells.size()) +
          " cells: " + std::to_string(work.execute) + " would be executed, " +
          std::to_string(work.reuse) + " reused, " + std::to_string(work.skip) +
          " skipped; nothing was run\n");
  }
  if (arguments.has("json")) print_json({{"format", kOutputFormat}, {"scenarios", all}});
  return int(cells == 0 && !empty_share(*options) ? kExitNothing : kExitOk);
}

Result<int> list(const Arguments& arguments) {
  auto options = run_options(arguments);
  ISOBIT_TRY(options);
  Json all = Json::array();
  std::size_t cells = 0;
  const Axes axes = arguments.has("json") ? Axes::told : Axes::left_out;
  for (const std::string& path : arguments.words) {
    auto listing = listing_of(path, *options, axes);
    ISOBIT_TRY(listing);
    cells += listing->cells.size();
    if (arguments.has("json"))
      all.push_back(json_of(*listing));
    else
      print_listing(*listing, options->quiet);
  }
  if (arguments.has("json")) print_json({{"format", kOutputFormat}, {"scenarios", all}});
  return int(cells == 0 ? kExitNothing : kExitOk);
}

}  // namespace isobit::commands
