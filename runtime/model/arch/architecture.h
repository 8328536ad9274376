// The architecture table: a model family is one file of this folder, a table of tensors and a plan.
//
// The table drives whatever must know a family: the check of names and shapes, a rank's slices and
// weights, the renaming of GGUF's tensors, which tensors nothing reads, what config.json may say.
// Callers: runtime/model, runtime/checkpoint, tests. A new family: copy qwen3.cc, name it below and
// in table.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/checkpoint/config_fields.h"
#include "runtime/checkpoint/json.h"
#include "runtime/model/arch/plan.h"
#include "runtime/model/config.h"
#include "runtime/model/rank_model.h"

namespace isobit {

class GgufKeys;  // runtime/checkpoint/gguf_keys.h

/// One dimension of a tensor: its size in terms of the config, and how ranks cut it.
enum class Dimension : std::uint8_t {
  one,         // of a vector; not cut
  hidden,      // not cut
  head,        // head_dim; not cut
  vocabulary,  // at the digest's segments
  query,       // heads * head_dim, by query heads
  key_value,   // kv_heads * head_dim, by KV heads
  attention,   // heads * head_dim as an input, at the reduction's segments
  mlp,         // intermediate_size, at the reduction's segments
  expert,      // expert_size, at the reduction's segments
  experts,     // how many there are; not cut
  position,    // context; not cut
};

/// When a tensor belongs to a model.
enum class When : std::uint8_t { always, never, attention_bias, mlp_bias, untied, dense, routed };

/// One row of a family's table: a matrix or a vector, and the bias that goes with it.
struct TensorRow {
  const char* name;  // Hugging Face's, without "model.layers.N." and ".weight"
  const char* gguf;  // llama.cpp's, without "blk.N." and ".weight"
  Dimension outputs, inputs;
  std::variant<EmbeddingTable RankModel::*, NormWeights RankModel::*, LinearWeights RankModel::*,
               NormWeights LayerWeights::*, LinearWeights LayerWeights::*,
               LinearWeights ExpertWeights::*>
      fills;
  When weight = When::always;
  When bias = When::never;  // as long as the outputs, a norm's as its weight; name + ".bias"
  bool rotated = false;     // RoPE turns the outputs; see GgufForm::interleaved
};

/// What most families have before their layers and after them.
inline constexpr TensorRow kUsualBefore[] = {
    {"model.embed_tokens", "token_embd", Dimension::vocabulary, Dimension::hidden,
     &RankModel::embedding},
};
inline constexpr TensorRow kUsualAfter[] = {
    {"model.norm", "output_norm", Dimension::one, Dimension::hidden, &RankModel::final_norm},
    {"lm_head", "output", Dimension::vocabulary, Dimension::hidden, &RankModel::head, When::untied},
};

/// Matrices that a file holds as one: the outputs of `parts`, rows of the layer's table, one after
/// the other, with their biases.
struct FusedRow {
  const char* name;  // as in TensorRow
  const char* gguf;
  std::span<const char* const> parts;
  bool transposed = false;  // Hugging Face's file has (inputs, outputs); llama.cpp's never
};

/// The experts of a layer: each has the tensors `rows` under the layer's prefix, `prefix`, its
/// number and a dot. llama.cpp stacks those of all experts.
struct ExpertRows {
  const char* prefix = "";
  std::span<const TensorRow> rows;
};

/// How llama.cpp writes a family.
struct GgufForm {
  const char* architecture;  // general.architecture; null: it has no name of its own for it
  bool interleaved;          // rows of rotated matrices are stored for a RoPE on adjacent pairs
  bool window;               // attention.sliding_window, when it is there, holds for every layer
  /// Keys that would change the arithmetic of other families (gguf_metadata.cc); this one reads
  /// them.
  std::span<const char* const> reads = {};
  /// What config.json says and metadata in another way, or not at all; may be null.
  void (*read)(GgufKeys& keys, const std::string& prefix, ModelConfig& config) = nullptr;
};

/// How a family's config.json tells its RoPE (runtime/checkpoint/config_rope.cc).
enum class RopeWords : std::uint8_t { usual, phi3 };

struct Architecture {
  const char* name;        // config.json's model_type, ModelConfig::architecture
  const char* class_name;  // config.json's architectures
  GgufForm gguf;
  const char* layers = "model.layers.";             // before a layer's number
  std::span<const TensorRow> before, layer, after;  // of the model, of each layer, of the model
  ExpertRows experts = {};
  std::span<const FusedRow> fused = {};
  NormKind norm = NormKind::rms;
  bool norms_add_one = false;   // a norm multiplies with 1 + weight; llama.cpp stores the sum
  std::int64_t context = 2048;  // of a config.json that does not say max_position_embeddings
  RopeWords rope_words = RopeWords::usual;
  bool scales_embedding = false;  // by sqrt(hidden)
  LayerPlan (*plan)(const ModelConfig& config, std::int64_t layer);
  /// Keys that would change the arithmetic of other families (config_hf.cc); this one reads them.
  std::span<const char* const> reads = {};
  /// Sizes under names of its own; null: under the usual ones.
  void (*read_sizes)(ConfigFields& fields, ModelConfig& config) = nullptr;
  /// What config.json says in this family's own way: heads, biases, windows. The sizes that all
  /// families have are there already.
  void (*read_config)(ConfigFields& fields, ModelConfig& config);
};

// The families, one file each; table.cc lists them.
extern const Architecture kGemma2;
extern const Architecture kGemma3;
extern const Architecture kGpt2;
extern const Architecture kLlama;
extern const Architecture kMistral;
extern const Architecture kMixtral;
extern const Architecture kOlmo2;
extern const Architecture kPhi3;
extern const Architecture kQwen2;
extern const Architecture kQwen3;
extern const Architecture kQwen3Moe;
extern const Architecture kSmolLm3;

/// All families, in the order in which messages list them.
std::span<const Architecture* const> architectures();
/// By ModelConfig::architecture, by class and by general.architecture; null: none.
const Architecture* find_architecture(std::string_view name);
const Architecture* find_architecture_of_class(std::string_view class_name);
const Architecture* find_architecture_of_gguf(std::string_view gguf_name);
/// REQUIRES: a valid config.
const Architecture& architecture_of(const ModelConfig& config);
/// "llama, mistral, ..." of a name of the families, for messages; a null name is left out.
std::string architecture_names(const char* (*name)(const Architecture&));

/// "model.layers.N.", before the name of a layer's row.
std::string layer_prefix(const Architecture& architecture, std::int64_t layer);
/// The same before the name of an expert's row.
std::string expert_prefix(const Architecture& architecture, std::int64_t layer,
                          std::int64_t expert);

std::int64_t extent(Dimension axis, const ModelConfig& config);

/// A tensor that a model of this config may have, under Hugging Face's name.
struct TableTensor {
  std::string name;
  std::vector<std::int64_t> shape;  // outermost first
  When when = When::always;
  bool is_bias = false;
  bool belongs = true;  // to a model of this config
  bool is_norm = false;
};
/// Every tensor of the family's table in the order of the forward pass, those that do not belong
/// too. A fused matrix is there as its parts.
/// REQUIRES: a valid config.
std::vector<TableTensor> table_tensors(const ModelConfig& config);
/// Of these, the ones that belong to the model.
std::vector<TableTensor> needed_tensors(const ModelConfig& config);
/// A tensor of that name and shape, without its data.
Tensor tensor_of(const TableTensor& row, TensorType type);

/// The weight of the row that fills a member of RankModel, e.g. "lm_head.weight".
template <class Member>
std::string weight_that_fills(const Architecture& architecture, Member RankModel::*member) {
  for (const auto& rows : {architecture.before, architecture.after}) {
    for (const TensorRow& row : rows) {
      const auto* filled = std::get_if<Member RankModel::*>(&row.fills);
      if (filled != nullptr && *filled == member) return std::string(row.name) + ".weight";
    }
  }
  ISOBIT_CHECK(false);
  return "";
}

}  // namespace isobit
