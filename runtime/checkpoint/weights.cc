// The value of every stored element, as one fp32 number (see runtime/checkpoint/weights.h).
//
// Widening f16, bf16 and fp8 is exact, NaN payloads included. f64 rounds to nearest even. Block
// formats are decoded by runtime/numerics/blocks.h.
#include "runtime/checkpoint/weights.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <iterator>

#include "runtime/numerics/blocks.h"

namespace isobit {
namespace {

constexpr std::size_t kRun = 16;  // elements of a loop of fixed length, which compilers vectorise

float widen_bf16(std::uint16_t value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

/// e5m2 is the upper byte of an f16.
float widen_e5m2(std::uint8_t value) {
  return widen_fp16(static_cast<std::uint16_t>(value << 8));
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

/// Parts of 32 columns at a time; those at the ends may be wanted in part.
void read_blocks(BlockFormat format, const std::byte* row, std::int64_t begin,
                 std::span<float> out) {
  const BlockShape shape = block_shape(format);
  const std::int64_t end = begin + static_cast<std::int64_t>(out.size());
  float* to = out.data();
  for (std::int64_t at = begin; at < end;) {
    const std::int64_t first = at / kPartColumns * kPartColumns;
    const std::int64_t stop = std::min(first + kPartColumns, end);
    const std::byte* block = row + at / shape.columns * shape.bytes;
    const int part = static_cast<int>(first % shape.columns) / kPartColumns;
    if (stop - at == kPartColumns) {
      block_part(format, block, part, to);
    } else {
      std::array<float, kPartColumns> whole;
      block_part(format, block, part, whole.data());
      std::copy(whole.data() + (at - first), whole.data() + (stop - first), to);
    }
    to += stop - at;
    at = stop;
  }
}

void read_span(TensorType type, const std::byte* row, std::int64_t begin, std::span<float> out) {
  switch (type) {
    case TensorType::f64:
      return read_plain<std::uint64_t, round_f64>(row, begin, out);
    case TensorType::f32:
      return read_plain<std::uint32_t, widen_f32>(row, begin, out);
    case TensorType::f16:
      return read_plain<std::uint16_t, widen_fp16>(row, begin, out);
    case TensorType::bf16:
      return read_plain<std::uint16_t, widen_bf16>(row, begin, out);
    case TensorType::f8_e4m3:
      return read_plain<std::uint8_t, widen_e4m3>(row, begin, out);
    case TensorType::f8_e5m2:
      return read_plain<std::uint8_t, widen_e5m2>(row, begin, out);
    default:
      return read_blocks(block_format_of(type), row, begin, out);
  }
}

/// Codes of columns [begin, ...) of a row to values.
void multiply(const TensorScales& scales, std::int64_t row, std::int64_t begin,
              std::span<float> out) {
  const float* const of_row = scales.values.data() + row / scales.block_rows * scales.across;
  const std::int64_t end = begin + static_cast<std::int64_t>(out.size());
  for (std::int64_t at = begin; at < end;) {
    const std::int64_t block = at / scales.block_cols;
    const std::int64_t stop = std::min((block + 1) * scales.block_cols, end);
    const float scale = of_row[block];
    for (; at < stop; ++at) out[static_cast<std::size_t>(at - begin)] *= scale;
  }
}

/// By TensorType, in its order.
struct TypeFacts {
  const char* name;
  int bytes;  // of an element; 0: in blocks
  BlockFormat blocks;
};
constexpr TypeFacts kTypes[] = {
    {"F64", 8, BlockFormat::none},      {"F32", 4, BlockFormat::none},
    {"F16", 2, BlockFormat::none},      {"BF16", 2, BlockFormat::none},
    {"F8_E4M3", 1, BlockFormat::none},  {"F8_E5M2", 1, BlockFormat::none},
    {"Q8_0", 0, BlockFormat::q8_0},     {"Q4_0", 0, BlockFormat::q4_0},
    {"Q4_1", 0, BlockFormat::q4_1},     {"Q5_0", 0, BlockFormat::q5_0},
    {"Q5_1", 0, BlockFormat::q5_1},     {"Q2_K", 0, BlockFormat::q2_k},
    {"Q3_K", 0, BlockFormat::q3_k},     {"Q4_K", 0, BlockFormat::q4_k},
    {"Q5_K", 0, BlockFormat::q5_k},     {"Q6_K", 0, BlockFormat::q6_k},
    {"IQ4_NL", 0, BlockFormat::iq4_nl}, {"IQ4_XS", 0, BlockFormat::iq4_xs},
};
static_assert(std::size(kTypes) == kTensorTypes);

const TypeFacts& facts_of(TensorType type) {
  return kTypes[static_cast<std::size_t>(type)];
}

}  // namespace

const char* name_of(TensorType type) {
  return facts_of(type).name;
}

BlockFormat block_format_of(TensorType type) {
  return facts_of(type).blocks;
}

TypeLayout layout_of(TensorType type) {
  const TypeFacts& facts = facts_of(type);
  if (facts.blocks == BlockFormat::none) return {1, facts.bytes};
  const BlockShape shape = block_shape(facts.blocks);
  return {shape.columns, shape.bytes};
}

void Tensor::read_row(std::int64_t row, std::int64_t col_begin, std::int64_t col_end,
                      std::span<float> out) const {
  ISOBIT_CHECK(row >= 0 && row < rows);
  ISOBIT_CHECK(col_begin >= 0 && col_begin <= col_end && col_end <= cols);
  ISOBIT_CHECK(out.size() == static_cast<std::size_t>(col_end - col_begin));
  const TypeLayout layout = layout_of(type);
  const std::int64_t row_bytes = cols / layout.elements * layout.bytes;
  const bool vector = shape.size() <= 1;
  const std::int64_t stored_row =
      vector || row_order.empty() ? row : row_order[static_cast<std::size_t>(row)];
  if (vector && !row_order.empty()) {
    for (std::int64_t col = col_begin; col < col_end; ++col) {
      ISOBIT_CHECK(std::int64_t(bytes.size()) / layout.bytes > row_order[std::size_t(col)]);
      read_span(type, bytes.data(), row_order[static_cast<std::size_t>(col)],
                out.subspan(static_cast<std::size_t>(col - col_begin), 1));
    }
  } else {
    ISOBIT_CHECK(std::int64_t(bytes.size()) >= (stored_row + 1) * row_bytes);
    read_span(type, bytes.data() + stored_row * row_bytes, col_begin, out);
  }
  if (scales != nullptr) multiply(*scales, first_scale_row + stored_row, col_begin, out);
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
