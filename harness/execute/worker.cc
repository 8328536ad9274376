// A job's request, its engine, and what the runtime does not know of its trace.
#include "harness/execute/worker.h"

#include <algorithm>

#include "harness/execute/spill.h"
#include "harness/judge/judge.h"

namespace isobit {
namespace {

/// Ids, answers and decoded text of the prompts, which the runtime does not know.
void label_prompts(const Session& session, const ModelSession& model, CellTrace& trace) {
  for (std::size_t p = 0; p < trace.prompts.size(); ++p) {
    PromptTrace& prompt = trace.prompts[p];
    prompt.id = session.prompts[p].id;
    prompt.answer = session.prompts[p].answer;
    if (!model.tokenizer) continue;
    std::vector<std::int32_t> ids;
    for (const TokenRecord& token : prompt.tokens) ids.push_back(token.id);
    prompt.text = model.tokenizer->decode(ids);
  }
}

/// Why a taught cell was not fed what its teacher says, or empty.
std::string not_taught(const Job& job, const CellTrace& trace) {
  for (std::size_t p = 0; p < job.teacher.size() && p < trace.prompts.size(); ++p) {
    const std::vector<std::int32_t>& teacher = job.teacher[p];
    const std::vector<TokenRecord>& tokens = trace.prompts[p].tokens;
    for (std::size_t i = 0; i < std::min(teacher.size(), tokens.size()); ++i) {
      const bool last = i + 1 == tokens.size();  // nothing may have been fed after it
      if (tokens[i].fed == teacher[i] || (last && tokens[i].fed < 0)) continue;
      return "the teacher's token " + std::to_string(i) + " of prompt " + trace.prompts[p].id +
             " was not fed";
    }
    if (tokens.size() != teacher.size()) {
      return "prompt " + trace.prompts[p].id + " was fed " + std::to_string(tokens.size()) +
             " of the teacher's " + std::to_string(teacher.size()) + " tokens";
    }
  }
  return "";
}

/// What is to be thought of a donor's run: it gave the rows of what was asked, or the cell fails,
/// or says why it is doubtful.
void judge_donor(const GenerateRequest& request, const GenerateResult& generated,
                 CellTrace& trace) {
  if (generated.donor == nullptr || trace.status != CellStatus::ok) return;
  const Judgement judged = check_observed(*request.patch.donor, *generated.donor, false);
  if (judged.verdict == Verdict::pass) return;
  if (judged.verdict == Verdict::mistrusted) {
    trace.observed.patch_doubt = judged.reason;
    return;
  }
  trace.status = CellStatus::failed;
  trace.reason = "the donor: " + judged.reason;
}

}  // namespace

Runtime& ModelRuntime::of(const ModelSession& model) {
  if (model_ != &model) {
    runtime_.reset();  // before the next is made: both may not fit
    // The session outlives the runtime.
    const std::shared_ptr<const LoadedModel> weights(std::shared_ptr<void>(), &model.model);
    runtime_ = std::make_unique<Runtime>(weights);
    model_ = &model;
  }
  return *runtime_;
}

Engine& CellRunner::engine_of(const ModelSession& model, const GenerateRequest& request) {
  if (request.operation.kind != OperationKind::none) return operations_;
  const EngineChoice& choice = request.backend.engine;
  if (whole_model_ != &model || whole_name_ != choice.text()) {
    // The session outlives the engine.
    const std::shared_ptr<const LoadedModel> weights(std::shared_ptr<void>(), &model.model);
    whole_ = make_whole_engine(weights, choice);
    whole_name_ = choice.text();
    whole_model_ = &model;
  }
  if (whole_ != nullptr) return *whole_;
  return runtime_.of(model);
}

/// What a device, the system or a library refuses before the ranks run is the cell's failure, not
/// the end of the process: the next cell may need less. Over several processes it is the end: the
/// others wait for this one somewhere else.
Result<GenerateResult> CellRunner::generate(const ModelSession& model,
                                            const GenerateRequest& request) {
  if (request.world != nullptr) return engine_of(model, request).generate(request);
  try {
    return engine_of(model, request).generate(request);
  } catch (const BackendError& error) {
    return Error{error.what(), ""};
  } catch (const std::bad_alloc& error) {
    return Error{memory_text(error), ""};
  }
}

JobResult CellRunner::run(const Job& job, World* across) {
  JobResult result;
  result.id = job.id;
  result.attempt = job.attempt;
  const auto fail = [&](const std::string& reason) {
    result.trace.status = CellStatus::failed;
    result.trace.reason = reason;
  };
  GenerateRequest request = request_for(scenario_, session_, *job.cell, job.teacher);
  request.capture = job.capture;
  request.world = across;
  std::unique_ptr<SpillWriter> spill;
  if (!job.spill.empty()) {
    spill = std::make_unique<SpillWriter>(job.spill);
    request.spill = [&spill](int prompt, std::int64_t position, std::span<const std::byte> row) {
      spill->add(prompt, position, row);
    };
    request.value_row = [&spill](const ValueKey& key, std::span<const std::byte> row) {
      spill->add(key, row);
    };
  }
  if (job.values) request.values = scenario_.values;
  if (hooks_ != nullptr && hooks_->request) hooks_->request(*job.cell, request);
  const ModelSession& model = session_.of(*job.cell);
  auto generated = generate(model, request);
  if (!generated) {
    fail(generated.error().text());
    return result;
  }
  result.trace = std::move(generated->trace);
  result.captured = std::move(generated->captured);
  label_prompts(session_, model, result.trace);
  const bool keeps = across == nullptr || across->rank() == 0;
  if (keeps) judge_donor(request, *generated, result.trace);
  if (keeps && result.trace.status == CellStatus::ok) {
    if (const std::string why = not_taught(job, result.trace); !why.empty()) fail(why);
  }
  if (spill && !spill->finish()) fail(spill->problem());
  if (hooks_ != nullptr && hooks_->trace) hooks_->trace(*job.cell, result.trace);
  return result;
}

}  // namespace isobit
