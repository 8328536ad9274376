// The order in which PyTorch adds fp32 rows on a GPU (NUMERICS.md, "What transformers computes").
//
// Source: PyTorch 2.11, ATen/native/cuda/Reduce.cuh, setReduceConfig and ReduceOp: threads take
// vectors of four neighbours in turn, with one accumulator for each place of a vector; the four are
// added in order; then threads meet in halves. How many threads a row has depends on its length and
// on how many rows the call has. Host.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/numerics/platform.h"

namespace isobit {

struct TorchRows {
  std::int32_t width = 1;   // threads side by side, which meet first
  std::int32_t height = 1;  // groups of them on one row
  bool vectors = false;     // of four; else single elements, four in turn a thread
};

/// Threads of each row in a call over `rows` contiguous rows of n elements. More than `height`
/// groups, on rows of 131,072 elements and more, are not here: see torch_rows_known().
inline TorchRows torch_rows(std::int64_t n, std::int64_t rows) {
  constexpr std::int64_t kThreads = 512, kWarp = 32;
  const auto power = [](std::int64_t m) {
    std::int64_t p = 1;
    while (p * 2 <= m && p < kThreads) p *= 2;
    return p;
  };
  const auto least = [](std::int64_t a, std::int64_t b) { return a < b ? a : b; };
  TorchRows out;
  out.vectors = n >= 128;
  const std::int64_t across = power(out.vectors ? n / 4 : n), down = power(rows);
  std::int64_t width = least(across, kWarp);
  const std::int64_t height = least(down, kThreads / width);
  width = least(across, kThreads / height);
  out.width = std::int32_t(width);
  const std::int64_t each = (n + width - 1) / width;
  if (each >= least(height * 16, 256)) out.height = std::int32_t(height);
  return out;
}
/// Whether torch_rows() has the whole order: larger rows are shared by several blocks of threads.
inline bool torch_rows_known(std::int64_t n, std::int64_t rows) {
  const TorchRows threads = torch_rows(n, rows);
  const std::int64_t count = std::int64_t(threads.width) * threads.height;
  return (n + count - 1) / count < 256 && n % 4 == 0;
}

/// The sum of one row: x(i), i < n. `sums` is memory for the call.
template <class X>
float torch_row_sum(const TorchRows& threads, std::int64_t n, const X& x,
                    std::vector<float>& sums) {
  const std::int64_t count = std::int64_t(threads.width) * threads.height;
  sums.assign(std::size_t(4 * count), 0.0f);
  const std::int64_t whole = threads.vectors ? n / 4 * 4 : n;
  for (std::int64_t i = 0; i < whole; ++i) {
    // Vector v is thread v mod count's. Single elements: i is thread i mod count's, in turn.
    const std::int64_t thread = threads.vectors ? i / 4 % count : i % count;
    const std::int64_t place = threads.vectors ? i % 4 : i / count % 4;
    float& sum = sums[std::size_t(4 * thread + place)];
    sum = sum + x(i);
  }
  for (std::int64_t t = 0; t < count; ++t) {
    float* s = sums.data() + 4 * t;
    sums[std::size_t(t)] = ((s[0] + s[1]) + s[2]) + s[3];
  }
  for (std::int64_t g = 0; g < threads.height; ++g) {
    float* s = sums.data() + g * threads.width;
    for (std::int64_t half = threads.width / 2; half > 0; half /= 2) {
      for (std::int64_t t = 0; t < half; ++t) s[t] = s[t] + s[t + half];
    }
    sums[std::size_t(g)] = s[0];
  }
  for (std::int64_t half = threads.height / 2; half > 0; half /= 2) {
    for (std::int64_t g = 0; g < half; ++g) {
      sums[std::size_t(g)] = sums[std::size_t(g)] + sums[std::size_t(g + half)];
    }
  }
  return sums[0];
}

}  // namespace isobit
