// Defects in rows that cells give by value, on their way to the metrics of pairs. No bit of a trace
// changes: only the digests that were recorded of the same rows tell, and the identity control.

#include "harness/selftest/defects.h"

namespace isobit::selftest {
namespace {

bool spoiled(const Cell& cell) {
  return cell.value("batch") != "1";
}

/// Inner rows under the name of the position behind them.
void next_position(const Cell& cell, GenerateRequest& request) {
  if (!spoiled(cell) || !request.value_row) return;
  request.value_row = [give = request.value_row](ValueKey key, std::span<const std::byte> row) {
    ++key.position;
    give(key, row);
  };
}

/// Layers 0 and 1, 2 and 3, … change places.
void other_layer(const Cell& cell, GenerateRequest& request) {
  if (!spoiled(cell) || !request.value_row) return;
  request.value_row = [give = request.value_row](ValueKey key, std::span<const std::byte> row) {
    key.layer ^= 1;
    give(key, row);
  };
}

/// The last value of every row of logits is its first one too.
void spoiled_logits(const Cell& cell, GenerateRequest& request) {
  if (!spoiled(cell) || !request.spill) return;
  request.spill = [give = request.spill](int prompt, std::int64_t position,
                                         std::span<const std::byte> row) {
    std::vector<std::byte> other(row.begin(), row.end());
    std::copy_n(other.end() - 4, 4, other.begin());
    give(prompt, position, other);
  };
}

}  // namespace

std::vector<Defect> measured_defects() {
  std::vector<Defect> all;
  const auto add = [&](const char* name, const char* site, const char* says) -> Defect& {
    return add_defect(all, name, "batch", site, "measured", "batch=3", Verdict::mistrusted, says);
  };
  constexpr const char* kSays = "are not the row that was recorded";
  add("values-next-position", "rows by value, position", kSays).request = next_position;
  add("values-other-layer", "rows by value, layer", kSays).request = other_layer;
  add("values-other-logits", "rows of logits by value", "layer 0, logits").request = spoiled_logits;
  return all;
}

}  // namespace isobit::selftest
