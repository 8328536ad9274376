// One method an operation: arrays of the host go over, a kernel starts. The joint operations are
// one kernel each where a product is of one rank.

#include "runtime/backends/cuda/backend.h"

#include <algorithm>
#include <cstring>

#include "runtime/backends/cuda/engine.h"
#include "runtime/backends/cuda/kernels/joint.h"

namespace isobit::cuda {
namespace {

constexpr std::int64_t kMostRows = 65535;  // of one launch

/// One part, finished where it lies; a joint kernel knows nothing else.
bool simple(const Product& p) {
  return p.parts.size() == 1 && p.parts[0].data == p.out.data && p.out.stride == p.out.cols &&
         p.out.rows <= kMostRows;
}

ProductEnd end_of(const Product& p) {
  return {p.out.data, p.out.cols, p.row_scale, static_cast<const CudaMatrix*>(p.matrix)->scale,
          p.bias};
}

}  // namespace

const void* Mirror::send(const void* data, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return buffer_.reserve(1, stream);
  if (last_.size() == bytes && std::memcmp(last_.data(), data, bytes) == 0) return buffer_.get();
  const auto* from = static_cast<const unsigned char*>(data);
  last_.assign(from, from + bytes);
  void* to = buffer_.reserve(bytes, stream);
  check(cudaMemcpyAsync(to, last_.data(), bytes, cudaMemcpyHostToDevice, stream), "upload");
  return to;
}

CudaBackend::CudaBackend(const Mode& mode, GpuInfo gpu, bool branches,
                         std::shared_ptr<const ScheduleBook> schedules,
                         const FlashSchedule& attention)
    : Backend(mode),
      gpu_(std::move(gpu)),
      branches_(branches),
      schedules_(std::move(schedules)),
      flash_(attention) {
  enter();
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  if (!flash_.mitigates()) return;
  check(cudaMemsetAsync(mitigated_.reserve(sizeof(std::int32_t), stream_), 0, sizeof(std::int32_t),
                        stream_),
        "the mitigation's flag");
}

CudaBackend::~CudaBackend() {
  cudaSetDevice(gpu_.index);
  step_.abandon(stream_);
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

void CudaBackend::enter() const {
  check(cudaSetDevice(gpu_.index), "cudaSetDevice");
}

BackendInfo CudaBackend::describe() const {
  BackendInfo info;
  info.engine = "reference";
  info.device = "cuda";
  info.isa = "sm_" + std::to_string(gpu_.capability);
  info.kernels = "cuda/" + info.isa + " " + gpu_.name + ":";
  for (const std::string& kernel : ran_) info.kernels += " " + kernel;
  info.threads_used = 1;  // of the host
  info.gemm = scheduled_.text();
  info.attention = flash_ran();
  return info;
}

void* CudaBackend::native_stream() {
  enter();
  return stream_;
}

void* CudaBackend::allocate(std::size_t bytes) {
  enter();
  const std::size_t size = (std::max<std::size_t>(bytes, 1) + 63) / 64 * 64;
  void* const memory = take_memory(size);
  constexpr std::uint32_t kPoison = 0x7ff47ff4u;  // a NaN as fp32 and, doubled, as fp64
  fill_words(stream_, memory, size / 4, kPoison);
  return memory;
}

void CudaBackend::release(void* memory) {
  cudaSetDevice(gpu_.index);  // a failure that matters shows at the next kernel
  step_.abandon(stream_);     // memory goes inside a step only when the step has failed
  cudaStreamSynchronize(stream_);
  free_memory(memory);
}

void CudaBackend::upload(void* to, const void* from, std::size_t bytes) {
  enter();
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "upload");
  check(cudaStreamSynchronize(stream_), "upload");
}

void CudaBackend::download(void* to, const void* from, std::size_t bytes) {
  enter();
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "download");
  check(cudaStreamSynchronize(stream_), "download");
}

void CudaBackend::copy(Rows from, Rows to) {
  ISOBIT_CHECK(from.rows == to.rows && from.cols == to.cols);
  if (from.rows * from.cols == 0) return;
  enter();
  const std::size_t size = real_size();
  check(cudaMemcpy2DAsync(to.data, std::size_t(to.stride) * size, from.data,
                          std::size_t(from.stride) * size, std::size_t(from.cols) * size,
                          std::size_t(from.rows), cudaMemcpyDeviceToDevice, stream_),
        "copy");
}

std::string CudaBackend::flash_ran() const {
  FlashCalls calls = flash_;
  std::int32_t acted = 0;
  if (calls.mitigates()) {
    try {
      enter();
      check(
          cudaMemcpyAsync(&acted, mitigated_.get(), sizeof acted, cudaMemcpyDeviceToHost, stream_),
          "download");
      check(cudaStreamSynchronize(stream_), "download");
    } catch (const BackendError&) {
      acted = 0;  // the run has failed, and says why
    }
  }
  if (acted != 0) calls.note_mitigation();
  return calls.ran();
}

/// A step that is replayed calls no attention().
void CudaBackend::note_flash(const StepInputs& inputs) {
  if (!flash_.emulated() || inputs.attention == nullptr || !inputs.repeatable) return;
  AttentionRows attention = *inputs.attention;
  for (const auto& rows : inputs.places) {
    attention.rows = rows;
    flash_.note(flash_.rule(attention), attention);
  }
}

bool CudaBackend::begin_step(const StepInputs& inputs) {
  enter();
  StepInputs step = inputs;
  // How many splits a step has by its length is no part of a graph's key.
  step.repeatable = inputs.repeatable && !flash_.by_length();
  note_flash(inputs);
  const bool replayed = step_.begin(step, stream_);
  if (replayed) ran("graph");
  return replayed;
}

void CudaBackend::end_step() {
  enter();
  const bool captured = step_.capturing();
  step_.end(stream_);
  if (captured) ran("graph");
}

const void* CudaBackend::send(Mirror& mirror, const void* data, std::size_t bytes) {
  if (const void* sent = step_.find(data, bytes)) return sent;
  if (step_.capturing()) {
    throw BackendError("CUDA: an operation of a captured step reads an array that is not an input");
  }
  return mirror.send(data, bytes, stream_);
}

void CudaBackend::gather(Rows table, std::span<const std::int32_t> ids, Rows out) {
  for (const std::int32_t id : ids) ISOBIT_CHECK(id >= 0 && id < table.rows);
  enter();
  const void* on_gpu = send(ids_, ids.data(), ids.size_bytes());
  cuda::gather(stream_, mode_.wide(), table.data, table.stride,
               static_cast<const std::int32_t*>(on_gpu), std::int64_t(ids.size()), table.cols,
               out.data, out.stride);
}

void CudaBackend::rms_norm(Rows x, const void* weight, double eps, Rows out) {
  ISOBIT_CHECK(x.dense() && out.dense());
  enter();
  cuda::rms_norm(stream_, mode_.wide(), x.data, weight, eps, x.rows, x.cols, mode_.stored,
                 out.data);
  ran("rms_norm");
}

void CudaBackend::amax(Rows x, void* out) {
  enter();
  cuda::amax(stream_, mode_.wide(), x.data, x.stride, x.rows, x.cols, out);
}

void CudaBackend::scales(const void* amax, std::int64_t ranks, std::int64_t rows, Format format,
                         void* scale) {
  enter();
  cuda::scales(stream_, static_cast<const float*>(amax), ranks, rows, format,
               static_cast<float*>(scale));
}

void CudaBackend::quantize(Rows x, const void* scale, Format format, Rows out) {
  ISOBIT_CHECK(out.dense());
  enter();
  cuda::quantize(stream_, mode_.wide(), x.data, x.stride, x.rows, x.cols, scale, format, out.data);
}

void CudaBackend::gemm(Rows x, const WeightMatrix& matrix, Rows out) {
  const auto& w = static_cast<const CudaMatrix&>(matrix);
  ISOBIT_CHECK(x.cols == w.words.k && out.cols == w.words.n && x.rows == out.rows);
  enter();
  const GemmCall call{stream_, mode_.wide(), x.data,   x.stride,
                      x.rows,  w.words,      out.data, out.stride};
  if (schedules_ != nullptr && w.words.segments > 0 && x.rows > 0) {
    const GemmSchedule& schedule = schedule_of(*schedules_, w.words.n, w.words.k, x.rows);
    scheduled_.add(schedule, w.words.k);
    return ran(gemm_slices(call, schedule,
                           workspace_.reserve(gemm_slices_bytes(call, schedule), stream_)));
  }
  if (x.rows < kTileRows || w.words.segments == 0) return ran(gemm_rows(call));
  ran(gemm_tile(call, workspace_.reserve(gemm_tile_bytes(call), stream_)));
}

void CudaBackend::gemms(Rows x, std::span<const WeightMatrix* const> matrices,
                        std::span<const Rows> outs) {
  ISOBIT_CHECK(matrices.size() == outs.size());
  if (!branches_ || schedules_ != nullptr || outs.size() < 2 || x.rows >= kTileRows) {
    return Backend::gemms(x, matrices, outs);
  }
  enter();
  if (!step_.capturing()) {
    side_.prepare(outs.size() - 1);
    return Backend::gemms(x, matrices, outs);
  }
  side_.fork(stream_, outs.size() - 1);
  for (std::size_t i = 0; i < outs.size(); ++i) {
    const auto& w = static_cast<const CudaMatrix&>(*matrices[i]);
    const Rows& out = outs[i];
    ISOBIT_CHECK(x.cols == w.words.k && out.cols == w.words.n && x.rows == out.rows);
    const GemmCall call{side_.stream(stream_, i),
                        mode_.wide(),
                        x.data,
                        x.stride,
                        x.rows,
                        w.words,
                        out.data,
                        out.stride};
    ran(gemm_rows(call));
  }
  side_.join(stream_);
}

void CudaBackend::finish(std::span<const Rows> parts, const WeightMatrix& matrix,
                         const void* row_scale, const void* bias, Format stored, Rows out) {
  ISOBIT_CHECK(out.dense() && !parts.empty() && parts.size() <= std::size_t(kMaxSegments));
  enter();
  FinishCall call{};
  call.stream = stream_;
  call.wide = mode_.wide();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    ISOBIT_CHECK(parts[i].dense() && parts[i].cols == out.cols);
    call.parts[i] = parts[i].data;
  }
  call.ranks = int(parts.size());
  call.rows = out.rows;
  call.n = out.cols;
  call.row_scale = row_scale;
  call.output_scale = static_cast<const CudaMatrix&>(matrix).scale;
  call.bias = bias;
  call.stored = stored;
  call.out = out.data;
  cuda::finish(call);
}

void CudaBackend::rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
                       const Rotation& rotation) {
  ISOBIT_CHECK(x.dense() && std::int64_t(positions.size()) == x.rows);
  if (heads == 0) return;
  enter();
  const void* on_gpu = send(positions_, positions.data(), positions.size_bytes());
  cuda::rope(stream_, mode_.wide(), x.data, x.rows, heads, int(x.cols / heads), int(rotation.dims),
             static_cast<const std::int64_t*>(on_gpu), rotation.cosine, rotation.sine,
             mode_.stored);
}

void CudaBackend::write_kv(Rows k, Rows v, std::span<const std::int64_t> slots,
                           std::int64_t kv_heads, std::int32_t page_size, void* k_pool,
                           void* v_pool) {
  if (kv_heads == 0) return;
  enter();
  const std::int64_t d = std::max(k.cols, v.cols) / kv_heads;
  const KvCall call{stream_,    mode_.wide(), kv_heads,
                    d,          page_size,    page_shape(kv_heads, d, page_size),
                    mode_.cache};
  const void* on_gpu = send(slots_, slots.data(), slots.size_bytes());
  cuda::write_kv(call, k.data, k.stride, v.data, v.stride, static_cast<const std::int64_t*>(on_gpu),
                 std::int64_t(slots.size()), k_pool, v_pool);
}

void CudaBackend::read_kv(std::span<const std::int64_t> slots, std::int64_t kv_heads,
                          std::int32_t page_size, const void* k_pool, const void* v_pool, Rows k,
                          Rows v) {
  if (kv_heads == 0) return;
  enter();
  const std::int64_t d = std::max(k.cols, v.cols) / kv_heads;
  const KvCall call{stream_,    mode_.wide(), kv_heads,
                    d,          page_size,    page_shape(kv_heads, d, page_size),
                    mode_.cache};
  const void* on_gpu = send(read_slots_, slots.data(), slots.size_bytes());
  cuda::read_kv(call, static_cast<const std::int64_t*>(on_gpu), std::int64_t(slots.size()), k_pool,
                v_pool, k.data, k.stride, v.data, v.stride);
}

void CudaBackend::encode_kv(Rows x, std::span<const std::int64_t> slots, const CodeLayout& layout,
                            void* codes) {
  ISOBIT_CHECK(x.rows == std::int64_t(slots.size()) * layout.codec.tokens);
  if (layout.kv_heads == 0 || slots.empty() || encode_on_host(x, slots, layout, codes)) return;
  enter();
  const void* on_gpu = send(code_slots_, slots.data(), slots.size_bytes());
  cuda::encode_kv(stream_, mode_.wide(), layout, x.data, x.stride,
                  static_cast<const std::int64_t*>(on_gpu), std::int64_t(slots.size()), codes);
}

void CudaBackend::finish_qkv(const Product* q, const Product& k, const Product& v,
                             std::int64_t heads, std::int64_t kv_heads,
                             std::span<const std::int64_t> positions, const Rotation& rotation,
                             const HeadNorm* norm) {
  const bool plain = (q == nullptr || simple(*q)) && simple(k) && simple(v) && norm == nullptr;
  if (kv_heads == 0 || !plain) {
    return Backend::finish_qkv(q, k, v, heads, kv_heads, positions, rotation, norm);
  }
  ISOBIT_CHECK(std::int64_t(positions.size()) == k.out.rows && v.out.rows == k.out.rows);
  enter();
  QkvCall call{};
  call.stream = stream_;
  call.wide = mode_.wide();
  if (q != nullptr) call.q = end_of(*q);
  call.k = end_of(k);
  call.v = end_of(v);
  call.rows = k.out.rows;
  call.d = int(k.out.cols / kv_heads);
  ISOBIT_CHECK(call.q.n == (q != nullptr ? heads * call.d : 0));
  call.positions =
      static_cast<const std::int64_t*>(send(positions_, positions.data(), positions.size_bytes()));
  call.dims = int(rotation.dims);
  call.cosine = rotation.cosine;
  call.sine = rotation.sine;
  call.stored = mode_.stored;
  cuda::finish_qkv(call);
}

void CudaBackend::finish_gated(Activation f, const Product& gate, const Product& up, Rows act) {
  if (f != Activation::silu || !simple(gate) || !simple(up)) {
    return Backend::finish_gated(f, gate, up, act);
  }
  ISOBIT_CHECK(act.stride == act.cols && act.cols == gate.out.cols && act.cols == up.out.cols);
  enter();
  cuda::finish_gated_silu(stream_, mode_.wide(), end_of(gate), end_of(up), act.rows, mode_.stored,
                          act.data);
}

void CudaBackend::finish_add(const Product& y, Rows h) {
  if (!simple(y)) return Backend::finish_add(y, h);
  ISOBIT_CHECK(h.stride == h.cols && h.cols == y.out.cols && h.rows == y.out.rows);
  enter();
  cuda::finish_add({stream_, mode_.wide(), end_of(y), h.rows, mode_.stored, h.data});
}

void CudaBackend::finish_add_norm(const Product& y, Rows h, const void* weight, double eps,
                                  Rows x) {
  if (!simple(y)) return Backend::finish_add_norm(y, h, weight, eps, x);
  ISOBIT_CHECK(h.stride == h.cols && h.cols == y.out.cols && h.rows == y.out.rows);
  ISOBIT_CHECK(x.stride == x.cols && x.cols == h.cols && x.data != h.data);
  enter();
  cuda::finish_add_norm({stream_, mode_.wide(), end_of(y), h.rows, mode_.stored, h.data}, weight,
                        eps, x.data);
  ran("rms_norm");
}

std::string cuda_unsupported(const BackendOptions& options) {
  if (options.isa != "auto") return "device cuda chooses its own instruction set";
  if (options.threads > 1) return "device cuda has no host threads to share an operation";
  const auto gpu = gpu_of_rank(options.rank);
  return gpu ? "" : gpu.error().text();
}

Result<std::unique_ptr<Backend>> make_cuda(const BackendOptions& options, const Mode& mode) {
  auto gpu = gpu_of_rank(options.rank);
  ISOBIT_TRY(gpu);
  try {
    return std::unique_ptr<Backend>(
        std::make_unique<CudaBackend>(mode, *gpu, true, options.gemm, options.attention));
  } catch (const BackendError& error) {
    return Error{error.what(), ""};
  } catch (const std::bad_alloc& error) {
    return Error{memory_text(error), ""};
  }
}

}  // namespace isobit::cuda
