// What the cells of one scenario share: the loaded model, its tokenizer, the prompts as tokens,
// and the digests that recipes need. Made once, before workers are forked; read-only afterwards.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/matrix/matrix.h"
#include "harness/matrix/recipe.h"
#include "harness/scenario/prompts.h"
#include "runtime/run/generate.h"
#include "runtime/tokenizer/tokenizer.h"

namespace isobit {

struct Session {
  LoadedModel model;                   // empty when the scenario is one operation
  std::vector<OperationShape> shapes;  // of that operation, by prompt
  std::optional<Tokenizer> tokenizer;  // empty when every prompt is given as tokens
  std::vector<Prompt> prompts;
  std::vector<PromptTokens> tokens;                      // by prompt
  std::vector<std::vector<std::int32_t>> answers;        // by prompt; empty: no cell is fed them
  std::vector<std::vector<std::int32_t>> continuations;  // the same
  std::vector<ScoreLine> lines;                          // by prompt: what scores read
  std::vector<std::int32_t> eos;
  RecipeInputs inputs;
  /// What the prompt file says that a cell with this teacher_forced is fed; empty: it does not.
  [[nodiscard]] const std::vector<std::vector<std::int32_t>>& given(
      const std::string& taught) const;
  std::vector<std::string> warnings;  // "1 prompt does not begin with the model's BOS: p1"
};

/// Reads the prompts as tokens of a model that is loaded already; one that this model cannot take
/// (another vocabulary, a context too short for it and its new tokens) is an error of its line.
Result<void> read_prompts(const Scenario& scenario, Session& session);

/// The same of one operation: its shapes (execute/operation.cc).
Result<Session> open_operation(const Scenario& scenario);

/// Loads model and prompts; errors carry the place (scenario, prompt line, model file).
Result<Session> open_session(const Scenario& scenario);

/// Why results computed from now on, or just now, may not be those of the model whose digest the
/// session has: "the model's files changed during the run (PATH)". Empty as long as they are.
std::string model_changed(const Session& session);

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
