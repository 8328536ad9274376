// A flat tensor (batch, heads, tokens, channels) cut into groups that share a scale, in the three
// ways of the packages behind transformers' QuantizedCache. Data only.
#pragma once

#include <cstdint>

namespace isobit {

struct Grouping {
  /// neighbours: of the flat tensor. strided: every groups-th value of the flat tensor. channel:
  /// of one channel, consecutive rows of (batch, heads, tokens).
  enum class Along : std::uint8_t { neighbours, strided, channel };
  Along along = Along::neighbours;
  std::int64_t groups = 0, size = 0, channels = 0;

  static Grouping of(Along along, std::int64_t values, std::int64_t size, std::int64_t channels) {
    return {along, values / size, size, channels};
  }
  /// Place in the flat tensor of value i of group g.
  [[nodiscard]] std::int64_t place(std::int64_t g, std::int64_t i) const {
    if (along == Along::neighbours) return g * size + i;
    if (along == Along::strided) return i * groups + g;
    const std::int64_t of_channel = groups / channels;
    return (g % of_channel * size + i) * channels + g / of_channel;
  }
};

}  // namespace isobit
