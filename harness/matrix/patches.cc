// Donors of patched cells.
#include "harness/matrix/patches.h"

namespace isobit {

const PatchValue* patch_of(const Cell& cell) {
  const auto found = cell.axes.find("patch");
  if (found == cell.axes.end()) return nullptr;
  const auto* value = std::get_if<PatchValue>(&found->second.setting);
  return value != nullptr && value->spec.patches() ? value : nullptr;
}

std::optional<Cell> donor_of(const Cell& cell) {
  const PatchValue* const patch = patch_of(cell);
  if (patch == nullptr) return {};
  Cell donor = cell;
  for (const auto& [axis, value] : patch->donor->values) donor.axes[axis] = value;
  donor.axes["patch"] = usual_value("patch");
  donor.hash.clear();
  return donor;
}

Result<void> check_patch(const Scenario& scenario, const Cell& cell) {
  const PatchValue* const patch = patch_of(cell);
  if (patch == nullptr) return {};
  const auto wrong = [&](const std::string& why) {
    return Error{cell.name() + ": " + why, cell.at("patch").place};
  };
  const Cell donor = *donor_of(cell);
  for (const Cell* each : {&cell, &donor}) {
    const EngineEntry* engine = find_engine(each->at("engine").head);
    if (engine == nullptr || engine->whole == nullptr) continue;
    return wrong("patch and engine " + each->value("engine") +
                 ": rows are put into this program's own forward pass");
  }
  const bool taught = cell.value("teacher_forced") != "false";
  if (patch->spec.prompt.empty() && !taught && scenario.decode.max_new_tokens > 1) {
    return wrong("patch from " + cell.at("patch").args.at("from") +
                 ": donor and cell may draw other tokens; it needs teacher_forced: true, or "
                 "answer, under decode, and in the entries of include, or max_new_tokens: 1");
  }
  const std::string why = refuse_patch(patch->spec, cell.requested(), donor.requested());
  return why.empty() ? Result<void>() : wrong("patch " + patch->spec.text + " and " + why);
}

}  // namespace isobit
