// residual: K and V of old positions rebuilt from checkpoints (runtime/cache/residual.h).

#include "runtime/cache/residual.h"

#include "runtime/base/words.h"
#include "runtime/cache/policies/table.h"

namespace isobit {
namespace {

constexpr std::int64_t kMostLayers = 4096;  // from a checkpoint to the next
constexpr std::int64_t kMostPositions = std::int64_t(1) << 30;

}  // namespace

PolicyResult parse_residual(const OptionArgs& args) {
  ResidualSpec spec;
  MadePolicy made;
  made.name = args.name;
  const auto pairs = option_pairs(without_parentheses(args.main));
  if (args.main == "embedding" || args.main == "every_layer") {
    spec.every = args.main == "embedding" ? 0 : 1;
  } else if (pairs.size() != 1 || pairs[0].first != "every" || pairs[0].second.empty()) {
    return Error{"residual is every_layer, embedding or {every: k}", ""};
  } else if (!parse_integer(pairs[0].second, 1, kMostLayers, spec.every)) {
    return Error{"every is a number of layers from 1 to " + std::to_string(kMostLayers), ""};
  }
  const auto budget = args.whole("budget", 0, kMostPositions, 0);
  ISOBIT_TRY(budget);
  spec.budget = *budget;
  made.residual = spec;
  made.main = spec.every == 0   ? "embedding"
              : spec.every == 1 ? "every_layer"
                                : "(every:" + std::to_string(spec.every) + ")";
  if (spec.budget > 0) made.options["budget"] = std::to_string(spec.budget);
  return made;
}

Result<void> check_residual(const ResidualSpec& spec, std::int64_t layers) {
  if (spec.every <= layers) return {};
  return Error{"every " + std::to_string(spec.every) + " layers is more than the model's " +
                   std::to_string(layers),
               ""};
}

Result<void> check_residual(const ResidualSpec&, const CacheMode& mode) {
  if (!mode.shares_prefix) return {};
  return Error{
      "it evicts by the length of each sequence, so cache: prefix cannot share its keys and values",
      ""};
}

}  // namespace isobit
