// quanto: transformers' QuantizedCache with optimum-quanto behind it, as shipped: K and V in groups
// of 64 with a scale and a shift in the model's type, along channels (axis 0) or rows (axis -1).

#include "runtime/numerics/kv/quanto.h"

#include "runtime/cache/policies/shipped_quantized.h"
#include "runtime/cache/policies/table.h"

namespace isobit {
namespace {

using enum Grouping::Along;

class Quanto final : public ShippedQuantizer {
 public:
  Quanto(int bits, bool by_channel, std::int64_t group)
      : bits_(bits), by_channel_(by_channel), group_(group) {}

  Result<void> check(const ShippedShape& shape) const override {
    const std::int64_t values =
        by_channel_ ? shape.batch * shape.heads * shape.tokens : shape.row();
    if (values % group_ == 0) return {};
    return Error{"a group of " + std::to_string(group_) + " does not divide the " +
                     std::to_string(values) +
                     (by_channel_ ? " rows of" : " values of a sequence in") +
                     " the tensor, where optimum-quanto raises an error",
                 ""};
  }

  ShippedCodes encode(std::span<const double> x, const ShippedShape& shape,
                      Format stored) const override {
    return stored == Format::f64 ? encode_as<double>(x, shape, stored)
                                 : encode_as<float>(x, shape, stored);
  }

  std::vector<double> decode(const ShippedCodes& codes) const override {
    return codes.scale.stored() == Format::f64 ? decode_as<double>(codes) : decode_as<float>(codes);
  }

 private:
  [[nodiscard]] Grouping grouping_of(const ShippedShape& shape) const {
    if (by_channel_) return Grouping::of(channel, shape.size(), group_, shape.head_dim);
    // A tensor of one group has, in the original, a range for each value.
    const std::int64_t size = shape.size() == group_ ? 1 : group_;
    return Grouping::of(neighbours, shape.size(), size, shape.head_dim);
  }

  template <class T>
  ShippedCodes encode_as(std::span<const double> x, const ShippedShape& shape,
                         Format stored) const {
    ShippedCodes out{shape, grouping_of(shape),  bits_,
                     {},    StoredReals(stored), StoredReals(stored)};
    std::vector<std::uint8_t> codes;
    codes.reserve(x.size());
    for (std::int64_t g = 0; g < out.grouping.groups; ++g) {
      const auto at = [&](std::int64_t i) { return T(x[std::size_t(out.grouping.place(g, i))]); };
      const auto group = QuantoGroup<T>::measure(stored, bits_, out.grouping.size, at);
      for (std::int64_t i = 0; i < out.grouping.size; ++i) {
        codes.push_back(std::uint8_t(group.code(at(i), bits_)));
      }
      out.scale.push(double(group.scale));
      out.zero.push(double(group.shift));
    }
    out.pack(codes);
    return out;
  }

  template <class T>
  static std::vector<double> decode_as(const ShippedCodes& codes) {
    std::vector<double> out(std::size_t(codes.shape.size()));
    const Grouping& groups = codes.grouping;
    for (std::int64_t g = 0; g < groups.groups; ++g) {
      const QuantoGroup<T> group{codes.scale.stored(), T(codes.scale.at(std::size_t(g))),
                                 T(codes.zero.at(std::size_t(g)))};
      for (std::int64_t i = 0; i < groups.size; ++i) {
        out[std::size_t(groups.place(g, i))] = double(group.value(codes.code(g, i)));
      }
    }
    return out;
  }

  int bits_;
  bool by_channel_;
  std::int64_t group_;
};

}  // namespace

PolicyResult parse_quanto(const OptionArgs& args) {
  auto axis = args.word("axis", {"0", "-1"}, "0");
  ISOBIT_TRY(axis);
  return parse_quantized(args, *axis, [&](int bits, std::int64_t group) {
    return std::make_shared<Quanto>(bits, *axis == "-1", group);
  });
}

}  // namespace isobit
