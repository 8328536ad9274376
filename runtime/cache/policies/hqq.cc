// hqq: transformers' QuantizedCache with hqq behind it, as shipped: groups of 64 with a scale and a
// real-valued zero that an optimiser over the whole tensor finds, so that even what one token
// becomes depends on every value that is quantised with it.

#include "runtime/numerics/kv/hqq.h"

#include "runtime/cache/policies/shipped_quantized.h"
#include "runtime/cache/policies/table.h"

namespace isobit {
namespace {

using enum Grouping::Along;

class Hqq final : public ShippedQuantizer {
 public:
  Hqq(int bits, bool strides, std::int64_t group) : bits_(bits), strides_(strides), group_(group) {}

  Result<void> check(const ShippedShape& shape) const override {
    if (shape.size() % group_ != 0) {
      return Error{"a group of " + std::to_string(group_) + " does not divide the " +
                       std::to_string(shape.size()) +
                       " values of the tensor, where hqq raises an error",
                   ""};
    }
    const std::int64_t rows = strides_ ? group_ : shape.size() / group_, packed = 8 / bits_;
    if (rows % packed == 0) return {};
    return Error{"hqq packs rows " + std::to_string(packed) +
                     " to a byte and raises an error with " + std::to_string(rows),
                 ""};
  }

  ShippedCodes encode(std::span<const double> x, const ShippedShape& shape,
                      Format stored) const override {
    const std::vector<float> values(x.begin(), x.end());
    ShippedCodes out{
        shape,
        Grouping::of(strides_ ? strided : neighbours, shape.size(), group_, shape.head_dim),
        bits_,
        {},
        StoredReals(stored),
        StoredReals(stored)};
    const HqqTensor tensor = hqq_encode(values, out.grouping, bits_);
    out.pack(tensor.codes);
    for (std::size_t g = 0; g < tensor.zero.size(); ++g) {
      out.scale.push(double(round_to(stored, tensor.step[g])));
      out.zero.push(double(round_to(stored, tensor.zero[g])));
    }
    return out;
  }

  std::vector<double> decode(const ShippedCodes& codes) const override {
    std::vector<double> out(std::size_t(codes.shape.size()));
    const Format stored = codes.scale.stored();
    const Grouping& groups = codes.grouping;
    for (std::int64_t g = 0; g < groups.groups; ++g) {
      const double step = codes.scale.at(std::size_t(g)), zero = codes.zero.at(std::size_t(g));
      for (std::int64_t i = 0; i < groups.size; ++i) {
        double& value = out[std::size_t(groups.place(g, i))];
        const double code = codes.code(g, i);
        if (stored == Format::f64) {
          value = canonical((code - zero) * step);
        } else {
          const float above = round_to(stored, float(code) - float(zero));
          value = double(round_to(stored, above * float(step)));
        }
      }
    }
    return out;
  }

 private:
  int bits_;
  bool strides_;
  std::int64_t group_;
};

}  // namespace

PolicyResult parse_hqq(const OptionArgs& args) {
  auto axis = args.word("axis", {"0", "1"}, "0");
  ISOBIT_TRY(axis);
  return parse_quantized(args, *axis, [&](int bits, std::int64_t group) {
    return std::make_shared<Hqq>(bits, *axis == "0", group);
  });
}

}  // namespace isobit
