// GGUF v3 of a family of the architecture table -> config, weights under Hugging Face names,
// tokenizer fields (see runtime/checkpoint/weights.h).
//
// llama.cpp's converter stores Llama's q and k rows in interleaved order, for a RoPE on neighbours.
// Tensor::row_order gives them back in Hugging Face's half-split order, so that a model has the
// same numbers in the same places whichever file it comes from.
#include <utility>

#include "runtime/checkpoint/fused.h"
#include "runtime/checkpoint/gguf_metadata.h"
#include "runtime/checkpoint/gguf_names.h"
#include "runtime/checkpoint/gguf_reader.h"
#include "runtime/checkpoint/json.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {
namespace {

constexpr const char* kRopeFactors = "rope_freqs.weight";
constexpr const char* kShortFactors = "rope_factors_short.weight";
constexpr const char* kLongFactors = "rope_factors_long.weight";

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

/// The matrix of each expert out of those of all, (experts, outputs, inputs).
Result<void> add_experts(const ModelConfig& config, const GgufName& name, const Tensor& all,
                         const std::string& place, Weights& weights) {
  if (all.shape.size() != 3 || all.shape[0] != config.experts) {
    return Error{"tensor " + shown(all.name) + " must have three dimensions, the outermost of " +
                     std::to_string(config.experts) + " experts",
                 place};
  }
  const Architecture& architecture = architecture_of(config);
  for (std::int64_t e = 0; e < config.experts; ++e) {
    weights.add(some_rows_of(all, expert_prefix(architecture, name.layer, e) + name.hugging_face,
                             e * all.shape[1], all.shape[1]));
  }
  return {};
}

/// Tensors under Hugging Face's names; one that nothing reads is refused by its own.
Result<void> rename_tensors(const ModelConfig& config, std::vector<GgufTensorRecord> records,
                            const std::string& place, Weights& weights) {
  for (GgufTensorRecord& record : records) {
    Tensor tensor = tensor_of(std::move(record));
    const std::string what = "tensor " + shown(tensor.name);
    if (tensor.name != kRopeFactors && tensor.name != kShortFactors &&
        tensor.name != kLongFactors) {
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
      if (name->experts) {
        const auto added = add_experts(config, *name, tensor, place, weights);
        ISOBIT_TRY(added);
        continue;
      }
      tensor.name = name->hugging_face;
    }
    weights.add(std::move(tensor));
  }
  return {};
}

/// One list of frequency factors, if the file has it.
Result<void> read_factors(const Weights& weights, const char* name, const std::string& place,
                          const ModelConfig& config, std::vector<float>& out) {
  const Tensor* factors = weights.find(name);
  if (factors == nullptr) return {};
  const Rope& rope = config.ropes.front();
  const std::int64_t half = config.rotary_dims(rope) / 2;
  if (factors->shape.size() != 1 || factors->cols != half || factors->type != TensorType::f32) {
    return Error{"tensor " + shown(name) + " must be F32 with " +
                     (rope.dims == 0 ? "head_dim / 2 = " : "half the rotary dims = ") +
                     std::to_string(half) + " elements",
                 place};
  }
  out.resize(static_cast<std::size_t>(factors->cols));
  factors->read_row(0, 0, factors->cols, out);
  return {};
}

/// Factors of every sequence, or longrope's two lists.
Result<void> read_rope_factors(const Weights& weights, const std::string& place,
                               ModelConfig& config) {
  Rope& rope = config.ropes.front();
  const bool has_short = weights.find(kShortFactors) != nullptr;
  const bool has_long = weights.find(kLongFactors) != nullptr;
  if (!has_short && !has_long) {
    return read_factors(weights, kRopeFactors, place, config, rope.factors);
  }
  if (has_short != has_long || weights.find(kRopeFactors) != nullptr ||
      (rope.scaling.kind != RopeScaling::Kind::none &&
       rope.scaling.kind != RopeScaling::Kind::longrope)) {
    return Error{
        "tensors \"rope_factors_short.weight\" and \"rope_factors_long.weight\" belong "
        "together and with no other RoPE scaling",
        place};
  }
  rope.scaling.kind = RopeScaling::Kind::longrope;
  if (auto read = read_factors(weights, kShortFactors, place, config, rope.factors); !read) {
    return read;
  }
  return read_factors(weights, kLongFactors, place, config, rope.long_factors);
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
  const Result<void> factors = read_rope_factors(weights, place, config);
  ISOBIT_TRY(factors);
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

/// Undoes what llama.cpp's converter did: rows in another order, a norm's one.
/// REQUIRES: a valid config.
Result<void> undo_conversion(const ModelConfig& config, const std::string& place,
                             Weights& weights) {
  const Architecture& architecture = architecture_of(config);
  if (architecture.norms_add_one) {  // llama.cpp's file has the sum
    for (const TableTensor& each : table_tensors(config)) {
      const Tensor* norm = each.is_norm ? weights.find(each.name) : nullptr;
      if (norm == nullptr) continue;
      Tensor without = *norm;
      without.added = -1;
      weights.add(std::move(without));
    }
  }
  if (!architecture.gguf.interleaved) return {};
  for (const TensorRow& row : architecture.layer) {
    if (!row.rotated) continue;
    const auto order =
        interleaved_order(extent(row.outputs, config) / config.head_dim, config.head_dim);
    for (std::int64_t layer = 0; layer < config.layers; ++layer) {
      for (const char* part : {".weight", ".bias"}) {
        const auto done =
            order_rows(layer_prefix(architecture, layer) + row.name + part, order, place, weights);
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
  ISOBIT_TRY(tokenizer);
  out.tokenizer = std::move(tokenizer).value();
  const Result<void> renamed =
      rename_tensors(out.config, std::move(container->tensors), place, out.weights);
  ISOBIT_TRY(renamed);
  const Result<void> completed = complete_config(out.weights, place, out.config);
  ISOBIT_TRY(completed);
  const Result<void> split = split_fused(out.config, FileForm::gguf, place, out.weights);
  ISOBIT_TRY(split);
  const Result<void> ordered = undo_conversion(out.config, place, out.weights);
  ISOBIT_TRY(ordered);
  return out;
}

}  // namespace isobit
