// Family H: how a tensor core multiplies and adds, bit for bit (NUMERICS.md, "Tensor cores"). The
// one literal text; host and device. What each chip has is a table, tensor_unit(); its names are
// tensorcore_text.h.
//
// A group takes some products and an accumulator. Products are exact, and every term is cut toward
// zero to one unit, which the greatest exponent decides; the cut terms are added exactly, as
// integers; one conversion ends the group. Groups chain through the accumulator.
#pragma once

#include <cstdint>
#include <optional>

#include "runtime/numerics/formats.h"

namespace isobit {

enum class TensorCore : std::uint8_t { sm70, sm75, sm80, sm89, sm90, sm100 };

/// How one chip adds products of one format.
struct TensorUnit {
  std::int32_t group;      // products of one group: 4, 8, 16, 32
  std::int32_t fraction;   // F: terms are cut to units of 2^(E-F); 13 to 25
  std::int32_t kept;       // fraction bits of the result: 23, or 13 (native fp8)
  Format operand;          // fp16, bf16, tf32, e4m3, e5m2: decides the exponent of a subnormal one
  bool split_fp8 = false;  // fp8 as two fp16 groups: k mod 4 in {0, 1} from +0, then {2, 3}, and
                           // one addition of c, rounded to nearest even. The operand is fp16
  bool operator==(const TensorUnit&) const = default;
};

/// What a chip has for a format; empty where it has none. sm90's 8-bit unit is wgmma's.
constexpr std::optional<TensorUnit> tensor_unit(TensorCore chip, Format operand) {
  const bool half = operand == Format::fp16, tf32 = operand == Format::tf32;
  const bool fp8 = operand == Format::e4m3 || operand == Format::e5m2;
  if (!half && !tf32 && !fp8 && operand != Format::bf16) return std::nullopt;
  switch (chip) {
    case TensorCore::sm70:
      if (half) return TensorUnit{4, 23, 23, operand};
      return std::nullopt;
    case TensorCore::sm75:
      if (half) return TensorUnit{8, 24, 23, operand};
      return std::nullopt;
    case TensorCore::sm80:
    case TensorCore::sm89:
      if (!fp8) return TensorUnit{tf32 ? 4 : 8, 24, 23, operand};
      if (chip == TensorCore::sm89) return TensorUnit{16, 13, 13, operand};
      return std::nullopt;
    case TensorCore::sm90:
      if (fp8) return TensorUnit{32, 13, 13, operand};
      return TensorUnit{tf32 ? 8 : 16, 25, 23, operand};
    case TensorCore::sm100:
      if (fp8) return TensorUnit{32, 25, 23, operand};
      return TensorUnit{tf32 ? 8 : 16, 25, 23, operand};
  }
  return std::nullopt;
}

/// The same for mma.sync: it differs on sm90, where it has no 8-bit unit and takes two fp16 groups.
constexpr std::optional<TensorUnit> mma_sync_unit(TensorCore chip, Format operand) {
  const bool fp8 = operand == Format::e4m3 || operand == Format::e5m2;
  if (chip == TensorCore::sm90 && fp8) return TensorUnit{32, 25, 23, Format::fp16, true};
  return tensor_unit(chip, operand);
}

/// Exponent of a format's subnormal numbers.
ISOBIT_HD constexpr int smallest_exponent(Format format) {
  return format == Format::fp16 || format == Format::e5m2 ? -14
         : format == Format::e4m3                         ? -6
                                                          : -126;
}

/// What every NaN becomes: fp32, and fp16 as its value in fp32 (7FFF).
ISOBIT_HD inline float tensor_nan() {
  return float_of(0x7fffffffu);
}

/// |x| = significand * 2^(exponent - 23). The significand of a subnormal number of the operand's
/// format is below 2^23, since the unit does not normalise it.
struct TensorOperand {
  std::int64_t significand;
  std::int32_t exponent;
  bool negative;
};

/// REQUIRES: x is finite, and exact in a format whose subnormal numbers have exponent `smallest`.
ISOBIT_HD inline TensorOperand tensor_operand(float x, int smallest) {
  const std::uint32_t u = bits_of(x);
  const int biased = int((u >> 23) & 0xffu);
  TensorOperand t{std::int64_t(u & 0x7fffffu), biased == 0 ? -126 : biased - 127, u >> 31 != 0};
  if (biased != 0) t.significand |= 0x800000;
  if (t.exponent < smallest) {
    const int shift = smallest - t.exponent;
    t.significand = shift > 23 ? 0 : t.significand >> shift;
    t.exponent = smallest;
  }
  return t;
}

/// The exact sum of a group's cut terms: sum * 2^exponent, or a value that is not finite.
struct TensorSum {
  std::int64_t sum = 0;
  std::int32_t exponent = 0;
  bool finite = true;
  float special = 0;
};

/// significand * 2^-shift cut toward zero, with a sign; a shift below 0 is exact.
ISOBIT_HD inline std::int64_t tensor_cut(std::int64_t significand, int shift, bool negative) {
  if (significand == 0) return 0;  // whatever the shift
  const std::int64_t cut = shift > 62  ? 0
                           : shift < 0 ? significand << -shift
                                       : significand >> shift;
  return negative ? -cut : cut;
}

/// Rule 1: what a group gives that holds a NaN or an infinity. Gives whether it does.
template <class A, class B>
ISOBIT_HD inline bool tensor_special(const A& a, const B& b, int n, float c, float& special) {
  bool nan = is_nan(c), up = bits_of(c) == 0x7f800000u, down = bits_of(c) == 0xff800000u;
  for (int k = 0; k < n; ++k) {
    const float x = a(k), y = b(k);
    if (is_finite(x) && is_finite(y)) continue;
    const bool infinite = !is_nan(x) && !is_nan(y) && x != 0.0f && y != 0.0f;
    const bool negative = ((bits_of(x) ^ bits_of(y)) >> 31) != 0;
    nan = nan || !infinite;
    up = up || (infinite && !negative);
    down = down || (infinite && negative);
  }
  if (!nan && !up && !down) return false;
  special = nan || (up && down) ? tensor_nan() : float_of(up ? 0x7f800000u : 0xff800000u);
  return true;
}

/// Rules 1 to 5. c_smallest: exponent of a subnormal accumulator.
template <class A, class B>
ISOBIT_HD inline TensorSum tensor_sum(const TensorUnit& unit, const A& a, const B& b, int n,
                                      float c, int c_smallest) {
  TensorSum result;
  if (tensor_special(a, b, n, c, result.special)) {
    result.finite = false;
    return result;
  }
  const int smallest = smallest_exponent(unit.operand);
  const TensorOperand start = tensor_operand(c, c_smallest);
  bool any = start.significand != 0;
  int greatest = start.exponent;
  for (int k = 0; k < n; ++k) {
    const TensorOperand x = tensor_operand(a(k), smallest), y = tensor_operand(b(k), smallest);
    if (x.significand == 0 || y.significand == 0) continue;  // does not count
    const int exponent = x.exponent + y.exponent;
    greatest = !any || exponent > greatest ? exponent : greatest;
    any = true;
  }
  if (!any) return result;  // nothing but zeros: +0
  result.exponent = greatest - unit.fraction;
  result.sum =
      tensor_cut(start.significand, result.exponent - (start.exponent - 23), start.negative);
  for (int k = 0; k < n; ++k) {
    const TensorOperand x = tensor_operand(a(k), smallest), y = tensor_operand(b(k), smallest);
    result.sum +=
        tensor_cut(x.significand * y.significand, result.exponent - (x.exponent + y.exponent - 46),
                   x.negative != y.negative);
  }
  return result;
}

/// Place of the highest bit of m > 0.
ISOBIT_HD inline int highest_bit(std::int64_t m) {
  int top = 0;
  while (m >> top > 1) ++top;
  return top;
}

/// Rule 6 to fp32: `kept` fraction bits, the rest cut off. Overflow gives infinity; what is cut to
/// nothing gives +0, whatever its sign.
ISOBIT_HD inline float tensor_truncated(const TensorSum& s, int kept) {
  if (!s.finite) return s.special;
  const std::int64_t m = s.sum < 0 ? -s.sum : s.sum;
  if (m == 0) return 0.0f;
  const int exponent = highest_bit(m) + s.exponent;
  const bool subnormal = exponent < -126;
  const int last = (subnormal ? -126 : exponent) - kept;  // exponent of the last place
  const std::uint32_t cut = std::uint32_t(tensor_cut(m, last - s.exponent, false)) << (23 - kept);
  const float magnitude = exponent > 127 ? float_of(0x7f800000u)
                          : subnormal
                              ? float_of(cut)
                              : float_of((std::uint32_t(exponent + 127) << 23) | (cut & 0x7fffffu));
  return magnitude == 0.0f ? 0.0f : with_sign(magnitude, s.sum < 0);
}

/// Rule 6 to fp16, to nearest even; the value as fp32. Overflow gives infinity.
ISOBIT_HD inline float tensor_nearest_fp16(const TensorSum& s) {
  if (!s.finite) return s.special;
  const std::int64_t m = s.sum < 0 ? -s.sum : s.sum;
  if (m == 0) return 0.0f;
  const int exponent = highest_bit(m) + s.exponent;
  const int last = (exponent < -14 ? -14 : exponent) - 10;
  const int shift = last - s.exponent;
  std::int64_t rounded = tensor_cut(m, shift, false);
  if (shift > 0 && shift <= 62) {
    const std::int64_t rest = m - (rounded << shift), half = std::int64_t(1) << (shift - 1);
    if (rest > half || (rest == half && rounded % 2 != 0)) ++rounded;
  }
  const float value = exponent > 15 ? float_of(0x7f800000u)
                                    : float(rounded) * float_of(std::uint32_t(last + 127) << 23);
  return with_sign(value >= 65536.0f ? float_of(0x7f800000u) : value, s.sum < 0);
}

/// A split unit's places of one pass: pass 0 takes k mod 4 in {0, 1}, pass 1 {2, 3}.
ISOBIT_HD constexpr int split_place(int pass, int i) {
  return i / 2 * 4 + pass * 2 + i % 2;
}

/// The sum of n products of a split unit in two groups from +0, each of which ends in `end`.
template <class A, class B, class End>
ISOBIT_HD inline float tensor_split(const TensorUnit& unit, const A& a, const B& b, int n,
                                    int c_smallest, const End& end) {
  float sum = 0;
  for (int pass = 0; pass < 2; ++pass) {
    int count = 0;
    while (split_place(pass, count) < n) ++count;
    const auto x = [&](int i) { return a(split_place(pass, i)); };
    const auto y = [&](int i) { return b(split_place(pass, i)); };
    sum = end(tensor_sum(unit, x, y, count, sum, c_smallest));
  }
  return sum;
}

/// c and the products a(k) * b(k), k < n, of one group -> the next c, fp32. n <= group; products
/// that are absent do not count. a(k) and b(k) give floats that are exact in the format.
template <class A, class B>
ISOBIT_HD inline float tensor_group(const TensorUnit& unit, const A& a, const B& b, int n,
                                    float c) {
  const auto end = [&](const TensorSum& s) { return tensor_truncated(s, unit.kept); };
  if (!unit.split_fp8) return end(tensor_sum(unit, a, b, n, c, -126));
  const float sum = tensor_split(unit, a, b, n, -126, end) + c;
  return is_nan(sum) ? tensor_nan() : sum;
}

/// The same to fp16. c is an fp16 value, as the instruction takes it; so is the result.
template <class A, class B>
ISOBIT_HD inline float tensor_group_fp16(const TensorUnit& unit, const A& a, const B& b, int n,
                                         float c) {
  const auto end = [](const TensorSum& s) { return tensor_nearest_fp16(s); };
  if (!unit.split_fp8) return end(tensor_sum(unit, a, b, n, c, -14));
  const float sum = tensor_split(unit, a, b, n, -14, end) + c;
  return is_nan(sum) ? tensor_nan() : round_to(Format::fp16, sum);
}

/// A chain of groups over columns [begin, end), ascending, from c. Groups count from `begin` and,
/// where a tile of `lead` columns comes first, from its end again.
template <class A, class B>
ISOBIT_HD inline float tensor_chain(const TensorUnit& unit, const A& a, const B& b,
                                    std::int64_t begin, std::int64_t end, std::int64_t lead = 0,
                                    float c = 0) {
  for (std::int64_t k = begin; k < end;) {
    const std::int64_t left = (k < begin + lead ? begin + lead : end) - k;
    const int n = left < unit.group ? int(left) : unit.group;
    c = tensor_group(
        unit, [&](int i) { return a(k + i); }, [&](int i) { return b(k + i); }, n, c);
    k += n;
  }
  return c;
}

}  // namespace isobit
