// Implementation of runtime/checkpoint/quantization.h. The scale of "x.weight" is
// "x.weight_scale" (compressed-tensors, AutoFP8) or "x.weight_scale_inv" (transformers'
// fine-grained FP8, DeepSeek, Qwen3), which multiplies in spite of its name.
#include "runtime/checkpoint/quantization.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "runtime/checkpoint/json.h"

namespace isobit {
namespace {

using nlohmann::json;
using Kind = WeightScales::Kind;

constexpr const char* kKey = "quantization_config";

/// Scales of activations: only a kernel that quantises activations reads them.
constexpr std::string_view kOfActivations[] = {".input_scale", ".activation_scale"};

/// Refuses every key that is neither null nor listed.
void refuse_others(ConfigFields& fields, std::initializer_list<std::string_view> known) {
  for (const auto& item : fields.object().items()) {
    if (item.value().is_null()) continue;
    if (std::find(known.begin(), known.end(), item.key()) == known.end()) {
      fields.fail(item.key(), "= " + ConfigFields::shown_value(item.value()) +
                                  " is not supported with this kind of quantisation");
    }
  }
}

/// A key that must have one of these values, when it is there.
void require_one(ConfigFields& fields, const std::string& key, std::initializer_list<json> wanted) {
  const json* value = fields.find(key);
  if (value == nullptr || std::find(wanted.begin(), wanted.end(), *value) != wanted.end()) return;
  std::string names;
  for (const json& each : wanted) names += (names.empty() ? "" : ", ") + each.dump();
  fields.fail(key, "= " + ConfigFields::shown_value(*value) + " is not supported (" + names + ")");
}

/// Both store an 8-bit float and its scale in the same way.
constexpr const char* kFormats[] = {"float-quantized", "naive-quantized"};

void read_block(ConfigFields& fields, const std::string& key, WeightScales& scales) {
  const json* size = fields.find(key);
  const auto side = [](const json& value) {
    return value.is_number_unsigned() && value > 0 && value <= (1 << 20);
  };
  if (size == nullptr || !size->is_array() || size->size() != 2 || !side((*size)[0]) ||
      !side((*size)[1])) {
    fields.fail(key, "must be two positive sizes, rows and columns of a block");
    return;
  }
  scales.kind = Kind::block;
  scales.block_rows = (*size)[0].get<std::int64_t>();
  scales.block_cols = (*size)[1].get<std::int64_t>();
}

/// "weights" of the one group of compressed-tensors.
void read_group_weights(ConfigFields& fields, WeightScales& scales) {
  refuse_others(fields, {"num_bits", "type", "symmetric", "strategy", "dynamic", "block_structure",
                         "observer", "observer_kwargs", "scale_dtype", "zp_dtype"});
  require_one(fields, "num_bits", {8});
  require_one(fields, "type", {"float"});
  require_one(fields, "symmetric", {true});
  require_one(fields, "dynamic", {false});
  fields.require("num_bits");
  fields.require("type");
  const std::string strategy = fields.string_or("strategy", "tensor");
  if (strategy == "tensor") {
    scales.kind = Kind::tensor;
  } else if (strategy == "channel") {
    scales.kind = Kind::channel;
  } else if (strategy == "block") {
    read_block(fields, "block_structure", scales);
  } else {
    fields.fail("strategy", shown(strategy) + " is not supported (tensor, channel, block)");
  }
}

/// An object below another: its fields, or a failure of the outer ones.
const json* object_at(ConfigFields& fields, const std::string& key) {
  const json* value = fields.find(key);
  if (value != nullptr && value->is_object()) return value;
  fields.fail(key, value == nullptr ? "is missing" : "must be an object");
  return nullptr;
}

/// "sparsity_config" that says nothing, or that nothing is sparse.
void require_dense(ConfigFields& fields, const std::string& text, const std::string& place) {
  if (fields.find("sparsity_config") == nullptr) return;
  const json* sparsity = object_at(fields, "sparsity_config");
  if (sparsity == nullptr) return;
  ConfigFields inner(*sparsity, std::string(kKey) + ".sparsity_config.", text, place);
  require_one(inner, "format", {"dense"});
  if (!fields.error) fields.error = inner.error;
}

void read_compressed(ConfigFields& fields, const std::string& text, const std::string& place,
                     WeightScales& scales) {
  refuse_others(fields, {"quant_method", "format", "quantization_status", "config_groups", "ignore",
                         "global_compression_ratio", "version", "sparsity_config",
                         "transform_config", "run_compressed"});
  require_one(fields, "format", {kFormats[0], kFormats[1]});
  fields.require("format");
  require_one(fields, "quantization_status", {"compressed", "frozen"});
  require_one(fields, "transform_config", {json::object()});
  require_dense(fields, text, place);
  const json* groups = object_at(fields, "config_groups");
  if (groups == nullptr) return;
  if (groups->size() != 1 || !groups->front().is_object()) {
    fields.fail("config_groups", "must have one group, not " + std::to_string(groups->size()));
    return;
  }
  const std::string prefix = std::string(kKey) + ".config_groups.";
  const std::string name = groups->items().begin().key() + ".";
  ConfigFields group(groups->front(), prefix + name, text, place);
  refuse_others(group, {"targets", "weights", "input_activations", "format"});
  require_one(group, "format", {kFormats[0], kFormats[1]});
  if (const json* weights = object_at(group, "weights")) {
    ConfigFields inner(*weights, prefix + name + "weights.", text, place);
    read_group_weights(inner, scales);
    if (!fields.error) fields.error = inner.error;
  }
  if (!fields.error) fields.error = group.error;
}

void read_fp8(ConfigFields& fields, WeightScales& scales) {
  refuse_others(fields, {"quant_method", "fmt", "activation_scheme", "weight_block_size",
                         "modules_to_not_convert", "ignored_layers", "scale_fmt", "dequantize"});
  require_one(fields, "fmt", {"e4m3", "e5m2"});
  if (fields.find("weight_block_size") == nullptr) {
    scales.kind = Kind::tensor;
  } else {
    read_block(fields, "weight_block_size", scales);
  }
}

std::string shown_sizes(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

std::int64_t parts(std::int64_t size, std::int64_t part) {
  return (size + part - 1) / part;
}

/// How the scales of a (rows, cols) matrix lie, and which shapes they may have; no values yet.
TensorScales arrangement(const WeightScales& scheme, const Tensor& weight,
                         std::vector<std::vector<std::int64_t>>& shapes) {
  TensorScales scales;
  switch (scheme.kind) {
    case Kind::channel:
      scales.block_rows = 1;
      scales.block_cols = std::max<std::int64_t>(weight.cols, 1);
      shapes = {{weight.rows, 1}, {weight.rows}};
      break;
    case Kind::block:
      scales.block_rows = scheme.block_rows;
      scales.block_cols = scheme.block_cols;
      scales.across = parts(weight.cols, scheme.block_cols);
      shapes = {{parts(weight.rows, scheme.block_rows), scales.across}};
      break;
    case Kind::tensor:
    case Kind::none:
      scales.block_rows = std::max<std::int64_t>(weight.rows, 1);
      scales.block_cols = std::max<std::int64_t>(weight.cols, 1);
      shapes = {{}, {1}, {1, 1}};
      break;
  }
  return scales;
}

Result<void> scale_weight(const WeightScales& scheme, const std::string& place,
                          const std::string& name, Weights& weights) {
  Tensor weight = *weights.find(name);
  std::string scale_name = name + "_scale";
  if (weights.find(scale_name) == nullptr) scale_name += "_inv";
  const Tensor* stored = weights.find(scale_name);
  if (stored == nullptr) {
    scale_name = name + "_scale";
    return Error{"tensor " + shown(name) + " is " + name_of(weight.type) + " but its scale " +
                     shown(scale_name) + " is missing, which " + kKey + " calls for",
                 place};
  }
  if (stored->type != TensorType::f32 && stored->type != TensorType::bf16 &&
      stored->type != TensorType::f16) {
    return Error{"tensor " + shown(scale_name) + " is " + name_of(stored->type) +
                     "; a scale must be F32, BF16 or F16",
                 place};
  }
  std::vector<std::vector<std::int64_t>> shapes;
  TensorScales scales = arrangement(scheme, weight, shapes);
  if (std::find(shapes.begin(), shapes.end(), stored->shape) == shapes.end()) {
    return Error{"tensor " + shown(scale_name) + " has shape " + shown_sizes(stored->shape) +
                     "; scales of " + shown(name) + " have " + shown_sizes(shapes.front()),
                 place};
  }
  scales.values.resize(static_cast<std::size_t>(stored->rows * stored->cols));
  for (std::int64_t row = 0; row < stored->rows; ++row) {
    stored->read_row(row, 0, stored->cols,
                     std::span(scales.values)
                         .subspan(static_cast<std::size_t>(row * stored->cols),
                                  static_cast<std::size_t>(stored->cols)));
  }
  weight.scales = std::make_shared<const TensorScales>(std::move(scales));
  weights.add(std::move(weight));
  weights.remove(scale_name);
  return {};
}

}  // namespace

std::optional<Error> read_quantization(const ConfigFields& fields, const std::string& text,
                                       const std::string& place, ModelConfig& config) {
  const json* value = fields.find(kKey);
  if (value == nullptr) return std::nullopt;
  const json none = json::object();
  ConfigFields inner(value->is_object() ? *value : none, std::string(kKey) + ".", text, place);
  const std::string method = inner.string_or("quant_method", "");
  if (!value->is_object()) {
    inner.fail("quant_method", "is missing: quantization_config must be an object");
  } else if (method == "compressed-tensors") {
    read_compressed(inner, text, place, config.weight_scales);
  } else if (method == "fp8") {
    read_fp8(inner, config.weight_scales);
  } else {
    inner.fail("quant_method", shown(method) +
                                   " is not supported (compressed-tensors with format "
                                   "float-quantized, fp8)");
  }
  return inner.error;
}

Result<void> apply_weight_scales(const WeightScales& scheme, const std::string& place,
                                 Weights& weights, std::vector<std::string>& unused) {
  if (scheme.kind == Kind::none) return {};
  std::vector<std::string> coded, of_activations;
  for (const auto& [name, tensor] : weights.all()) {
    const bool eight_bits =
        tensor.type == TensorType::f8_e4m3 || tensor.type == TensorType::f8_e5m2;
    if (eight_bits && tensor.shape.size() == 2 && name.ends_with(".weight")) coded.push_back(name);
    for (const std::string_view end : kOfActivations) {
      if (name.ends_with(end)) of_activations.push_back(name);
    }
  }
  for (const std::string& name : coded) {
    const Result<void> done = scale_weight(scheme, place, name, weights);
    ISOBIT_TRY(done);
  }
  for (const std::string& name : of_activations) {
    weights.remove(name);
    unused.push_back(name);
  }
  return {};
}

}  // namespace isobit
