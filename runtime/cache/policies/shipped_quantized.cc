// The life of a layer in transformers' QuantizedCache, whatever its quantiser.

#include "runtime/cache/policies/shipped_quantized.h"

#include <algorithm>
#include <map>

namespace isobit {
namespace {

constexpr std::int64_t kLongestGroup = 4096, kLongestResidual = 65536;

struct QuantizedOptions {
  std::int64_t residual = 128;
  std::shared_ptr<const ShippedQuantizer> quantizer;
};

/// K or V of a layer that one sequence keeps.
struct Side {
  std::shared_ptr<const ShippedCodes> codes;  // shared by the sequences that were one tensor
  std::int64_t batch = 0;                     // which of them it is
  StoredReals residual;                       // (tokens, heads, head_dim)
};

struct Layer {
  Side k, v;
  std::int64_t coded = 0;  // positions in the codes
};

class QuantizedCache final : public ShippedCache {
 public:
  QuantizedCache(QuantizedOptions options, const KvModel& model)
      : options_(std::move(options)), model_(model) {}

  void clear(int sequence) override { layers_.erase(sequence); }

  Result<std::vector<ShippedSeen>> update(std::int64_t layer,
                                          std::span<const ShippedRows> rows) override {
    std::vector<ShippedSeen> seen;
    std::map<std::int64_t, std::vector<std::size_t>> full;  // by length: rows, in batch order
    const Decoded decoded = decode_all(layer, rows);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      Layer& at = at_layer(rows[i].sequence, layer);
      const std::int64_t waiting = rows[i].past - at.coded;
      seen.push_back({past_of(at.k, decoded), past_of(at.v, decoded)});
      seen_coded_ |= at.coded > 0;
      if (rows[i].past == 0 || waiting + tokens_of(rows[i]) >= options_.residual) {
        full[rows[i].past + tokens_of(rows[i])].push_back(i);
      } else {
        for (const double x : rows[i].k) at.k.residual.push(x);
        for (const double x : rows[i].v) at.v.residual.push(x);
      }
    }
    for (const auto& [length, members] : full) {
      if (auto ok = quantize(layer, length, members, rows, seen); !ok) return ok.error();
    }
    return seen;
  }

  std::int64_t bytes() const override {
    std::int64_t bytes = 0;
    for (const auto& [sequence, layers] : layers_) {
      for (const Layer& layer : layers) {
        for (const Side* side : {&layer.k, &layer.v}) {
          bytes += side->residual.bytes();
          if (side->codes) bytes += side->codes->bytes() / side->codes->shape.batch;
        }
      }
    }
    return bytes;
  }

 private:
  using Decoded = std::map<const ShippedCodes*, std::vector<double>>;

  [[nodiscard]] std::int64_t width() const { return model_.kv_heads * model_.head_dim; }
  [[nodiscard]] std::int64_t tokens_of(const ShippedRows& rows) const {
    return std::int64_t(rows.k.size()) / width();
  }
  Layer& at_layer(int sequence, std::int64_t layer) {
    std::vector<Layer>& all = layers_[sequence];
    if (all.empty()) {
      Layer empty;
      empty.k.residual = empty.v.residual = StoredReals(model_.stored);
      all.assign(std::size_t(model_.layers), empty);
    }
    return all[std::size_t(layer)];
  }

  /// Every tensor that the sequences need, once.
  Decoded decode_all(std::int64_t layer, std::span<const ShippedRows> rows) {
    Decoded out;
    for (const ShippedRows& each : rows) {
      const Layer& at = at_layer(each.sequence, layer);
      for (const Side* side : {&at.k, &at.v}) {
        const ShippedCodes* codes = side->codes.get();
        if (codes != nullptr && out.count(codes) == 0) {
          out[codes] = options_.quantizer->decode(*codes);
        }
      }
    }
    return out;
  }

  /// Positions before the step as attention sees them, (tokens, heads, head_dim).
  [[nodiscard]] std::vector<double> past_of(const Side& side, const Decoded& decoded) const {
    std::vector<double> out;
    if (side.codes != nullptr) {
      const ShippedShape& shape = side.codes->shape;
      const std::vector<double>& all = decoded.at(side.codes.get());
      for (std::int64_t t = 0; t < shape.tokens; ++t) {
        for (std::int64_t h = 0; h < shape.heads; ++h) {
          const auto from =
              all.begin() + side.batch * shape.row() + (h * shape.tokens + t) * shape.head_dim;
          out.insert(out.end(), from, from + shape.head_dim);
        }
      }
    }
    for (std::size_t i = 0; i < side.residual.size(); ++i) out.push_back(side.residual.at(i));
    return out;
  }

  /// Quantises all positions of the members, which have the same number of them, as one tensor.
  Result<void> quantize(std::int64_t layer, std::int64_t length,
                        const std::vector<std::size_t>& members, std::span<const ShippedRows> rows,
                        const std::vector<ShippedSeen>& seen) {
    const ShippedShape shape{std::int64_t(members.size()), model_.kv_heads, length,
                             model_.head_dim};
    if (auto ok = options_.quantizer->check(shape); !ok) return ok;
    for (const bool keys : {true, false}) {
      std::vector<double> x(std::size_t(shape.size()));
      for (std::size_t b = 0; b < members.size(); ++b) {
        const ShippedSeen& past = seen[members[b]];
        const ShippedRows& fresh = rows[members[b]];
        put(keys ? past.k : past.v, 0, shape, b, x);
        put(keys ? fresh.k : fresh.v, fresh.past, shape, b, x);
      }
      const auto codes =
          std::make_shared<const ShippedCodes>(options_.quantizer->encode(x, shape, model_.stored));
      for (std::size_t b = 0; b < members.size(); ++b) {
        Layer& at = at_layer(rows[members[b]].sequence, layer);
        Side& side = keys ? at.k : at.v;
        side.codes = codes;
        side.batch = std::int64_t(b);
        side.residual.clear();
        at.coded = length;
      }
    }
    if (layer == 0) coded_ += length * shape.batch;
    return {};
  }

  /// Rows (tokens, heads, head_dim) from a position on into the tensor.
  static void put(std::span<const double> from, std::int64_t first, const ShippedShape& shape,
                  std::size_t batch, std::vector<double>& x) {
    const std::int64_t d = shape.head_dim, count = std::int64_t(from.size()) / (shape.heads * d);
    for (std::int64_t t = 0; t < count; ++t) {
      for (std::int64_t h = 0; h < shape.heads; ++h) {
        std::copy_n(
            from.begin() + (t * shape.heads + h) * d, d,
            x.begin() + std::int64_t(batch) * shape.row() + (h * shape.tokens + first + t) * d);
      }
    }
  }

  QuantizedOptions options_;
  KvModel model_;
  std::map<int, std::vector<Layer>> layers_;  // by sequence
};

class QuantizedScheme final : public ShippedScheme {
 public:
  explicit QuantizedScheme(QuantizedOptions options) : options_(std::move(options)) {}
  Result<void> check(const KvModel& model) const override {
    if (!model.slides) return {};
    return Error{"transformers' QuantizedCache refuses models with a sliding window", ""};
  }
  std::unique_ptr<ShippedCache> open(const KvModel& model) const override {
    return std::make_unique<QuantizedCache>(options_, model);
  }

 private:
  QuantizedOptions options_;
};

}  // namespace

void ShippedCodes::pack(std::span<const std::uint8_t> codes) {
  const std::size_t per_byte = std::size_t(8 / bits);
  packed.assign((codes.size() + per_byte - 1) / per_byte, 0);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const int shift = int(i % per_byte) * bits;
    packed[i / per_byte] = std::uint8_t(packed[i / per_byte] | codes[i] << shift);
  }
}

PolicyResult parse_quantized(const OptionArgs& args, const std::string& axis,
                             const MakeQuantizer& make) {
  if (args.main != "2" && args.main != "4") return Error{args.name + " has 2 or 4 bits", ""};
  auto group = args.whole("group", 8, kLongestGroup, 64);
  ISOBIT_TRY(group);
  auto residual = args.whole("residual", 1, kLongestResidual, 128);
  ISOBIT_TRY(residual);
  MadePolicy made;
  made.name = args.name;
  made.main = args.main;
  if (axis != "0") made.options["axis"] = axis;
  if (*group != 64) made.options["group"] = std::to_string(*group);
  if (*residual != 128) made.options["residual"] = std::to_string(*residual);
  made.shipped = std::make_shared<QuantizedScheme>(
      QuantizedOptions{*residual, make(args.main == "2" ? 2 : 4, *group)});
  return made;
}

}  // namespace isobit
