// Donors as requests, and the checks before anything is computed.
#include "harness/execute/patches.h"

#include <algorithm>
#include <set>

#include "harness/matrix/patches.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

/// As long as what the cell will be fed, as far as that is known before it is made.
std::vector<std::vector<std::int32_t>> likely_teacher(const Scenario& scenario,
                                                      const ModelSession& session,
                                                      const Cell& cell) {
  const std::string& taught = cell.value("teacher_forced");
  if (taught == "false") return {};
  if (!session.given(taught).empty()) return session.given(taught);
  const std::vector<std::int32_t> some(std::size_t(scenario.decode.max_new_tokens), 0);
  return std::vector<std::vector<std::int32_t>>(session.tokens.size(), some);
}

/// There is a prompt of this id.
Result<void> check_prompt(const std::string& id, const Session& session) {
  std::vector<std::string> ids;
  for (const Prompt& prompt : session.prompts) ids.push_back(prompt.id);
  if (id.empty() || std::find(ids.begin(), ids.end(), id) != ids.end()) return {};
  return Error{
      "patch from prompt " + in_quotes(id) + ": there is no such prompt" + did_you_mean(id, ids),
      ""};
}

}  // namespace

void add_donor(const Scenario& scenario, const Session& session, const Cell& cell,
               const std::vector<std::vector<std::int32_t>>& teacher, GenerateRequest& request) {
  const auto donor = donor_of(cell);
  if (!donor) return;
  GenerateRequest theirs = request_for(scenario, session, *donor, teacher);
  theirs.level = TraceLevel::logits;
  theirs.log_sums = false;
  request.patch.donor = std::make_shared<const GenerateRequest>(std::move(theirs));
  for (std::size_t p = 0; p < session.prompts.size(); ++p) {
    if (session.prompts[p].id == request.patch.spec.prompt) request.patch.donor_prompt = int(p);
  }
}

Result<void> check_patches(const Scenario& scenario, const Session& session, const Matrix& matrix) {
  std::set<std::string> seen;
  for (const Cell& cell : matrix.cells) {
    const PatchValue* const patch = patch_of(cell);
    const ModelSession* const model = session.find(cell);
    if (patch == nullptr || model == nullptr) continue;
    const std::string& place = cell.at("patch").place;
    const auto wrong = [&](const Result<void>& why) {
      return Error{cell.name() + ": " + why.error().message, place};
    };
    if (!seen.insert(model->name + "/" + patch->spec.text + "/" + cell.value("teacher_forced"))
             .second)
      continue;
    if (auto ok = check_prompt(patch->spec.prompt, session); !ok) return wrong(ok);
    const auto teacher = likely_teacher(scenario, *model, cell);
    const GenerateRequest asked = request_for(scenario, session, cell, teacher);
    if (auto ok = check_patch(asked, model->model.config); !ok) return wrong(ok);
  }
  return {};
}

}  // namespace isobit
