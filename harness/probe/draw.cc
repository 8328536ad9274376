// Drawn operands (draw.h).
#include "harness/probe/draw.h"

#include "runtime/numerics/formats.h"
#include "runtime/numerics/random.h"

namespace isobit::probe {
namespace {

constexpr std::uint64_t kKey = 0x70726f6265;  // of every draw

PhiloxBlock block_of(std::int64_t draw, std::uint32_t what, std::int64_t row, std::int64_t column) {
  return philox4x32({{std::uint32_t(column), std::uint32_t(row), std::uint32_t(draw), what}}, kKey);
}

float value_of(std::int64_t draw, const PhiloxBlock& block) {
  const std::uint32_t a = block.word[0], b = block.word[1];
  const double fraction = 1.0 + double(b >> 9) * 0x1p-23;
  if (draw % 2 == 0) {
    const int sum = int(a & 255) + int(a >> 8 & 255) + int(a >> 16 & 255) + int(a >> 24);
    return float(double(2 * sum - 1020) / 256 * fraction);
  }
  const int exponent = int(a & 15) - 8;
  const double size =
      fraction * (exponent < 0 ? 1.0 / double(1 << -exponent) : double(1 << exponent));
  return float((a >> 31) != 0 ? -size : size);
}

std::vector<float> rows_of(std::int64_t draw, std::uint32_t what, std::int64_t rows,
                           std::int64_t columns, Format format) {
  std::vector<float> out;
  out.reserve(std::size_t(rows * columns));
  const bool cancels = draw >= kCancellingDraw;
  const std::int64_t half = columns / 2, kind = cancels ? draw - kCancellingDraw : draw;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const std::int64_t place = cancels && c >= half ? c - half : c;
      const float value = value_of(kind, block_of(draw, what, r, place));
      const bool other = cancels && what == 0 && c >= half;
      out.push_back(cancels && c >= 2 * half ? 0.0f : round_to(format, other ? -value : value));
    }
  }
  return out;
}

}  // namespace

Operands::Operands(std::int64_t draw, std::int64_t inputs, Format weights, Format rows)
    : inputs_(inputs),
      weights_(rows_of(draw, 0, kWeightPeriod, inputs, weights)),
      rows_(rows_of(draw, 1, kRowPeriod, inputs, rows)) {}

std::span<const float> Operands::weights(std::int64_t n) const {
  return std::span(weights_).subspan(std::size_t(n % kWeightPeriod * inputs_),
                                     std::size_t(inputs_));
}
std::span<const float> Operands::row(std::int64_t m) const {
  return std::span(rows_).subspan(std::size_t(m % kRowPeriod * inputs_), std::size_t(inputs_));
}

std::vector<float> attention_rows(std::int64_t draw, AttentionSide side, std::int64_t number,
                                  std::int64_t first, std::int64_t count, std::int64_t columns,
                                  Format format) {
  const float size = side == AttentionSide::queries && draw % 2 != 0 ? 4.0f : 1.0f;
  const std::uint32_t what = std::uint32_t(draw) * 256 + std::uint32_t(side);
  std::vector<float> out;
  out.reserve(std::size_t(count * columns));
  for (std::int64_t r = first; r < first + count; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      out.push_back(round_to(format, value_of(0, block_of(number, what, r, c)) * size));
    }
  }
  return out;
}

std::vector<Place> kept_places(std::int64_t rows, std::int64_t outputs) {
  std::vector<Place> out = {{0, 0}, {rows - 1, outputs - 1}, {0, outputs - 1}, {rows - 1, 0}};
  for (int i = int(out.size()); i < kKeptPlaces; ++i) {
    const PhiloxBlock block = block_of(rows, 2, outputs, i);
    out.push_back({std::int64_t(block.word[0] % std::uint32_t(rows)),
                   std::int64_t(block.word[1] % std::uint32_t(outputs))});
  }
  return out;
}

}  // namespace isobit::probe
