// The architecture table: a model family is one file of this folder, a table of tensors and a plan.
//
// The table drives whatever must know a family: the check of names and shapes, a rank's slices and
// weights, the renaming of GGUF's tensors, which tensors nothing reads, what config.json may say.
// Callers: runtime/model, runtime/checkpoint, tests. A new family: copy qwen3.cc, name it below and
// in table.cc.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/checkpoint/config_fields.h"
#include "runtime/model/arch/plan.h"
#include "runtime/model/config.h"
#include "runtime/model/rank_model.h"

namespace isobit {

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
};

/// When a tensor belongs to a model.
enum class When : std::uint8_t { always, never, attention_bias, mlp_bias, untied };

/// One row of a family's table: a matrix or a vector, and the bias that goes with it.
struct TensorRow {
  const char* name;  // Hugging Face's, without "model.layers.N." and ".weight"
  const char* gguf;  // llama.cpp's, without "blk.N." and ".weight"
  Dimension outputs, inputs;
  std::variant<EmbeddingTable RankModel::*, DeviceMemory RankModel::*, LinearWeights RankModel::*,
               DeviceMemory LayerWeights::*, LinearWeights LayerWeights::*>
      fills;
  When weight = When::always;
  When bias = When::never;  // of `outputs` elements, name + ".bias"
  bool rotated = false;     // RoPE turns the outputs; see GgufForm::interleaved
};

/// How llama.cpp writes a family.
struct GgufForm {
  const char* architecture;  // general.architecture; null: it has no name of its own for it
  bool interleaved;          // rows of rotated matrices are stored for a RoPE on adjacent pairs
  bool window;               // attention.sliding_window, when it is there, holds for every layer
};

struct Architecture {
  const char* name;        // config.json's model_type, ModelConfig::architecture
  const char* class_name;  // config.json's architectures
  GgufForm gguf;
  std::span<const TensorRow> before, layer, after;  // of the model, of each layer, of the model
  LayerPlan (*plan)(const ModelConfig& config, std::int64_t layer);
  /// What config.json says in this family's own way: heads, biases, windows. The sizes that all
  /// families have are there already.
  void (*read_config)(ConfigFields& fields, ModelConfig& config);
};

// The families, one file each; table.cc lists them.
extern const Architecture kLlama;
extern const Architecture kMistral;
extern const Architecture kQwen2;
extern const Architecture kQwen3;

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
std::string layer_prefix(std::int64_t layer);

std::int64_t extent(Dimension axis, const ModelConfig& config);
bool belongs(When when, const ModelConfig& config);

/// A tensor that a model of this config may have, under Hugging Face's name.
struct TableTensor {
  std::string name;
  std::vector<std::int64_t> shape;  // outermost first
  When when = When::always;
  bool is_bias = false;
};
/// Every tensor of the family's table in the order of the forward pass, those that do not belong()
/// too.
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
