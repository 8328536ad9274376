// The transform "multi-head", version 1 (scenarios/models/README.md), applied to a loaded model.
#include <numeric>
#include <string>

#include "harness/models/files.h"

namespace isobit::models {
namespace {

/// Each KV head as often as query heads read it: rows of k_proj and v_proj, or elements of a bias.
Tensor repeated(Tensor tensor, const ModelConfig& config) {
  const std::int64_t d = config.head_dim, group = config.heads / config.kv_heads;
  std::vector<std::int64_t> stored = tensor.row_order;
  if (stored.empty()) {
    stored.resize(std::size_t(config.kv_heads * d));
    std::iota(stored.begin(), stored.end(), std::int64_t{0});
  }
  tensor.row_order.clear();
  for (std::int64_t head = 0; head < config.heads; ++head) {
    const auto first = stored.begin() + head / group * d;
    tensor.row_order.insert(tensor.row_order.end(), first, first + d);
  }
  const auto width = std::int64_t(tensor.row_order.size());
  if (tensor.shape.size() == 1) {
    tensor.cols = width;
  } else {
    tensor.rows = width;
  }
  tensor.shape[0] = width;
  return tensor;
}

}  // namespace

Result<void> apply_multi_head(LoadedModel& model) {
  const ModelConfig& config = model.config;
  if (config.heads == config.kv_heads) {
    return Error{"the transform multi-head has nothing to do: each query head has a KV head",
                 model.path};
  }
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    for (const char* name : {"k_proj.weight", "v_proj.weight", "k_proj.bias", "v_proj.bias"}) {
      const std::string full = "model.layers." + std::to_string(layer) + ".self_attn." + name;
      const Tensor* tensor = model.weights.find(full);
      if (tensor == nullptr) continue;
      if (tensor->shape[0] != config.kv_heads * config.head_dim) {
        return Error{"the transform multi-head has no rule for tensor " + full, model.path};
      }
      model.weights.add(repeated(*tensor, config));
    }
    // One norm over all heads has weights for each of them, and another mean.
    const std::string norm = "model.layers." + std::to_string(layer) + ".self_attn.k_norm.weight";
    const Tensor* whole = model.weights.find(norm);
    if (whole != nullptr && whole->shape[0] != config.head_dim) {
      return Error{"the transform multi-head has no rule for norms over all heads", model.path};
    }
  }
  model.config.kv_heads = config.heads;
  return {};
}

}  // namespace isobit::models
