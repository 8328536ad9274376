// The order in which a library's kernel adds one element of a product (NUMERICS.md, "Products of
// libraries"): data that a search finds, and the one literal text of what it means.
//
// K columns are dealt to lanes. A lane is one chain of FMAs, or of a tensor core's groups, over its
// columns ascending, from +0. At the end of a block, and of all, lanes' sums are added as FP32.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "runtime/numerics/tensorcore.h"

namespace isobit {

struct ProductOrder {
  /// How lanes' sums meet, n of them:
  /// ascending: ((l0 + l1) + l2) + …
  /// halves: l[i] + l[i + h] for h = P/2 … 1, P the next power of two, without what is absent.
  /// paired: all but the last go to h = ⌈n/2⌉ buffers in turn, b[i] = l[i] + l[i + h]; the last
  /// takes them in, ((l[n - 1] + b0) + b1) + …; n counts lanes without columns, which add nothing
  /// nested: in every 256 lanes neighbours first, l[2i] + l[2i + 1], and these 128 in halves; of
  /// the sums s[j] of 256 lanes every fourth, c[i] = (s[i] + s[i + 4]) + …, then ((c0 + c1) + c2) +
  /// c3
  enum class Meet : std::uint8_t { ascending, halves, paired, nested };
  /// What a tensor core takes of fp32 operands: tf32, the nearest, of two as near the even one or
  /// the one away from zero.
  enum class Operands : std::uint8_t { exact, tf32, tf32_away };
  std::optional<TensorCore> chip;  // empty: FMAs
  std::int32_t group = 0;          // products of a tensor core's group; 0: the chip's own
  std::int64_t slice = 0;          // lane i has columns [i slice, (i + 1) slice); 0: one lane
  std::int32_t deal = 0;           // tiles of so many columns go to the lanes in turn,
  std::int32_t lanes = 1;          // to so many; of each slice, if there are slices, which then
                                   // meet ascending
  std::int64_t block = 0;          // lanes begin anew every so many columns, and the lane's sums
                                   // are added ascending; 0: never
  std::int32_t tile = 0;  // a tensor core's slice begins with what is no whole tile of so many
  Meet meet = Meet::ascending;
  Operands operands = Operands::exact;
  auto operator<=>(const ProductOrder&) const = default;
};
constexpr std::int64_t kMostLanes = 8192;

/// The unit of an order's groups for operands of a format; empty where the chip has none.
std::optional<TensorUnit> unit_of(const ProductOrder& order, Format operand);

/// The format by which libraries take a mode's operands: 8-bit values go as bf16.
Format library_operand(const Mode& mode);

/// An operand as an order takes it.
inline float taken(ProductOrder::Operands how, float x) {
  if (how == ProductOrder::Operands::exact) return x;
  if (how == ProductOrder::Operands::tf32) return round_to(Format::tf32, x);
  constexpr std::uint32_t kHalf = 1U << 12, kKept = ~0U << 13, kInfinity = 0x7F800000U;
  const std::uint32_t bits = bits_of(x);
  return (bits & kInfinity) == kInfinity ? round_to(Format::tf32, x)
                                         : float_of((bits + kHalf) & kKept);
}

/// One operation of an order: lane `to` goes on over columns [begin, end), from +0 when `fresh`;
/// or, where begin is end, lane `to` takes lane `from` in.
struct ProductStep {
  std::int32_t to = 0, from = 0;
  std::int64_t begin = 0, end = 0;
  bool fresh = false;
  std::int64_t lead = 0;  // columns of a tensor core's first tile; 0: it is like the others
  bool operator==(const ProductStep&) const = default;
};
/// The operations of a sum over k columns, in an order that gives its value; lane 0 holds it. None
/// for k = 0. A tensor core's lane has one chain.
struct ProductSteps {
  std::int32_t lanes = 1;
  std::vector<ProductStep> steps;
};
ProductSteps product_steps(const ProductOrder& order, std::int64_t k);

/// One element. `sums`: of as many lanes.
template <class A, class B>
float ordered_product(std::span<const ProductStep> steps, const TensorUnit* unit, const A& a,
                      const B& b, float* sums) {
  sums[0] = 0.0f;
  for (const ProductStep& step : steps) {
    float& sum = sums[step.to];
    if (step.begin == step.end) {
      sum = sum + sums[step.from];
    } else if (unit != nullptr) {
      sum = tensor_chain(*unit, a, b, step.begin, step.end, step.lead);
    } else {
      if (step.fresh) sum = 0.0f;
      for (std::int64_t i = step.begin; i < step.end; ++i) sum = fma_(a(i), b(i), sum);
    }
  }
  return sums[0];
}

}  // namespace isobit
