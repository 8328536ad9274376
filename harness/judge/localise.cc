// The first layer and operation at which two traces of a prompt part (compare.h).
//
// Works on stored digests alone. The order (position, layer, site) is causal: everything a row is
// computed from comes earlier at its own position, or at an earlier position.
#include <algorithm>
#include <tuple>

#include "harness/judge/compare.h"

namespace isobit {
namespace {

auto key_of(const Observation& observation) {
  return std::tuple(observation.position, observation.layer, observation.site);
}

/// The first logits row that differs, for traces whose recorded rows all agree.
std::optional<Location> logits_location(const PromptTrace& a, const PromptTrace& b) {
  auto row_b = b.tokens.begin();
  for (const TokenRecord& row_a : a.tokens) {
    while (row_b != b.tokens.end() && row_b->position < row_a.position) ++row_b;
    if (row_b == b.tokens.end()) break;
    if (row_b->position != row_a.position || row_b->digest == row_a.digest) continue;
    Location location;
    location.position = row_a.position;
    for (const Observation& observation : a.observations) {
      location.layer = std::max(location.layer, observation.layer);
    }
    location.a = row_a.digest;
    location.b = row_b->digest;
    return location;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Location> localise(const PromptTrace& a, const PromptTrace& b) {
  std::optional<Location> found;
  std::int64_t compared = 0, absent = 0;
  auto x = a.observations.begin();
  auto y = b.observations.begin();
  while (x != a.observations.end() && y != b.observations.end()) {
    if (key_of(*x) != key_of(*y)) {
      ++absent;
      key_of(*x) < key_of(*y) ? ++x : ++y;
      continue;
    }
    ++compared;
    if (!found && x->digest != y->digest) {
      found = Location{x->position, x->layer, x->site, x->digest, y->digest};
    }
    ++x;
    ++y;
  }
  absent += (a.observations.end() - x) + (b.observations.end() - y);
  if (compared == 0) return std::nullopt;
  if (!found) found = logits_location(a, b);
  if (found) {
    found->compared = compared;
    found->absent = absent;
  }
  return found;
}

}  // namespace isobit
