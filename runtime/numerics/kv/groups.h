// Tiles that are groups of 32 codes with one scale, for readers of many values at once: where the
// codes are, as bytes. Host only; the values are those of the codec's open(). Callers: the codecs
// of this folder.
#pragma once

#include <type_traits>

#include "runtime/numerics/formats.h"

namespace isobit {

/// What a reader of many values needs of a group of 32 codes: value = fma(code, scale, low). A
/// codec whose values are products has -0 as low: the fma is the product, zeros' signs included.
template <class T>
struct GroupView {
  const std::int8_t* codes;
  T scale, low;
};

/// float_from_fp16() for many scales: a product by 2^112, exact, moves the exponent.
inline float scale_from_fp16(std::uint16_t h) {
  if ((h & 0x7c00u) == 0x7c00u) return float_from_fp16(h);
  return with_sign(float_of((h & 0x7fffu) << 13) * 0x1p112f, h & 0x8000u);
}

/// Eight codes of 4 or 2 bits, low bits first, as bytes.
inline std::uint64_t spread_codes(std::integral_constant<int, 4>, std::uint32_t packed) {
  std::uint64_t x = packed;
  x = (x | x << 16) & 0x0000ffff0000ffffull;
  x = (x | x << 8) & 0x00ff00ff00ff00ffull;
  return (x | x << 4) & 0x0f0f0f0f0f0f0f0full;
}
inline std::uint64_t spread_codes(std::integral_constant<int, 2>, std::uint16_t packed) {
  std::uint64_t x = packed;
  x = (x | x << 24) & 0x000000ff000000ffull;
  x = (x | x << 12) & 0x000f000f000f000full;
  return (x | x << 6) & 0x0303030303030303ull;
}

}  // namespace isobit
