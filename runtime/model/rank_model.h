// One rank's slice of a model: which heads, columns and vocabulary rows it owns, and its weights.
//
// Rank r of R owns segments [V*r/R, V*(r+1)/R) of every reduction that is cut by rank (o, down),
// query heads [heads*r/R, heads*(r+1)/R) with every KV head that these read, and the vocabulary of
// digest segments [8r/R, 8(r+1)/R) (NUMERICS.md, "Ranks"). It allocates nothing else.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "runtime/backend.h"
#include "runtime/checkpoint/weights.h"
#include "runtime/device_memory.h"
#include "runtime/model/arch/plan.h"
#include "runtime/model/config.h"
#include "runtime/model/rope.h"
#include "runtime/numerics/weight_change.h"

namespace isobit {

struct Span {
  std::int64_t begin = 0, end = 0;
  [[nodiscard]] std::int64_t size() const { return end - begin; }
  bool operator==(const Span&) const = default;
};

/// Who owns what. Pure arithmetic; every rank can compute every other's part.
struct Partition {
  Partition(const ModelConfig& config, int rank, int ranks);
  int rank, ranks;
  Span heads;           // query heads
  Span kv_heads;        // KV heads computed here, shared ones on several ranks
  Span owned_kv_heads;  // of these, the ones reported by this rank
  Span vocabulary;
  Span attention_columns;  // of o_proj's input, (heads * head_dim) wide
  Span mlp_columns;        // of down_proj's input
  Span expert_columns;     // of an expert's
  // Owned segments in slice columns.
  std::vector<std::int64_t> attention_bounds, mlp_bounds, expert_bounds;
};

/// Why a model cannot run on that many ranks, or empty.
std::string refuse_ranks(const ModelConfig& config, int ranks);

/// The embedding of one rank's vocabulary, (vocabulary slice, hidden), as Real.
///
/// On a device the whole table is uploaded. On the host most of it is never read, so a row is made
/// from the checkpoint when it is first required; the rest of the memory is not even touched.
class EmbeddingTable {
 public:
  EmbeddingTable() = default;
  /// The whole table. REQUIRES: `backend` outlives it.
  static EmbeddingTable uploaded(const Tensor& source, Span vocabulary, Backend& backend);
  /// Rows on demand, for a backend that computes in host memory. REQUIRES: `source` outlives it.
  static EmbeddingTable on_demand(const Tensor& source, Span vocabulary, const Mode& mode);

  /// Makes the rows of these token ids present; ids of other ranks are passed over.
  /// Called before every lookup, by the rank's own thread.
  void require(std::span<const std::int32_t> ids) const;
  /// Null without a table.
  [[nodiscard]] void* get() const { return memory_ ? memory_.get() : device_.get(); }

 private:
  const Tensor* source_ = nullptr;
  Span vocabulary_;
  Format format_ = Format::f32;
  bool wide_ = false;
  std::shared_ptr<void> memory_;  // on demand: zero pages of the system until written
  mutable std::vector<bool> present_;
  DeviceMemory device_;
};

/// A linear layer: this rank's slice.
struct LinearWeights {
  std::shared_ptr<WeightMatrix> matrix;
  DeviceMemory bias;  // (outputs), empty without one
};

/// How a model normalises everywhere but q and k: RMSNorm, or LayerNorm.
enum class NormKind : std::uint8_t { rms, layer };

/// Of a norm, as Reals; what is added to the weight of some families is in it.
struct NormWeights {
  DeviceMemory weight;
  DeviceMemory bias;  // of a LayerNorm
};

struct ExpertWeights {
  LinearWeights gate, up, down;
};

/// What a layer does, and its weights. The family's table says which member a tensor fills.
struct LayerWeights {
  LayerPlan plan;
  NormWeights norm1, norm2;                // (hidden), of the inputs of attention and MLP
  NormWeights output_norm1, output_norm2;  // (hidden), of their outputs
  NormWeights q_norm, k_norm;              // (head_dim), or (all heads * head_dim)
  LinearWeights q, k, v, o, gate, up, down;
  LinearWeights router;  // (experts, hidden), whole on every rank
  std::vector<ExpertWeights> experts;
};

/// The tables of one RoPE: cosine and sine (rows, dims / 2), in backend memory.
struct RopeTable {
  DeviceMemory cosine, sine;
  std::int64_t dims = 0;
};

struct RankModel {
  RankModel(const ModelConfig& model_config, const Partition& slice)
      : config(model_config), partition(slice) {}
  ModelConfig config;
  Partition partition;
  NormKind norm = NormKind::rms;
  EmbeddingTable embedding;           // (vocabulary slice, hidden)
  double embedding_scale = 0;         // a Real in the weights' format; 0: none
  EmbeddingTable position_embedding;  // (context, hidden), of families that learn positions
  NormWeights final_norm;             // (hidden)
  LinearWeights head;                 // (vocabulary slice, hidden)
  std::vector<RopeTable> ropes;       // of config.ropes
  RopeRows rope_rows;                 // rows of the tables
  std::vector<LayerWeights> layers;
  std::int64_t changed_weights = 0;  // of the matrices: whose bits the WeightChange changed
};

/// How long the sequences of a run are: what the RoPE tables must hold.
struct SequenceLengths {
  std::int64_t positions = 0;         // most of one sequence
  std::vector<std::int64_t> prompts;  // lengths of the prompts
};

/// Rounds and uploads one rank's slice, and RoPE tables for `lengths`.
/// `loader` packs the matrices and may have threads of its own; it may be `backend`, and is not
/// needed afterwards. `model` and `backend` must outlive the result. A `change` is of every matrix
/// of a linear layer; one that cannot be made (changed_weights.h) is a BackendError.
std::unique_ptr<RankModel> build_rank_model(const LoadedModel& model, Backend& backend,
                                            Backend& loader, int rank, int ranks,
                                            const SequenceLengths& lengths,
                                            const WeightChange& change = {});

/// Makes the RoPE tables serve these lengths too.
void extend_positions(RankModel& model, Backend& backend, const SequenceLengths& lengths);

}  // namespace isobit
