// The CUDA kernels as host functions: each starts one operation of backend.h on a stream.
//
// Promise: the bits of numerics/order.h, whatever the tile, grid or GPU. Real is float, or double
// when `wide`. Every pointer is device memory. Errors throw (device.h). Callers: this folder.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "runtime/kv_layout.h"
#include "runtime/numerics/kv/change.h"
#include "runtime/numerics/kv/codec.h"
#include "runtime/numerics/precision.h"
#include "runtime/numerics/schedule.h"

namespace isobit::cuda {

/// Calls f with a value of Real's type.
template <class F>
void with_real(bool wide, F&& f) {
  if (wide) {
    f(double{});
  } else {
    f(float{});
  }
}

constexpr int kMaxSegments = 32;  // V of a model is 8, 16 or 32

/// How weights lie in memory: whole 16-byte words of `vector` neighbouring k of one output,
/// outputs side by side: word (b, n) is at [b * n_total + n]. A segment starts a new word.
struct WeightView {
  const void* data = nullptr;
  Format element = Format::f32;                // f32, bf16 or fp16
  std::int64_t n = 0;                          // outputs
  std::int64_t k = 0;                          // columns of the slice
  int segments = 0;                            // 0: owns nothing
  std::int64_t bounds[kMaxSegments + 1] = {};  // segment s is columns [bounds[s], bounds[s+1])
  std::int64_t words[kMaxSegments + 1] = {};   // its first word
};
/// Elements in a 16-byte word.
constexpr int vector_of(Format element) {
  return element == Format::f32 ? 4 : 8;
}

struct GemmCall {
  cudaStream_t stream;
  bool wide;
  const void* x;  // (rows, k)
  std::int64_t x_stride;
  std::int64_t rows;
  WeightView w;
  void* out;  // (rows, n)
  std::int64_t out_stride;
};
/// From this many rows on, gemm_tile() serves a call.
constexpr std::int64_t kTileRows = 33;
/// Few rows, no workspace. Gives the variant's name.
const char* gemm_rows(const GemmCall& call);
/// The fast path of gemm_rows(); false: not for this call (fp64, odd lengths), nothing was done.
bool gemm_stream(const GemmCall& call);
/// Many rows: tiles in registers. workspace: gemm_tile_bytes(call) bytes.
const char* gemm_tile(const GemmCall& call, void* workspace);
std::size_t gemm_tile_bytes(const GemmCall& call);
/// A product in the order of a schedule. workspace: gemm_slices_bytes() bytes. Gives its name.
const char* gemm_slices(const GemmCall& call, const GemmSchedule& schedule, void* workspace);
std::size_t gemm_slices_bytes(const GemmCall& call, const GemmSchedule& schedule);
/// Rows from `staging` (count, k) fp32 into words, R applied, divided by scale (n) when given.
void pack_rows(cudaStream_t stream, const float* staging, std::int64_t first, std::int64_t count,
               const float* scale, Format rounded, const WeightView& to);

void fill_words(cudaStream_t stream, void* memory, std::size_t words, std::uint32_t value);
void gather(cudaStream_t stream, bool wide, const void* table, std::int64_t table_stride,
            const std::int32_t* ids, std::int64_t rows, std::int64_t cols, void* out,
            std::int64_t out_stride);
void rms_norm(cudaStream_t stream, bool wide, const void* x, const void* w, double eps,
              std::int64_t rows, std::int64_t d, Format stored, void* y);
void amax(cudaStream_t stream, bool wide, const void* x, std::int64_t stride, std::int64_t rows,
          std::int64_t cols, void* out);
void scales(cudaStream_t stream, const float* amax, std::int64_t ranks, std::int64_t rows,
            Format format, float* scale);
/// scale may be null: rounding alone.
void quantize(cudaStream_t stream, bool wide, const void* x, std::int64_t stride, std::int64_t rows,
              std::int64_t cols, const void* scale, Format format, void* out);

struct FinishCall {
  cudaStream_t stream;
  bool wide;
  const void* parts[kMaxSegments];  // each (rows, n)
  int ranks;
  std::int64_t rows, n;
  const void* row_scale;      // (rows) Real or null
  const float* output_scale;  // (n) or null
  const void* bias;           // (n) Real or null
  Format stored;
  void* out;  // (rows, n)
};
void finish(const FinishCall& call);
void rope(cudaStream_t stream, bool wide, void* x, std::int64_t rows, std::int64_t heads, int d,
          int dims, const std::int64_t* positions, const void* cosine, const void* sine,
          Format stored);
void gated(cudaStream_t stream, bool wide, Activation f, const void* gate, const void* up,
           std::int64_t n, Format stored, void* out);
void activate(cudaStream_t stream, bool wide, Activation f, void* x, std::int64_t n, Format stored);
void scale(cudaStream_t stream, bool wide, void* x, std::int64_t n, double factor, Format stored);
void softcap(cudaStream_t stream, bool wide, void* x, std::int64_t n, double cap);
void add_scaled(cudaStream_t stream, bool wide, const void* y, std::int64_t y_stride,
                const std::int32_t* ids, const double* factors, std::int64_t rows,
                std::int64_t cols, Format stored, void* sum, std::int64_t sum_stride);
void layer_norm(cudaStream_t stream, bool wide, const void* x, const void* w, const void* b,
                double eps, std::int64_t rows, std::int64_t d, Format stored, void* y);
void add(cudaStream_t stream, bool wide, void* h, const void* y, std::int64_t n, Format stored);
/// y = exp(x): the frozen sequence by itself, for the exhaustive proof.
void exp_all(cudaStream_t stream, bool wide, const void* x, std::int64_t n, void* y);

/// Digests of the eight segments of every row, canonical: out (rows, 8, 16 bytes).
void digests(cudaStream_t stream, bool wide, const void* x, std::int64_t stride, std::int64_t rows,
             std::int64_t cols, void* out);
/// The `count` best entries of each of `slices` neighbouring parts of every row, best first: values
/// and ids (rows, slices, count), id (a column) -1 past the last; flags (rows, slices): a value is
/// not finite, then the rest of that part is not written. REQUIRES: rows <= 65535.
void top_entries(cudaStream_t stream, bool wide, const void* x, std::int64_t stride,
                 std::int64_t rows, std::int64_t n, int count, int slices, double* values,
                 std::int32_t* ids, std::int32_t* flags);

struct KvCall {
  cudaStream_t stream;
  bool wide;
  std::int64_t kv_heads, d;
  std::int32_t page_size;
  PageShape shape;
  Format cache;  // of the pools' elements; Real's own in the other precisions
};
/// k or v may be null: not written.
void write_kv(const KvCall& call, const void* k, std::int64_t k_stride, const void* v,
              std::int64_t v_stride, const std::int64_t* slots, std::int64_t rows, void* k_pool,
              void* v_pool);
/// k or v may be null: not read.
void read_kv(const KvCall& call, const std::int64_t* slots, std::int64_t rows, const void* k_pool,
             const void* v_pool, void* k, std::int64_t k_stride, void* v, std::int64_t v_stride);
/// Blocks of x (rows, cols) rotated in place.
void hadamard(cudaStream_t stream, bool wide, void* x, std::int64_t stride, std::int64_t rows,
              std::int64_t cols, int block);
void change_kv(cudaStream_t stream, bool wide, void* x, std::int64_t stride, std::int64_t cols,
               std::int64_t d, const KvChange& change, const KvPlace& first,
               const std::int64_t* positions, std::int64_t rows);
/// Tiles of x (tiles * tokens, kv_heads * d), tile row t to slots[t] of the codes.
void encode_kv(cudaStream_t stream, bool wide, const CodeLayout& layout, const void* x,
               std::int64_t stride, const std::int64_t* slots, std::int64_t tiles, void* codes);

/// One query position. table, codes and keep are offsets into the call's arrays; keep < 0: all
/// visible.
struct QueryRow {
  std::int32_t first, last;
  std::int64_t table;
  std::int64_t keep;
  std::int64_t keep_stride;                   // between the masks of KV heads
  std::int64_t codes;                         // the table of code pages
  std::int32_t coded_from, k_coded, v_coded;  // positions [coded_from, …) are read from codes
};
struct AttentionCall {
  cudaStream_t stream;
  bool wide;
  const void* q;  // (rows, heads * d)
  std::int64_t q_stride;
  void* out;  // (rows, heads * d)
  std::int64_t out_stride;
  const QueryRow* rows;
  std::int64_t row_count;
  const std::int32_t* tables;
  const std::uint8_t* keeps;
  const std::int32_t* head_begin;  // (kv_heads + 1): query heads of a KV head
  std::int64_t heads;
  std::int64_t kv_heads;
  int d;
  double scale;
  double softcap;  // of the scores; 0: none
  std::int32_t page_size;
  PageShape shape;
  const void* k_pool;
  const void* v_pool;
  Format cache;  // of the pools' elements, as in KvCall
  Format stored;
  std::int32_t max_splits;  // most splits of one row
  void* workspace;          // attention_bytes()
  // attention_coded() and attention_weights()
  const std::uint8_t* k_codes;
  const std::uint8_t* v_codes;
  CodeLayout k_layout, v_layout;
};
std::size_t attention_bytes(bool wide, std::int64_t rows, std::int64_t heads, int d,
                            std::int32_t max_splits);
void attention(const AttentionCall& call);
/// attention() over pools that hold codes.
void attention_coded(const AttentionCall& call);
/// Weights of its rows and heads into call.out, (rows * heads, width).
void attention_weights(const AttentionCall& call, std::int64_t width);

}  // namespace isobit::cuda
