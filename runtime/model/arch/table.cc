// The list of families, and what follows from their tables (runtime/model/arch/architecture.h).
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

constexpr const Architecture* kAll[] = {&kLlama, &kMistral,  &kMixtral, &kQwen2,
                                        &kQwen3, &kQwen3Moe, &kGemma2,  &kGemma3,
                                        &kPhi3,  &kOlmo2,    &kGpt2,    &kSmolLm3};

const Architecture* find(std::string_view wanted, const char* (*name)(const Architecture&)) {
  for (const Architecture* each : kAll) {
    const char* has = name(*each);
    if (has != nullptr && wanted == has) return each;
  }
  return nullptr;
}

/// Whether a tensor belongs to a layer of this plan; null: to none.
bool belongs(When when, const ModelConfig& config, const LayerPlan* plan) {
  switch (when) {
    case When::always:
      return true;
    case When::never:
      return false;
    case When::attention_bias:
      return config.attention_bias;
    case When::mlp_bias:
      return config.mlp_bias;
    case When::untied:
      return !config.tied_embeddings;
    case When::dense:
      return plan == nullptr || !plan->routed;
    case When::routed:
      return plan != nullptr && plan->routed;
  }
  return false;
}

/// The tensor of a row, and its bias.
void add(const TensorRow& row, const std::string& prefix, const ModelConfig& config,
         const LayerPlan* plan, std::vector<TableTensor>& out) {
  const bool vector = row.outputs == Dimension::one;
  const std::int64_t outputs = extent(vector ? row.inputs : row.outputs, config);
  TableTensor weight{prefix + row.name + ".weight", {extent(row.inputs, config)}, row.weight};
  if (!vector) weight.shape.insert(weight.shape.begin(), outputs);
  weight.belongs = belongs(row.weight, config, plan);
  weight.is_norm = vector;
  const bool whole = weight.belongs;
  out.push_back(std::move(weight));
  if (row.bias == When::never) return;
  TableTensor bias{prefix + row.name + ".bias", {outputs}, row.bias, true};
  bias.belongs = whole && belongs(row.bias, config, plan);
  out.push_back(std::move(bias));
}

}  // namespace

std::span<const Architecture* const> architectures() {
  return kAll;
}

const Architecture* find_architecture(std::string_view name) {
  return find(name, [](const Architecture& a) { return a.name; });
}

const Architecture* find_architecture_of_class(std::string_view class_name) {
  return find(class_name, [](const Architecture& a) { return a.class_name; });
}

const Architecture* find_architecture_of_gguf(std::string_view gguf_name) {
  return find(gguf_name, [](const Architecture& a) { return a.gguf.architecture; });
}

const Architecture& architecture_of(const ModelConfig& config) {
  const Architecture* found = find_architecture(config.architecture);
  ISOBIT_CHECK(found != nullptr);  // validate() has looked
  return *found;
}

std::string architecture_names(const char* (*name)(const Architecture&)) {
  std::string out;
  for (const Architecture* each : kAll) {
    if (name(*each) != nullptr) out += (out.empty() ? "" : ", ") + std::string(name(*each));
  }
  return out;
}

std::string layer_prefix(const Architecture& architecture, std::int64_t layer) {
  return architecture.layers + std::to_string(layer) + ".";
}

std::string expert_prefix(const Architecture& architecture, std::int64_t layer,
                          std::int64_t expert) {
  return layer_prefix(architecture, layer) + architecture.experts.prefix + std::to_string(expert) +
         ".";
}

std::int64_t extent(Dimension axis, const ModelConfig& config) {
  switch (axis) {
    case Dimension::one:
      return 1;
    case Dimension::hidden:
      return config.hidden_size;
    case Dimension::head:
      return config.head_dim;
    case Dimension::vocabulary:
      return config.vocab_size;
    case Dimension::query:
    case Dimension::attention:
      return config.heads * config.head_dim;
    case Dimension::key_value:
      return config.kv_heads * config.head_dim;
    case Dimension::mlp:
      return config.intermediate_size;
    case Dimension::expert:
      return config.expert_size;
    case Dimension::experts:
      return config.experts;
    case Dimension::position:
      return config.context;
  }
  return 0;
}

std::vector<TableTensor> table_tensors(const ModelConfig& config) {
  const Architecture& architecture = architecture_of(config);
  std::vector<TableTensor> out;
  for (const TensorRow& row : architecture.before) add(row, "", config, nullptr, out);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerPlan plan = architecture.plan(config, layer);
    const std::string prefix = layer_prefix(architecture, layer);
    for (const TensorRow& row : architecture.layer) add(row, prefix, config, &plan, out);
    for (std::int64_t expert = 0; expert < config.experts; ++expert) {
      const std::string name = expert_prefix(architecture, layer, expert);
      for (const TensorRow& row : architecture.experts.rows) add(row, name, config, &plan, out);
    }
  }
  for (const TensorRow& row : architecture.after) add(row, "", config, nullptr, out);
  return out;
}

Tensor tensor_of(const TableTensor& row, TensorType type) {
  Tensor out;
  out.name = row.name;
  out.type = type;
  out.shape = row.shape;
  out.rows = row.shape.size() == 1 ? 1 : row.shape.front();
  out.cols = row.shape.back();
  return out;
}

std::vector<TableTensor> needed_tensors(const ModelConfig& config) {
  std::vector<TableTensor> out = table_tensors(config);
  std::erase_if(out, [](const TableTensor& each) { return !each.belongs; });
  return out;
}

}  // namespace isobit
