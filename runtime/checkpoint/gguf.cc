// GGUF v3 of a family of the architecture table -> config, weights under Hugging Face names,
// tokenizer fields (see runtime/checkpoint/weights.h).
//
// llama.cpp's converter stores Llama's q and k rows in interleaved order, for a RoPE on neighbours.
// Tensor::row_order gives them back in Hugging Face's half-split order, so that a model has the
// same numbers in the same places whichever file it comes from.
#include <utility>

#include "runtime/checkpoint/gguf_metadata.h"
#include "runtime/checkpoint/gguf_names.h"
#include "runtime/checkpoint/gguf_reader.h"
#include "runtime/checkpoint/json.h"
#include "runtime/checkpoint/stop_set.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {
namespace {

constexpr const char* kRopeFactors = "rope_freqs.weight";

Tensor tensor_of(GgufTensorRecord record) {
  Tensor tensor;
  tensor.name = std::move(record.name);
  tensor.type = record.type;
  tensor.shape = std::move(record.shape);
  tensor.bytes = record.bytes;
  tensor.cols = tensor.shape.back();
  tensor.rows = 1;
  for (std::size_t i = 0; i + 1 < tensor.shape.size(); ++i) tensor.rows *= tensor.shape[i];
  return tensor;
}

/// Tensors under Hugging Face's names; one that nothing reads is refused by its own.
Result<void> rename_tensors(const ModelConfig& config, std::vector<GgufTensorRecord> records,
                            const std::string& place, Weights& weights) {
  for (GgufTensorRecord& record : records) {
    Tensor tensor = tensor_of(std::move(record));
    const std::string what = "tensor " + shown(tensor.name);
    if (tensor.name == "rope_factors_long.weight" || tensor.name == "rope_factors_short.weight") {
      return Error{what + ": longrope is not supported", place};
    }
    if (tensor.name != kRopeFactors) {
      const auto name = read_gguf_name(architecture_of(config), tensor.name);
      if (!name) {
        return Error{what + " is read by no operation of architecture " + config.architecture,
                     place};
      }
      if (name->layer >= config.layers) {
        return Error{
            what + " is read by no operation: block_count is " + std::to_string(config.layers),
            place};
      }
      tensor.name = name->hugging_face;
    }
    weights.add(std::move(tensor));
  }
  return {};
}

/// What the tensors say about the config.
Result<void> complete_config(const Weights& weights, const std::string& place,
                             ModelConfig& config) {
  const Architecture& architecture = architecture_of(config);
  config.tied_embeddings =
      weights.find(weight_that_fills(architecture, &RankModel::head)) == nullptr;
  if (config.vocab_size == 0) {
    const Tensor* embedding = weights.find(weight_that_fills(architecture, &RankModel::embedding));
    if (embedding == nullptr) return Error{"tensor \"token_embd.weight\" is missing", place};
    config.vocab_size = embedding->rows;
  }
  if (const Tensor* factors = weights.find(kRopeFactors)) {
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

/// Gives the elements of a rotated matrix, or of its bias, their order.
Result<void> order_rows(const std::string& name, const std::vector<std::int64_t>& order,
                        const std::string& place, Weights& weights) {
  const Tensor* tensor = weights.find(name);
  if (tensor == nullptr) return {};
  const auto rows = static_cast<std::int64_t>(order.size());
  const std::int64_t has = tensor->shape.size() == 1 ? tensor->cols : tensor->rows;
  if (tensor->shape.size() > 2 || has != rows) {
    return Error{"tensor " + shown(name) + " has " + std::to_string(has) +
                     " rows; heads times head_dim is " + std::to_string(rows),
                 place};
  }
  Tensor ordered = *tensor;
  ordered.row_order = order;
  weights.add(std::move(ordered));
  return {};
}

/// REQUIRES: a valid config.
Result<void> order_rotated(const ModelConfig& config, const std::string& place, Weights& weights) {
  const Architecture& architecture = architecture_of(config);
  if (!architecture.gguf.interleaved) return {};
  for (const TensorRow& row : architecture.layer) {
    if (!row.rotated) continue;
    const auto order =
        interleaved_order(extent(row.outputs, config) / config.head_dim, config.head_dim);
    for (std::int64_t layer = 0; layer < config.layers; ++layer) {
      for (const char* part : {".weight", ".bias"}) {
        const auto done = order_rows(layer_prefix(layer) + row.name + part, order, place, weights);
        ISOBIT_TRY(done);
      }
    }
  }
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
  if (tokenizer) {
    out.tokenizer = std::move(tokenizer).value();
  } else {
    out.tokenizer.problem = tokenizer.error();  // of no weight while prompts are token ids
  }
  const Result<void> renamed =
      rename_tensors(out.config, std::move(container->tensors), place, out.weights);
  ISOBIT_TRY(renamed);
  const Result<void> completed = complete_config(out.weights, place, out.config);
  ISOBIT_TRY(completed);
  const Result<void> ordered = order_rotated(out.config, place, out.weights);
  ISOBIT_TRY(ordered);
  set_stop_tokens(out.config, out.tokenizer);
  return out;
}

}  // namespace isobit
