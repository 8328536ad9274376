// The residual policy's text, and what it cannot serve.

#include "runtime/cache/residual.h"

#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr std::int64_t kMostPositions = std::int64_t(1) << 30;

}  // namespace

std::string ResidualSpec::text() const {
  std::string out = "residual:";
  out += every == 0 ? "embedding" : every == 1 ? "every_layer" : "";
  if (every > 1) out += "(every:" + std::to_string(every) + ")";
  if (budget > 0) out += "+budget:" + std::to_string(budget);
  return out;
}

Result<ResidualSpec> parse_residual(const std::string& checkpoints, const std::string& budget) {
  ResidualSpec spec;
  const std::string begin = "(every:";
  if (checkpoints == "embedding") {
    spec.every = 0;
  } else if (checkpoints.starts_with(begin) && checkpoints.ends_with(")")) {
    const std::string count =
        checkpoints.substr(begin.size(), checkpoints.size() - begin.size() - 1);
    if (!parse_integer(count, 1, ResidualSpec::kLargestStride, spec.every)) {
      return Error{
          "every is a number of layers from 1 to " + std::to_string(ResidualSpec::kLargestStride),
          ""};
    }
  } else if (checkpoints != "every_layer") {
    return Error{"residual is every_layer, embedding or {every: k}", ""};
  }
  if (!budget.empty() && !parse_integer(budget, 0, kMostPositions, spec.budget)) {
    return Error{"budget is a number of positions from 0 to " + std::to_string(kMostPositions), ""};
  }
  return spec;
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
