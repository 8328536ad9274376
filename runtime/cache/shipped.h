// Caches as packages ship them: a second kind of lossy cache, outside the view rule of policy.h.
//
// What a query sees depends on the steps that came before it: in which pieces a prompt was fed and
// which sequences were quantised beside it, as in the originals (NUMERICS.md, "As shipped"). The
// state is codes and a residual on the host, in one order of operations, so that threads,
// instruction sets, pages and devices change nothing. A scheme is one file in policies/; the store
// owns the state and feeds it, one layer of one step at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/cache/policy.h"
#include "runtime/numerics/kv/fields.h"

namespace isobit {

/// Numbers of R, as few bytes as R takes.
class StoredReals {
 public:
  explicit StoredReals(Format stored = Format::f32) : stored_(stored) {}
  [[nodiscard]] Format stored() const { return stored_; }
  [[nodiscard]] std::size_t size() const { return bytes_.size() / field(); }
  [[nodiscard]] std::int64_t bytes() const { return std::int64_t(bytes_.size()); }
  [[nodiscard]] double at(std::size_t i) const {
    return load_real<double>(stored_, bytes_.data() + i * field());
  }
  /// REQUIRES: x is exact in R.
  void push(double x) {
    bytes_.resize(bytes_.size() + field());
    store_real(stored_, x, bytes_.data() + bytes_.size() - field());
  }
  void clear() { bytes_.clear(); }

 private:
  [[nodiscard]] std::size_t field() const { return std::size_t(field_bytes(stored_)); }
  Format stored_;
  std::vector<std::uint8_t> bytes_;
};

/// The new rows of one sequence in a step: exact K and V, (tokens, KV heads * head_dim).
struct ShippedRows {
  int sequence = 0;
  std::int64_t past = 0;  // its positions before them
  std::span<const double> k, v;
};

/// What attention sees of a sequence's earlier positions: (past, KV heads * head_dim), exact in R.
struct ShippedSeen {
  std::vector<double> k, v;
};

/// Queries of one sequence, (tokens, heads * head_dim), and what attention makes of them, like q.
struct ShippedQueries {
  int sequence = 0;
  std::span<const double> q;
  std::span<double> out;
};

/// How attention goes where the cache computes it; no query has a window.
struct ShippedAttention {
  double scale = 1.0, softcap = 0.0;
};

/// The state of every sequence and layer. One object serves one rank.
class ShippedCache {
 public:
  virtual ~ShippedCache() = default;
  virtual void clear(int sequence) = 0;
  /// Takes the rows of one layer and step, sequences in the order of the batch, and gives what
  /// each sees before them. An error says where the original raises one.
  [[nodiscard]] virtual Result<std::vector<ShippedSeen>> update(
      std::int64_t layer, std::span<const ShippedRows> rows) = 0;
  /// Whether attend() computes attention of rows that follow `past` positions, after update().
  [[nodiscard]] virtual bool attends(std::int64_t past) const {
    static_cast<void>(past);
    return false;
  }
  virtual void attend(std::int64_t layer, const ShippedAttention& how,
                      const ShippedQueries& queries) const {
    static_cast<void>(layer), static_cast<void>(how), static_cast<void>(queries);
  }
  /// Bytes that are kept now: codes, scales, residuals.
  [[nodiscard]] virtual std::int64_t bytes() const = 0;
  /// Positions quantised so far, of layer 0, each as often as it was; whether any was seen so.
  [[nodiscard]] std::int64_t coded() const { return coded_; }
  [[nodiscard]] bool seen_coded() const { return seen_coded_; }

 protected:
  std::int64_t coded_ = 0;
  bool seen_coded_ = false;
};

/// Such a cache by its parameters. Pure.
class ShippedScheme {
 public:
  virtual ~ShippedScheme() = default;
  /// Why it cannot serve this model, or nothing.
  [[nodiscard]] virtual Result<void> check(const KvModel& model) const = 0;
  [[nodiscard]] virtual std::unique_ptr<ShippedCache> open(const KvModel& model) const = 0;
};

}  // namespace isobit
