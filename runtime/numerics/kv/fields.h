// Numbers in the bytes of a tile: little-endian, in the type of the mode's R. Host and device.
// Callers: the codecs of this folder.
#pragma once

#include "runtime/numerics/formats.h"

namespace isobit {

/// Bytes of one number of R: 2 in the 16-bit modes, 8 in fp64, else 4.
ISOBIT_HD constexpr int field_bytes(Format stored) {
  return stored == Format::f64 ? 8 : stored == Format::bf16 || stored == Format::fp16 ? 2 : 4;
}

/// An unsigned integer of a tile. REQUIRES: it lies at a multiple of its size.
template <class U>
ISOBIT_HD inline U load_field(const std::uint8_t* at) {
  U bits;
  memcpy(&bits, __builtin_assume_aligned(at, sizeof(U)), sizeof(U));
  return bits;
}
template <class U>
ISOBIT_HD inline void store_field(std::uint8_t* at, U bits) {
  memcpy(__builtin_assume_aligned(at, sizeof(U)), &bits, sizeof(U));
}

/// A value of R, widened. REQUIRES: as load_field().
template <class T>
ISOBIT_HD inline T load_real(Format stored, const std::uint8_t* at) {
  if (stored == Format::f64) return T(double_of(load_field<std::uint64_t>(at)));
  if (stored == Format::bf16) return T(float_from_bf16(load_field<std::uint16_t>(at)));
  if (stored == Format::fp16) return T(float_from_fp16(load_field<std::uint16_t>(at)));
  return T(float_of(load_field<std::uint32_t>(at)));
}
/// REQUIRES: x is exact in R.
template <class T>
ISOBIT_HD inline void store_real(Format stored, T x, std::uint8_t* at) {
  if (stored == Format::f64) return store_field(at, bits_of(double(x)));
  if (stored == Format::bf16) return store_field(at, bf16_from_float(float(x)));
  if (stored == Format::fp16) return store_field(at, fp16_from_float(float(x)));
  store_field(at, bits_of(float(x)));
}

}  // namespace isobit
