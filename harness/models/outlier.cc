// The transform "outlier", version 1 (scenarios/models/README.md), applied to a loaded model.
//
// Pairs as numbered there: 0 attention norm -> q k v, 1 MLP norm -> gate up, 2 up -> down,
// 3 v -> o, 4 k -> q. A tensor's element is multiplied by 2^(row exponent + column exponent).
#include <algorithm>
#include <cmath>
#include <memory>
#include <set>

#include "harness/models/files.h"
#include "runtime/model/arch/architecture.h"

namespace isobit::models {
namespace {

std::uint64_t splitmix64(std::uint64_t s) {
  std::uint64_t z = s + 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/// Exponents by row and column; empty: none.
struct Exponents {
  std::vector<int> rows, cols;
};

class Outlier {
 public:
  explicit Outlier(LoadedModel& model) : model_(model), config_(model.config) {}

  Result<void> layer(std::int64_t l) {
    prefix_ = "model.layers." + std::to_string(l) + ".";
    Exponents q, k, v, o, gate, up, down, norm1, norm2;
    const std::int64_t hidden = config_.hidden_size, d = config_.head_dim;
    norm1.cols = side(draws(l, 0, hidden, 64), hidden, 1);
    q.cols = k.cols = v.cols = side(draws(l, 0, hidden, 64), hidden, -1);
    norm2.cols = side(draws(l, 1, hidden, 64), hidden, 1);
    gate.cols = up.cols = side(draws(l, 1, hidden, 64), hidden, -1);
    const auto middle = draws(l, 2, config_.intermediate_size, 64);
    up.rows = side(middle, config_.intermediate_size, 1);
    down.cols = side(middle, config_.intermediate_size, -1);
    const auto values = draws(l, 3, d, 32);
    v.rows = by_head(side(values, d, 1), config_.kv_heads);
    o.cols = by_head(side(values, d, -1), config_.heads);
    std::vector<OutlierDraw> keys = draws(l, 4, d / 2, 16);
    for (std::size_t i = keys.size(); i-- > 0;) {
      keys.push_back({keys[i].channel + d / 2, keys[i].exponent});
    }
    k.rows = by_head(side(keys, d, 1), config_.kv_heads);
    q.rows = by_head(side(keys, d, -1), config_.heads);

    const std::pair<const char*, const Exponents*> tensors[] = {
        {"input_layernorm", &norm1}, {"post_attention_layernorm", &norm2},
        {"self_attn.q_proj", &q},    {"self_attn.k_proj", &k},
        {"self_attn.v_proj", &v},    {"self_attn.o_proj", &o},
        {"mlp.gate_proj", &gate},    {"mlp.up_proj", &up},
        {"mlp.down_proj", &down}};
    for (const auto& [name, exponents] : tensors) {
      if (auto ok = multiply(prefix_ + name + ".weight", *exponents); !ok) return ok;
    }
    return {};
  }

 private:
  LoadedModel& model_;
  const ModelConfig& config_;
  std::string prefix_;

  static std::vector<OutlierDraw> draws(std::int64_t l, int pair, std::int64_t n,
                                        std::int64_t divisor) {
    return outlier_draws(l, pair, n, std::max<std::int64_t>(n / divisor, 1));
  }
  static std::vector<int> side(const std::vector<OutlierDraw>& draws, std::int64_t n, int sign) {
    std::vector<int> exponents(std::size_t(n), 0);
    for (const OutlierDraw& draw : draws) {
      exponents[std::size_t(draw.channel)] = sign * draw.exponent;
    }
    return exponents;
  }
  static std::vector<int> by_head(const std::vector<int>& one, std::int64_t heads) {
    std::vector<int> all;
    for (std::int64_t h = 0; h < heads; ++h) all.insert(all.end(), one.begin(), one.end());
    return all;
  }

  Result<void> multiply(const std::string& name, const Exponents& exponents) {
    const Tensor* tensor = model_.weights.find(name);
    ISOBIT_CHECK(tensor != nullptr);  // load_model() has checked the shapes
    const auto values =
        std::make_shared<std::vector<float>>(std::size_t(tensor->rows * tensor->cols));
    for (std::int64_t r = 0; r < tensor->rows; ++r) {
      const std::span<float> row(values->data() + r * tensor->cols, std::size_t(tensor->cols));
      tensor->read_row(r, 0, tensor->cols, row);
      const int row_exponent = exponents.rows.empty() ? 0 : exponents.rows[std::size_t(r)];
      for (std::size_t c = 0; c < row.size(); ++c) {
        const int exponent = row_exponent + (exponents.cols.empty() ? 0 : exponents.cols[c]);
        if (exponent == 0 || row[c] == 0.0F) continue;
        row[c] = std::ldexp(row[c], exponent);
        const float size = std::fabs(row[c]);
        if (!(size >= 0x1p-60F && size <= 0x1p60F)) {
          return Error{
              "tensor " + name + ": a weight leaves [2^-60, 2^60] by the transform outlier",
              model_.path};
        }
      }
    }
    Tensor changed = *tensor;
    changed.type = TensorType::f32;
    changed.scales = nullptr;
    changed.row_order.clear();
    changed.bytes = std::as_bytes(std::span<const float>(*values));
    model_.weights.keep(values);
    model_.weights.add(std::move(changed));
    return {};
  }
};

}  // namespace

std::vector<OutlierDraw> outlier_draws(std::int64_t layer, int pair, std::int64_t n,
                                       std::int64_t count) {
  std::vector<OutlierDraw> draws;
  std::set<std::int64_t> taken;
  const std::uint64_t start =
      0x696e766172U + 65536U * std::uint64_t(layer) + 4096U * std::uint64_t(pair);
  for (std::uint64_t j = 0; std::int64_t(draws.size()) < std::min(count, n); ++j) {
    const std::uint64_t x = splitmix64(start + j);
    const auto channel = std::int64_t(x % std::uint64_t(n));
    if (taken.insert(channel).second) draws.push_back({channel, 4 + int((x >> 32) % 3)});
  }
  return draws;
}

Result<void> apply_outlier(LoadedModel& model) {
  for (const TableTensor& tensor : table_tensors(model.config)) {
    if (tensor.is_bias && model.weights.find(tensor.name) != nullptr) {
      return Error{"the transform outlier has no rule for models with biases", model.path};
    }
  }
  const Architecture& architecture = architecture_of(model.config);
  LayerPlan plan = architecture.plan(model.config, 0);
  plan.window = 0;  // has no part in it
  if (plan != LayerPlan{} || architecture.norms_add_one) {
    return Error{"the transform outlier has no rule for architecture " + model.config.architecture,
                 model.path};
  }
  Outlier outlier(model);
  for (std::int64_t l = 0; l < model.config.layers; ++l) {
    if (auto ok = outlier.layer(l); !ok) return ok;
  }
  return {};
}

}  // namespace isobit::models
