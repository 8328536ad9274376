// transformers' QuantizedCache: everything is quantised at the first update, later rows wait in a
// residual, and when that is full, all of it is quantised again from what it had become.
//
// The quantiser is the package's: quanto or hqq. Callers: the files that parse them.
#pragma once

#include <functional>

#include "runtime/cache/policies/table.h"
#include "runtime/cache/shipped.h"
#include "runtime/numerics/kv/grouped.h"

namespace isobit {

/// Sequences of one length as one tensor, (batch, heads, tokens, head_dim).
struct ShippedShape {
  std::int64_t batch = 0, heads = 0, tokens = 0, head_dim = 0;
  [[nodiscard]] std::int64_t row() const { return heads * tokens * head_dim; }
  [[nodiscard]] std::int64_t size() const { return batch * row(); }
};

/// A quantised tensor.
struct ShippedCodes {
  ShippedShape shape;
  Grouping grouping;
  int bits = 0;
  std::vector<std::uint8_t> packed;  // by group, value by value, the low bits of a byte first
  StoredReals scale, zero;           // by group; zero: quanto's shift

  [[nodiscard]] int code(std::int64_t group, std::int64_t i) const {
    const std::int64_t bit = (group * grouping.size + i) * bits;
    return packed[std::size_t(bit / 8)] >> (bit % 8) & ((1 << bits) - 1);
  }
  void pack(std::span<const std::uint8_t> codes);
  [[nodiscard]] std::int64_t bytes() const {
    return std::int64_t(packed.size()) + scale.bytes() + zero.bytes();
  }
};

/// What a package does with one tensor.
class ShippedQuantizer {
 public:
  virtual ~ShippedQuantizer() = default;
  [[nodiscard]] virtual Result<void> check(const ShippedShape& shape) const = 0;
  [[nodiscard]] virtual ShippedCodes encode(std::span<const double> x, const ShippedShape& shape,
                                            Format stored) const = 0;
  /// The whole tensor.
  [[nodiscard]] virtual std::vector<double> decode(const ShippedCodes& codes) const = 0;
};

/// The quantizer of a number of bits and a group.
using MakeQuantizer =
    std::function<std::shared_ptr<const ShippedQuantizer>(int bits, std::int64_t group)>;
/// Reads what both packages have; `axis` is read already and 0 by default.
PolicyResult parse_quantized(const OptionArgs& args, const std::string& axis,
                             const MakeQuantizer& make);

}  // namespace isobit
