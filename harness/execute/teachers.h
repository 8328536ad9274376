// What teacher-forced cells are fed: the tokens of the prompts' answers or continuations, or the
// reference's own choice with the cell's model, precision and way to decode, one sequence at a
// time, made once a run.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "harness/execute/executor.h"

namespace isobit {

class Teachers {
 public:
  /// Executes the lessons that these cells need and that are not there yet; without hooks: the
  /// teacher is the reference, whatever is under test. A lesson that fails (logits that are not
  /// finite in this precision, say) fails its cells alone: failure_of() has the reason.
  Result<void> prepare(const Scenario& scenario, const Session& session,
                       const std::vector<const Cell*>& cells, ExecutorOptions options);
  /// By prompt; empty for a cell that is not teacher-forced.
  [[nodiscard]] std::vector<std::vector<std::int32_t>> of(const Cell& cell) const;
  /// Why the cell cannot be taught, or "".
  [[nodiscard]] std::string failure_of(const Cell& cell) const;

 private:
  std::map<std::string, Lessons> taught_;                         // by key_of() the cells
  std::map<std::string, std::string> failed_;                     // the same: the reason
  std::map<std::pair<std::string, std::string>, Lessons> given_;  // by model, and what is fed
};

}  // namespace isobit
