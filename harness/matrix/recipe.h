// What names a cell and a class: the meaning that goldens and the result cache are keyed by.
//
// Recipes are sorted "key=value" lines, hashed with SHA-256. The environment (device, driver,
// commit) is not in a recipe, but for a vendor's library and what it chooses its kernels by; what
// decides whether a stored result may stand for an execution is in the ExecutionKey.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "harness/matrix/matrix.h"
#include "runtime/trace.h"

namespace isobit {

/// Digests of everything that a scenario's cells share.
struct RecipeInputs {
  std::string model_digest;      // hex SHA-256 over the model's files (config, tensors)
  std::string tokenizer_digest;  // hex, or "none" for token prompts
  std::string prompts_digest;    // hex over the selected prompts' token ids
  std::string answers_digest;    // hex over the token ids of the answers, where cells are fed them
  std::string numerics_version;  // "F1"
  std::int64_t segments = 8;     // V of the model (NUMERICS.md), part of the class
  std::string continuations_digest{};                   // as that of the answers
  std::map<std::string, std::string> prompt_digests{};  // hex of a prompt's token ids, by its id
};

/// "decode.key=value" lines, sorted. `all` writes every parameter that has a meaning (those of
/// sampling only with strategy sample), `changed` only what differs from its default. Real numbers
/// are hex floats.
enum class DecodeLines { all, changed };
std::string decode_lines(const Decode& decode, DecodeLines which);

/// Class recipe: model, tokenizer, decode parameters, segments, numerics version and class_axes().
/// That of one operation has its name for a model and no decode parameters.
/// Prompts are not in it: a golden is keyed by (class recipe, one prompt's tokens). `machine`: the
/// lines of a vendor's engine, which no other has (is_machine_key() in golden/recipe.h):
/// "library.FILE=SHA-256", "variant=CORE TYPE or GPU", "variable.NAME=VALUE".
std::string class_recipe(const Scenario& scenario, const Cell& cell, const RecipeInputs& inputs,
                         const std::vector<std::string>& machine = {});
/// Everything that names the cell: class recipe, all axes, prompts, trace level, log sums.
std::string cell_recipe(const Scenario& scenario, const Cell& cell, const RecipeInputs& inputs);
Sha256 recipe_hash(const std::string& recipe);

/// Key of a stored result (architecture.md, decision 9): cell recipe, SHA-256 of the running
/// executable and of every loaded library that computes, device model, numeric options. The order
/// of `binaries` does not matter; write each as "role=value".
Sha256 execution_key(const std::string& cell_recipe, const std::vector<std::string>& binaries);

}  // namespace isobit
