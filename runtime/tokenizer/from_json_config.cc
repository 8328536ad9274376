// Reads tokenizer_config.json: which tokens are BOS and EOS, and the chat template.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/checkpoint/json.h"
#include "runtime/tokenizer/from_json.h"

namespace isobit {
namespace {

using nlohmann::json;

/// "tokenizer_config.json" in the folder of `place`.
std::string beside(const std::string& place) {
  const std::size_t slash = place.rfind('/');
  return (slash == std::string::npos ? "" : place.substr(0, slash + 1)) + "tokenizer_config.json";
}

/// A member that is a string, or an object with the string in "content". Null: empty.
Result<std::string> token_text(const json& config, const char* key, const std::string& place) {
  if (!config.contains(key) || config[key].is_null()) return std::string();
  const json& value = config[key];
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string()) {
    return value["content"].get<std::string>();
  }
  return Error{"expected a token's text", place + ": " + key};
}

Result<std::int32_t> id_of_text(const TokenizerSpec& spec, const std::string& text,
                                const std::string& place) {
  if (text.empty()) return -1;
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), text);
  if (found == spec.tokens.end()) {
    return Error{"the tokenizer has no token " + shown(text), place};
  }
  return static_cast<std::int32_t>(found - spec.tokens.begin());
}

/// The template itself, or the one called "default" of a list.
Result<std::string> template_text(const json& config, const std::string& place) {
  if (!config.contains("chat_template") || config["chat_template"].is_null()) return std::string();
  const json& value = config["chat_template"];
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) {
    for (const json& entry : value) {
      if (entry.is_object() && entry.value("name", json()) == json("default") &&
          entry.contains("template") && entry["template"].is_string()) {
        return entry["template"].get<std::string>();
      }
    }
  }
  return Error{"expected a template, or a list of templates with one named \"default\"",
               place + ": chat_template"};
}

}  // namespace

Result<void> read_tokenizer_config(const std::string& config_json, const std::string& place,
                                   TokenizerSpec& spec) {
  if (config_json.empty()) return {};
  const std::string here = beside(place);
  const auto config = parse_strict_json(config_json, JsonPlace{here, std::nullopt});
  ISOBIT_TRY(config);
  if (!config->is_object()) return Error{"expected an object", here};
  const auto bos = token_text(*config, "bos_token", here);
  ISOBIT_TRY(bos);
  const auto eos = token_text(*config, "eos_token", here);
  ISOBIT_TRY(eos);
  const auto bos_id = id_of_text(spec, *bos, here + ": bos_token");
  ISOBIT_TRY(bos_id);
  const auto eos_id = id_of_text(spec, *eos, here + ": eos_token");
  ISOBIT_TRY(eos_id);
  const auto chat = template_text(*config, here);
  ISOBIT_TRY(chat);
  spec.bos = *bos_id;
  spec.eos = *eos_id;
  spec.bos_text = *bos;
  spec.eos_text = *eos;
  spec.chat_template = *chat;
  return {};
}

}  // namespace isobit
