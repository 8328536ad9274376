// The CPU backend: cuts operations into shares for its threads and calls the kernel table.
//
// `openblas.cc` derives from it and replaces gemm and load_matrix. Built by registry.cc.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "runtime/backend.h"
#include "runtime/backends/cpu/kernels/kernels.h"
#include "runtime/backends/cpu/thread_pool.h"
#include "runtime/numerics/flash_call.h"

namespace isobit::cpu {

/// A row of a rectangle.
template <class T>
T* row(const Rows& x, std::int64_t r) {
  return static_cast<T*>(x.data) + r * x.stride;
}

/// A packed weight matrix, shared by every CPU backend object whatever its instruction set.
class CpuMatrix : public WeightMatrix {
 public:
  PackedMatrix packed;
};

template <class T>
struct AttentionCall;  // cpu/attention.h

class CpuBackend : public Backend {
 public:
  /// `schedules`: the order of products, `attention`: of attention's keys; null and default: the
  /// page's own.
  CpuBackend(const Mode& mode, const Kernels& kernels, int threads,
             std::shared_ptr<const ScheduleBook> schedules = nullptr,
             const FlashSchedule& attention = {});

  [[nodiscard]] BackendInfo describe() const override;
  void* allocate(std::size_t bytes) override;
  void release(void* memory) override;
  void upload(void* to, const void* from, std::size_t bytes) override;
  void download(void* to, const void* from, std::size_t bytes) override;
  void copy(Rows from, Rows to) override;
  std::shared_ptr<WeightMatrix> load_matrix(const MatrixSource& source) override;
  void gather(Rows table, std::span<const std::int32_t> ids, Rows out) override;
  void rms_norm(Rows x, const void* weight, double eps, Rows out) override;
  void amax(Rows x, void* out) override;
  void scales(const void* amax, std::int64_t ranks, std::int64_t rows, Format format,
              void* scale) override;
  void quantize(Rows x, const void* scale, Format format, Rows out) override;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override;
  void finish(std::span<const Rows> parts, const WeightMatrix& matrix, const void* row_scale,
              const void* bias, Format stored, Rows out) override;
  void rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
            const Rotation& rotation) override;
  void write_kv(Rows k, Rows v, std::span<const std::int64_t> slots, std::int64_t kv_heads,
                std::int32_t page_size, void* k_pool, void* v_pool) override;
  void read_kv(std::span<const std::int64_t> slots, std::int64_t kv_heads, std::int32_t page_size,
               const void* k_pool, const void* v_pool, Rows k, Rows v) override;
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override;
  void encode_kv(Rows x, std::span<const std::int64_t> slots, const CodeLayout& layout,
                 void* codes) override;
  void attention_coded(Rows q, const AttentionRows& args, const KvPools& pools, Rows out) override;
  void attention_weights(Rows q, const AttentionRows& args, const KvPools& pools,
                         Rows out) override;
  void hadamard(Rows x, std::int64_t block) override;
  void change_kv(Rows x, std::int64_t kv_heads, const KvChange& change, const KvPlace& first,
                 std::span<const std::int64_t> positions) override;
  void gated(Activation f, Rows gate, Rows up, Rows out) override;
  void add(Rows h, Rows y) override;
  void layer_norm(Rows x, const void* weight, const void* bias, double eps, Rows out) override;
  void activate(Activation f, Rows x) override;
  void scale(Rows x, double factor) override;
  void softcap(Rows x, double cap) override;
  void add_scaled(Rows y, std::span<const std::int32_t> ids, std::span<const double> factors,
                  Rows sum) override;
  void digests(Rows x, std::span<Digest> out) override;
  TopEntries top(Rows row, int count) override;

 protected:
  /// Output scales of a matrix: what finish() multiplies with, or null.
  [[nodiscard]] virtual const float* output_scales(const WeightMatrix& matrix) const;

  /// Calls `leaf` with the shares of a product of so many rows, each with rows and panels.
  void cut_product(std::int64_t rows, const PackedMatrix& w,
                   const std::function<void(Range rows, Range panels)>& leaf);

  static constexpr std::int64_t kSliceSums = std::int64_t(1) << 22;  // of a product, at once
  ThreadPool pool_;
  const Kernels& kernels_;

 private:
  template <class T>
  const KernelsOf<T>& table() const {
    if constexpr (sizeof(T) == 8) {
      return kernels_.f64;
    } else {
      return kernels_.f32;
    }
  }
  /// Calls f with a value of the mode's Real type.
  template <class F>
  void dispatch(F&& f) {
    if (mode_.wide()) {
      f(double{});
    } else {
      f(float{});
    }
  }
  /// x * w in the order of w's segments.
  template <class T>
  void product(const Rows& x, const PackedMatrix& w, const Rows& out);
  template <class T>
  void scheduled_product(const GemmSchedule& schedule, const Rows& x, const PackedMatrix& w,
                         const Rows& out);
  template <class T>
  void shared_attention(std::span<const AttentionTask<T>> tasks);
  void attention_flash(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                       Rows out);
  template <class T>
  void attend_coded(const AttentionCall<T>& call, std::int64_t first, std::int64_t last);
  /// Memory that lives until the next call of the same kind. Shares must not throw, so it is taken
  /// before them.
  template <class T>
  static T* room(std::vector<std::byte>& memory, std::int64_t elements) {
    memory.resize(std::size_t(elements) * sizeof(T));
    return reinterpret_cast<T*>(memory.data());
  }

  std::shared_ptr<const ScheduleBook> schedules_;
  SchedulesRan scheduled_;
  FlashCalls flash_;
  std::vector<std::byte> slices_;   // sums of a scheduled product's slices
  std::vector<std::byte> parts_;    // of queries, between their two steps
  std::vector<std::byte> decoded_;  // of every thread: one split's keys and values
};

}  // namespace isobit::cpu
