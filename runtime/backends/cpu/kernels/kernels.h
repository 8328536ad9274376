// The CPU's leaf operations as a table of functions: one table an instruction set, the same bits
// from each. Callers: cpu_backend.cc only.
//
// A leaf works on one thread's share and takes every size explicitly. The scalar table
// (kernels/scalar.cc) calls numerics/order.h literally; the SIMD tables vectorise over outputs,
// rows, keys or lanes, never over a chain's k, so that each output element sees the same sequence
// of operations. T is float, or double in fp64.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/kv_layout.h"
#include "runtime/numerics/kv/codec.h"
#include "runtime/numerics/precision.h"
#include "runtime/numerics/product_order.h"

namespace isobit::cpu {

constexpr int kPanel = 32;  // outputs of one weight panel

/// A rank's slice of a weight matrix: n outputs over k columns, in panels of 32 outputs:
/// element (n, k) is at [(n / 32)][k][n % 32]; outputs past n hold zeros.
/// Elements are stored as f64, f32, bf16 or fp16 (8-bit formats as bf16, which holds them exactly),
/// or as the checkpoint's blocks (block_layout.h), which are widened and rounded at every use.
struct PackedMatrix {
  std::int64_t n = 0;
  std::int64_t k = 0;
  Format element = Format::f32;
  /// Bounds of the owned segments in slice columns: segment s is [bounds[s], bounds[s+1]).
  std::vector<std::int64_t> bounds;
  std::shared_ptr<void> data;  // 64-byte aligned
  std::vector<float> scale;    // per output (8-bit formats), else empty

  BlockFormat blocks = BlockFormat::none;
  Format rounded = Format::f32;  // blocks: R of their values
  std::int64_t skip = 0;         // blocks: columns of the first one before column 0

  [[nodiscard]] std::int64_t panels() const { return (n + kPanel - 1) / kPanel; }
  [[nodiscard]] int segments() const {  // 0: owns nothing
    return bounds.empty() ? 0 : int(bounds.size()) - 1;
  }
  /// Value of one element, widened. For the scalar text and tests.
  template <class T>
  [[nodiscard]] T at(std::int64_t row, std::int64_t column) const;
  /// The same of columns [0, k) of one output.
  template <class T>
  void read(std::int64_t row, T* out) const;
};

/// Subtree sums of the owned segments (neighbour tree of the segment chains, no final +0; zero
/// when nothing is owned; a NaN is canonical):
/// out(r, j) for rows [row_begin, row_end) and panels [panel_begin, panel_end).
template <class T>
struct GemmArgs {
  const T* x;             // (rows, k): the slice's columns
  std::int64_t x_stride;  // elements between rows
  const PackedMatrix* w;
  T* out;  // (rows, n)
  std::int64_t out_stride;
  std::int64_t row_begin, row_end, panel_begin, panel_end;
};

/// A tensor core's chain of groups over columns [begin, end), the first group from `begin`:
/// out(r, j) for rows [row_begin, row_end) and panels [panel_begin, panel_end).
/// REQUIRES: w has no blocks, and its elements are exact in the unit's operand, as x is.
struct TensorArgs {
  const TensorUnit* unit;
  const float* x;         // (rows, k): the slice's columns
  std::int64_t x_stride;  // elements between rows
  const PackedMatrix* w;
  std::int64_t begin, end;
  float* out;  // (rows, n)
  std::int64_t out_stride;
  std::int64_t row_begin, row_end, panel_begin, panel_end;
  std::int64_t lead = 0;         // columns of a first tile, after which groups count anew
  const float* start = nullptr;  // (rows, n), lies as `out`: where chains begin; null: at +0
};

/// Sums of FMAs in the order of a library's kernel (numerics/product_order.h):
/// out(r, j) for rows [row_begin, row_end) and panels [panel_begin, panel_end).
/// REQUIRES: w has no blocks.
struct OrderedArgs {
  const ProductStep* steps;
  std::int64_t step_count;
  std::int32_t lanes;
  const float* x;         // (rows, k): the slice's columns
  std::int64_t x_stride;  // elements between rows
  const PackedMatrix* w;
  float* out;  // (rows, n)
  std::int64_t out_stride;
  std::int64_t row_begin, row_end, panel_begin, panel_end;
};

/// out(r, j) = R(((tree of parts + … ) * (row_scale * w_scale) + 0) + bias), see NUMERICS.md.
template <class T>
struct FinishArgs {
  const T* const* parts;  // (ranks) pointers to (rows, n) subtree sums, in rank order
  int ranks;              // a power of two
  std::int64_t n;
  const T* row_scale;         // (rows) or null: activations' scales
  const float* output_scale;  // (n) or null
  const T* bias;              // (n) or null
  Format stored;
  T* out;  // (rows, n); may be parts[0]
  std::int64_t row_begin, row_end;
};

/// Codes of one sequence, one layer and one KV head, in pages.
struct KvCodes {
  const std::uint8_t* k;  // the pools
  const std::uint8_t* v;
  const std::int32_t* table;
  CodeLayout k_layout, v_layout;
  std::int64_t head;                    // of the layouts
  std::int64_t from, k_coded, v_coded;  // positions [from, …_coded) are read from here
  [[nodiscard]] bool holds_key(std::int64_t p) const { return p >= from && p < k_coded; }
  [[nodiscard]] bool holds_value(std::int64_t p) const { return p >= from && p < v_coded; }
};

/// One split's codes as signed bytes, keys where exact ones would be: values as of CodeGroups.
template <class T>
struct SplitCodes {
  bool by_channel = false;
  const T *key_scale, *key_low;      // (16 blocks, head_dim / 32, 16 positions); by_channel:
                                     // (8 blocks of 32 positions, head_dim)
  const T *value_scale, *value_low;  // (256 positions, head_dim / 32)
  const std::int8_t* const* value;   // (256 positions): the codes of 32 channels,
  std::int64_t value_stride;         // and so many bytes on those of the next 32
};

/// Keys and values of one sequence, one layer and one KV head, in pages of `element`: T, or a
/// 16-bit format that the mode's K and V are exact in. Strides and places are in elements.
/// Position p is in page table[p / page_size] at offset o = p % page_size:
///   K: k[page * k_page_stride + (o / 16) * 16 * head_dim + i * 16 + o % 16], i < head_dim
///   V: v[page * v_page_stride + o * head_dim + i]
template <class T>
struct KvView {
  const void* k;
  const void* v;
  const std::int32_t* table;
  std::int64_t k_page_stride, v_page_stride;
  std::int32_t page_size;
  Format element = sizeof(T) == 8 ? Format::f64 : Format::f32;
  // Where positions are coded. The scalar table reads the codes themselves; the others get one
  // split at a time, decoded, or as signed bytes.
  const KvCodes* codes = nullptr;
  const SplitCodes<T>* split = nullptr;
};

/// One query position and the query heads that share one KV head.
template <class T>
struct AttentionTask {
  const T* q;  // (heads, head_dim), after RoPE and R
  T* out;      // (heads, head_dim)
  int heads;
  int head_dim;  // a multiple of 8, at most 256
  T scale;
  Format stored;
  std::int64_t first, last;  // visible positions [first, last]
  const std::uint8_t* keep;  // (last + 1): 0 hides a position; null: all visible
  KvView<T> kv;
  T cap = 0;  // soft cap of the scores; 0: none
  /// Caps n scores; in a file that has no instruction set of its own. Null without a cap.
  void (*cap_scores)(T* scores, int n, T cap) = nullptr;
};

constexpr int kGroupCodes = 32, kMostGroups = 64;

/// Groups of codes: value = fma(code, scale, low), low -0 where the codec has none.
template <class T>
struct CodeGroups {
  int count = 0;
  const std::int8_t* codes[kMostGroups];  // (count): 32 codes each
  T scale[kMostGroups], low[kMostGroups];
};

template <class T>
struct KernelsOf {
  void (*gemm)(const GemmArgs<T>& args);
  void (*finish)(const FinishArgs<T>& args);
  /// (rows, d) -> (rows, d)
  void (*rms_norm)(const T* x, const T* w, T eps, std::int64_t rows, std::int64_t d, Format stored,
                   T* y);
  /// Rotates the first `dims` elements of heads of rows in place: x (rows, heads, d); cosine and
  /// sine (positions, dims/2).
  void (*rope)(T* x, std::int64_t rows, std::int64_t heads, int d, int dims,
               const std::int64_t* positions, const T* cosine, const T* sine, Format stored);
  /// out = R(silu(gate) * up), n elements.
  void (*gated_silu)(const T* gate, const T* up, std::int64_t n, Format stored, T* out);
  /// h = R(h + y), n elements, in place.
  void (*add)(T* h, const T* y, std::int64_t n, Format stored);
  /// out = R_format(x), n elements.
  void (*round)(const T* x, std::int64_t n, Format format, T* out);
  /// out(r, i) = R_format(x(r, i) / scale[r]); a NaN scale makes the row canonical NaN.
  void (*quantize)(const T* x, std::int64_t rows, std::int64_t k, const T* scale, Format format,
                   T* out);
  /// out[r] = max |x(r, i)|, NaN when the row holds one.
  void (*amax)(const T* x, std::int64_t rows, std::int64_t k, T* out);
  /// One query over at least one visible position; without one the output is NaN.
  void (*attention)(const AttentionTask<T>& task);
  /// The same in two steps, so that threads can share one query: splits [first / 256, last / 256]
  /// in any order, each to its part, (heads, head_dim + 2) elements; then their merge in order,
  /// parts being (splits, heads, head_dim + 2). Null where a table has only the whole.
  void (*attention_part)(const AttentionTask<T>& task, std::int64_t split, T* part);
  void (*attention_merge)(const AttentionTask<T>& task, const T* parts);
  /// What a query gave to each position, in the same two steps: first each split's scores, in
  /// their places of weights (heads, width), and its maximum and sum, (heads, 2), the sum -1 where
  /// nothing is visible; then the weights of positions [0, width), sums being (splits, heads, 2).
  void (*weights_part)(const AttentionTask<T>& task, std::int64_t split, std::int64_t width,
                       T* weights, T* sums);
  void (*weights_merge)(const AttentionTask<T>& task, std::int64_t width, const T* sums,
                        T* weights);
  /// The values of groups; null in the scalar table. Group g's codes 0 to 15 go to out + g *
  /// stride, codes 16 to 31 to `half` further on.
  void (*decode_rows)(const CodeGroups<T>& groups, T* out, std::int64_t stride, std::int64_t half);
  /// Of 16 groups, code i of group g to out[16 i + g]: so lie keys.
  void (*decode_turned)(const CodeGroups<T>& groups, T* out);
  /// 16 rows of 32 codes each to out (32, 16); the next 32, `stride` bytes on, to the next (32,
  /// 16); so n times.
  void (*turn_codes)(const std::int8_t* const* rows, std::int64_t stride, std::int64_t n,
                     std::int8_t* out);
  /// out = x, n elements of a 16-bit format, widened.
  void (*widen)(const std::uint16_t* x, std::int64_t n, Format format, T* out);
  /// y = exp(x), n elements: attention's exponential by itself, for the exhaustive proof.
  void (*exp)(const T* x, std::int64_t n, T* y);
  // Null in the table of doubles.
  void (*tensor_chain)(const TensorArgs& args) = nullptr;
  void (*ordered)(const OrderedArgs& args) = nullptr;
};

struct Kernels {
  const char* isa;  // "scalar", "avx2", "avx512", "neon"
  KernelsOf<float> f32;
  KernelsOf<double> f64;
};

const Kernels& scalar_kernels();
/// nullptr when this machine or build has no such instructions.
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Kernels* neon_kernels();
/// The best of them here.
const Kernels& best_kernels();
/// "auto" (the best), "scalar", "avx2", "avx512", "neon"; nullptr when there is none of that name.
const Kernels* kernels_named(const std::string& isa);

/// Operands of a group: k is at p[k * stride].
struct TensorColumn {
  const float* p;
  std::int64_t stride;
};
/// numerics' tensor_group(), for lanes that the registers cannot have; compiled once, in a file
/// without an instruction set of its own.
float literal_tensor_group(const TensorUnit& unit, TensorColumn a, TensorColumn b, int n, float c);
/// How often this thread has called it: for tests, which must know which way they went.
std::int64_t literal_tensor_groups();

/// Throws std::bad_alloc; here, so that no file with an instruction set of its own holds the code.
[[noreturn]] void out_of_memory();

}  // namespace isobit::cpu
