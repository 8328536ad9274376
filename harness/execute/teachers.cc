// Lessons as ordinary jobs of the executor.
#include "harness/execute/teachers.h"

#include <set>

namespace isobit {
namespace {

/// By the reference's own choice; not by what the prompt file gives.
bool is_taught(const Cell& cell) {
  return cell.value("teacher_forced") == "true";
}

/// The axes on which a lesson is as its cell; the reference's other axes change none of its bits.
constexpr const char* kOfLessons[] = {"model", "precision", "decode"};

std::string key_of(const Cell& cell) {
  std::string key;
  for (const char* axis : kOfLessons) key += cell.value(axis) + "\n";
  return key;
}

}  // namespace

Result<void> Teachers::prepare(const Scenario& scenario, const Session& session,
                               const std::vector<const Cell*>& cells, ExecutorOptions options) {
  for (const ModelSession& model : session.models) {
    for (const char* what : {"answer", "continuation"}) {
      given_[{model.name, what}] = model.given(what);
    }
  }
  std::vector<Cell> lessons;
  std::set<std::string> wanted;
  for (const Cell* cell : cells) {
    const std::string key = key_of(*cell);
    if (!is_taught(*cell) || taught_.count(key) != 0 || !wanted.insert(key).second) continue;
    Cell lesson = *cell;
    for (const Axis& axis : all_axes()) lesson.axes[axis.name] = usual_value(axis.name);
    for (const char* axis : kOfLessons) lesson.axes[axis] = cell->at(axis);
    lessons.push_back(lesson);
  }
  if (lessons.empty()) return {};
  std::vector<Job> jobs(lessons.size());
  for (std::size_t i = 0; i < lessons.size(); ++i) {
    jobs[i].id = int(i);
    jobs[i].cell = &lessons[i];
  }
  options.hooks = nullptr;
  auto all = execute(scenario, session, jobs, options, [&](JobResult&& result) {
    const std::string key = key_of(lessons[std::size_t(result.id)]);
    if (result.trace.status != CellStatus::ok) {
      failed_[key] = "the teacher failed: " + result.trace.reason;
      return true;
    }
    auto& taught = taught_[key];
    for (const PromptTrace& prompt : result.trace.prompts) {
      taught.emplace_back();
      for (const TokenRecord& token : prompt.tokens) taught.back().push_back(token.id);
    }
    return true;
  });
  ISOBIT_TRY(all);
  return {};
}

std::string Teachers::failure_of(const Cell& cell) const {
  const auto at = is_taught(cell) ? failed_.find(key_of(cell)) : failed_.end();
  return at == failed_.end() ? "" : at->second;
}

std::vector<std::vector<std::int32_t>> Teachers::of(const Cell& cell) const {
  if (is_taught(cell)) {
    const auto at = taught_.find(key_of(cell));
    return at == taught_.end() ? Lessons{} : at->second;
  }
  const auto at = given_.find({cell.value("model"), cell.value("teacher_forced")});
  return at == given_.end() ? Lessons{} : at->second;
}

}  // namespace isobit
