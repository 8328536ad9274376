// Codes of 1 to 8 bits in the bytes of a tile: one after the other, the low bits of a byte first,
// across the ends of bytes. Host and device. Callers: the codecs of this folder.
#pragma once

#include "runtime/numerics/platform.h"

namespace isobit {

/// Code i. Reads no byte that holds none of it.
ISOBIT_HD inline int packed_code(const std::uint8_t* codes, int i, int bits) {
  const int first = i * bits, shift = first % 8;
  int word = codes[first / 8] >> shift;
  if (shift + bits > 8) word |= codes[first / 8 + 1] << (8 - shift);
  return word & ((1 << bits) - 1);
}

/// REQUIRES: the bits of code i are 0.
ISOBIT_HD inline void pack_code(std::uint8_t* codes, int i, int bits, int code) {
  const int first = i * bits, shift = first % 8;
  std::uint8_t& low = codes[first / 8];
  low = std::uint8_t(low | code << shift);
  if (shift + bits <= 8) return;
  std::uint8_t& high = codes[first / 8 + 1];
  high = std::uint8_t(high | code >> (8 - shift));
}

}  // namespace isobit
