// The tables with their squares in memory.
#include "runtime/numerics/special_unit.h"

#include <vector>

namespace isobit {

const SpecialTables& hopper_tables() {
  static const std::vector<std::uint16_t> squares = [] {
    std::vector<std::uint16_t> out(std::size_t(1) << 17);
    for (std::uint32_t x = 0; x < out.size(); ++x) out[x] = std::uint16_t(special_square(x));
    return out;
  }();
  static const SpecialTables tables = [] {
    SpecialTables out = kHopperTables;
    out.squares = squares.data();
    return out;
  }();
  return tables;
}

}  // namespace isobit
