// The session of a scenario that is one operation: shapes instead of a model and prompts.
#include <filesystem>

#include "harness/execute/session.h"
#include "harness/scenario/shapes.h"
#include "runtime/run/operation_shapes.h"

namespace isobit {
Result<Session> open_operation(const Scenario& scenario) {
  const OperationChoice& operation = scenario.operation;
  const std::filesystem::path folder = std::filesystem::path(scenario.path).parent_path();
  auto shapes =
      load_shapes((folder / operation.shapes).lexically_normal().string(), operation.kind);
  ISOBIT_TRY(shapes);
  Session session;
  ModelSession& none = session.models.emplace_back();
  none.name = none.word = scenario.model;
  std::string all;
  for (const PlacedShape& each : *shapes) {
    Prompt prompt;
    prompt.id = each.shape.id;
    prompt.place = each.place;
    // What names a shape's rows stands where a prompt's tokens do: the bytes of its text.
    const std::string text = text_of(operation.kind, each.shape);
    for (const char byte : text) prompt.tokens.push_back(static_cast<unsigned char>(byte));
    const Sha256 hash = tokens_digest(prompt.tokens);
    all.append(reinterpret_cast<const char*>(hash.data()), hash.size());
    none.tokens.push_back({prompt.tokens, {}, prompt.id});
    session.prompts.push_back(std::move(prompt));
    session.shapes.push_back(each.shape);
  }
  none.inputs.prompts_digest = to_hex(sha256(all.data(), all.size()));
  none.inputs.model_digest = scenario.model;
  none.inputs.tokenizer_digest = "none";
  none.inputs.numerics_version = kNumericsVersion;
  none.inputs.segments = kOperationSegments;
  return session;
}

}  // namespace isobit
