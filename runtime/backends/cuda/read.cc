// What comes back from the GPU in the course of a cell: digests and best entries, not rows.

#include <algorithm>
#include <chrono>
#include <cstring>

#include "runtime/backends/cuda/backend.h"

namespace isobit::cuda {
namespace {

constexpr int kSlices = 64;                // parts of a logits row that are searched in parallel
constexpr std::int64_t kMostRows = 32768;  // of one launch
constexpr std::size_t kShare = 256;        // logits rows that are read at once

/// The CPU backend's rule: value descending, id ascending; a value that is not finite marks the
/// row. For the rows that the GPU gives back.
template <class T>
TopEntries top_of(std::span<const T> values, int count) {
  TopEntries best;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto value = double(values[i]);
    if (!(value - value == 0.0)) best.non_finite = true;
    if (best.count == count && !(value > best.values.back())) continue;
    auto at = best.values.begin();
    while (at != best.values.end() && *at >= value) ++at;
    const auto offset = at - best.values.begin();
    best.values.insert(at, value);
    best.ids.insert(best.ids.begin() + offset, std::int32_t(i));
    if (best.count == count) {
      best.values.pop_back();
      best.ids.pop_back();
    } else {
      ++best.count;
    }
  }
  return best;
}

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
    return top_of<T>(row, count);
  };
  return mode_.wide() ? search(double{}) : search(float{});
}

}  // namespace isobit::cuda
