// Reads and writes changes of weights.
#include "runtime/numerics/weight_text.h"

#include <algorithm>
#include <vector>

#include "runtime/base/option_text.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

using Kind = WeightChange::Kind;

const std::vector<std::string> kKinds = {"stored", "rtn", "bsr", "gaussian"};
constexpr std::size_t kStored = 0, kGaussian = 3;  // places in kKinds, as in Kind

std::string known_forms() {
  return "; known: stored, {bsr: bits}, {rtn: bits}, {gaussian: sigma}";
}

/// The pairs in pieces: the change's own one apart from its options.
Result<OptionArgs> pieces(const std::string& text) {
  OptionArgs args;
  for (const auto& [key, value] : option_pairs(text)) {
    const bool own = std::find(kKinds.begin(), kKinds.end(), key) != kKinds.end();
    if (own && args.name.empty()) {
      args.name = key;
      args.main = value;
    } else if (own) {
      return Error{"weights are changed in one way: " + args.name + " or " + key, ""};
    } else if (!args.options.emplace(key, value).second) {
      return Error{"option " + in_quotes(key) + " of weights is given twice", ""};
    }
  }
  if (!args.name.empty()) return args;
  const std::string first = option_pairs(text)[0].first;
  return Error{"unknown value " + in_quotes(first) + " for axis weights" +
                   (nearest(first, kKinds).empty() ? known_forms() : did_you_mean(first, kKinds)),
               ""};
}

Result<void> check_options(const OptionArgs& args, Kind kind) {
  std::vector<std::string> known = {"granularity"};
  if (kind != Kind::rtn) known.emplace_back("seed");
  for (const auto& [key, value] : args.options) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    if (key == "seed") return Error{"rtn draws nothing: it has no seed", ""};
    return Error{"unknown option " + in_quotes(key) + " of " + args.name + among_known(key, known),
                 ""};
  }
  return {};
}

Result<double> sigma_of(const OptionArgs& args) {
  double sigma = 0;
  if (parse_real(args.main, sigma) && sigma >= 0 && sigma <= kLargestSigma) return sigma;
  return Error{"gaussian is a deviation from 0 to " + shortest_decimals(kLargestSigma) +
                   ", in units of the root mean square of a channel's weights, not " +
                   in_quotes(args.main) + number_hint(args.main),
               ""};
}

std::string text_of(const WeightChange& change, const OptionArgs& args) {
  std::string text = args.name + ":" +
                     (change.kind == Kind::gaussian ? shortest_decimals(change.sigma)
                                                    : std::to_string(change.bits));
  if (change.whole_tensor) text += "+granularity:tensor";
  if (change.seed != 0) text += "+seed:" + std::to_string(change.seed);
  return text;
}

}  // namespace

const char* granularity_of(const WeightChange& change) {
  return change.whole_tensor ? "tensor" : "channel";
}

Result<WeightChange> parse_weight_change(const std::string& text) {
  if (text == kKinds[kStored]) return WeightChange{};
  auto args = pieces(text);
  ISOBIT_TRY(args);
  const auto kind =
      std::size_t(std::find(kKinds.begin(), kKinds.end(), args->name) - kKinds.begin());
  if (kind == kStored) return Error{"stored weights have no option", ""};
  WeightChange change;
  change.kind = Kind(kind);
  if (auto ok = check_options(*args, change.kind); !ok) return ok.error();
  if (kind == kGaussian) {
    const auto sigma = sigma_of(*args);
    ISOBIT_TRY(sigma);
    change.sigma = *sigma;
  } else {
    const auto bits = args->whole("", kFewestWeightBits, kMostWeightBits, 0);
    ISOBIT_TRY(bits);
    change.bits = std::int32_t(*bits);
  }
  const auto seed = args->whole("seed", 0, INT64_MAX, 0);
  ISOBIT_TRY(seed);
  change.seed = std::uint64_t(*seed);
  const auto scope = args->word("granularity", {"channel", "tensor"}, "channel");
  ISOBIT_TRY(scope);
  change.whole_tensor = *scope == "tensor";
  change.text = text_of(change, *args);
  return change;
}

}  // namespace isobit
