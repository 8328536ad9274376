// Weights that are changed when they are loaded: rounded to few bits, or disturbed by noise
// (NUMERICS.md, "Changed weights"). What is drawn depends on the tensor and the place in it, never
// on the order of loading, the rank or the device.
#pragma once

#include <cstdint>
#include <string>

namespace isobit {

/// What happens to the matrices of the linear layers.
struct WeightChange {
  enum class Kind : std::uint8_t { stored, rtn, bsr, gaussian };
  std::string text = "stored";  // canonical, of the axis
  Kind kind = Kind::stored;
  std::int32_t bits = 0;      // rtn, bsr: of a code
  double sigma = 0;           // gaussian: deviation
  std::uint64_t seed = 0;     // bsr, gaussian
  bool whole_tensor = false;  // one scale a tensor; else one an output channel
  [[nodiscard]] bool changes() const { return kind != Kind::stored; }
};

}  // namespace isobit
