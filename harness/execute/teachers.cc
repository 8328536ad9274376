// Lessons as ordinary jobs of the executor.
#include "harness/execute/teachers.h"

#include <set>

namespace isobit {
namespace {

/// By the reference's own choice; not by what the prompt file gives.
bool is_taught(const Cell& cell) {
  return cell.value("teacher_forced") == "true";
}

}  // namespace

Result<void> Teachers::prepare(const Scenario& scenario, const Session& session,
                               const std::vector<const Cell*>& cells, ExecutorOptions options) {
  answers_ = session.answers;
  continuations_ = session.continuations;
  std::vector<Cell> lessons;
  std::set<std::string> wanted;
  for (const Cell* cell : cells) {
    const std::string& precision = cell->value("precision");
    if (!is_taught(*cell) || taught_.count(precision) != 0) continue;
    if (!wanted.insert(precision).second) continue;
    Cell lesson = *cell;
    for (const Axis& axis : all_axes()) {
      if (axis.name != "precision") lesson.axes[axis.name] = usual_value(axis.name);
    }
    lessons.push_back(lesson);
  }
  if (lessons.empty()) return {};
  std::vector<Job> jobs(lessons.size());
  for (std::size_t i = 0; i < lessons.size(); ++i) {
    jobs[i].id = int(i);
    jobs[i].cell = &lessons[i];
  }
  std::string failure;
  options.hooks = nullptr;
  auto all = execute(scenario, session, jobs, options, [&](JobResult&& result) {
    if (result.trace.status != CellStatus::ok) failure = result.trace.reason;
    auto& taught = taught_[lessons[std::size_t(result.id)].value("precision")];
    for (const PromptTrace& prompt : result.trace.prompts) {
      taught.emplace_back();
      for (const TokenRecord& token : prompt.tokens) taught.back().push_back(token.id);
    }
    return failure.empty();
  });
  ISOBIT_TRY(all);
  if (!failure.empty()) return Error{"the teacher failed: " + failure, scenario.path};
  return {};
}

std::vector<std::vector<std::int32_t>> Teachers::of(const Cell& cell) const {
  if (cell.value("teacher_forced") == "answer") return answers_;
  if (cell.value("teacher_forced") == "continuation") return continuations_;
  if (!is_taught(cell)) return {};
  const auto at = taught_.find(cell.value("precision"));
  return at == taught_.end() ? std::vector<std::vector<std::int32_t>>{} : at->second;
}

}  // namespace isobit
