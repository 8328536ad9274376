// Whose cell a trace is, and its place in plan and database. Its rows: checks.cc.
#include "harness/import/import.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "harness/import/checks.h"
#include "runtime/base/file.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr std::size_t kLargestFile = std::size_t{1} << 30;

/// The axes that the header speaks of, in canonical text.
Result<std::map<std::string, std::string>> axes_of(const TraceFile& file) {
  std::map<std::string, std::string> out;
  for (const auto& [axis, text] : file.axes) {
    const Axis* known = find_axis(axis);
    if (known == nullptr) {
      return Error{"unknown axis " + in_quotes(axis) + did_you_mean(axis, axis_names()),
                   file.place};
    }
    if (!known->belongs_to(AxisScope::model)) {  // no cell of a model has it
      return Error{"axis " + axis + " is one of a single operation; a trace is of a model's rows",
                   file.place};
    }
    const auto value = axis_value(axis, text);
    if (!value) return Error{value.error().message, file.place};
    out[axis] = value->text;
  }
  return out;
}

/// Axes on which some of the cells differ, as a list.
std::string differing_axes(const std::vector<const Cell*>& cells) {
  std::string out;
  for (const auto& each : cells.front()->axes) {
    const bool same = std::all_of(cells.begin(), cells.end(), [&](const Cell* cell) {
      return cell->at(each.first) == each.second;
    });
    if (!same) out += (out.empty() ? "" : ", ") + each.first;
  }
  return out;
}

/// Why no cell has these axes.
std::string no_such_cell(const Matrix& matrix, const std::map<std::string, std::string>& axes) {
  for (const auto& [axis, text] : axes) {
    std::set<std::string> values;
    for (const Cell& cell : matrix.cells) values.insert(cell.value(axis));
    if (values.count(text) != 0) continue;
    return "no cell of the scenario has " + axis + "=" + text +
           did_you_mean(text, {values.begin(), values.end()});
  }
  return "no cell of the scenario has all of the header's axes at once";
}

Result<const Cell*> cell_by_axes(const TraceFile& file, const Matrix& matrix) {
  const auto axes = axes_of(file);
  ISOBIT_TRY(axes);
  std::vector<const Cell*> fits;
  for (const Cell& cell : matrix.cells) {
    const bool all = std::all_of(axes->begin(), axes->end(), [&](const auto& each) {
      return cell.value(each.first) == each.second;
    });
    if (all) fits.push_back(&cell);
  }
  if (fits.empty()) return Error{no_such_cell(matrix, *axes), file.place};
  if (fits.size() == 1) return fits.front();
  return Error{"the header's axes fit " + std::to_string(fits.size()) + " cells, which differ in " +
                   differing_axes(fits) + "; let axes say these, or name the cell with --as",
               file.place};
}

/// A cell that was named; the header must not say that it is another.
Result<const Cell*> cell_by_name(const TraceFile& file, const Matrix& matrix,
                                 const std::string& word, const std::string& scenario) {
  const auto index = cell_named(matrix, word);
  ISOBIT_TRY(index);
  if (*index < 0) {
    return Error{
        in_quotes(word) + " is no cell of this scenario; `isobit list " + scenario + "` shows them",
        "--as"};
  }
  const Cell& cell = matrix.cells[std::size_t(*index)];
  const auto axes = axes_of(file);
  ISOBIT_TRY(axes);
  for (const auto& [axis, text] : *axes) {
    if (cell.value(axis) == text) continue;
    return Error{"the header says " + axis + "=" + text + ", cell " + cell.name() + " has " +
                     cell.value(axis),
                 file.place};
  }
  return &cell;
}

Sha256 key_of(const ImportedTrace& imported) {
  const std::string text = "isobit imported trace 1\n" + imported.trace.observed.imported_sha256 +
                           "\n" + imported.cell + "\n";
  return sha256(text.data(), text.size());
}

/// Two recordings of one cell are attempts of it: other bytes, and evidence of one level.
Result<void> check_together(const std::vector<ImportedTrace>& traces, const ImportedTrace& next,
                            const std::string& path) {
  for (const ImportedTrace& before : traces) {
    if (before.cell != next.cell) continue;
    if (before.key == next.key) {
      return Error{
          "is the same file as " + before.file + ": comparing it with itself would prove nothing",
          path};
    }
    const std::string& evidence = next.trace.observed.evidence;
    if (before.trace.observed.evidence == evidence) continue;
    return Error{"its evidence is " + evidence + "; that of " + before.file +
                     ", which stands for the same cell, is " + before.trace.observed.evidence,
                 path};
  }
  return {};
}

Result<ImportedTrace> read_trace(const Loaded& loaded, const Matrix& matrix,
                                 const std::string& path, const std::string& word) {
  const auto text = read_file(path, kLargestFile, "larger than 1 GiB: not a trace");
  ISOBIT_TRY(text);
  const auto file = parse_trace(*text, path);
  ISOBIT_TRY(file);
  const auto cell = word.empty() ? cell_by_axes(*file, matrix)
                                 : cell_by_name(*file, matrix, word, loaded.scenario.path);
  ISOBIT_TRY(cell);
  auto trace = cell_trace(*file, path, loaded, **cell);
  ISOBIT_TRY(trace);
  ImportedTrace out;
  out.file = std::filesystem::path(path).filename().string();
  out.engine = trace->observed.engine;
  out.environment = file->environment;
  out.cell = (*cell)->hash;
  out.trace = std::move(*trace);
  out.trace.observed.imported = out.file;
  out.trace.observed.imported_sha256 = to_hex(sha256(text->data(), text->size()));
  out.key = key_of(out);
  return out;
}

std::size_t index_of(const Plan& plan, const std::string& hash) {
  const auto& cells = plan.matrix.cells;
  const auto at =
      std::find_if(cells.begin(), cells.end(), [&](const Cell& cell) { return cell.hash == hash; });
  return std::size_t(at - cells.begin());
}

}  // namespace

Result<std::vector<ImportedTrace>> read_traces(const Loaded& loaded,
                                               const std::vector<std::string>& files,
                                               const std::vector<std::string>& cells,
                                               bool allow_large) {
  std::vector<ImportedTrace> out;
  if (files.empty()) return out;
  if (loaded.scenario.operation.kind != OperationKind::none) {
    return Error{"the scenario is of one operation; a trace is of a model's rows and tokens",
                 loaded.scenario.path};
  }
  if (!cells.empty() && cells.size() != files.size()) {
    return Error{"names " + std::to_string(cells.size()) + " of the cells of " +
                     std::to_string(files.size()) +
                     " traces; it is given once for each, in their order, or not at all",
                 "--as"};
  }
  const auto matrix = expand(loaded.scenario, allow_large);
  ISOBIT_TRY(matrix);
  for (std::size_t i = 0; i < files.size(); ++i) {
    auto trace = read_trace(loaded, *matrix, files[i], cells.empty() ? "" : cells[i]);
    ISOBIT_TRY(trace);
    if (auto ok = check_together(out, *trace, files[i]); !ok) return ok.error();
    out.push_back(std::move(*trace));
  }
  return out;
}

Result<void> stand_for(const std::vector<ImportedTrace>& traces, Plan& plan) {
  for (const ImportedTrace& imported : traces) {
    const std::size_t i = index_of(plan, imported.cell);
    if (i == plan.cells.size()) {
      return Error{"the cell of " + imported.file + " (/" + imported.cell + ") was left out", "-k"};
    }
    PlannedCell& planned = plan.cells[i];
    planned.skip_reason.clear();
    planned.key = imported.key;
    if (!plan.matrix.cells[i].deterministic()) planned.class_hash.clear();
  }
  return {};
}

Environment environment_of(const std::vector<ImportedTrace>& traces) {
  Environment out;
  for (const ImportedTrace& imported : traces) {
    for (const auto& [name, value] : imported.environment) {
      const auto [at, is_new] = out.entries.emplace(name, value);
      if (!is_new && at->second != value) at->second += " | " + value;
    }
  }
  return out;
}

std::vector<std::string> notes_of(const std::vector<ImportedTrace>& traces) {
  std::vector<std::string> out;
  for (const ImportedTrace& imported : traces) {
    const Observed& said = imported.trace.observed;
    out.push_back("/" + imported.cell + " was imported from " + imported.file + " (SHA-256 " +
                  said.imported_sha256 + "), recorded by " + imported.engine + ", evidence " +
                  said.evidence + "; what ran is its recorder's word");
  }
  return out;
}

Result<Traces> take(std::vector<ImportedTrace> traces, const Plan& plan, Records& records) {
  Traces out;
  for (const PlannedCell& planned : plan.cells) {
    JudgeCell cell;
    cell.class_hash = planned.class_hash;
    cell.class_recipe = planned.class_recipe;
    cell.wants_golden = !planned.asked_class.empty();
    const bool skipped = !planned.skip_reason.empty();
    cell.state = skipped ? JudgeCell::State::skipped : JudgeCell::State::not_run;
    cell.state_reason = skipped ? planned.skip_reason : "no trace stands for it";
    out.cells.push_back(std::move(cell));
  }
  for (ImportedTrace& imported : traces) {
    const std::size_t i = index_of(plan, imported.cell);
    JudgeCell& cell = out.cells[i];
    std::vector<CellInfo> record{records.cells[i]};
    if (cell.has_trace()) {
      record.front().attempt = int(cell.attempts.size()) + 1;
      record.front().key = imported.key;
      if (auto ok = records.store->plan(record); !ok) return ok.error();
    }
    if (auto ok = records.store->finish(record.front(), imported.trace); !ok) return ok.error();
    if (!cell.has_trace()) records.cells[i] = record.front();
    cell.state = JudgeCell::State::executed;
    cell.state_reason.clear();
    cell.attempts.push_back(std::move(imported.trace));
  }
  return out;
}

}  // namespace isobit
