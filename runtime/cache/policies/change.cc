// bits, uniform, normal, lognormal: each value of K and V is changed once, as it is computed, and
// kept like an exact one (Shebel 2025; NUMERICS.md, "bits" and "noise"). Pointwise.

#include <algorithm>
#include <set>

#include "runtime/base/words.h"
#include "runtime/cache/policies/table.h"

namespace isobit {
namespace {

constexpr std::int64_t kMostLayers = 4096;

struct Options {
  bool keys = true, values = true, before_rope = false;
  std::set<std::int64_t> layers;  // empty: all
};

class ChangePolicy final : public CachePolicy {
 public:
  ChangePolicy(const KvChange& change, Options options)
      : change_(change), options_(std::move(options)) {}
  [[nodiscard]] Result<void> check(const KvModel& model) const override {
    if (options_.layers.empty() || *options_.layers.rbegin() < model.layers) return {};
    return Error{"there is no layer " + std::to_string(*options_.layers.rbegin()) + " of " +
                     std::to_string(model.layers),
                 ""};
  }
  [[nodiscard]] bool waits_for_prompt() const override { return false; }
  [[nodiscard]] bool acts(const KvModel& model, std::int64_t, std::int64_t) const override {
    if (change_.kind == KvChange::Kind::bits) return change_.bits < fraction_bits(model.stored);
    return change_.a != 0 || change_.b != 0;
  }
  [[nodiscard]] KvChange change(const KvModel& model) const override {
    KvChange change = change_;
    change.stored = model.stored;
    return change;
  }
  [[nodiscard]] bool changes(std::int64_t layer, bool keys) const override {
    return (keys ? options_.keys : options_.values) &&
           (options_.layers.empty() || options_.layers.count(layer) != 0);
  }
  [[nodiscard]] bool changes_before_rope() const override { return options_.before_rope; }

 private:
  KvChange change_;
  Options options_;
};

/// "0/3/7" as numbers.
Result<std::set<std::int64_t>> read_layers(const OptionArgs& args) {
  std::set<std::int64_t> layers;
  const auto text = args.options.find("layers");
  if (text == args.options.end()) return layers;
  for (const std::string& word : cut_outside(text->second, '/')) {
    std::int64_t layer = 0;
    if (!parse_integer(word, 0, kMostLayers, layer)) {
      return Error{"layers are whole numbers from 0, not " + in_quotes(word), ""};
    }
    if (!layers.insert(layer).second) return Error{"layer " + word + " is given twice", ""};
  }
  return layers;
}

/// The options that all three share, canonical ones into `made`.
Result<Options> read_options(const OptionArgs& args, MadePolicy& made) {
  Options out;
  auto of = args.word("of", {"k", "v", "both"}, "both");
  ISOBIT_TRY(of);
  auto at = args.word("at", {"before_rope", "after_rope"}, "after_rope");
  ISOBIT_TRY(at);
  auto layers = read_layers(args);
  ISOBIT_TRY(layers);
  out.keys = *of != "v";
  out.values = *of != "k";
  out.before_rope = *at == "before_rope" && out.keys;  // values do not turn
  out.layers = *layers;
  if (*of != "both") made.options["of"] = *of;
  if (out.before_rope) made.options["at"] = *at;
  std::string text;
  for (const std::int64_t layer : out.layers) {
    text += (text.empty() ? "" : "/") + std::to_string(layer);
  }
  if (!text.empty()) made.options["layers"] = text;
  return out;
}

/// Two numbers "a/b".
Result<void> read_two(const OptionArgs& args, const std::string& what, KvChange& change) {
  const std::vector<std::string> words = cut_outside(args.main, '/');
  if (words.size() != 2 || !parse_real(words[0], change.a) || !parse_real(words[1], change.b)) {
    return Error{args.name + " has two finite numbers, " + what, ""};
  }
  return {};
}

/// What every kind of noise has beside its numbers.
PolicyResult finish_noise(const OptionArgs& args, KvChange change, MadePolicy made) {
  auto seed = args.whole("seed", 0, std::int64_t(1) << 62, 0);
  ISOBIT_TRY(seed);
  auto options = read_options(args, made);
  ISOBIT_TRY(options);
  change.seed = std::uint64_t(*seed);
  if (*seed != 0) made.options["seed"] = std::to_string(*seed);
  made.name = args.name;
  made.policy = std::make_shared<ChangePolicy>(change, *options);
  return made;
}

}  // namespace

PolicyResult parse_bits(const OptionArgs& args) {
  MadePolicy made;
  KvChange change;
  change.kind = KvChange::Kind::bits;
  auto bits = args.whole("", 0, 52, 0);
  ISOBIT_TRY(bits);
  auto round = args.word("round", {"down", "nearest"}, "nearest");
  ISOBIT_TRY(round);
  auto options = read_options(args, made);
  ISOBIT_TRY(options);
  change.bits = std::int32_t(*bits);
  change.nearest = *round == "nearest";
  made.name = "bits";
  made.main = std::to_string(*bits);
  if (!change.nearest) made.options["round"] = "down";
  made.policy = std::make_shared<ChangePolicy>(change, *options);
  return made;
}

PolicyResult parse_noise(const OptionArgs& args) {
  MadePolicy made;
  KvChange change;
  const bool uniform = args.name == "uniform";
  change.kind = uniform ? KvChange::Kind::uniform : KvChange::Kind::normal;
  const char* const what = uniform ? "[from, to]" : "[mean, standard deviation]";
  if (auto ok = read_two(args, what, change); !ok) return ok.error();
  if (uniform && change.b < change.a) return Error{"uniform goes from the lower number up", ""};
  if (!uniform && change.b < 0) return Error{"a standard deviation is not negative", ""};
  auto keep_sign = args.flag("keep_sign", false);
  ISOBIT_TRY(keep_sign);
  change.keep_sign = *keep_sign;
  made.main = shortest_decimals(change.a) + "/" + shortest_decimals(change.b);
  if (*keep_sign) made.options["keep_sign"] = "true";
  return finish_noise(args, change, std::move(made));
}

PolicyResult parse_lognormal(const OptionArgs& args) {
  constexpr double kMost = 1000;
  MadePolicy made;
  KvChange change;
  double deviation = 0;
  if (!parse_real(args.main, deviation) || deviation < 0 || deviation > kMost) {
    return Error{"lognormal has a standard deviation from 0 to 1000", ""};
  }
  set_lognormal(change, deviation);
  made.main = shortest_decimals(deviation);
  return finish_noise(args, change, std::move(made));
}

}  // namespace isobit
