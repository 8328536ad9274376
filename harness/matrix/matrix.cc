// Expansion: factors -> product -> exclude -> pairwise -> include -> names and hashes.
#include "harness/matrix/matrix.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <set>

#include "harness/matrix/check.h"
#include "harness/matrix/pairwise.h"
#include "harness/matrix/patches.h"
#include "harness/matrix/recipe.h"
#include "harness/merged.h"
#include "runtime/base/memory.h"
#include "runtime/base/text.h"
#include "runtime/run/company.h"

namespace isobit {
namespace {

using AxisLists = std::map<std::string, std::vector<AxisValue>>;

/// A cell in the making: the axes that somebody gave, and whether it came from include.
struct Draft {
  AxisPoint given;
  std::set<std::string> original;  // axes of the product: include may not contradict them
};

/// One axis, or a zip group: each level sets some axes.
using Factor = std::vector<AxisPoint>;

std::vector<Factor> factors_of(const Scenario& scenario) {
  std::vector<Factor> factors;
  for (const auto& [axis, values] : scenario.axes) {
    Factor factor;
    for (const AxisValue& value : values) factor.push_back({{axis, value}});
    factors.push_back(factor);
  }
  for (const AxisLists& group : scenario.zip) {
    Factor factor(group.empty() ? 0 : group.begin()->second.size());
    for (const auto& [axis, values] : group)
      for (std::size_t i = 0; i < factor.size(); ++i) factor[i][axis] = values[i];
    factors.push_back(factor);
  }
  return factors;
}

/// The value on an axis of a draft: given, or the scenario's default.
const AxisValue& value_on(const AxisPoint& given, const AxisPoint& defaults,
                          const std::string& axis) {
  const auto found = given.find(axis);
  return found != given.end() ? found->second : defaults.at(axis);
}

bool excluded_by(const AxisPoint& cell, const AxisPoint& defaults, const AxisLists& pattern) {
  return std::all_of(pattern.begin(), pattern.end(), [&](const auto& entry) {
    const AxisValue& value = value_on(cell, defaults, entry.first);
    return std::any_of(entry.second.begin(), entry.second.end(),
                       [&](const AxisValue& wanted) { return value_matches(value, wanted.text); });
  });
}

std::string text_of(const AxisLists& pattern) {
  std::string out;
  for (const auto& [axis, values] : pattern) {
    std::string texts;
    for (const AxisValue& value : values) texts += (texts.empty() ? "" : ", ") + value.text;
    out +=
        (out.empty() ? "" : ", ") + axis + ": " + (values.size() == 1 ? texts : "[" + texts + "]");
  }
  return "{" + out + "}";
}

Error too_many(const Scenario& scenario, std::int64_t cells, std::int64_t limit) {
  const std::string count = cells == std::numeric_limits<std::int64_t>::max()
                                ? "more than " + text::count(cells)
                                : text::count(cells);
  const bool last = limit == kLargestProduct;  // no option goes further
  return scenario_error(scenario, count + " cells are more than the limit of " +
                                      text::count(limit) +
                                      (last ? "; name fewer values, or use pairwise"
                                            : "; raise max_cells, or allow it with --allow-large"));
}

/// A cell takes about this much, with its plan; measured over 100,000 cells.
constexpr std::int64_t kBytesOfCell = 4500;

/// Naming that many cells must not end the program, whatever max_cells allows.
Result<void> check_memory_of_cells(const Scenario& scenario, std::int64_t cells) {
  const std::int64_t needed = saturating_product(cells, kBytesOfCell);
  const std::int64_t available = available_memory();
  if (needed <= available) return {};
  const auto mebibytes = [](std::int64_t bytes) {
    return text::mebibytes(static_cast<std::size_t>(bytes)) + " MiB";
  };
  return scenario_error(scenario, text::count(cells) + " cells need about " + mebibytes(needed) +
                                      " of memory to be named alone; available are " +
                                      mebibytes(available) +
                                      "; name fewer values, or use pairwise");
}

/// Level of every factor at an index of the product; the last factor changes fastest.
std::vector<int> levels_at(const std::vector<Factor>& factors, std::int64_t index) {
  std::vector<int> levels(factors.size());
  for (std::size_t f = factors.size(); f-- > 0;) {
    const auto count = static_cast<std::int64_t>(factors[f].size());
    levels[f] = static_cast<int>(index % count);
    index /= count;
  }
  return levels;
}

Draft draft_at(const std::vector<Factor>& factors, const std::vector<int>& levels) {
  Draft draft;
  for (std::size_t f = 0; f < factors.size(); ++f)
    for (const auto& [axis, value] : factors[f][static_cast<std::size_t>(levels[f])]) {
      draft.given[axis] = value;
      draft.original.insert(axis);
    }
  return draft;
}

/// Rows of levels of the product minus exclude.
Result<std::vector<std::vector<int>>> product_rows(const Scenario& scenario,
                                                   const std::vector<Factor>& factors,
                                                   std::int64_t limit) {
  std::int64_t size = 1;
  for (const Factor& factor : factors) {
    size = saturating_product(size, static_cast<std::int64_t>(factor.size()));
  }
  // Only exclude and pairwise make fewer cells of it: without them nothing is built before the
  // guard.
  const bool stays = scenario.exclude.empty() && !scenario.pairwise;
  const std::int64_t most = stays ? limit : kLargestProduct;
  if (size > most) return too_many(scenario, size, most);
  std::vector<std::vector<int>> rows;
  std::vector<bool> used(scenario.exclude.size());
  const AxisPoint defaults = defaults_of(scenario);
  for (std::int64_t index = 0; index < size; ++index) {
    std::vector<int> levels = levels_at(factors, index);
    bool excluded = false;
    if (!used.empty()) {
      const Draft draft = draft_at(factors, levels);
      for (std::size_t e = 0; e < used.size(); ++e)
        if (excluded_by(draft.given, defaults, scenario.exclude[e])) used[e] = excluded = true;
    }
    if (!excluded) rows.push_back(std::move(levels));
  }
  for (std::size_t e = 0; e < used.size(); ++e)
    if (!used[e])
      return scenario_error(scenario,
                            "exclude " + text_of(scenario.exclude[e]) + " matches no cell");
  return rows;
}

/// All-pairs subset of the rows, inside every combination of the `pairwise: {per: …}` axes.
std::vector<std::vector<int>> reduce(const Scenario& scenario, const std::vector<Factor>& factors,
                                     const std::vector<std::vector<int>>& rows) {
  if (rows.empty()) return {};
  std::vector<bool> fixed(factors.size());
  for (const std::string& axis : scenario.pairwise_per)
    for (std::size_t f = 0; f < factors.size(); ++f)
      if (factors[f][0].count(axis)) fixed[f] = true;
  std::map<std::vector<int>, std::vector<int>> parts;  // levels of fixed factors -> row indices
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::vector<int> key;
    for (std::size_t f = 0; f < fixed.size(); ++f)
      if (fixed[f]) key.push_back(rows[r][f]);
    parts[key].push_back(static_cast<int>(r));
  }
  std::vector<int> chosen;
  for (const auto& entry : parts) {
    std::vector<std::vector<int>> free;
    for (const int r : entry.second) {
      free.emplace_back();
      for (std::size_t f = 0; f < fixed.size(); ++f)
        if (!fixed[f]) free.back().push_back(rows[static_cast<std::size_t>(r)][f]);
    }
    if (free[0].empty()) chosen.push_back(entry.second[0]);
    for (const int i : pairwise_subset(free))
      chosen.push_back(entry.second[static_cast<std::size_t>(i)]);
  }
  std::sort(chosen.begin(), chosen.end());
  std::vector<std::vector<int>> out;
  for (const int r : chosen) out.push_back(rows[static_cast<std::size_t>(r)]);
  return out;
}

/// Product of the factors minus exclude, reduced when pairwise.
Result<std::vector<Draft>> product(const Scenario& scenario, std::int64_t limit) {
  const std::vector<Factor> factors = factors_of(scenario);
  auto rows = product_rows(scenario, factors, limit);
  ISOBIT_TRY(rows);
  if (scenario.pairwise) rows.value() = reduce(scenario, factors, rows.value());
  const auto count = static_cast<std::int64_t>(rows->size());
  if (count > limit) return too_many(scenario, count, limit);
  if (auto fits = check_memory_of_cells(scenario, count); !fits) return fits.error();
  std::vector<Draft> drafts;
  for (const std::vector<int>& levels : rows.value()) drafts.push_back(draft_at(factors, levels));
  return drafts;
}

/// An include entry with lists as single entries, in the lists' order.
std::vector<AxisPoint> single_entries(const AxisLists& entry) {
  std::vector<AxisPoint> singles = {{}};
  for (const auto& [axis, values] : entry) {
    std::vector<AxisPoint> longer;
    for (const AxisPoint& single : singles) {
      for (const AxisValue& value : values) {
        longer.push_back(single);
        longer.back()[axis] = value;
      }
    }
    singles = std::move(longer);
  }
  return singles;
}

/// Whether an include entry agrees with a product cell on every axis that the product gave.
bool agrees(const Draft& draft, const AxisPoint& entry) {
  return std::all_of(entry.begin(), entry.end(), [&](const auto& pair) {
    return !draft.original.count(pair.first) || draft.given.at(pair.first) == pair.second;
  });
}

/// Adds the entry to the cells it agrees with, or makes a cell of it; false: it changed nothing.
bool include_entry(const AxisPoint& entry, const AxisPoint& defaults, std::size_t product_size,
                   std::vector<Draft>& drafts) {
  bool agreed = false, changed = false;
  for (std::size_t i = 0; i < product_size; ++i) {
    if (!agrees(drafts[i], entry)) continue;
    agreed = true;
    for (const auto& [axis, value] : entry) {
      if (drafts[i].original.count(axis)) continue;
      changed = changed || value_on(drafts[i].given, defaults, axis).text != value.text;
      drafts[i].given[axis] = value;
    }
  }
  if (!agreed) drafts.push_back({entry, {}});
  return !agreed || changed;
}

Result<void> include(const Scenario& scenario, std::int64_t limit, std::vector<Draft>& drafts) {
  const std::size_t product_size = drafts.size();
  const AxisPoint defaults = defaults_of(scenario);
  for (const AxisLists& entry : scenario.include) {
    std::int64_t size = 1;
    for (const auto& axis : entry) {
      size = saturating_product(size, static_cast<std::int64_t>(axis.second.size()));
    }
    if (size > limit) return too_many(scenario, size, limit);
    bool changed = false;
    for (const AxisPoint& single : single_entries(entry))
      changed = include_entry(single, defaults, product_size, drafts) || changed;
    if (!changed) return scenario_error(scenario, "include " + text_of(entry) + " adds nothing");
    if (static_cast<std::int64_t>(drafts.size()) > limit)
      return too_many(scenario, static_cast<std::int64_t>(drafts.size()), limit);
  }
  return {};
}

Cell make_cell(const Scenario& scenario, const AxisPoint& defaults, const Draft& draft, int index) {
  Cell cell;
  cell.scenario = scenario.name;
  const bool operation = scenario.operation.kind != OperationKind::none;
  for (const Axis& axis : all_axes()) {
    // A cell of a model has no axis of an operation: a new one changes none of its recipes.
    if (axis.scope == AxisScope::operation && !operation) continue;
    cell.axes[axis.name] = value_on(draft.given, defaults, axis.name);
  }
  for (const auto& entry : draft.given) cell.named_axes.push_back(entry.first);
  cell.tags = scenario.tags;
  cell.index = index;
  const std::string meaning = cell_meaning(scenario, cell);
  cell.hash = to_hex(sha256(meaning.data(), meaning.size())).substr(0, 16);
  return cell;
}

}  // namespace

bool Cell::deterministic() const {
  const EngineEntry* row = find_engine(at("engine").head);
  if (row == nullptr || !row->deterministic) return false;
  const auto donor = donor_of(*this);
  return !donor || donor->deterministic();
}

std::string Cell::name() const {
  std::string axes_text;
  std::vector<std::string> sorted = named_axes;
  std::sort(sorted.begin(), sorted.end());
  for (const std::string& axis : sorted)
    axes_text += (axes_text.empty() ? "" : ",") + axis + "=" + value(axis);
  return scenario + "%" + axes_text + " /" + hash.substr(0, 8);
}

Filter::Subject Cell::subject() const {
  Filter::Subject subject;
  subject.axis = [this](const std::string& axis) -> const AxisValue* {
    const auto found = axes.find(axis);
    return found == axes.end() ? nullptr : &found->second;
  };
  subject.has_tag = [this](const std::string& tag) {
    return std::find(tags.begin(), tags.end(), tag) != tags.end();
  };
  subject.name = name();
  return subject;
}

Decode decode_of(const Scenario& scenario, const Cell& cell) {
  Decode out = scenario.decode;
  const auto* options = std::get_if<SamplerOptions>(&cell.at("decode").setting);
  const bool by_axis = out.strategy == "greedy" && options != nullptr && options->temperature != 0;
  if (!by_axis) return out;  // the key says the same, or greedy
  out.strategy = "sample";
  out.temperature = options->temperature;
  out.top_k = options->top_k;
  out.top_p = options->top_p;
  out.seed = options->seed;
  return out;
}

std::string model_of(const Cell& cell) {
  const auto* word = std::get_if<std::string>(&cell.at("model").setting);
  return word == nullptr ? "" : *word;
}

std::string cell_meaning(const Scenario& scenario, const Cell& cell) {
  std::string out = "isobit cell 1\nscenario=" + scenario.name + "\n";
  out += "model=" + meaning_of_model(model_of(cell)) + "\n";
  for (const auto& [axis, value] : cell.axes)
    if (!find_axis(axis)->own_lines && !is_usual(axis, value))
      out += "axis." + axis + "=" + value.text + "\n";
  out += decode_lines(decode_of(scenario, cell), DecodeLines::changed);
  const PromptSelection& prompts = scenario.prompts;
  if (prompts.skip != 0) out += "prompts.skip=" + std::to_string(prompts.skip) + "\n";
  if (prompts.take != -1) out += "prompts.take=" + std::to_string(prompts.take) + "\n";
  if (prompts.raw) out += "prompts.raw=true\n";
  if (prompts.pad_to != 0) out += "prompts.pad_to=" + std::to_string(prompts.pad_to) + "\n";
  return out;
}

Result<Matrix> expand(const Scenario& scenario, bool allow_large) {
  const std::int64_t limit = allow_large ? kLargestProduct : scenario.max_cells;
  auto drafts = product(scenario, limit);
  ISOBIT_TRY(drafts);
  auto included = include(scenario, limit, drafts.value());
  ISOBIT_TRY(included);
  const auto count = static_cast<std::int64_t>(drafts->size());
  if (count > limit) return too_many(scenario, count, limit);
  Matrix matrix;
  const AxisPoint defaults = defaults_of(scenario);
  for (const Draft& draft : drafts.value()) {
    const auto index = static_cast<int>(matrix.cells.size());
    matrix.cells.push_back(make_cell(scenario, defaults, draft, index));
  }
  auto checked = check_matrix(scenario, matrix);
  ISOBIT_TRY(checked);
  return matrix;
}

std::vector<Requirement> requirements_of(const Scenario& scenario, const Cell& cell) {
  std::vector<Requirement> out;
  for (const Requirement& requirement : scenario.requirements) {
    const std::string& subject = requirement.subject;
    const auto has = [&](const auto& axis) { return value_matches(axis.second, subject); };
    const bool applies = find_axis(subject) ? !is_usual(subject, cell.at(subject))
                                            : std::any_of(cell.axes.begin(), cell.axes.end(), has);
    if (applies) out.push_back(requirement);
  }
  return out;
}

bool depends_on_steps(const Cell& cell) {
  const auto donor = donor_of(cell);
  return depends_on_steps(cell.requested()) || (donor && depends_on_steps(*donor));
}

bool depends_on_ranks(const Cell& cell) {
  const BackendOptions backend = cell.requested().backend;
  const auto donor = donor_of(cell);
  return backend.gemm != nullptr || backend.attention.by_length || backend.attention.is_fused() ||
         (donor && depends_on_ranks(*donor));
}

std::string class_axes(const Cell& cell) {
  const bool deterministic = cell.deterministic(), by_steps = depends_on_steps(cell),
             by_ranks = depends_on_ranks(cell);
  const auto original = original_of(cell.requested().backend.engine);
  std::string out;
  for (const auto& [axis, value] : cell.axes) {
    // A twin is in the class of what it stands for, whatever it runs on.
    if (original && (axis == "isa" || axis == "threads")) continue;
    const std::string& text = original && axis == "engine"   ? original->engine
                              : original && axis == "device" ? original->device
                                                             : value.text;
    const bool always = axis == "engine" || axis == "precision";
    const bool decides = (by_steps && (axis == "batch" || axis == "cache" || axis == "kv" ||
                                       axis == "replicas" || axis == "rows")) ||
                         (by_ranks && axis == "gpus");
    if (find_axis(axis)->own_lines) continue;
    if (deterministic && !decides && find_axis(axis)->lossless(value)) continue;
    if (always || text != usual_value(axis).text) out += axis + "=" + text + "\n";
  }
  return out;
}

}  // namespace isobit
