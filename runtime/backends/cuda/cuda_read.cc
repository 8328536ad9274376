// What comes back from the GPU in the course of a cell: digests and best entries, not rows.

#include <algorithm>
#include <cstring>

#include "runtime/backends/cuda/cuda_backend.h"

namespace invar::cuda {
namespace {

constexpr int kSlices = 64;                // parts of a logits row that are searched in parallel
constexpr std::int64_t kMostRows = 32768;  // of one launch

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

/// What top_entries() leaves, as one array.
struct Candidates {
  explicit Candidates(int count) : entries(std::size_t(kSlices) * std::size_t(count)) {}
  [[nodiscard]] std::size_t values_at() const { return 0; }
  [[nodiscard]] std::size_t ids_at() const { return entries * sizeof(double); }
  [[nodiscard]] std::size_t flags_at() const { return ids_at() + entries * 4; }
  [[nodiscard]] std::size_t bytes() const { return flags_at() + kSlices * 4; }
  std::size_t entries;
};

}  // namespace

void CudaBackend::digests(Rows x, std::span<Digest> out) {
  INVAR_CHECK(std::int64_t(out.size()) == x.rows);
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
  if (x.cols == 0 || count == 0) return {};
  enter();
  const Candidates layout(count);
  auto* on_gpu = static_cast<char*>(workspace_.reserve(layout.bytes(), stream_));
  top_entries(stream_, mode_.wide(), x.data, x.stride, 1, x.cols, count, kSlices,
              reinterpret_cast<double*>(on_gpu + layout.values_at()),
              reinterpret_cast<std::int32_t*>(on_gpu + layout.ids_at()),
              reinterpret_cast<std::int32_t*>(on_gpu + layout.flags_at()));
  std::vector<char> bytes(layout.bytes());
  download(bytes.data(), on_gpu, bytes.size());
  std::vector<double> values(layout.entries);
  std::vector<std::int32_t> ids(layout.entries), flags(kSlices);
  std::memcpy(values.data(), bytes.data() + layout.values_at(), layout.entries * sizeof(double));
  std::memcpy(ids.data(), bytes.data() + layout.ids_at(), layout.entries * 4);
  std::memcpy(flags.data(), bytes.data() + layout.flags_at(), flags.size() * 4);
  if (std::any_of(flags.begin(), flags.end(), [](std::int32_t flag) { return flag != 0; })) {
    return top_on_host(x, count);
  }
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return values[a] > values[b] || (values[a] == values[b] && ids[a] < ids[b]);
  });
  TopEntries best;
  best.count = std::int32_t(std::min(order.size(), std::size_t(count)));
  for (std::size_t i = 0; i < std::size_t(best.count); ++i) {
    best.ids.push_back(ids[order[i]]);
    best.values.push_back(values[order[i]]);
  }
  return best;
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

}  // namespace invar::cuda
