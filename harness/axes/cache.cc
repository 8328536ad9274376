// Axis cache: what is kept between steps and in which pieces it is computed and stored. Lossless:
// every layout holds the same keys and values.
#include "harness/axes/parse.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

const axes::Words kAlone = {"on", "off"};

/// The words of values: on, off, and every option.
axes::Words known_words() {
  axes::Words words = kAlone;
  words.insert(words.end(), cache_options().begin(), cache_options().end());
  return words;
}

/// What a mode is as a value of the axis: a word, or a map.
AxisValue value_of(const CacheMode& mode) {
  if (!axes::is_map({mode.name, {}})) return axes::scalar_value(mode.name, mode);
  const std::map<std::string, std::string> args = axes::args_of(mode.name);
  return axes::map_value(args, args.begin()->first, mode);
}

Result<AxisValue> plain(const std::string& word, ValueUse use) {
  bool flag = false;
  const std::string name = parse_boolean(word, flag) ? (flag ? "on" : "off") : word;
  if (!axes::is_one_of(name, known_words())) {
    return axes::bad_value("cache", name, did_you_mean(name, known_words()));
  }
  auto mode = parse_cache_mode(name);
  if (mode) return value_of(*mode);
  if (use == ValueUse::pattern) return axes::scalar_value(name, {});
  return axes::bad_value("cache", name, "; it needs a size, e.g. {" + name + ": 16}");
}

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  if (!axes::is_map(raw)) return plain(raw.scalar, use);
  std::string text;
  const auto options = axes::options_of(
      "cache", raw, "", [&](const std::string& key, const std::string& value) -> Result<void> {
        if (axes::is_one_of(key, kAlone)) return axes::bad_value("cache", key, "; it stands alone");
        if (!axes::is_one_of(key, cache_options())) {
          return axes::bad_value("cache", key, did_you_mean(key, cache_options()));
        }
        auto one = parse_cache_mode(key + ":" + value);
        if (!one && !axes::is_one_of(key, {"prefix", "recomputed"})) {
          const std::int64_t most = key == "speculative" ? kMostDrafts : kLargestPiece;
          auto size = axes::count_value("cache, option " + key, {value, {}}, most);
          ISOBIT_TRY(size);
        }
        ISOBIT_TRY(one);
        text += (text.empty() ? "" : "+") + key + ":" + value;
        return {};
      });
  ISOBIT_TRY(options);
  auto mode = parse_cache_mode(text);
  ISOBIT_TRY(mode);
  return value_of(*mode);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.cache = std::get<CacheMode>(value.setting);
}

}  // namespace

Axis cache_axis() {
  return {
      "cache",
      "on",
      "on | off | {chunked: n} | {paged: n} | prefix | recomputed | {speculative: k}, or several "
      "in one map: {chunked: n, paged: n, prefix: true}",
      AxisKind::place,
      false,
      cache_options(),
      parse,
      axes::always,
      apply};
}

}  // namespace isobit
