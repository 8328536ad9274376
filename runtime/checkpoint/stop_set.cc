// Implementation of runtime/checkpoint/stop_set.h.
#include "runtime/checkpoint/stop_set.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/checkpoint/json.h"

namespace isobit {
namespace {

using nlohmann::json;

/// llama.cpp's list of names that end a generation.
constexpr const char* kEnds[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>",        "<|endoftext|>",
    "<|eom_id|>", "<EOT>",      "_<EOT>",  "<|end_of_text|>",      "<end_of_utterance>",
    "<|return|>", "<|call|>",   "[EOT]",   "<|END_OF_TURN_TOKEN|>"};

constexpr std::int32_t kControl = 3, kUserDefined = 4;

}  // namespace

void add_stop_token(ModelConfig& config, std::int64_t id, const std::string& origin) {
  if (id < 0 || id > std::numeric_limits<std::int32_t>::max()) return;
  const auto token = static_cast<std::int32_t>(id);
  auto& ids = config.eos_tokens;
  if (std::find(ids.begin(), ids.end(), token) != ids.end()) return;
  ids.push_back(token);
  config.eos_origins.push_back(id < config.vocab_size || config.vocab_size == 0
                                   ? origin
                                   : origin + ", beyond the vocabulary");
}

Result<void> set_stop_tokens(ModelConfig& config, const json& value, const std::string& origin,
                             const std::string& place) {
  config.eos_tokens.clear();
  config.eos_origins.clear();
  if (value.is_null()) return {};
  const json list = value.is_array() ? value : json::array({value});
  for (const json& id : list) {
    const bool good =
        id.is_number_integer() && id >= -1 && id <= std::numeric_limits<std::int32_t>::max();
    if (!good) {
      return Error{"eos_token_id is " + shown(id.dump(-1, ' ', true)) + "; it must be a token id",
                   place};
    }
    add_stop_token(config, id.get<std::int64_t>(), origin);
  }
  return {};
}

Result<bool> read_generation_config(const std::string& text, const std::string& place,
                                    ModelConfig& config) {
  const auto file = parse_strict_json(text, JsonPlace{place, std::nullopt});
  ISOBIT_TRY(file);
  if (!file->is_object()) return Error{"must be a JSON object", place};
  const json value = file->contains("eos_token_id") ? (*file)["eos_token_id"] : json();
  ModelConfig changed = config;
  const auto set = set_stop_tokens(changed, value, "generation_config.json", place);
  ISOBIT_TRY(set);
  std::vector<std::int32_t> before = config.eos_tokens, after = changed.eos_tokens;
  std::sort(before.begin(), before.end());
  std::sort(after.begin(), after.end());
  for (std::size_t at = 0; at < changed.eos_tokens.size(); ++at) {  // the first file is told
    const auto found =
        std::find(config.eos_tokens.begin(), config.eos_tokens.end(), changed.eos_tokens[at]);
    if (found == config.eos_tokens.end()) continue;
    changed.eos_origins[at] =
        config.eos_origins[static_cast<std::size_t>(found - config.eos_tokens.begin())];
  }
  const bool differs = before != after;
  config.eos_tokens = std::move(changed.eos_tokens);
  config.eos_origins = std::move(changed.eos_origins);
  config.stop_set_is_whole = true;
  return differs;
}

void set_stop_tokens(ModelConfig& config, const GgufTokenizer& tokenizer) {
  config.eos_tokens.clear();
  config.eos_origins.clear();
  config.stop_set_is_whole = true;
  add_stop_token(config, tokenizer.eos, "eos_token_id");
  add_stop_token(config, tokenizer.eot, "eot_token_id");
  add_stop_token(config, tokenizer.eom, "eom_token_id");
  for (std::size_t id = 0; id < tokenizer.tokens.size(); ++id) {
    const std::string& token = tokenizer.tokens[id];
    const std::int32_t type = id < tokenizer.token_types.size() ? tokenizer.token_types[id] : 1;
    if (type != kControl && type != kUserDefined) continue;
    if (std::find(std::begin(kEnds), std::end(kEnds), token) == std::end(kEnds)) continue;
    add_stop_token(config, static_cast<std::int64_t>(id), "named " + token);
  }
}

std::string stop_set_text(const ModelConfig& config) {
  std::string out;
  for (std::size_t at = 0; at < config.eos_tokens.size(); ++at) {
    out += (out.empty() ? "" : ", ") + std::to_string(config.eos_tokens[at]);
    if (at < config.eos_origins.size()) out += " (" + config.eos_origins[at] + ")";
  }
  return out.empty() ? "none" : out;
}

}  // namespace isobit
