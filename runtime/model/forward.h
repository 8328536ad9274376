// The forward pass: one, host code, read top to bottom, for every backend, rank count and cache
// mode. It decides the order of operations; the backend computes them; the communicator moves data.
//
// Callers: runtime/run/generate.cc. One Forward serves one rank; ranks call run() with the same
// rows.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "runtime/cache/store.h"
#include "runtime/model/rank_model.h"
#include "runtime/parallel/communicator.h"
#include "runtime/trace.h"

namespace isobit {

/// Some columns, or some rows, of a rectangle. `real`: bytes of a Real.
inline Rows columns(Rows x, std::int64_t begin, std::int64_t count, std::size_t real) {
  x.data = static_cast<char*>(x.data) + std::size_t(begin) * real;
  x.cols = count;
  return x;
}
inline Rows some_rows(Rows x, std::int64_t begin, std::int64_t count, std::size_t real) {
  x.data = static_cast<char*>(x.data) + std::size_t(begin * x.stride) * real;
  x.rows = count;
  return x;
}

/// One position of one sequence in this step.
struct StepRow {
  int sequence = 0;  // KvCache sequence
  std::int64_t position = 0;
  std::int32_t token = 0;
  bool wants_logits = false;
  bool draft = false;  // of a token that may turn out not to be fed
};

/// Receives the digests of recorded rows, one call a (site, layer); rows as given to run().
class Recorder {
 public:
  virtual ~Recorder() = default;
  [[nodiscard]] virtual bool wants(Site site) const = 0;
  virtual void record(Site site, int layer, std::span<const StepRow> rows,
                      std::span<const Digest> digests) = 0;
  /// The same of values: x has the rows of all ranks, in backend memory, and stays as it is. Every
  /// rank wants the same.
  [[nodiscard]] virtual bool wants_values(Site site, int layer) const {
    static_cast<void>(site), static_cast<void>(layer);
    return false;
  }
  virtual void give_values(Site site, int layer, std::span<const StepRow> rows, Rows x,
                           Backend& backend) {
    static_cast<void>(site), static_cast<void>(layer), static_cast<void>(rows);
    static_cast<void>(x), static_cast<void>(backend);
  }
};

/// Sees, and may change, the residual stream that enters a layer, (hidden): exact copies as double,
/// whatever the precision; what is left is rounded to the mode's Real. Layer = number of layers:
/// the stream that enters the final norm. Empty: costs nothing.
using ResidualHook =
    std::function<void(int layer, int sequence, std::int64_t position, std::span<double> residual)>;

/// Rows that a hook may see and change: the residual stream that enters a layer (the number of
/// layers: the final norm), (hidden); keys after RoPE and values as they go to the cache, (KV heads
/// of this rank * head_dim); what attention gives for all heads, (heads * head_dim).
enum class RowSite : std::uint8_t { residual, k, v, attn };
constexpr int kRowSites = 4;
const char* name_of(RowSite site);  // "residual", "k", "v", "attn"

/// Sees, and may change, single rows of the forward pass. A row that is rebuilt, or computed again,
/// is shown again. The steps of a Forward with a hook are never repeated from a recording.
class RowHook {
 public:
  virtual ~RowHook() = default;
  /// Whether this row is to be shown: nothing else is copied to the host.
  [[nodiscard]] virtual bool wants(RowSite site, int layer, const StepRow& row) const = 0;
  /// `values`: an exact copy as double. True: they were changed and are put back. REQUIRES of what
  /// is left: it is exact in the format of the site (the mode's `stored`, of K and V `cache`).
  virtual bool see(RowSite site, int layer, const StepRow& row, std::span<double> values) = 0;
};

class Forward {
 public:
  /// REQUIRES: all references outlive the object. `recorder` and `hook` may be null.
  Forward(const RankModel& model, Backend& backend, Communicator& communicator, KvCache& cache,
          Recorder* recorder, const ResidualHook& residual, RowHook* hook = nullptr);

  /// Computes the rows, in this order, and stores their K and V. Gives the logits of the rows that
  /// want them, (wanting rows, vocabulary), in backend memory, valid until the next call.
  /// `past` lists earlier positions whose K and V are rebuilt first, in each layer.
  /// REQUIRES: the cache has room for every position; a row's earlier positions are computed.
  Rows run(std::span<const StepRow> rows, std::span<const StepRow> past);
  /// Gives the recorder K and V of positions [0, n) of a sequence as the next query would see them,
  /// of the sites k_seen and v_seen that it wants and the cache has (forward_seen.cc).
  void give_seen(int sequence, std::int64_t n);

 private:
  void note_inputs(std::span<const StepRow> rows);
  [[nodiscard]] std::int64_t table_row(const StepRow& row) const;
  Rows embed(std::span<const StepRow> rows, std::span<const std::int32_t> ids,
             std::span<const std::int32_t> position_ids, int buffer);
  void exchange_embeddings(Rows table, std::span<const std::int32_t> ids, Rows h);
  void layer(int index, Rows h, std::span<const StepRow> rows, std::span<const StepRow> past);
  void finish_layer(int index, Rows attn, Rows x, Rows h, std::span<const StepRow> rows);
  void feed_forward(int index, Rows x, Rows h, std::span<const StepRow> rows);
  /// True when nothing stands between a layer's product and the residual, nor behind it.
  [[nodiscard]] bool plain(const LayerPlan& plan) const;
  [[nodiscard]] bool joins_next(int index) const;
  void project(int index, Rows x, std::span<const StepRow> rows,
               std::span<const std::int64_t> positions, Rows* q, Rows& k, Rows& v);
  /// The norm of the model's kind.
  void normalise(Rows x, const NormWeights& norm, Rows out);
  /// finish_qkv() where q and k are normalised as whole rows.
  void finish_with_row_norms(int index, const Product* q, const Product& k, const Product& v,
                             std::span<const std::int64_t> positions, const Rotation& rotation);
  /// RMSNorm over all heads of rows that hold this rank's `has`, of which it reports `owned`.
  void normalise_row(Rows x, Span has, Span owned, const std::vector<std::int64_t>& widths,
                     const NormWeights& norm);
  /// What enters the last product of an MLP, of a layer or an expert.
  Rows activations(const LayerPlan& plan, const LinearWeights& gate, const LinearWeights& up,
                   Rows x);
  /// The weighted sum of each row's experts (forward_experts.cc).
  Rows experts(int index, Rows x);
  /// h = R(h + y), y normalised where the plan says so.
  void add_output(const LayerPlan& plan, const NormWeights& norm, Rows y, Rows h);
  void add_output(const LayerPlan& plan, const NormWeights& norm, const Product& y, Rows h);
  void store_kv(int index, Rows k, Rows v, std::span<const StepRow> rows,
                std::span<const std::int64_t> slots, bool again);
  Rows attend(int index, Rows q, std::span<const StepRow> rows);
  Rows logits(Rows h, std::span<const StepRow> rows);

  /// A linear layer and the scratch array of its outputs.
  struct Linear {
    const LinearWeights* weights;
    int buffer;
  };
  /// x times matrices of which the rank owns outputs. `input`: format of activations.
  std::vector<Product> column_products(Rows x, const std::vector<Linear>& linears, Format input);
  /// x * W over the rank's columns; ranks' subtree sums are exchanged.
  Product row_product(Rows x, const LinearWeights& weights, std::int64_t full_inputs);
  /// Quantised or rounded input of a GEMM and its row scales (null when unscaled).
  Rows gemm_input(Rows x, Format input, bool scaled, bool sliced, const void*& scale);
  /// Rows of all ranks side by side: local columns -> (rows, sum of widths).
  Rows gather_columns(Rows local, std::span<const std::int64_t> widths, int buffer);
  void record(Site site, int layer, Rows x, std::span<const StepRow> rows);
  [[nodiscard]] bool wants_any(Site site, int layer) const;
  Rows upload_seen(std::span<const double> values, std::int64_t n);
  void record_qkv(int index, Rows q, Rows k, Rows v, std::span<const StepRow> rows);
  void record_sliced(Site site, int layer, Rows local, std::span<const std::int64_t> widths,
                     std::span<const StepRow> rows);

  /// Both hooks, of the stream that enters a layer.
  void apply_residual_hook(int index, Rows h, std::span<const StepRow> rows);
  void apply_row_hook(RowSite site, int index, Rows x, std::span<const StepRow> rows);

  // Rebuilding K and V of earlier positions (forward_rebuild.cc).

  void rebuild(int index, std::span<const StepRow> past);
  /// The input of a layer for earlier positions, (rows, hidden).
  Rows past_input(int index, std::span<const StepRow> past);
  /// Copies the rows' input of a layer to the cache, or back; what a hook changes comes later.
  void copy_checkpoints(int index, std::span<const StepRow> rows, Rows h, bool store);
  /// What attention() gets of a layer, where layers' pages differ also the places of the rows.
  void see_layer(int index, std::span<const StepRow> rows);
  void see_pages(int index, std::span<const StepRow> rows);

  // A step under a policy (forward_policy.cc).

  /// Rows whose attention runs together: of each sequence a stretch in which its view stays.
  struct Phase {
    std::vector<std::int32_t> rows;  // of the step, ascending
    std::vector<std::int32_t> ends;  // places in `rows` after which the sequence's view changes
    bool turned = false;             // rows see K and V turned (CachePolicy::rotation)
  };
  void plan_phases(std::span<const StepRow> rows);
  void code_stored(int index, Rows k, Rows v, std::span<const StepRow> rows, bool again);
  void attend_phase(int index, const Phase& phase, Rows q, std::span<const StepRow> rows, Rows out);
  void observe(int index, const Phase& phase, Rows q, const AttentionRows& args,
               std::span<const StepRow> rows);
  std::vector<double> head_scores(int index, const StepRow& row);
  void select_kept(int index, const StepRow& row);
  [[nodiscard]] bool stops_before_rope(std::span<const StepRow> rows) const;
  void finish_rotation(int index, const Rows* q, Rows k, std::span<const StepRow> rows,
                       std::span<const std::int64_t> positions);
  [[nodiscard]] Rotation rotation_of(int index) const;
  void observe_queries(int index, Rows q, std::span<const StepRow> rows);
  static std::vector<std::int64_t> positions_of(std::span<const StepRow> rows);
  // A step with a cache as a package ships it (forward_shipped.cc).
  void attend_shipped(int index, Rows q, std::span<const StepRow> rows, Rows out);
  static std::vector<int> sequences_of(std::span<const StepRow> rows);

  // Positions counted in the cache (forward_in_cache.cc).
  [[nodiscard]] std::int64_t position_in_cache(const StepRow& row) const;
  void turn_in_cache(const Rows* q, Rows k, std::span<const StepRow> rows,
                     const Rotation& rotation);
  void attend_in_cache(int index, Rows q, std::span<const StepRow> rows, Rows out);
  KvPools gather_seen(int index, const StepRow& row);

  /// Names of scratch arrays.
  enum Buffer : int {
    kH,
    kNormed,
    kQ,
    kK,
    kV,
    kAttn,
    kAttnFull,
    kY,
    kGate,
    kUp,
    kAct,
    kInput,
    kScale,
    kAmax,
    kParts,
    kGathered,
    kRecorded,
    kPastH,
    kWanted,
    kLocalLogits,
    kLogits,
    kEmbedded,
    kOutput,
    kAllHeads,
    kOwnHeads,
    kRouter,
    kExpertInput,
    kExpertSum,
    kPhaseQ,
    kPhaseAttn,
    kWeightQ,
    kWeights,
    kScores,
    kAllScores,
    kPlainK,
    kSeenK,
    kSeenV,
    kSeenKPages,
    kSeenVPages,
    kSeenRows,
    kBuffers
  };
  /// A named scratch array, grown when needed; contents do not survive another use of the name.
  Rows scratch(int buffer, std::int64_t rows, std::int64_t cols);
  std::vector<std::int64_t> widths(const std::function<std::int64_t(const Partition&)>& f) const;

  const RankModel& model_;
  const ModelConfig& config_;
  Backend& backend_;
  Communicator& comm_;
  KvCache& cache_;
  Recorder* recorder_;
  const ResidualHook& residual_;
  RowHook* hook_;                                      // null: none
  std::uint64_t number_;                               // of this object, in the process
  std::vector<Partition> partitions_;                  // of every rank
  std::vector<std::int64_t> head_widths_, kv_widths_;  // of q, and of k and v that they report
  struct Scratch {
    DeviceMemory memory;
    std::size_t bytes = 0;
  };
  std::vector<Scratch> scratch_;
  std::vector<std::int32_t> ids_, wanted_;  // of the current rows, and the three below
  std::vector<std::int32_t> position_ids_;
  std::vector<std::int64_t> positions_, slots_;          // positions: rows of the RoPE tables
  std::vector<std::int64_t> windows_;                    // the different ones of the layers
  std::vector<std::size_t> window_of_layer_;             // in windows_
  std::vector<std::vector<AttentionRows::Row>> places_;  // of the current rows, by windows_
  AttentionRows attention_;                              // with the places of the current layer
  std::vector<Phase> phases_;                            // of the step; empty without a policy
  std::vector<std::byte> seen_weights_;                  // host copies of weights, for the policy
  std::vector<double> wide_row_;                         // one row of them
  // Of the layer and rows at hand, where pages differ from layer to layer.
  std::vector<std::int64_t> layer_slots_;
  std::vector<AttentionRows::Row> layer_places_;
};

}  // namespace isobit
