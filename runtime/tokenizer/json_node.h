// A value of a JSON file with its path, which is what errors name, and the strict reading of what
// the tokenizer's files hold.
//
// Promise: a value of another kind than asked for is an error of its place. Called by the readers
// of tokenizer.json and of the files beside it only.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "runtime/base/result.h"
#include "runtime/tokenizer/spec.h"

namespace isobit {

struct JsonNode {
  const nlohmann::json* value;
  std::string place;  // "tokenizer.json: model.merges[3]"

  /// The member `key`; null when this is no object or has no such member.
  [[nodiscard]] JsonNode at(const std::string& key) const;
  [[nodiscard]] JsonNode at(std::size_t index) const {
    return {&(*value)[index], place + "[" + std::to_string(index) + "]"};
  }
  [[nodiscard]] bool none() const { return value->is_null(); }
  [[nodiscard]] std::size_t size() const { return value->is_array() ? value->size() : 0; }
  [[nodiscard]] std::string text() const {
    return value->is_string() ? value->get<std::string>() : std::string();
  }
  [[nodiscard]] Error error(std::string message) const { return {std::move(message), place}; }
};

/// A flag that may be absent. Anything but a boolean or null is an error.
Result<bool> json_flag(const JsonNode& node, bool otherwise);
/// An id: a whole number in [0, kMaxTokenIds).
Result<std::int32_t> json_token_id(const JsonNode& node);
/// "what is not supported", and what is.
Error json_refusal(const JsonNode& node, const std::string& what);
/// Refuses an object's members that are not in `known`.
Result<void> json_only(const JsonNode& node, const std::set<std::string>& known);

/// The steps around the model: normalizer, pre_tokenizer, post_processor, decoder. The model and
/// the added tokens are in `spec` already.
Result<void> read_tokenizer_steps(const JsonNode& file, TokenizerSpec& spec);

}  // namespace isobit
