// Half-quadratic quantisation (hqq's Quantizer with its default optimiser, as it runs on a CPU):
// fp32 throughout, a scale and a real-valued zero for each group, the zeros improved until the mean
// error of the whole tensor stops falling. NUMERICS.md, "hqq".
#pragma once

#include <limits>
#include <span>
#include <vector>

#include "runtime/numerics/functions.h"
#include "runtime/numerics/kv/grouped.h"
#include "runtime/numerics/kv/quanto.h"

namespace isobit {

/// Codes of a tensor, and by group what turns them back: (code - zero) * step.
struct HqqTensor {
  std::vector<std::uint8_t> codes;  // by group, value by value
  std::vector<float> step, zero, scale;
  int rounds = 0;  // of the optimiser
};

namespace detail {

constexpr int kHqqRounds = 20;

/// x to the nearest integer, halves to even, cut to [0, top]; NaN stays.
inline float hqq_level(float x, int top) {
  return is_nan(x) ? canonical_nan(x) : float(clamped_code(x, top));
}

/// |x|^-0.3, the exponent an fp32 number: exp and log in fp64, rounded once.
inline float hqq_power(float x) {
  return float(exp_(double(-0x1.333334p-2f) * log_(double(x))));
}

/// What is left of an error x when its l_0.7 norm is shrunk: max(|x| - 0.1 |x|^-0.3, 0) sign(x).
inline float hqq_shrunk(float x) {
  const float size = x < 0.0f ? -x : x;
  const float left = size - 0x1.99999ap-4f * hqq_power(size);
  const float kept = is_nan(left) || left > 0.0f ? left : 0.0f;
  return kept * (x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f);
}

/// The scale, levels over range, and zero of a group.
template <class At>
inline void hqq_measure(std::int64_t n, int top, const At& at, float& scale, float& zero) {
  float low = at(0), high = at(0);
  for (std::int64_t i = 1; i < n; ++i) {
    low = min_nan(low, at(i));
    high = max_nan(high, at(i));
  }
  const float range = high - low;
  scale = (1.0f / range) * float(top);
  if (range <= 0x1.a36e2ep-14f) scale = 1.0f;  // 1e-4
  if (scale > 20000.0f) scale = 20000.0f;
  zero = canonical(-low * scale);
}

/// One round of a group: its next zero, and its errors added to `total`.
template <class At>
inline float hqq_round(std::int64_t n, int top, const At& at, float scale, float zero,
                       double& total) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    const float x = at(i);
    const float level = hqq_level(x * scale + zero, top);
    const float error = x - (level - zero) / scale;
    total = total + double(error < 0.0f ? -error : error);
    sum = sum + double(level - (x - hqq_shrunk(error)) * scale);
  }
  return canonical(float(sum / double(n)));
}

}  // namespace detail

/// Codes of values (of the flat tensor) with given scales and zeros.
inline void hqq_codes(std::span<const float> x, const Grouping& groups, int bits, HqqTensor& out) {
  const int top = (1 << bits) - 1;
  out.codes.resize(x.size());
  for (std::int64_t g = 0; g < groups.groups; ++g) {
    for (std::int64_t i = 0; i < groups.size; ++i) {
      const float y = x[std::size_t(groups.place(g, i))] * out.scale[std::size_t(g)];
      out.codes[std::size_t(g * groups.size + i)] =
          std::uint8_t(clamped_code(y + out.zero[std::size_t(g)], top));
    }
  }
}

/// One round over the tensor: its next zeros; gives the mean error of the present ones.
inline float hqq_next_zeros(std::span<const float> x, const Grouping& groups, int bits,
                            HqqTensor& out) {
  double total = 0.0;
  for (std::int64_t g = 0; g < groups.groups; ++g) {
    const auto at = [&](std::int64_t i) { return x[std::size_t(groups.place(g, i))]; };
    float& zero = out.zero[std::size_t(g)];
    zero =
        detail::hqq_round(groups.size, (1 << bits) - 1, at, out.scale[std::size_t(g)], zero, total);
  }
  return float(total / double(x.size()));
}

inline HqqTensor hqq_encode(std::span<const float> x, const Grouping& groups, int bits) {
  HqqTensor out;
  const auto count = std::size_t(groups.groups);
  out.scale.resize(count), out.zero.resize(count);
  for (std::size_t g = 0; g < count; ++g) {
    const auto at = [&](std::int64_t i) {
      return x[std::size_t(groups.place(std::int64_t(g), i))];
    };
    detail::hqq_measure(groups.size, (1 << bits) - 1, at, out.scale[g], out.zero[g]);
  }
  float best = std::numeric_limits<float>::infinity();
  while (out.rounds < detail::kHqqRounds) {
    ++out.rounds;
    const float error = hqq_next_zeros(x, groups, bits, out);
    if (!(error < best)) break;  // the zeros of the worse round stay, as in the original
    best = error;
  }
  hqq_codes(x, groups, bits, out);
  for (const float scale : out.scale) out.step.push_back(canonical(1.0f / scale));
  return out;
}

}  // namespace isobit
