// A model made of a base and of task vectors: what a scenario's `model: {base, tasks, merge,
// store}` says, and its one text form (scenarios/SCHEMA.md; Kim et al. 2025, arXiv 2503.06921).
//
// The text is JSON with sorted keys, on one line. It stands wherever a model's name does: in a
// Scenario, for open_model() and model_digest(), in `isobit model info '{…}'`. Pure; no file is
// read.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace isobit {

/// How task vectors are kept: as they are, as codes of `bits` each (tvq), as a base that all share
/// and an offset each (rtvq), or as codes of the fine-tuned checkpoints themselves (rtn).
struct TaskStore {
  enum class Kind { none, tvq, rtvq, rtn };
  Kind kind = Kind::none;
  int bits = 0;       // of a task's codes, 1 to 8
  int base_bits = 0;  // rtvq: of the shared base's
  bool operator==(const TaskStore&) const = default;
};

struct MergedModel {
  std::string base;                // a model's word: name, folder, .gguf
  std::vector<std::string> tasks;  // the same, a .safetensors file, or FILE.tasks[:NAME]
  double scale = 0;                // merge: {arithmetic: scale}; no tasks: 0
  TaskStore store;
};

/// Most tasks of a merge, and of a file of task vectors.
constexpr std::size_t kMostTasks = 64;
constexpr double kLargestScale = 1e6;
constexpr int kMostTaskBits = 8;

/// Whether a model's word is the text of a merged model.
inline bool is_merged(const std::string& model) {
  return !model.empty() && model[0] == '{';
}

/// The last component of a path; a word without '/' is its own.
std::string last_component(const std::string& path);
/// What a model's word means wherever its project is: its last component, or meaning_of() the
/// merged model.
std::string meaning_of_model(const std::string& word);

/// Errors name the key; no place.
Result<MergedModel> parse_merged(const std::string& text);
/// The text. REQUIRES: check() found nothing.
std::string text_of(const MergedModel& merged);
/// "none", "tvq 4", "rtvq 3+2", "rtn 8".
std::string text_of(const TaskStore& store);
/// The key that is wrong and why: {"merge", "…"}; both empty: nothing is.
struct MergedProblem {
  std::string key, message;
};
MergedProblem check(const MergedModel& merged);
/// The text with the last component of each path: what a cell's name means wherever its project is.
std::string meaning_of(const MergedModel& merged);

}  // namespace isobit
