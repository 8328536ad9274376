// GGUF of a family of the architecture table -> config, weights under Hugging Face names,
// tokenizer fields (see runtime/checkpoint/weights.h).
//
// llama.cpp's converter stores Llama's q and k rows in interleaved order, for a RoPE on neighbours.
// Tensor::row_order gives them back in Hugging Face's half-split order, so that a model has the
// same numbers in the same places whichever file it comes from.
#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "runtime/checkpoint/fused.h"
#include "runtime/checkpoint/gguf_metadata.h"
#include "runtime/checkpoint/gguf_names.h"
#include "runtime/checkpoint/gguf_reader.h"
#include "runtime/checkpoint/json.h"
#include "runtime/checkpoint/stop_set.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {
namespace {

constexpr std::uint64_t kMostTensors = 1u << 24;
constexpr const char* kRopeFactors = "rope_freqs.weight";
constexpr const char* kShortFactors = "rope_factors_short.weight";
constexpr const char* kLongFactors = "rope_factors_long.weight";

/// Tensors of converters of 2023 that no version of llama.cpp reads any more.
bool is_left_over(const std::string& name) {
  constexpr std::string_view kEnd = ".attn_rot_embd.weight";
  return name.size() > kEnd.size() && name.ends_with(kEnd);
}

/// REQUIRES: the type is read.
Tensor tensor_of(GgufTensorRecord record) {
  Tensor tensor;
  tensor.name = std::move(record.name);
  tensor.type = *record.type.value;
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

Error unsupported_type(const GgufTensorRecord& record, const std::string& place) {
  std::string names;
  for (std::uint32_t number = 0; number < 64; ++number) {
    const auto type = ggml_type(number);
    if (type && type->value) names += (names.empty() ? "" : ", ") + std::string(type->name);
  }
  return Error{"tensor " + shown(record.name) + " has type " + record.type.name +
                   ", which is not supported (" + names + ")",
               place + ": byte " + std::to_string(record.type_at)};
}

/// Tensors under Hugging Face's names; one that nothing reads is refused by its own.
Result<void> rename_tensors(const std::vector<GgufTensorRecord>& records, const std::string& place,
                            GgufFile& out) {
  const ModelConfig& config = out.config;
  for (const GgufTensorRecord& record : records) {
    const std::string what = "tensor " + shown(record.name);
    if (is_left_over(record.name)) {
      out.unused.push_back(record.name);
      continue;
    }
    std::optional<GgufName> name = GgufName{record.name};
    if (record.name != kRopeFactors && record.name != kShortFactors &&
        record.name != kLongFactors) {
      name = read_gguf_name(architecture_of(config), record.name);
      if (!name) {
        return Error{what + " is read by no operation of architecture " + config.architecture,
                     place};
      }
      if (name->layer >= config.layers) {
        return Error{
            what + " is read by no operation: block_count is " + std::to_string(config.layers),
            place};
      }
    }
    if (!record.type.value) return unsupported_type(record, place);
    if (out.weights.find(name->hugging_face) != nullptr) {
      return Error{what + " is in another file of this model too", place};
    }
    Tensor tensor = tensor_of(record);
    if (name->experts) {
      const auto added = add_experts(config, *name, tensor, place, out.weights);
      ISOBIT_TRY(added);
      continue;
    }
    tensor.name = std::move(name->hugging_face);
    out.weights.add(std::move(tensor));
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

/// A number of the split that must be a plain integer; `fallback` without the key.
Result<std::int64_t> split_number(const GgufContainer& container, const std::string& key,
                                  std::int64_t fallback, const std::string& place) {
  const auto found = container.metadata.find(key);
  if (found == container.metadata.end()) return fallback;
  const GgufValue& value = found->second;
  const bool is_signed = value.type == GgufType::i8 || value.type == GgufType::i16 ||
                         value.type == GgufType::i32 || value.type == GgufType::i64;
  const bool fits = value.is_integer() &&
                    (is_signed ? value.signed_value >= 0 : value.unsigned_value <= kMostTensors);
  if (!fits) return Error{key + " is " + value.text() + "; it must be a count", place};
  return is_signed ? value.signed_value : static_cast<std::int64_t>(value.unsigned_value);
}

/// Each part says which one it is, of how many, and how many tensors all have together.
Result<void> check_split(const std::vector<GgufContainer>& containers,
                         std::span<const GgufPart> parts) {
  const auto count = static_cast<std::int64_t>(parts.size());
  std::int64_t tensors = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string& place = parts[i].place;
    tensors += static_cast<std::int64_t>(containers[i].tensors.size());
    const auto no = split_number(containers[i], "split.no", 0, place);
    ISOBIT_TRY(no);
    const auto of = split_number(containers[i], "split.count", 1, place);
    ISOBIT_TRY(of);
    if (std::max<std::int64_t>(*of, 1) != count) {
      return Error{"the file says that it is one of " + std::to_string(*of) + " parts, not of " +
                       std::to_string(count) +
                       "; its name must end in -00001-of-00003.gguf, say, and theirs alike",
                   place};
    }
    if (*no != static_cast<std::int64_t>(i)) {
      return Error{"the file says that it is part " + std::to_string(*no + 1) +
                       ", but its place among the files is " + std::to_string(i + 1),
                   place};
    }
  }
  const auto expected = split_number(containers[0], "split.tensors.count", tensors, parts[0].place);
  ISOBIT_TRY(expected);
  if (*expected != tensors) {
    return Error{"split.tensors.count is " + std::to_string(*expected) + " but the " +
                     std::to_string(count) + " files have " + std::to_string(tensors) + " tensors",
                 parts[0].place};
  }
  return {};
}

}  // namespace

Result<GgufFile> read_gguf_parts(std::span<const GgufPart> parts) {
  ISOBIT_CHECK(!parts.empty());
  std::vector<GgufContainer> containers;
  for (const GgufPart& part : parts) {
    Result<GgufContainer> container = read_gguf_container(part.file, part.place);
    ISOBIT_TRY(container);
    containers.push_back(std::move(container).value());
  }
  const std::string& place = parts[0].place;  // of all that is not about one file
  const Result<void> whole = check_split(containers, parts);
  ISOBIT_TRY(whole);
  const GgufMetadata& metadata = containers[0].metadata;
  GgufFile out;
  for (const auto& [key, value] : metadata) out.metadata[key] = value.text();
  Result<ModelConfig> config = config_from_gguf(metadata, place);
  ISOBIT_TRY(config);
  out.config = std::move(config).value();
  Result<GgufTokenizer> tokenizer = tokenizer_from_gguf(metadata, place);
  if (tokenizer) {
    out.tokenizer = std::move(tokenizer).value();
  } else {
    out.tokenizer.problem = tokenizer.error();  // of no weight while prompts are token ids
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Result<void> renamed = rename_tensors(containers[i].tensors, parts[i].place, out);
    ISOBIT_TRY(renamed);
  }
  const Result<void> completed = complete_config(out.weights, place, out.config);
  ISOBIT_TRY(completed);
  const Result<void> split = split_fused(out.config, FileForm::gguf, place, out.weights);
  ISOBIT_TRY(split);
  const Result<void> ordered = undo_conversion(out.config, place, out.weights);
  ISOBIT_TRY(ordered);
  set_stop_tokens(out.config, out.tokenizer);
  return out;
}

Result<GgufFile> read_gguf(std::span<const std::byte> file, const std::string& place) {
  const GgufPart part{file, place};
  return read_gguf_parts(std::span(&part, 1));
}

}  // namespace isobit
