// Weights to the GPU, rows back from it, and the making of a backend.

#include <algorithm>

#include "runtime/backends/cuda/backend.h"
#include "runtime/backends/cuda/engine.h"
#include "runtime/numerics/formats.h"

namespace isobit::cuda {
namespace {

constexpr std::size_t kStaging = std::size_t(64) << 20;  // bytes of fp32 rows sent at once

bool eight_bit(Format format) {
  return format == Format::e4m3 || format == Format::e5m2;
}

/// The smallest element that holds a format's values; an fp64 weight is one fp32 number.
Format element_of(Format format) {
  if (format == Format::fp16) return Format::fp16;
  return format == Format::bf16 || eight_bit(format) ? Format::bf16 : Format::f32;
}

WeightView view_of(const MatrixSource& source) {
  WeightView view;
  view.element = element_of(source.format);
  view.n = source.outputs;
  view.k = source.inputs;
  view.segments = int(source.bounds.size()) - 1;
  if (view.segments < 1) {
    view.segments = 0;
    return view;
  }
  ISOBIT_CHECK(view.segments <= kMaxSegments && (view.segments & (view.segments - 1)) == 0);
  ISOBIT_CHECK(source.bounds.front() == 0 && source.bounds.back() == source.inputs);
  const int vector = vector_of(view.element);
  for (std::size_t s = 0; s < source.bounds.size(); ++s) {
    view.bounds[s] = source.bounds[s];
    if (s == 0) continue;
    const std::int64_t length = source.bounds[s] - source.bounds[s - 1];
    ISOBIT_CHECK(length >= 0);
    view.words[s] = view.words[s - 1] + (length + vector - 1) / vector;
  }
  return view;
}

}  // namespace

CudaMatrix::~CudaMatrix() {
  cudaSetDevice(gpu_);
  for (void* memory : memory_) free_memory(memory);
}

void* CudaMatrix::take(std::size_t bytes) {
  void* const memory = take_memory(std::max<std::size_t>(bytes, 16));
  memory_.push_back(memory);
  return memory;
}

std::shared_ptr<WeightMatrix> CudaBackend::load_matrix(const MatrixSource& source) {
  enter();
  auto matrix = std::make_shared<CudaMatrix>(gpu_.index);
  matrix->outputs = source.outputs;
  matrix->inputs = source.inputs;
  matrix->segments = int(source.bounds.size()) - 1;
  matrix->scaled = eight_bit(source.format);
  matrix->words = view_of(source);
  WeightView& view = matrix->words;
  if (matrix->scaled) {
    std::vector<float> scale;
    for (std::int64_t r = 0; r < source.outputs; ++r) {
      scale.push_back(power_of_two_scale(source.format, source.amax(r)));
    }
    matrix->scale = static_cast<float*>(matrix->take(scale.size() * sizeof(float)));
    upload(matrix->scale, scale.data(), scale.size() * sizeof(float));
  }
  const std::int64_t words = view.words[view.segments] * view.n;
  view.data = matrix->take(std::size_t(words) * 16);
  if (words == 0) return matrix;
  const std::size_t row_bytes = std::size_t(view.k) * sizeof(float);
  const auto share = std::clamp<std::int64_t>(std::int64_t(kStaging / row_bytes), 1, view.n);
  std::vector<float> rows(std::size_t(share * view.k));
  for (std::int64_t first = 0; first < view.n; first += share) {
    const std::int64_t count = std::min(share, view.n - first);
    for (std::int64_t r = 0; r < count; ++r) {
      source.read(first + r, std::span(rows).subspan(std::size_t(r * view.k), std::size_t(view.k)));
    }
    void* staging = workspace_.reserve(std::size_t(share) * row_bytes, stream_);
    upload(staging, rows.data(), std::size_t(count) * row_bytes);
    pack_rows(stream_, static_cast<const float*>(staging), first, count, matrix->scale,
              source.format, view);
  }
  check(cudaStreamSynchronize(stream_), "pack");
  return matrix;
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
    return std::unique_ptr<Backend>(std::make_unique<CudaBackend>(mode, *gpu, true));
  } catch (const BackendError& error) {
    return Error{error.what(), ""};
  } catch (const std::bad_alloc& error) {
    return Error{memory_text(error), ""};
  }
}

}  // namespace isobit::cuda
