// Decoding of GGUF's block formats (blocks.h), as ggml's reference functions dequantize_row_* do.
//
// Fields are little-endian. Layouts are those of ggml-common.h; offsets are in bytes. "Byte l of a
// part" means l = 0 ... 31 here.
#include "runtime/numerics/blocks.h"

#include <bit>
#include <cstring>

namespace isobit {
namespace {

constexpr int kHalf = kPartColumns / 2;  // columns that share a scale in the finest formats

/// What 32 columns are made of: value i is code[i] * scale[i / 16] + plus[i / 16].
struct Part {
  std::int8_t code[kPartColumns];
  float scale[2];
  float plus[2];  // -0, which changes no number, where the format has no offset
};

std::uint8_t byte_at(const std::byte* from, int at) {
  return std::to_integer<std::uint8_t>(from[at]);
}

float half_at(const std::byte* from, int at) {
  static_assert(std::endian::native == std::endian::little);
  std::uint16_t bits;
  std::memcpy(&bits, from + at, sizeof bits);
  return widen_fp16(bits);
}

/// One scale for all 32 columns.
void set_scale(Part& part, float scale, float plus) {
  part.scale[0] = part.scale[1] = scale;
  part.plus[0] = part.plus[1] = plus;
}

/// Half bytes of 16 bytes: the low ones are columns 0 ... 15, the high ones 16 ... 31.
void split_nibbles(const std::byte* from, Part& part) {
  for (int i = 0; i < kHalf; ++i) {
    part.code[i] = static_cast<std::int8_t>(byte_at(from, i) & 15);
    part.code[i + kHalf] = static_cast<std::int8_t>(byte_at(from, i) >> 4);
  }
}

void move_codes(Part& part, int by) {
  for (std::int8_t& code : part.code) code = static_cast<std::int8_t>(code + by);
}

/// Sets bit 4 of code i from bit i of the 32 that `from` holds.
void add_fifth_bits(const std::byte* from, Part& part) {
  std::uint32_t bits;
  std::memcpy(&bits, from, sizeof bits);
  for (int i = 0; i < kPartColumns; ++i) {
    const int fifth = static_cast<int>((bits >> i) & 1u);
    part.code[i] = static_cast<std::int8_t>(part.code[i] | (fifth << 4));
  }
}

/// Q8_0: d, 32 signed codes.
void q8_0(const std::byte* block, Part& part) {
  set_scale(part, half_at(block, 0), -0.0F);
  std::memcpy(part.code, block + 2, sizeof part.code);
}

/// Q4_0: d, 16 bytes of codes plus 8.
void q4_0(const std::byte* block, Part& part) {
  set_scale(part, half_at(block, 0), -0.0F);
  split_nibbles(block + 2, part);
  move_codes(part, -8);
}

/// Q4_1: d, m, 16 bytes of codes.
void q4_1(const std::byte* block, Part& part) {
  set_scale(part, half_at(block, 0), half_at(block, 2));
  split_nibbles(block + 4, part);
}

/// Q5_0: d, 32 fifth bits, 16 bytes of low bits; codes plus 16.
void q5_0(const std::byte* block, Part& part) {
  set_scale(part, half_at(block, 0), -0.0F);
  split_nibbles(block + 6, part);
  add_fifth_bits(block + 2, part);
  move_codes(part, -16);
}

/// Q5_1: d, m, 32 fifth bits, 16 bytes of low bits.
void q5_1(const std::byte* block, Part& part) {
  set_scale(part, half_at(block, 0), half_at(block, 2));
  split_nibbles(block + 8, part);
  add_fifth_bits(block + 4, part);
}

/// Q2_K: 16 bytes (scale low, minimum high) of 16 columns each, 64 bytes of codes, d, dmin.
void q2_k(const std::byte* block, int index, Part& part) {
  const float d = half_at(block, 80), least = half_at(block, 82);
  for (int half = 0; half < 2; ++half) {
    const int both = byte_at(block, 2 * index + half);
    part.scale[half] = d * static_cast<float>(both & 15);
    part.plus[half] = -(least * static_cast<float>(both >> 4));
  }
  const std::byte* codes = block + 16 + index / 4 * 32;
  for (int l = 0; l < kPartColumns; ++l) {
    part.code[l] = static_cast<std::int8_t>((byte_at(codes, l) >> (2 * (index % 4))) & 3);
  }
}

/// Q3_K: 32 bytes of third bits (a part's own bit), 64 bytes of low bits, 12 bytes of 6-bit scales
/// plus 32, d. Without its third bit a code is 4 smaller.
void q3_k(const std::byte* block, int index, Part& part) {
  const float d = half_at(block, 108);
  const std::byte* scales = block + 96;
  for (int half = 0; half < 2; ++half) {
    const int i = 2 * index + half;
    const int low = (byte_at(scales, i % 8) >> (i / 8 * 4)) & 15;
    const int high = (byte_at(scales, 8 + i % 4) >> (i / 4 * 2)) & 3;
    part.scale[half] = d * static_cast<float>((low | (high << 4)) - 32);
    part.plus[half] = -0.0F;
  }
  const std::byte* codes = block + 32 + index / 4 * 32;
  for (int l = 0; l < kPartColumns; ++l) {
    const int low = (byte_at(codes, l) >> (2 * (index % 4))) & 3;
    const int third = (byte_at(block, l) >> index) & 1;
    part.code[l] = static_cast<std::int8_t>(low - 4 + 4 * third);
  }
}

/// Scale and minimum of Q4_K and Q5_K: d, dmin, then 12 bytes with 6-bit numbers, as
/// get_scale_min_k4.
void k_scale(const std::byte* block, int index, Part& part) {
  const std::byte* packed = block + 4;
  int scale = byte_at(packed, index) & 63, least = 0;
  if (index < 4) {
    least = byte_at(packed, index + 4) & 63;
  } else {
    const int low = byte_at(packed, index + 4);
    scale = (low & 15) | (byte_at(packed, index - 4) >> 6 << 4);
    least = (low >> 4) | (byte_at(packed, index) >> 6 << 4);
  }
  set_scale(part, half_at(block, 0) * static_cast<float>(scale),
            -(half_at(block, 2) * static_cast<float>(least)));
}

/// Q4_K: as k_scale says, then 128 bytes of codes, two parts sharing 32 of them.
void q4_k(const std::byte* block, int index, Part& part) {
  k_scale(block, index, part);
  const std::byte* codes = block + 16 + index / 2 * 32;
  for (int l = 0; l < kPartColumns; ++l) {
    part.code[l] = static_cast<std::int8_t>((byte_at(codes, l) >> (index % 2 * 4)) & 15);
  }
}

/// Q5_K: as Q4_K, with 32 bytes of fifth bits (a part's own bit) before the codes.
void q5_k(const std::byte* block, int index, Part& part) {
  k_scale(block, index, part);
  const std::byte* codes = block + 48 + index / 2 * 32;
  for (int l = 0; l < kPartColumns; ++l) {
    const int low = (byte_at(codes, l) >> (index % 2 * 4)) & 15;
    part.code[l] = static_cast<std::int8_t>(low | (((byte_at(block + 16, l) >> index) & 1) << 4));
  }
}

/// Q6_K: 128 bytes of low bits, 64 of high bits, 16 signed scales of 16 columns each, d; codes
/// plus 32.
void q6_k(const std::byte* block, int index, Part& part) {
  const float d = half_at(block, 208);
  for (int half = 0; half < 2; ++half) {
    const auto scale = static_cast<std::int8_t>(byte_at(block, 192 + 2 * index + half));
    part.scale[half] = d * static_cast<float>(scale);
    part.plus[half] = -0.0F;
  }
  const int among = index % 4;
  const std::byte* low = block + index / 4 * 64 + among % 2 * 32;
  const std::byte* high = block + 128 + index / 4 * 32;
  for (int l = 0; l < kPartColumns; ++l) {
    const int four = (byte_at(low, l) >> (among / 2 * 4)) & 15;
    const int two = (byte_at(high, l) >> (among * 2)) & 3;
    part.code[l] = static_cast<std::int8_t>((four | (two << 4)) - 32);
  }
}

void look_up(Part& part) {
  for (std::int8_t& code : part.code) code = kIq4Values[code];
}

/// IQ4_NL: d, 16 bytes of places in a table.
void iq4_nl(const std::byte* block, Part& part) {
  set_scale(part, half_at(block, 0), -0.0F);
  split_nibbles(block + 2, part);
  look_up(part);
}

/// IQ4_XS: d, 16 bits and 4 bytes of 6-bit scales plus 32, 128 bytes of places in the table.
void iq4_xs(const std::byte* block, int index, Part& part) {
  std::uint16_t high;
  std::memcpy(&high, block + 2, sizeof high);
  const int low = (byte_at(block, 4 + index / 2) >> (index % 2 * 4)) & 15;
  const int scale = (low | (((high >> (2 * index)) & 3) << 4)) - 32;
  set_scale(part, half_at(block, 0) * static_cast<float>(scale), -0.0F);
  split_nibbles(block + 8 + 16 * index, part);
  look_up(part);
}

void take_apart(BlockFormat format, const std::byte* block, int index, Part& part) {
  switch (format) {
    case BlockFormat::none:
      break;
    case BlockFormat::q4_0:
      return q4_0(block, part);
    case BlockFormat::q4_1:
      return q4_1(block, part);
    case BlockFormat::q8_0:
      return q8_0(block, part);
    case BlockFormat::q5_0:
      return q5_0(block, part);
    case BlockFormat::q5_1:
      return q5_1(block, part);
    case BlockFormat::q2_k:
      return q2_k(block, index, part);
    case BlockFormat::q3_k:
      return q3_k(block, index, part);
    case BlockFormat::q4_k:
      return q4_k(block, index, part);
    case BlockFormat::q5_k:
      return q5_k(block, index, part);
    case BlockFormat::q6_k:
      return q6_k(block, index, part);
    case BlockFormat::iq4_nl:
      return iq4_nl(block, part);
    case BlockFormat::iq4_xs:
      return iq4_xs(block, index, part);
  }
}

}  // namespace

void block_part(BlockFormat format, const std::byte* block, int part, float* out) {
  Part made = {};
  take_apart(format, block, part, made);
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < kHalf; ++i) {
      const int at = half * kHalf + i;
      out[at] = static_cast<float>(made.code[at]) * made.scale[half] + made.plus[half];
    }
  }
}

}  // namespace isobit
