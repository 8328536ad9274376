// Axis cache: what is kept between steps and in which pieces it is computed and stored. Lossless:
// every layout holds the same keys and values.
#include <algorithm>

#include "harness/axes/parse.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

const axes::Words kPlain = {"on", "off", "prefix", "recomputed"};
const axes::Words kSized = {"chunked", "paged"};
const axes::Words kKnown = {"on", "off", "prefix", "recomputed", "chunked", "paged"};

bool is_one_of(const std::string& word, const axes::Words& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

Result<AxisValue> plain(const std::string& word, ValueUse use) {
  bool flag = false;
  const std::string name = parse_boolean(word, flag) ? (flag ? "on" : "off") : word;
  if (is_one_of(name, kSized)) {
    if (use == ValueUse::pattern) return axes::scalar_value(name, {});
    return axes::bad_value("cache", name, "; it needs a size, e.g. {" + name + ": 16}");
  }
  if (!is_one_of(name, kPlain)) return axes::bad_value("cache", name, did_you_mean(name, kKnown));
  auto mode = parse_cache_mode(name);
  ISOBIT_TRY(mode);
  return axes::scalar_value(name, *mode);
}

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  if (!axes::is_map(raw)) return plain(raw.scalar, use);
  const axes::Pairs pairs = axes::pairs_of(raw);
  if (pairs.size() != 1) return Error{"a cache map has one key, e.g. {paged: 16}", ""};
  const auto& [key, text] = pairs[0];
  if (!is_one_of(key, kSized)) {
    return axes::bad_value(
        "cache", key, is_one_of(key, kPlain) ? "; it takes no size" : did_you_mean(key, kSized));
  }
  auto size = axes::count_value("cache, option " + key, {text, {}}, kLargestPiece);
  ISOBIT_TRY(size);
  auto mode = parse_cache_mode(key + ":" + std::to_string(*size));
  ISOBIT_TRY(mode);
  return axes::map_value({{key, std::to_string(*size)}}, key, *mode);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.cache = std::get<CacheMode>(value.setting);
}

}  // namespace

Axis cache_axis() {
  return {
      "cache",         "on",         "on | off | {chunked: n} | {paged: n} | prefix | recomputed",
      AxisKind::place, false,        {"chunked", "paged", "prefix", "recomputed"},
      parse,           axes::always, apply};
}

}  // namespace isobit
