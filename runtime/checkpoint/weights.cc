// The value of every stored element, as one fp32 number (see runtime/checkpoint/weights.h).
//
// Widening f16, bf16 and fp8 is exact, NaN payloads included. f64 rounds to nearest even. In the
// block formats q * d is exact in fp32 (4 or 8 bits times 11), so `q * d + m` rounds once: it *is*
// fma(d, q, m), whether or not a compiler contracts it.
#include "runtime/checkpoint/weights.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace isobit {
namespace {

constexpr std::int64_t kBlock = 32;  // elements in a block of Q8_0, Q4_0, Q4_1
constexpr std::size_t kRun = 16;  // elements of a loop of fixed length, which compilers vectorise

float widen_f16(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7fffu;
  const auto subnormal =
      std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<int>(magnitude)) * 0x1p-24F);
  const std::uint32_t normal = (magnitude << 13) + (112u << 23);
  const std::uint32_t special = (magnitude << 13) | 0x7f800000u;
  const std::uint32_t finite = magnitude < 0x0400u ? subnormal : normal;
  return std::bit_cast<float>(sign | (magnitude >= 0x7c00u ? special : finite));
}

float widen_bf16(std::uint16_t value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

/// e5m2 is the upper byte of an f16.
float widen_e5m2(std::uint8_t value) {
  return widen_f16(static_cast<std::uint16_t>(value << 8));
}

/// e4m3 as in the OCP 8-bit format: bias 7, no infinity, one NaN a sign.
float widen_e4m3(std::uint8_t value) {
  const std::uint32_t sign = (value & 0x80u) << 24;
  const std::uint32_t magnitude = value & 0x7fu;
  std::uint32_t bits = (magnitude << 20) + (120u << 23);
  if (magnitude < 8)
    bits = std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<int>(magnitude)) * 0x1p-9F);
  if (magnitude == 0x7f) bits = 0x7fc00000u;
  return std::bit_cast<float>(sign | bits);
}

float widen_f32(std::uint32_t value) {
  return std::bit_cast<float>(value);
}

float round_f64(std::uint64_t value) {
  return static_cast<float>(std::bit_cast<double>(value));
}

/// Little-endian by definition of the formats; the project runs on little-endian machines only.
template <class Bits>
Bits load(const std::byte* from) {
  static_assert(std::endian::native == std::endian::little);
  Bits bits;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}

template <class Bits, float (*kWiden)(Bits)>
void read_plain(const std::byte* row, std::int64_t begin, std::span<float> out) {
  const std::byte* from = row + static_cast<std::size_t>(begin) * sizeof(Bits);
  const std::size_t whole = out.size() / kRun * kRun;
  float* const to = out.data();
  for (std::size_t i = 0; i < whole; i += kRun) {
    std::array<Bits, kRun> run;
    std::memcpy(run.data(), from + i * sizeof(Bits), sizeof run);
    for (std::size_t j = 0; j < kRun; ++j) to[i + j] = kWiden(run[j]);
  }
  for (std::size_t i = whole; i < out.size(); ++i) {
    to[i] = kWiden(load<Bits>(from + i * sizeof(Bits)));
  }
}

void decode_q8_0(const std::byte* block, float* out) {
  const float d = widen_f16(load<std::uint16_t>(block));
  std::array<std::int8_t, kBlock> q;
  std::memcpy(q.data(), block + 2, q.size());
  for (std::size_t i = 0; i < q.size(); ++i) out[i] = static_cast<float>(q[i]) * d;
}

/// Byte j of the codes holds element j (low half) and j + 16 (high half).
void decode_q4_0(const std::byte* block, float* out) {
  const float d = widen_f16(load<std::uint16_t>(block));
  std::array<std::uint8_t, kBlock / 2> q;
  std::memcpy(q.data(), block + 2, q.size());
  for (std::size_t i = 0; i < q.size(); ++i) {
    out[i] = static_cast<float>(static_cast<int>(q[i] & 15) - 8) * d;
  }
  for (std::size_t i = 0; i < q.size(); ++i) {
    out[i + q.size()] = static_cast<float>(static_cast<int>(q[i] >> 4) - 8) * d;
  }
}

void decode_q4_1(const std::byte* block, float* out) {
  const float d = widen_f16(load<std::uint16_t>(block));
  const float m = widen_f16(load<std::uint16_t>(block + 2));
  std::array<std::uint8_t, kBlock / 2> q;
  std::memcpy(q.data(), block + 4, q.size());
  for (std::size_t i = 0; i < q.size(); ++i) out[i] = static_cast<float>(q[i] & 15) * d + m;
  for (std::size_t i = 0; i < q.size(); ++i) {
    out[i + q.size()] = static_cast<float>(q[i] >> 4) * d + m;
  }
}

template <void (*kDecode)(const std::byte*, float*)>
void read_blocks(const std::byte* row, std::int64_t block_bytes, std::int64_t begin,
                 std::span<float> out) {
  const std::int64_t end = begin + static_cast<std::int64_t>(out.size());
  float* to = out.data();
  for (std::int64_t at = begin; at < end;) {
    const std::int64_t first = at / kBlock * kBlock;
    const std::int64_t stop = std::min(first + kBlock, end);
    const std::byte* block = row + at / kBlock * block_bytes;
    if (stop - at == kBlock) {
      kDecode(block, to);
    } else {
      std::array<float, kBlock> whole;
      kDecode(block, whole.data());
      std::copy(whole.data() + (at - first), whole.data() + (stop - first), to);
    }
    to += stop - at;
    at = stop;
  }
}

void read_span(TensorType type, const std::byte* row, std::int64_t begin, std::span<float> out) {
  const std::int64_t bytes = layout_of(type).bytes;
  switch (type) {
    case TensorType::f64:
      return read_plain<std::uint64_t, round_f64>(row, begin, out);
    case TensorType::f32:
      return read_plain<std::uint32_t, widen_f32>(row, begin, out);
    case TensorType::f16:
      return read_plain<std::uint16_t, widen_f16>(row, begin, out);
    case TensorType::bf16:
      return read_plain<std::uint16_t, widen_bf16>(row, begin, out);
    case TensorType::f8_e4m3:
      return read_plain<std::uint8_t, widen_e4m3>(row, begin, out);
    case TensorType::f8_e5m2:
      return read_plain<std::uint8_t, widen_e5m2>(row, begin, out);
    case TensorType::q8_0:
      return read_blocks<decode_q8_0>(row, bytes, begin, out);
    case TensorType::q4_0:
      return read_blocks<decode_q4_0>(row, bytes, begin, out);
    case TensorType::q4_1:
      return read_blocks<decode_q4_1>(row, bytes, begin, out);
  }
}

}  // namespace

const char* name_of(TensorType type) {
  switch (type) {
    case TensorType::f64:
      return "F64";
    case TensorType::f32:
      return "F32";
    case TensorType::f16:
      return "F16";
    case TensorType::bf16:
      return "BF16";
    case TensorType::f8_e4m3:
      return "F8_E4M3";
    case TensorType::f8_e5m2:
      return "F8_E5M2";
    case TensorType::q8_0:
      return "Q8_0";
    case TensorType::q4_0:
      return "Q4_0";
    case TensorType::q4_1:
      return "Q4_1";
  }
  return "unknown";
}

TypeLayout layout_of(TensorType type) {
  switch (type) {
    case TensorType::f64:
      return {1, 8};
    case TensorType::f32:
      return {1, 4};
    case TensorType::f16:
    case TensorType::bf16:
      return {1, 2};
    case TensorType::f8_e4m3:
    case TensorType::f8_e5m2:
      return {1, 1};
    case TensorType::q8_0:
      return {kBlock, 34};
    case TensorType::q4_0:
      return {kBlock, 18};
    case TensorType::q4_1:
      return {kBlock, 20};
  }
  return {};
}

void Tensor::read_row(std::int64_t row, std::int64_t col_begin, std::int64_t col_end,
                      std::span<float> out) const {
  ISOBIT_CHECK(row >= 0 && row < rows);
  ISOBIT_CHECK(col_begin >= 0 && col_begin <= col_end && col_end <= cols);
  ISOBIT_CHECK(out.size() == static_cast<std::size_t>(col_end - col_begin));
  const TypeLayout layout = layout_of(type);
  const std::int64_t row_bytes = cols / layout.elements * layout.bytes;
  ISOBIT_CHECK(static_cast<std::int64_t>(bytes.size()) >= rows * row_bytes);
  if (shape.size() <= 1 && !row_order.empty()) {
    for (std::int64_t col = col_begin; col < col_end; ++col) {
      read_span(type, bytes.data(), row_order[static_cast<std::size_t>(col)],
                out.subspan(static_cast<std::size_t>(col - col_begin), 1));
    }
  } else {
    const std::int64_t stored = row_order.empty() ? row : row_order[static_cast<std::size_t>(row)];
    read_span(type, bytes.data() + stored * row_bytes, col_begin, out);
  }
  if (added == 0) return;
  for (float& value : out) value = value + added;
}

const std::byte* Tensor::stored(std::int64_t row, std::int64_t col) const {
  ISOBIT_CHECK(row >= 0 && row < rows && col >= 0 && col < cols && shape.size() > 1);
  const TypeLayout layout = layout_of(type);
  const std::int64_t at = row_order.empty() ? row : row_order[static_cast<std::size_t>(row)];
  return bytes.data() + (at * (cols / layout.elements) + col / layout.elements) * layout.bytes;
}

std::optional<Tensor> Weights::take(const std::string& name) {
  auto node = tensors_.extract(name);
  if (node.empty()) return std::nullopt;
  return std::move(node.mapped());
}

const Tensor* Weights::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

}  // namespace isobit
