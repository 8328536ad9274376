// What the cells of one scenario share: the loaded models, and for each its tokenizer, the prompts
// as its tokens, and the digests that recipes need. Made once, before workers are forked; read-only
// afterwards. Weights are mapped files, or made of some: packed they are in the workers alone.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/matrix/matrix.h"
#include "harness/matrix/recipe.h"
#include "harness/scenario/prompts.h"
#include "runtime/run/generate.h"
#include "runtime/tokenizer/tokenizer.h"

namespace isobit {

/// Tokens that a cell is fed, by prompt.
using Lessons = std::vector<std::vector<std::int32_t>>;

/// One of the models: a value of the axis `model`, or what the key says.
struct ModelSession {
  std::string name;                    // text of the axis' value
  std::string word;                    // for open_model()
  LoadedModel model;                   // empty when the scenario is one operation
  std::optional<Tokenizer> tokenizer;  // empty when every prompt is given as tokens
  std::vector<PromptTokens> tokens;    // by prompt
  Lessons answers;                     // empty: no cell is fed them
  Lessons continuations;               // the same
  std::vector<ScoreLine> lines;        // by prompt: what scores read
  std::vector<std::int32_t> eos;       // tokens that may end a reply early
  RecipeInputs inputs;
  /// What the prompt file says that a cell with this teacher_forced is fed; empty: it does not.
  [[nodiscard]] const Lessons& given(const std::string& taught) const;
  std::vector<std::string> warnings;  // "1 prompt does not begin with the model's BOS: p1"
};

struct Session {
  std::vector<Prompt> prompts;         // of the file, whatever the model
  std::vector<OperationShape> shapes;  // of one operation, by prompt
  std::vector<ModelSession> models;    // one at least
  /// The model of a cell. REQUIRES: a cell of the scenario whose model was opened.
  [[nodiscard]] const ModelSession& of(const Cell& cell) const;
  /// The same, or null when its model was not opened.
  [[nodiscard]] const ModelSession* find(const Cell& cell) const;
  /// Warnings of all models; where there are several each says of which.
  [[nodiscard]] std::vector<std::string> warnings() const;
};

/// The prompts of the scenario's file.
Result<std::vector<Prompt>> read_prompts(const Scenario& scenario);
/// The prompts as tokens of a model that is loaded already; one that this model cannot take
/// (another vocabulary, a context too short for it and its new tokens) is an error of its line.
Result<void> read_tokens(const Scenario& scenario, const std::vector<Prompt>& prompts,
                         ModelSession& session);

/// The same of one operation: its shapes (execute/operation.cc).
Result<Session> open_operation(const Scenario& scenario);

/// Why a model cannot be opened, at the place of the value that names it, or of its scenario; what
/// has a place in the model's own files keeps it.
Error model_error(const Error& error, const AxisValue& value, const Scenario& scenario);

/// Loads prompts and models, one after the other; errors carry the place (scenario, prompt line,
/// model file). `wanted`: the names of the models that are needed; null: all.
Result<Session> open_session(const Scenario& scenario,
                             const std::set<std::string>* wanted = nullptr);

/// Why results computed from now on, or just now, may not be those of the model whose digest the
/// session has: "the model's files changed during the run (PATH)". Empty as long as they are.
std::string model_changed(const ModelSession& session);

/// The runtime's request for a cell: its axes, the prompts, what the scenario says of decoding.
/// `teacher`: by prompt, for teacher-forced cells, else empty.
GenerateRequest request_for(const Scenario& scenario, const Session& session, const Cell& cell,
                            const std::vector<std::vector<std::int32_t>>& teacher);

/// What a cell's key holds of the library between its ranks, or empty (ranks.h).
std::string transport_of(const Cell& cell);

/// Whether some machine has what a requirement wants of a cell: ranks on a CPU are never real.
bool can_be_met(const Requirement& requirement, const Cell& cell);

/// Why a cell cannot run on this machine (engine, isa, core type, ranks, `requires`), or empty.
std::string skip_reason(const Scenario& scenario, const Session& session, const Cell& cell);

}  // namespace isobit
