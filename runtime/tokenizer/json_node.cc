// Implementation of runtime/tokenizer/json_node.h but for read_tokenizer_steps.
#include "runtime/tokenizer/json_node.h"

#include "runtime/checkpoint/json.h"

namespace isobit {

using nlohmann::json;

JsonNode JsonNode::at(const std::string& key) const {
  static const json kNull;
  const bool has = value->is_object() && value->contains(key);
  const bool top = place.find(": ") == std::string::npos;
  return {has ? &(*value)[key] : &kNull, place + (top ? ": " : ".") + key};
}

Result<bool> json_flag(const JsonNode& node, bool otherwise) {
  if (node.none()) return otherwise;
  if (!node.value->is_boolean()) return node.error("expected true or false");
  return node.value->get<bool>();
}

Result<std::int32_t> json_token_id(const JsonNode& node) {
  const bool whole = node.value->is_number_unsigned();
  if (!whole || node.value->get<std::uint64_t>() >= std::uint64_t{kMaxTokenIds}) {
    return node.error("expected a token id from 0 to " + std::to_string(kMaxTokenIds - 1));
  }
  return node.value->get<std::int32_t>();
}

Error json_refusal(const JsonNode& node, const std::string& what) {
  return node.error(what +
                    " is not supported; this reader knows BPE (byte-level as GPT-2, Llama-3, Qwen2 "
                    "and GPT-4o use it, or of characters as Llama-2 and Gemma) and Unigram");
}

Result<void> json_only(const JsonNode& node, const std::set<std::string>& known) {
  if (!node.value->is_object()) return node.error("expected an object");
  for (const auto& [key, value] : node.value->items()) {
    if (known.count(key) == 0) return json_refusal(node.at(key), "the key " + shown(key));
  }
  return {};
}

}  // namespace isobit
