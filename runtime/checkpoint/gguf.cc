// GGUF v3 of architecture "llama" -> config, weights under Hugging Face names, tokenizer fields
// (see runtime/checkpoint/weights.h).
//
// llama.cpp's converter stores q and k rows in interleaved order, for a RoPE on adjacent pairs.
// Tensor::row_order gives them back in Hugging Face's half-split order, so that a model has the
// same numbers in the same places whichever file it comes from.
#include <utility>

#include "runtime/checkpoint/gguf_metadata.h"
#include "runtime/checkpoint/gguf_names.h"
#include "runtime/checkpoint/gguf_reader.h"
#include "runtime/checkpoint/json.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {
namespace {

Tensor tensor_of(GgufTensorRecord record) {
  Tensor tensor;
  tensor.name = hugging_face_name(record.name);
  tensor.type = record.type;
  tensor.shape = std::move(record.shape);
  tensor.bytes = record.bytes;
  tensor.cols = tensor.shape.back();
  tensor.rows = 1;
  for (std::size_t i = 0; i + 1 < tensor.shape.size(); ++i) tensor.rows *= tensor.shape[i];
  return tensor;
}

Result<void> rename_tensors(std::vector<GgufTensorRecord> records, const std::string& place,
                            Weights& weights) {
  for (GgufTensorRecord& record : records) {
    const std::string stored = record.name;
    Tensor tensor = tensor_of(std::move(record));
    if (weights.find(tensor.name) != nullptr) {
      return Error{"tensor " + shown(stored) + ": a second tensor named " + shown(tensor.name),
                   place};
    }
    weights.add(std::move(tensor));
  }
  return {};
}

/// What the tensors say about the config.
Result<void> complete_config(const Weights& weights, const std::string& place,
                             ModelConfig& config) {
  config.tied_embeddings = weights.find("lm_head.weight") == nullptr;
  config.attention_bias = weights.find("model.layers.0.self_attn.q_proj.bias") != nullptr;
  config.mlp_bias = weights.find("model.layers.0.mlp.gate_proj.bias") != nullptr;
  if (config.vocab_size == 0) {
    const Tensor* embedding = weights.find("model.embed_tokens.weight");
    if (embedding == nullptr) return Error{"tensor \"token_embd.weight\" is missing", place};
    config.vocab_size = embedding->rows;
  }
  for (const char* name : {"rope_factors_long.weight", "rope_factors_short.weight"}) {
    if (weights.find(name) != nullptr) {
      return Error{"tensor " + shown(name) + ": longrope is not supported", place};
    }
  }
  if (const Tensor* factors = weights.find("rope_freqs.weight")) {
    const bool shaped = factors->shape.size() == 1 && factors->cols == config.head_dim / 2;
    if (!shaped || factors->type != TensorType::f32) {
      return Error{"tensor \"rope_freqs.weight\" must be F32 with head_dim / 2 = " +
                       std::to_string(config.head_dim / 2) + " elements",
                   place};
    }
    config.rope_factors.resize(static_cast<std::size_t>(factors->cols));
    factors->read_row(0, 0, factors->cols, config.rope_factors);
  }
  const Result<void> valid = config.validate();
  if (!valid) return Error{valid.error().message, place};
  return {};
}

/// Gives q and k their order. REQUIRES: a valid config.
Result<void> order_rows(const ModelConfig& config, const std::string& place, Weights& weights) {
  const std::vector<std::int64_t> query = interleaved_order(config.heads, config.head_dim);
  const std::vector<std::int64_t> key = interleaved_order(config.kv_heads, config.head_dim);
  std::vector<Tensor> ordered;
  for (const auto& [name, tensor] : weights.all()) {
    if (!is_query(name) && !is_key(name)) continue;
    const std::vector<std::int64_t>& order = is_query(name) ? query : key;
    const auto rows = static_cast<std::int64_t>(order.size());
    const std::int64_t has = tensor.shape.size() == 1 ? tensor.cols : tensor.rows;
    if (tensor.shape.size() > 2 || has != rows) {
      return Error{"tensor " + shown(name) + " has " + std::to_string(has) +
                       " rows; heads times head_dim is " + std::to_string(rows),
                   place};
    }
    ordered.push_back(tensor);
    ordered.back().row_order = order;
  }
  for (Tensor& tensor : ordered) weights.add(std::move(tensor));
  return {};
}

}  // namespace

Result<GgufFile> read_gguf(std::span<const std::byte> file, const std::string& place) {
  Result<GgufContainer> container = read_gguf_container(file, place);
  ISOBIT_TRY(container);
  GgufFile out;
  for (const auto& [key, value] : container->metadata) out.metadata[key] = value.text();
  Result<ModelConfig> config = config_from_gguf(container->metadata, place);
  ISOBIT_TRY(config);
  out.config = std::move(config).value();
  Result<GgufTokenizer> tokenizer = tokenizer_from_gguf(container->metadata, place);
  ISOBIT_TRY(tokenizer);
  out.tokenizer = std::move(tokenizer).value();
  const Result<void> renamed = rename_tensors(std::move(container->tensors), place, out.weights);
  ISOBIT_TRY(renamed);
  const Result<void> completed = complete_config(out.weights, place, out.config);
  ISOBIT_TRY(completed);
  const Result<void> ordered = order_rows(out.config, place, out.weights);
  ISOBIT_TRY(ordered);
  return out;
}

}  // namespace isobit
