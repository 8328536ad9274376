// The reference engine on an NVIDIA GPU: every operation of backend.h with the bits of the CPU.
//
// One object is one stream on one GPU. Kernels only queue; download() and what needs an answer on
// the host wait. Failures throw std::bad_alloc or BackendError. Callers: registry.cc; cublas.cc
// derives from it and replaces load_matrix and gemm.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/kernels/kernels.h"
#include "runtime/backends/cuda/step.h"
#include "runtime/numerics/flash_call.h"
#include "runtime/numerics/fused.h"

namespace isobit::cuda {

/// Memory of a matrix; freed on the GPU that it was taken from.
class CudaMatrix : public WeightMatrix {
 public:
  explicit CudaMatrix(int gpu) : gpu_(gpu) {}
  ~CudaMatrix() override;
  CudaMatrix(const CudaMatrix&) = delete;
  CudaMatrix& operator=(const CudaMatrix&) = delete;
  void* take(std::size_t bytes);

  WeightView words;
  float* scale = nullptr;  // (outputs) of 8-bit formats

 private:
  int gpu_;
  std::vector<void*> memory_;
};

/// A host array on the GPU; sent again only when its bytes have changed.
class Mirror {
 public:
  const void* send(const void* data, std::size_t bytes, cudaStream_t stream);

 private:
  std::vector<unsigned char> last_;
  Buffer buffer_;
};

class CudaBackend : public Backend {
 public:
  /// `branches`: products of one input may run side by side in a captured step. Only for gemm() as
  /// it is here.
  /// `schedules`: the order of products, `attention`: of attention's keys; null and default: the
  /// page's own.
  CudaBackend(const Mode& mode, GpuInfo gpu, bool branches = false,
              std::shared_ptr<const ScheduleBook> schedules = nullptr,
              const FlashSchedule& attention = {});
  ~CudaBackend() override;
  CudaBackend(const CudaBackend&) = delete;
  CudaBackend& operator=(const CudaBackend&) = delete;

  [[nodiscard]] BackendInfo describe() const override;
  [[nodiscard]] void* native_stream() override;
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
  void gemms(Rows x, std::span<const WeightMatrix* const> matrices,
             std::span<const Rows> outs) override;
  void finish_qkv(const Product* q, const Product& k, const Product& v, std::int64_t heads,
                  std::int64_t kv_heads, std::span<const std::int64_t> positions,
                  const Rotation& rotation, const HeadNorm* norm) override;
  void finish_gated(Activation f, const Product& gate, const Product& up, Rows act) override;
  void finish_add(const Product& y, Rows h) override;
  void finish_add_norm(const Product& y, Rows h, const void* weight, double eps, Rows x) override;
  double read_logits(Rows logits, int count, std::span<TopEntries> best,
                     std::span<Digest> digests) override;
  bool begin_step(const StepInputs& inputs) override;
  void end_step() override;

 protected:
  /// Makes this object's GPU the thread's.
  void enter() const;
  void ran(const char* kernel) { ran_.insert(kernel); }
  /// A library's kernel instead of attention(): `unit` multiplies, `sequences` are the call's rows.
  /// No part of a captured step: the plans are sent anew.
  void attention_fused(Rows q, const AttentionRows& args, const KvPools& pools,
                       const TensorUnit& unit, std::span<const FusedSequence> sequences, Rows out);

  GpuInfo gpu_;
  cudaStream_t stream_ = nullptr;
  Buffer workspace_;
  std::set<std::string> ran_;  // kernels, for the observed record

 private:
  /// A host array on the GPU: a step's own, or sent now. A step that is captured has only its own.
  const void* send(Mirror& mirror, const void* data, std::size_t bytes);
  PlacesView send_places(const Places& places);
  /// Calls launch(call, first row) for shares of the rows whose parts fit the workspace.
  template <class F>
  void attend(Rows q, const AttentionRows& args, const KvPools& pools, const PlacesView& places,
              const F& launch);
  void note_flash(const StepInputs& inputs);
  /// What of the schedule of attention has run; waits for the device.
  [[nodiscard]] std::string flash_ran() const;
  double read_share(Rows logits, int count, std::span<TopEntries> best, std::span<Digest> digests);
  TopEntries top_on_host(Rows x, int count);
  bool encode_on_host(Rows x, std::span<const std::int64_t> slots, const CodeLayout& layout,
                      void* codes);

  bool branches_;
  std::shared_ptr<const ScheduleBook> schedules_;
  SchedulesRan scheduled_;
  FlashCalls flash_;
  Buffer mitigated_;  // one int32: 1 where the mitigation has acted
  Branches side_;
  Step step_;
  Mirror ids_, factors_, positions_, slots_, read_slots_, code_slots_, places_mirror_,
      changed_positions_, fused_rows_;
  Buffer results_;  // of read_logits(), and on the host
  PinnedBuffer results_here_;
  Event reading_, read_;
};

}  // namespace isobit::cuda
