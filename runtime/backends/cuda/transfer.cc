// What goes to the GPU and comes back in the course of a cell: weights there; digests and best
// entries back, not rows.

#include <algorithm>
#include <chrono>
#include <cstring>

#include "runtime/backends/cuda/backend.h"
#include "runtime/base/weight_count.h"
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

constexpr int kSlices = 64;                // parts of a logits row that are searched in parallel
constexpr std::int64_t kMostRows = 32768;  // of one launch
constexpr std::size_t kShare = 256;        // logits rows that are read at once

/// What top_entries() and digests() leave of some logits rows, as one array.
struct Candidates {
  Candidates(std::size_t row_count, int count)
      : rows(row_count), entries(std::size_t(kSlices) * std::size_t(count)) {}
  [[nodiscard]] std::size_t values_at(std::size_t row) const { return row * entries * 8; }
  [[nodiscard]] std::size_t digests_at() const { return values_at(rows); }
  [[nodiscard]] std::size_t ids_at(std::size_t row) const {
    return digests_at() + rows * sizeof(SegmentDigests) + row * entries * 4;
  }
  [[nodiscard]] std::size_t flags_at(std::size_t row) const {
    return ids_at(rows) + row * kSlices * 4;
  }
  [[nodiscard]] std::size_t bytes() const { return flags_at(rows); }

  std::size_t rows, entries;
};

template <class T>
T value_at(const unsigned char* bytes, std::size_t index) {
  T out;
  std::memcpy(&out, bytes + index * sizeof(T), sizeof(T));
  return out;
}

/// The `count` best of a row's candidates; nothing when a value is not finite. A slice's candidates
/// come best first: from the first that is not wanted on, none is.
TopEntries best_of(const unsigned char* bytes, const Candidates& layout, std::size_t row,
                   int count) {
  TopEntries best;
  for (std::size_t s = 0; s < kSlices; ++s) {
    best.non_finite |= value_at<std::int32_t>(bytes + layout.flags_at(row), s) != 0;
  }
  if (best.non_finite) return best;
  const unsigned char* const values = bytes + layout.values_at(row);
  const unsigned char* const ids = bytes + layout.ids_at(row);
  const auto wanted = std::size_t(count);
  for (std::size_t first = 0; first < layout.entries; first += wanted) {
    for (std::size_t i = first; i < first + wanted; ++i) {
      const auto id = value_at<std::int32_t>(ids, i);
      const auto value = value_at<double>(values, i);
      const auto precedes = [&](std::size_t k) {
        return value > best.values[k] || (value == best.values[k] && id < best.ids[k]);
      };
      std::size_t at = best.ids.size();
      while (id >= 0 && at > 0 && precedes(at - 1)) --at;
      if (id < 0 || at == wanted) break;
      best.ids.insert(best.ids.begin() + std::ptrdiff_t(at), id);
      best.values.insert(best.values.begin() + std::ptrdiff_t(at), value);
      if (best.ids.size() > wanted) {
        best.ids.pop_back();
        best.values.pop_back();
      }
    }
  }
  best.count = std::int32_t(best.ids.size());
  return best;
}

Rows some_rows(Rows x, std::size_t first, std::size_t count, std::size_t real) {
  x.data = static_cast<char*>(x.data) + first * std::size_t(x.stride) * real;
  x.rows = std::int64_t(count);
  return x;
}

}  // namespace

CudaMatrix::~CudaMatrix() {
  cudaSetDevice(gpu_);
  for (void* memory : memory_) free_memory(memory);
}

void* CudaMatrix::take(std::size_t bytes) {
  void* const memory = take_memory(std::max<std::size_t>(bytes, 16));
  memory_.push_back(memory);
  count_weight_bytes(bytes);
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

void CudaBackend::digests(Rows x, std::span<Digest> out) {
  ISOBIT_CHECK(std::int64_t(out.size()) == x.rows);
  enter();
  std::vector<SegmentDigests> segments(out.size());
  static_assert(sizeof(SegmentDigests) == 128);
  for (std::int64_t r = 0; r < x.rows; r += kMostRows) {
    const std::int64_t rows = std::min(kMostRows, x.rows - r);
    void* on_gpu = workspace_.reserve(std::size_t(rows) * sizeof(SegmentDigests), stream_);
    cuda::digests(stream_, mode_.wide(),
                  static_cast<const char*>(x.data) + std::size_t(r * x.stride) * real_size(),
                  x.stride, rows, x.cols, on_gpu);
    download(segments.data() + r, on_gpu, std::size_t(rows) * sizeof(SegmentDigests));
  }
  for (std::size_t r = 0; r < out.size(); ++r) out[r] = join_segments(segments[r]);
}

TopEntries CudaBackend::top(Rows x, int count) {
  TopEntries best;
  read_logits(x, count, {&best, 1}, {});
  return best;
}

double CudaBackend::read_logits(Rows logits, int count, std::span<TopEntries> best,
                                std::span<Digest> digests_out) {
  ISOBIT_CHECK(std::int64_t(best.size()) == logits.rows);
  ISOBIT_CHECK(digests_out.empty() || digests_out.size() == best.size());
  double seconds = 0;
  for (std::size_t r = 0; r < best.size(); r += kShare) {
    const std::size_t rows = std::min(kShare, best.size() - r);
    seconds += read_share(some_rows(logits, r, rows, real_size()), count, best.subspan(r, rows),
                          digests_out.empty() ? digests_out : digests_out.subspan(r, rows));
  }
  return seconds;
}

/// Everything is queued behind what is still being computed, and waited for once.
double CudaBackend::read_share(Rows x, int count, std::span<TopEntries> best,
                               std::span<Digest> digests_out) {
  if (x.cols == 0 || count == 0) {
    std::fill(best.begin(), best.end(), TopEntries{});
    if (!digests_out.empty()) digests(x, digests_out);
    return 0;
  }
  enter();
  const Candidates layout(best.size(), count);
  const bool grows = results_.bytes() < layout.bytes();
  auto* on_gpu = static_cast<unsigned char*>(results_.reserve(layout.bytes(), stream_));
  // The copy takes all of it, and kernels do not write what comes after a slice's last entry.
  if (grows) check(cudaMemsetAsync(on_gpu, 0, results_.bytes(), stream_), "cudaMemset");
  unsigned char* here = results_here_.reserve(layout.bytes());
  reading_.record(stream_);
  // The two read the same rows, neither fills the GPU: side by side.
  side_.prepare(1);
  side_.fork(stream_, 1);
  top_entries(stream_, mode_.wide(), x.data, x.stride, x.rows, x.cols, count, kSlices,
              reinterpret_cast<double*>(on_gpu + layout.values_at(0)),
              reinterpret_cast<std::int32_t*>(on_gpu + layout.ids_at(0)),
              reinterpret_cast<std::int32_t*>(on_gpu + layout.flags_at(0)));
  if (!digests_out.empty()) {
    cuda::digests(side_.stream(stream_, 1), mode_.wide(), x.data, x.stride, x.rows, x.cols,
                  on_gpu + layout.digests_at());
  }
  side_.join(stream_);
  check(cudaMemcpyAsync(here, on_gpu, layout.bytes(), cudaMemcpyDeviceToHost, stream_), "download");
  read_.record(stream_);
  read_.wait();
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t r = 0; r < best.size(); ++r) {
    best[r] = best_of(here, layout, r, count);
    if (best[r].non_finite) best[r] = top_on_host(some_rows(x, r, 1, real_size()), count);
    if (digests_out.empty()) continue;
    digests_out[r] = join_segments(value_at<SegmentDigests>(here + layout.digests_at(), r));
  }
  return read_.seconds_since(reading_) +
         std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A row with values that are not finite goes to the host: the sequence ends there.
TopEntries CudaBackend::top_on_host(Rows x, int count) {
  const auto search = [&]<class T>(T) {
    std::vector<T> row(static_cast<std::size_t>(x.cols));
    download(row.data(), x.data, row.size() * sizeof(T));
    TopEntries best;
    for (std::size_t i = 0; i < row.size(); ++i) best.offer(std::int32_t(i), double(row[i]), count);
    return best;
  };
  return mode_.wide() ? search(double{}) : search(float{});
}

}  // namespace isobit::cuda
