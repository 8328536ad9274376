// Where keys and values live: exact ones in pages, coded ones in pages of codes, and for each
// sequence and layer what a later query may still see of them.
//
// A lossless layout is a CacheMode, a lossy one a CachePolicy; this class brings about what the
// policy says and knows no policy by name. What it stores is what attention reads: there is no
// exact copy of what is coded. With a ResidualSpec old positions have no keys and values between
// two steps, and each layer's lie in pages of its own (layered_pages.h). One KvCache serves one
// rank. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "runtime/backend.h"
#include "runtime/cache/layered_pages.h"
#include "runtime/cache/mode.h"
#include "runtime/cache/pages.h"
#include "runtime/cache/policy.h"
#include "runtime/cache/shipped.h"
#include "runtime/device_memory.h"

namespace isobit {

struct KvShape {
  std::int64_t layers = 0;
  std::int64_t kv_heads = 0;  // of this rank
  std::int64_t head_dim = 0;
  std::int64_t hidden = 0;         // residual rows, used by modes that recompute
  std::int64_t all_kv_heads = 0;   // of the model
  std::int64_t first_kv_head = 0;  // of this rank, in the model's
  std::int64_t heads = 0;          // query heads of this rank
  std::int64_t all_heads = 0;      // of the model
};

/// The sequences that a cache will hold, so that its pools are large enough.
struct KvDemand {
  struct Length {
    std::int64_t prompt = 0, total = 0;  // positions; total: with all that is generated
  };
  std::vector<Length> staying;  // open to the end
  std::vector<Length> passing;  // of these, at most `at_once` are open together
  std::int64_t at_once = 1;
};

/// What a policy did, and what it kept. Bytes count every KV head of the model once and no padding.
struct KvCounters {
  std::int64_t bytes = 0;        // most that was kept between two steps
  std::int64_t exact_bytes = 0;  // what exact values of the same positions would take then
  std::int64_t evicted = 0;      // positions of a KV head, summed over layers and heads
  std::int64_t coded = 0;        // positions whose keys or values were coded, or changed
  std::int64_t rebuilt = 0;      // positions rebuilt under a residual policy; else of those coded,
                                 // the ones that were coded again from rebuilt values
  bool could_act = false;        // some query saw anything but exact values of every position
};

class KvCache {
 public:
  /// REQUIRES: check_kv_policy() has no objection; `backend` and `kv` outlive the object.
  KvCache(Backend& backend, const KvShape& shape, const CacheMode& mode, const KvPolicySpec& kv,
          const KvDemand& demand);

  /// Opens a sequence whose prompt has n tokens; its number is reused after close().
  int open(std::int64_t n);
  void close(int sequence);
  /// Called by close() with a sequence that still has its positions.
  void on_close(std::function<void(int sequence)> call) { closing_ = std::move(call); }
  /// Takes `positions` (whole pages of it) from `donor`'s first pages; gives how many were taken.
  std::int64_t share_prefix(int sequence, int donor, std::int64_t positions);
  /// Makes room for positions [0, n), which the coming step completes. REQUIRES: within the demand.
  void reserve(int sequence, std::int64_t n);
  /// Forgets every position of a sequence, keeping it open.
  void clear(int sequence);
  /// Forgets the positions from n on: rows that were drafted and not fed. REQUIRES: a policy has
  /// done nothing after them.
  void truncate(int sequence, std::int64_t n);
  /// After a step: counts, and gives pages back that no later query can read.
  void end_step();

  // Exact values.
  [[nodiscard]] bool keeps_exact() const { return keeps_exact_; }
  /// Slot of a position in a layer's exact pools; -1 when there are none.
  [[nodiscard]] std::int64_t slot(int sequence, std::int64_t position,
                                  std::int64_t layer = 0) const;
  /// The pages of a sequence in them.
  [[nodiscard]] const std::int32_t* table(int sequence, std::int64_t layer = 0) const;
  [[nodiscard]] void* k_pool(std::int64_t layer) const;
  [[nodiscard]] void* v_pool(std::int64_t layer) const;
  /// Whether slots and pages differ from layer to layer.
  [[nodiscard]] bool by_layer() const { return residual_spec_.has_value(); }

  // Keys and values that are rebuilt: by modes that recompute, and under a residual policy.
  [[nodiscard]] bool rebuilds() const { return mode_.recomputes || by_layer(); }
  /// Whether the input rows of a layer are kept, else those of the layer before give them again.
  [[nodiscard]] bool checkpoint(std::int64_t layer) const {
    return by_layer() ? residual_spec_->checkpoint(layer) : mode_.recomputes;
  }
  /// The pages of these rows, which lie like values of one head of `hidden` channels.
  [[nodiscard]] void* checkpoint_pool(std::int64_t layer) const {
    return residual_[std::size_t(layer)].get();
  }
  [[nodiscard]] std::int64_t checkpoint_slot(int sequence, std::int64_t position) const {
    return at(sequence).residuals.slot(residuals_, position);
  }
  /// Positions from 0 on that hold no K and V before the coming step.
  [[nodiscard]] std::int64_t evicted(int sequence) const { return at(sequence).layered.evicted; }
  /// Positions whose K and V a step has rebuilt in every layer.
  void count_rebuilt(std::int64_t positions) { counters_.rebuilt += positions; }
  /// Pages that hold a sequence's positions, given back ones included.
  [[nodiscard]] std::int64_t pages(int sequence) const;

  // What the policy makes of them.
  [[nodiscard]] const CachePolicy* policy() const { return policy_; }
  [[nodiscard]] const KvModel& model() const { return model_; }
  [[nodiscard]] std::int64_t prompt_length(int sequence) const { return at(sequence).prompt; }
  /// Changes computed rows in place, where the policy does. Row r is positions[r].
  void change(std::int64_t layer, bool keys, Rows x, std::span<const std::int64_t> positions);
  /// Codes computed rows, of the sides that are coded at the write, and turns those that are not
  /// where their layer is turned: row r is positions[r] of sequences[r]; k and v are used up.
  /// `again`: they were computed before, and are rebuilt.
  void code_rows(std::int64_t layer, Rows k, Rows v, std::span<const int> sequences,
                 std::span<const std::int64_t> positions, bool again);
  /// Codes exact positions until a layer shows `view`.
  void code(std::int64_t layer, int sequence, const CodedView& view);
  /// Codes all that is coded of a layer once more, from exact values that were rebuilt.
  void code_again(std::int64_t layer, int sequence);
  /// Whether query q of a sequence sees K and V turned (CachePolicy::rotation).
  [[nodiscard]] bool turns(int sequence, std::int64_t q) const;
  [[nodiscard]] KvRotation rotation() const { return rotation_; }
  /// What each query head of this rank made of a layer's positions so far, and of its queries.
  [[nodiscard]] std::vector<double>& scores(std::int64_t layer, int sequence, std::int64_t head);
  [[nodiscard]] std::vector<double>& query_state(std::int64_t layer, int sequence,
                                                 std::int64_t head);
  /// Lets the policy choose what a layer keeps after a row.
  void select(std::int64_t layer, int sequence, const KvScores& scores);
  /// K and V of positions [0, n) as queries see them, (n, kv_heads of this rank * head_dim) each.
  void read(std::int64_t layer, int sequence, std::int64_t n, std::vector<double>& keys,
            std::vector<double>& values);
  /// Whether seen() has keys, or values: not where a package keeps the cache, where positions are
  /// rebuilt when they are read, nor of keys that turn with their place in the cache.
  [[nodiscard]] bool shows(bool keys) const;
  /// K or V of positions [0, n) as the query at position n would see them, turned back, (n,
  /// kv_heads of this rank * head_dim); NaN where a head does not see the position. REQUIRES:
  /// shows(keys), n positions are stored and no coming step has begun.
  std::vector<double> seen(std::int64_t layer, int sequence, std::int64_t n, bool keys);
  /// How a row of a sequence sees a layer now. The pointers hold until the layer changes.
  [[nodiscard]] AttentionRows::Row view(std::int64_t layer, int sequence, AttentionRows::Row row);
  [[nodiscard]] KvPools pools(std::int64_t layer) const;
  [[nodiscard]] const CodeLayout& key_layout() const { return k_layout_; }
  [[nodiscard]] const CodeLayout& value_layout() const { return v_layout_; }

  // A cache as a package ships it: one pool, which every layer of a step fills anew.

  [[nodiscard]] ShippedCache* shipped() const { return shipped_.get(); }
  /// Hands a layer's computed rows to it and writes what attention sees of earlier positions. Row r
  /// is positions[r] of sequences[r]; a sequence's rows are neighbours. Throws BackendError where
  /// the original raises one.
  void update_shipped(std::int64_t layer, Rows k, Rows v, std::span<const int> sequences,
                      std::span<const std::int64_t> positions);

  [[nodiscard]] const CacheMode& mode() const { return mode_; }
  [[nodiscard]] const KvCounters& counters() const { return counters_; }

 private:
  static constexpr std::int64_t kStagedRows = 256;  // exact rows that are handled at a time

  /// K and V of every layer, backend memory.
  class Memory {
   public:
    void take(Backend& backend, std::int64_t layers, std::size_t k_bytes, std::size_t v_bytes);
    [[nodiscard]] void* k(std::int64_t layer) const { return get(k_, layer); }
    [[nodiscard]] void* v(std::int64_t layer) const { return get(v_, layer); }

   private:
    static void* get(const std::vector<DeviceMemory>& all, std::int64_t layer) {
      return all.empty() ? nullptr : all[std::size_t(layer)].get();
    }
    std::vector<DeviceMemory> k_, v_;
  };
  /// What a layer keeps, (KV heads of the model or 1, stride); empty: everything.
  struct Mask {
    std::int64_t heads = 1, stride = 0;
    std::vector<std::uint8_t> bytes;
    [[nodiscard]] bool empty() const { return bytes.empty(); }
    /// Positions past the stride were never chosen from.
    [[nodiscard]] bool keeps(std::int64_t head, std::int64_t position) const {
      return position >= stride || bytes[std::size_t(head * stride + position)] != 0;
    }
    void grow(std::int64_t positions);
  };
  struct Layer {
    CodedView coded;  // of positions that are there; kAll: all of them
    bool turned = false;
    Mask keep;
    std::vector<std::vector<double>> scores, queries;  // by query head of this rank
  };
  struct Sequence {
    bool open = false;
    std::int64_t prompt = 0, positions = 0, shared = 0, hidden = 0;
    PageTable exact, codes, residuals;
    LayeredPages::Table layered;
    std::vector<Layer> layers;
  };
  [[nodiscard]] std::int64_t pool_of(std::int64_t layer) const {
    return shipped_ == nullptr ? layer : 0;
  }
  void write_seen(int sequence, bool keys, std::span<const double> x);
  Sequence& at(int sequence) { return sequences_[std::size_t(sequence)]; }
  [[nodiscard]] const Sequence& at(int sequence) const { return sequences_[std::size_t(sequence)]; }
  void code_side(bool keys, std::int64_t layer, const Sequence& s, std::int64_t begin,
                 std::int64_t end);
  void turn(std::int64_t layer, const Sequence& s, std::span<const std::int64_t> positions);
  void turn_written(std::int64_t layer, std::span<const int> sequences,
                    std::span<const std::int64_t> positions);
  void read_codes(bool keys, std::int64_t layer, const Sequence& s, std::int64_t n,
                  std::vector<double>& out);
  static bool keeps(const KvPattern& pattern, const Layer& layer, std::int64_t position);
  static std::int64_t kept_groups(const KvPattern& pattern, const Layer& layer, std::int64_t head,
                                  std::int64_t begin, std::int64_t end, std::int64_t unit);
  void take_residual_memory(const KvDemand& demand);
  void read_exact_seen(std::int64_t layer, const Sequence& s, bool turned, bool keys,
                       std::span<const std::int64_t> positions, std::vector<double>& out);
  void release(Sequence& s);
  void count();
  void count_hidden(Sequence& s);
  [[nodiscard]] std::int64_t kept_bytes(const Sequence& s, const Layer& layer) const;
  [[nodiscard]] std::int64_t residual_bytes(const Sequence& s) const;

  Backend& backend_;
  KvShape shape_;
  CacheMode mode_;
  const CachePolicy* policy_;
  std::unique_ptr<ShippedCache> shipped_;
  std::optional<ResidualSpec> residual_spec_;  // where something is kept between steps
  KvModel model_;
  KvRotation rotation_;
  KvPlace first_changed_{-1, 0, true};  // the first side of a step that the policy changes
  bool keeps_exact_ = true;
  CodeLayout k_layout_, v_layout_;
  PagePool exact_, codes_, residuals_;
  Memory exact_memory_, code_memory_;
  std::vector<DeviceMemory> residual_;  // by layer, of those with a checkpoint
  LayeredPages layered_;
  DeviceMemory slab_k_, slab_v_;
  DeviceMemory staged_;  // exact rows on their way to codes
  std::vector<Sequence> sequences_;
  std::map<std::int64_t, std::vector<std::uint8_t>> patterns_;  // by query, of the current step
  KvCounters counters_;
  std::function<void(int)> closing_;
};

}  // namespace isobit
