// The operations that a backend provides; the forward pass (model/forward.cc) is their only caller.
//
// A backend may replace an operation, never the order of operations: `openblas` is the CPU backend
// with `gemm` replaced and nothing else. All arrays are rows of Real - fp32, or fp64 in mode fp64 -
// in the backend's own memory; 16- and 8-bit values are kept as the fp32 numbers they stand for,
// except in the pools of K and V, whose elements are of the mode's format of the cache.
// One Backend object serves one rank and one thread of control; several may share matrices.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/numerics/activation.h"
#include "runtime/numerics/digest.h"
#include "runtime/numerics/kv/change.h"
#include "runtime/numerics/kv/codec.h"
#include "runtime/numerics/kv/fields.h"
#include "runtime/numerics/precision.h"
#include "runtime/numerics/rope_angle.h"
#include "runtime/numerics/schedule.h"

namespace isobit {

/// What a device or a library refused while it computed; memory that runs out is std::bad_alloc.
/// Caught where ranks are joined: the cell has failed, and the line says why.
struct BackendError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Device memory that ran out, in one line: what was asked for and what was left.
struct OutOfMemory : std::bad_alloc {
  explicit OutOfMemory(std::string line) : line_(std::make_shared<std::string>(std::move(line))) {}
  [[nodiscard]] const char* what() const noexcept override { return line_->c_str(); }

 private:
  std::shared_ptr<const std::string> line_;  // copied without throwing
};
/// The line of an OutOfMemory, "out of memory" for the host's own.
inline std::string memory_text(const std::bad_alloc& error) {
  return dynamic_cast<const OutOfMemory*>(&error) == nullptr ? "out of memory" : error.what();
}

/// A rectangle of Real in backend memory.
struct Rows {
  void* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;  // elements between rows
  [[nodiscard]] bool dense() const { return stride == cols; }
};

/// A weight matrix in the backend's own layout.
class WeightMatrix {
 public:
  virtual ~WeightMatrix() = default;
  std::int64_t outputs = 0;
  std::int64_t inputs = 0;  // of this rank's slice
  int segments = 0;         // owned by this rank
  bool scaled = false;      // 8-bit with a scale an output
};

/// Rows of a matrix as blocks, where the checkpoint has them.
struct StoredBlocks {
  BlockFormat format = BlockFormat::none;
  std::int64_t skip = 0;  // columns of a row's first block that are before the slice
  /// The block that holds the slice's first column of a row; the others follow.
  std::function<const std::byte*(std::int64_t row)> row;
};

/// What a matrix is made of. Values are the checkpoint's fp32 numbers; the backend rounds.
struct MatrixSource {
  std::string name;
  std::int64_t outputs = 0;          // rows of this rank's slice
  std::int64_t inputs = 0;           // columns of this rank's slice
  std::vector<std::int64_t> bounds;  // owned segments, in slice columns; size segments + 1
  Format format = Format::f32;       // R of the weights; 8-bit formats get output scales
  /// Fills the slice's columns of one output row.
  std::function<void(std::int64_t row, std::span<float> out)> read;
  /// Largest magnitude of the *whole* output row, for 8-bit scales.
  std::function<float(std::int64_t row)> amax;
  StoredBlocks blocks;  // the same values; a backend may keep them instead
};

/// Positions, pages and heads of one attention call.
struct AttentionRows {
  struct Row {
    std::int64_t position = 0;            // of the query; the last visible key
    std::int64_t first = 0;               // first visible key (sliding window)
    const std::int32_t* table = nullptr;  // pages of the row's sequence, host memory
    const std::uint8_t* keep = nullptr;   // (position + 1), 0 hides; null: all visible
    std::int64_t keep_stride = 0;         // between the masks of KV heads; 0: they share one
    // attention_coded(), attention_weights(): positions [coded_from, k_coded) and [coded_from,
    // v_coded) are read from codes.
    std::int64_t coded_from = 0;
    std::int64_t k_coded = 0, v_coded = 0;
    const std::int32_t* code_table = nullptr;  // pages of the sequence's codes, host memory
  };
  std::span<const Row> rows;
  std::int64_t heads = 0;  // query heads of this rank
  std::int64_t head_dim = 0;
  std::int64_t kv_heads = 0;             // KV heads of this rank
  std::vector<std::int32_t> kv_of_head;  // (heads) -> local KV head, ascending
  double scale = 0;
  double softcap = 0;  // score = softcap * tanh(score / softcap); 0: scores as they are
  std::int32_t page_size = 0;
  CodeLayout k_codes, v_codes;
};

/// K and V of one layer: exact values, and codes; null where there are none.
struct KvPools {
  const void* k = nullptr;
  const void* v = nullptr;
  const void* k_codes = nullptr;
  const void* v_codes = nullptr;
};

/// What one step of the forward pass reads besides weights and cache. The step's operations get
/// these very arrays; they stay as they are until end_step().
struct StepInputs {
  std::uint64_t owner = 0;                   // who works in the same arrays each time; never reused
  std::span<const std::int32_t> ids;         // gather(): rows of the embedding
  std::span<const std::int32_t> wanted;      // gather(): rows whose logits are wanted
  std::span<const std::int64_t> positions;   // rope(): rows of its tables
  std::span<const std::int64_t> slots;       // write_kv()
  const AttentionRows* attention = nullptr;  // attention(), but for its rows
  /// The rows of attention(): one list for each different window of the layers.
  std::span<const std::vector<AttentionRows::Row>> places;
  /// A step of the same owner, rows and wanted rows does the same but for what lies in the arrays.
  bool repeatable = false;
};

/// One RoPE: the first `dims` elements of a head turn, in pairs (i, i + dims / 2).
struct Rotation {
  const void *cosine = nullptr, *sine = nullptr;  // tables, (rows, dims / 2), in backend memory
  std::int64_t dims = 0;                          // 0: nothing turns
};

/// RMSNorm of every head of q and k (NUMERICS.md, "The forward pass").
struct HeadNorm {
  const void *q = nullptr, *k = nullptr;  // weights, (head_dim)
  double eps = 0;
};

/// A linear layer before its end: finish() is still to come.
struct Product {
  std::vector<Rows> parts;  // subtree sums in rank order, each like out
  const WeightMatrix* matrix = nullptr;
  const void* row_scale = nullptr;
  const void* bias = nullptr;
  Rows out;
};

/// The best entries of a logits row, and whether all of it is finite.
struct TopEntries {
  std::int32_t count = 0;
  std::vector<std::int32_t> ids;  // value descending, id ascending; -0 equals +0
  std::vector<double> values;
  bool non_finite = false;

  /// Takes the next entry of a row, ids ascending, and keeps the `most` best.
  void offer(std::int32_t id, double value, int most) {
    if (!(value - value == 0.0)) non_finite = true;
    if (count < most || value > values.back()) insert(id, value, most);
  }

 private:
  void insert(std::int32_t id, double value, int most);
};

struct BackendInfo {
  std::string engine;                   // "reference", "openblas"
  std::string device;                   // "cpu"
  std::string isa;                      // of the kernels that run
  std::string kernels;                  // names, for the observed record
  std::string library, library_sha256;  // vendor library
  std::int64_t threads_used = 0;        // most threads that took a share of one operation
  std::string gemm = "reference";       // SchedulesRan::text()
  std::string attention = "reference";  // FlashSchedule::text of what ran
};

/// The schedules that products really had.
class SchedulesRan {
 public:
  struct Item {
    std::string schedule;
    bool cut = false;  // some product had more than one slice
  };
  /// What text() wrote.
  static std::vector<Item> read(const std::string& text);
  /// text() of two that ran apart, in one.
  static std::string joined(const std::string& a, const std::string& b);
  void add(const GemmSchedule& schedule, std::int64_t inputs) {
    ran_.insert({&schedule, schedule.slices(inputs) > 1});
  }
  /// Texts of schedules in order, "; " between them; " (one slice)" behind one that cut no product.
  /// "reference" when there were none.
  [[nodiscard]] std::string text() const;

 private:
  std::set<std::pair<const GemmSchedule*, bool>> ran_;  // of a book that outlives this
};
/// The schedule of a product. Throws BackendError when the book has no line for it.
const GemmSchedule& schedule_of(const ScheduleBook& book, std::int64_t outputs, std::int64_t inputs,
                                std::int64_t rows);

class Backend {
 public:
  explicit Backend(const Mode& mode) : mode_(mode) {}
  virtual ~Backend() = default;
  [[nodiscard]] const Mode& mode() const { return mode_; }
  [[nodiscard]] std::size_t real_size() const { return mode_.wide() ? 8 : 4; }
  /// Bytes of one exact K or V in the pools: 2 where the mode rounds them to 16 bits.
  [[nodiscard]] std::size_t cache_size() const { return std::size_t(field_bytes(mode_.cache)); }
  [[nodiscard]] virtual BackendInfo describe() const = 0;
  /// The stream on which this backend queues its work, for a communicator that moves bytes on the
  /// device; makes the device this thread's. Null: the memory is the host's, and nothing is queued.
  [[nodiscard]] virtual void* native_stream() { return nullptr; }

  /// Memory filled with NaN, so that a value never written is never a number.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* memory) = 0;
  virtual void upload(void* to, const void* from, std::size_t bytes) = 0;
  virtual void download(void* to, const void* from, std::size_t bytes) = 0;
  /// to = from, inside backend memory. Shapes are equal, strides need not be.
  virtual void copy(Rows from, Rows to) = 0;

  virtual std::shared_ptr<WeightMatrix> load_matrix(const MatrixSource& source) = 0;
  /// What the tables of RoPE hold, before it is rounded to Reals (NUMERICS.md, "RoPE").
  [[nodiscard]] virtual Turn turn(const RopeAngle& angle) const { return reference_turn(angle); }

  /// out(r) = table(ids[r]).
  virtual void gather(Rows table, std::span<const std::int32_t> ids, Rows out) = 0;
  /// out = R(rms_norm(x) * weight); out may be x.
  virtual void rms_norm(Rows x, const void* weight, double eps, Rows out) = 0;
  /// out[r] = max |x(r, .)|, as Real in backend memory.
  virtual void amax(Rows x, void* out) = 0;
  /// scale[r] = the power of two that fits the largest of amax (ranks, rows) (NUMERICS.md, "fp8");
  /// NaN when that is not finite.
  virtual void scales(const void* amax, std::int64_t ranks, std::int64_t rows, Format format,
                      void* scale) = 0;
  /// out = R_format(x / scale) when scale is given, else R_format(x).
  virtual void quantize(Rows x, const void* scale, Format format, Rows out) = 0;
  /// out = sums of the matrix's own segments (a complete subtree).
  virtual void gemm(Rows x, const WeightMatrix& matrix, Rows out) = 0;
  /// What a library says that it chooses for this product, in its own words; what `out` holds
  /// afterwards is open. Empty: it says nothing.
  virtual std::string gemm_choice(Rows /*x*/, const WeightMatrix& /*matrix*/, Rows /*out*/) {
    return "";
  }
  /// out = R((tree(parts) * scales + 0) + bias). parts: subtree sums in rank order, each like out.
  virtual void finish(std::span<const Rows> parts, const WeightMatrix& matrix,
                      const void* row_scale, const void* bias, Format stored, Rows out) = 0;
  /// Rotates x (rows, heads * d) in place; positions[r]: the row of the tables for row r.
  virtual void rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
                    const Rotation& rotation) = 0;
  /// Stores k and v (rows, kv_heads * d) at slots (page * page_size + offset); k or v without data
  /// is not written. REQUIRES: they are exact in the mode's format of the cache.
  virtual void write_kv(Rows k, Rows v, std::span<const std::int64_t> slots, std::int64_t kv_heads,
                        std::int32_t page_size, void* k_pool, void* v_pool) = 0;
  /// Reads slots back into rows like those of write_kv(); k or v without data is not read.
  virtual void read_kv(std::span<const std::int64_t> slots, std::int64_t kv_heads,
                       std::int32_t page_size, const void* k_pool, const void* v_pool, Rows k,
                       Rows v) = 0;
  /// out (rows, heads * d) = attention of q over the pools.
  virtual void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                         Rows out) = 0;

  // A cache with a policy (runtime/cache/policy.h).

  /// Codes rows of K or V, (tokens, kv_heads * d): the tiles of rows [t * n, (t + 1) * n), n the
  /// tokens of a tile, go to slots[t], the code slot (page * page_size + offset) of the first row.
  virtual void encode_kv(Rows x, std::span<const std::int64_t> slots, const CodeLayout& layout,
                         void* codes) = 0;
  /// attention() over pools in which rows see some positions coded.
  virtual void attention_coded(Rows q, const AttentionRows& args, const KvPools& pools,
                               Rows out) = 0;
  /// The weights of attention_coded(): out (rows * heads, width), row by row and head by head, +0
  /// where a position is not visible (NUMERICS.md, "tova"). REQUIRES: width > every position.
  virtual void attention_weights(Rows q, const AttentionRows& args, const KvPools& pools,
                                 Rows out) = 0;

  /// Rotates each `block` neighbouring channels of x (rows, heads * d) in place (NUMERICS.md,
  /// "Rotation"). REQUIRES: block is a power of two that divides d.
  virtual void hadamard(Rows x, std::int64_t block) = 0;
  /// Changes K or V (rows, kv_heads * d) in place; positions[r]: of row r. `first`: the layer, the
  /// side, and the model's KV head of the first d columns.
  virtual void change_kv(Rows x, std::int64_t kv_heads, const KvChange& change,
                         const KvPlace& first, std::span<const std::int64_t> positions) = 0;

  /// out = R(f(gate) * up).
  virtual void gated(Activation f, Rows gate, Rows up, Rows out) = 0;
  /// h = R(h + y).
  virtual void add(Rows h, Rows y) = 0;

  // What some families do besides (NUMERICS.md, "The forward pass").

  /// out = R(((x - mean) * r) * weight + bias); out may be x.
  virtual void layer_norm(Rows x, const void* weight, const void* bias, double eps, Rows out) = 0;
  /// x = R(f(x)).
  virtual void activate(Activation f, Rows x) = 0;
  /// x = R(x * factor).
  virtual void scale(Rows x, double factor) = 0;
  /// x = cap * tanh(x / cap), not rounded further: logits.
  virtual void softcap(Rows x, double cap) = 0;
  /// sum(ids[r]) = R(sum(ids[r]) + R(y(r) * factors[r])); the ids differ, the factors are Reals.
  virtual void add_scaled(Rows y, std::span<const std::int32_t> ids,
                          std::span<const double> factors, Rows sum) = 0;

  /// Digest of every row.
  virtual void digests(Rows x, std::span<Digest> out) = 0;
  /// The `count` best entries of one logits row.
  virtual TopEntries top(Rows row, int count) = 0;

  /// Rows as doubles on the host, dense, and back: exact both ways where the values are Reals.
  [[nodiscard]] std::vector<double> reals(Rows x);
  void set_reals(std::span<const double> values, Rows x);

  /// finish() of a product to the mode's stored format, where it lies.
  void end_linear(const Product& y) {
    finish(y.parts, *y.matrix, y.row_scale, y.bias, mode_.stored, y.out);
  }

  // Several operations at once. Each is what its default does with the operations above, in that
  // order, and has their bits; a backend may start fewer kernels for it, and nothing else.

  /// outs[i] = x * matrices[i].
  virtual void gemms(Rows x, std::span<const WeightMatrix* const> matrices,
                     std::span<const Rows> outs);
  /// q (may be null), k and v finished, every head of q and k normalised (`norm` may be null), q
  /// and k rotated.
  virtual void finish_qkv(const Product* q, const Product& k, const Product& v, std::int64_t heads,
                          std::int64_t kv_heads, std::span<const std::int64_t> positions,
                          const Rotation& rotation, const HeadNorm* norm);
  /// act = gated of both, finished. What gate.out and up.out hold afterwards is open.
  virtual void finish_gated(Activation f, const Product& gate, const Product& up, Rows act);
  /// y finished, h = R(h + y).
  virtual void finish_add(const Product& y, Rows h);
  /// The same, then x = rms_norm(h).
  virtual void finish_add_norm(const Product& y, Rows h, const void* weight, double eps, Rows x);
  /// top() of every row and its digest; `digests` may be empty. Gives the seconds that this took
  /// by itself, without what was still being computed.
  virtual double read_logits(Rows logits, int count, std::span<TopEntries> best,
                             std::span<Digest> digests);

  // A step of the forward pass. A backend may keep what a step queued, and repeat it for a later
  // step of the same shape with that step's inputs.

  /// True: the whole step is done or queued, its results are where they were the last time. False:
  /// the caller does it, then calls end_step().
  virtual bool begin_step(const StepInputs& inputs);
  virtual void end_step();

 protected:
  Mode mode_;
};

}  // namespace isobit
