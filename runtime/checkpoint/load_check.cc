// Implementation of runtime/checkpoint/load_check.h.
#include "runtime/checkpoint/load_check.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "runtime/checkpoint/json.h"
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

/// Ends of names that older versions of transformers stored and no version reads: tables that are
/// made anew, and causal masks (which are masks by their four dimensions).
struct LeftOver {
  std::string_view end;
  std::size_t least_dimensions;
};
constexpr LeftOver kLeftOver[] = {
    {".rotary_emb.inv_freq", 0}, {".position_ids", 0}, {".attn.bias", 4}, {".attn.masked_bias", 0}};

bool is_left_over(const std::string& name, const std::vector<std::int64_t>& shape) {
  return std::any_of(std::begin(kLeftOver), std::end(kLeftOver), [&](const LeftOver& each) {
    // A name may be stored without its prefix.
    return ("." + name).ends_with(each.end) && shape.size() >= each.least_dimensions;
  });
}

std::string shown_shape(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

/// Why a tensor of the table is not the model's, for a person.
std::string reason(When when) {
  switch (when) {
    case When::attention_bias:
      return "attention_bias is not true in the config";
    case When::mlp_bias:
      return "mlp_bias is not true in the config";
    case When::untied:
      return "lm_head is tied to the embedding";
    case When::dense:
      return "the layer has experts";
    case When::routed:
      return "the layer has no experts";
    case When::always:
    case When::never:
      break;
  }
  return "the architecture has none";
}

Error unread(const std::string& name, const std::string& why, const std::string& place) {
  return Error{"tensor " + shown(name) + " is read by no operation: " + why, place};
}

Error no_number(const std::string& name, const OpaqueTensor& tensor) {
  return Error{"tensor " + shown(name) + ": dtype " + shown(tensor.type) +
                   " is not supported (F64, F32, F16, BF16, F8_E4M3, F8_E5M2)",
               tensor.place};
}

/// Every tensor that is not among `read` must be known to be left over.
Result<void> check_unread(const ModelConfig& config, const std::set<std::string>& read,
                          const Weights& weights, const std::string& place) {
  const std::string why = "architecture " + config.architecture + " with " +
                          std::to_string(config.layers) + " layers has no such tensor";
  for (const auto& [name, tensor] : weights.all()) {
    if (read.count(name) == 0 && !is_left_over(name, tensor.shape)) return unread(name, why, place);
  }
  for (const auto& [name, tensor] : weights.opaque()) {
    if (!is_left_over(name, tensor.shape)) {
      return unread(name, why + " (it is " + tensor.type + ")", tensor.place);
    }
  }
  return {};
}

}  // namespace

Error missing_tensor(const std::string& name, const std::vector<std::int64_t>& shape,
                     const std::string& place) {
  return Error{"tensor " + shown(name) + " of shape " + shown_shape(shape) + " is missing", place};
}

Error wrong_shape(const Tensor& tensor, const std::vector<std::int64_t>& needed,
                  const std::string& place) {
  return Error{"tensor " + shown(tensor.name) + " has shape " + shown_shape(tensor.shape) +
                   " but the config needs " + shown_shape(needed),
               place};
}

Result<void> check_tensors(const ModelConfig& config, Biases biases, const Weights& weights,
                           const std::string& place) {
  std::set<std::string> read;
  const Rope& rope = config.ropes.front();
  if (rope.scaling.kind == RopeScaling::Kind::longrope) {
    read.insert({"rope_factors_short.weight", "rope_factors_long.weight"});
  } else if (!rope.factors.empty()) {
    read.insert("rope_freqs.weight");
  }
  for (TableTensor& needed : table_tensors(config)) {
    const bool optional = needed.is_bias && biases == Biases::stored;
    const bool wanted = optional || needed.belongs;
    const Tensor* tensor = weights.find(needed.name);
    const auto opaque = weights.opaque().find(needed.name);
    if (wanted && opaque != weights.opaque().end()) {
      return no_number(needed.name, opaque->second);
    }
    if (tensor == nullptr) {
      if (optional || !wanted) continue;
      return missing_tensor(needed.name, needed.shape, place);
    }
    if (!wanted) return unread(needed.name, reason(needed.when), place);
    if (tensor->shape != needed.shape) {
      return wrong_shape(*tensor, needed.shape, place);
    }
    read.insert(std::move(needed.name));
  }
  return check_unread(config, read, weights, place);
}

std::vector<std::string> left_over_tensors(const Weights& weights) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : weights.all()) {
    if (is_left_over(name, tensor.shape)) names.push_back(name);
  }
  for (const auto& [name, tensor] : weights.opaque()) {
    if (is_left_over(name, tensor.shape)) names.push_back(name);
  }
  return names;
}

Result<std::map<std::string, std::string>> parse_shard_index(const std::string& text,
                                                             const std::string& place) {
  const Result<nlohmann::json> parsed = parse_strict_json(text, JsonPlace{place, std::nullopt});
  ISOBIT_TRY(parsed);
  if (!parsed->is_object() || !parsed->contains("weight_map") ||
      !(*parsed)["weight_map"].is_object()) {
    return Error{"needs an object \"weight_map\"", place};
  }
  std::map<std::string, std::string> shards;
  for (const auto& item : (*parsed)["weight_map"].items()) {
    if (!item.value().is_string()) {
      return Error{"weight_map: " + shown(item.key()) + " must name a file", place};
    }
    const auto file = item.value().get<std::string>();
    if (file.empty() || file == "." || file == ".." ||
        file.find_first_of(std::string("/\\\0", 3)) != std::string::npos) {
      return Error{"weight_map: " + shown(item.key()) + " names " + shown(file) +
                       ", which is no file name inside the folder",
                   place};
    }
    shards[item.key()] = file;
  }
  return shards;
}

}  // namespace isobit
