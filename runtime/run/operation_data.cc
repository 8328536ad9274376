// One 32-bit word of the generator an element.
#include "runtime/run/operation_data.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/base/sha256.h"
#include "runtime/numerics/formats.h"
#include "runtime/numerics/functions.h"
#include "runtime/numerics/random.h"

namespace isobit {
namespace {

constexpr double kPairScale = 4096;  // of pairs that cancel

/// Odd multiples of 2^-23 in (-1, 1): exact in fp32, and never 0 in a 16-bit format either.
double even_number(std::uint32_t word) {
  constexpr double kHalf = 8388608;  // 2^23
  return (double(2U * (word >> 9) + 1U) - kHalf) / kHalf;
}

double sign_of(std::uint32_t word) {
  return (word >> 31) != 0 ? -1.0 : 1.0;
}

/// Bits of the fraction, and the exponent of the smallest subnormal.
struct Subnormals {
  int bits, least;
};
Subnormals subnormals_of(Format format) {
  switch (format) {
    case Format::bf16:
      return {7, -133};
    case Format::fp16:
      return {10, -24};
    case Format::f64:
      return {23, -1074};
    default:
      return {23, -149};
  }
}

/// x * 2^e, exact where the result is a number of the format: in two steps, since 2^e alone may be
/// too small for one.
double scaled(double x, int e) {
  const int half = e / 2;
  return (x * pow2_double(half)) * pow2_double(e - half);
}

double subnormal_number(std::uint32_t word, Format format) {
  const Subnormals range = subnormals_of(format);
  const std::uint32_t magnitude = ((word & 0x7fffffffU) >> (31 - range.bits)) | 1U;
  return sign_of(word) * scaled(double(magnitude), range.least);
}

/// The lowest binade of `wide` and how many there are.
struct Binades {
  int lowest, count;
};
Binades binades_of(Format format, std::size_t length) {
  if (format != Format::fp16) return {-30, 60};
  constexpr int kLowest = -24, kHighest = 15;  // below 2^15 every sum of two halves fits
  const int sum = int(std::bit_width(length));
  return {kLowest, std::max(kHighest - sum - kLowest, 1)};
}

double wide_number(std::uint32_t word, const Binades& range) {
  const auto step = int((((word >> 23) & 0xffU) * std::uint32_t(range.count)) >> 8);
  const double fraction = 1.0 + double(word & 0x7fffffU) / 8388608.0;
  return sign_of(word) * scaled(fraction, range.lowest + step);
}

double largest_number(Format format) {
  switch (format) {
    case Format::bf16:
      return 0x1.fep127;
    case Format::fp16:
      return 65504;
    case Format::f64:
      return std::numeric_limits<double>::max();
    default:
      return double(std::numeric_limits<float>::max());
  }
}

}  // namespace

double in_format(Format format, double value) {
  return format == Format::f64 ? value : double(round_to(format, float(value)));
}

OperandStream::OperandStream(std::uint64_t seed, OperationKind kind, const std::string& shape_id,
                             const std::string& role)
    : seed_(seed), name_(0) {
  const std::string text =
      "isobit operand 1\n" + std::string(name_of(kind)) + "\n" + shape_id + "\n" + role;
  const Sha256 hash = sha256(text.data(), text.size());
  for (std::size_t i = 0; i < 8; ++i) name_ |= std::uint64_t(hash[i]) << (8 * i);
}

void OperandStream::words(std::int64_t row, std::span<std::uint32_t> out) const {
  for (std::size_t j = 0; j < out.size(); j += 4) {
    const PhiloxBlock block = philox4x32({{std::uint32_t(name_), std::uint32_t(name_ >> 32),
                                           std::uint32_t(row), std::uint32_t(j / 4)}},
                                         seed_);
    for (std::size_t i = 0; i < std::min<std::size_t>(4, out.size() - j); ++i) {
      out[j + i] = block.word[i];
    }
  }
}

void OperandStream::draw(OperandData data, Format format, std::int64_t row,
                         std::span<double> out) const {
  std::vector<std::uint32_t> bits(out.size());
  words(row, bits);
  const Binades range = binades_of(format, out.size());
  for (std::size_t j = 0; j < out.size(); ++j) {
    double value = 0;
    switch (data) {
      case OperandData::random:
        value = even_number(bits[j]);
        break;
      case OperandData::subnormal:
        value = subnormal_number(bits[j], format);
        break;
      case OperandData::wide:
        value = wide_number(bits[j], range);
        break;
      case OperandData::cancelling: {
        const std::size_t pair = out.size() - 1 - j, first = std::min(j, pair);
        const bool alone = first % 4 == 0 || j == pair;
        value = alone ? even_number(bits[j])
                      : (j < pair ? kPairScale : -kPairScale) * even_number(bits[first]);
        break;
      }
    }
    out[j] = in_format(format, value);
  }
}

void OperandStream::mirrored(Format format, std::int64_t row, std::span<double> out) const {
  draw(OperandData::random, format, row, out);
  for (std::size_t j = 0; j < out.size() / 2; ++j) out[out.size() - 1 - j] = out[j];
}

void OperandStream::neighbour(Neighbours what, Format format, std::int64_t row,
                              std::span<double> out) const {
  switch (what) {
    case Neighbours::random:
      return draw(OperandData::random, format, row, out);
    case Neighbours::zeros:
      return std::fill(out.begin(), out.end(), 0.0);
    case Neighbours::nan:
      return std::fill(out.begin(), out.end(), std::numeric_limits<double>::quiet_NaN());
    case Neighbours::huge:
      draw(OperandData::random, format, row, out);
      for (double& value : out) value = std::copysign(largest_number(format), value);
  }
}

}  // namespace isobit
