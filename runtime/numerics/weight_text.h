// WeightChange <-> text: "stored", "rtn:4", "bsr:5+granularity:tensor+seed:3", "gaussian:0.1".
// Callers: the axis `weights`, tests.
#pragma once

#include <string>

#include "runtime/base/result.h"
#include "runtime/numerics/weight_change.h"

namespace isobit {

constexpr std::int64_t kFewestWeightBits = 2, kMostWeightBits = 16;
constexpr double kLargestSigma = 1e6;

/// A word, or one of `bsr: b`, `rtn: b`, `gaussian: σ` and its options: `seed` (bsr, gaussian; 0)
/// and `granularity` (channel or tensor). The result's text is canonical: its own pair first, then
/// options that are not at their defaults, sorted. Errors (without place) say what is known.
Result<WeightChange> parse_weight_change(const std::string& text);
/// "channel" or "tensor".
const char* granularity_of(const WeightChange& change);

}  // namespace isobit
