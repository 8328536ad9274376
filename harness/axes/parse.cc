// Scalars, counts and maps of axis values.
#include "harness/axes/parse.h"

#include <algorithm>

#include "runtime/base/words.h"

namespace isobit::axes {

Error bad_value(const std::string& axis, const std::string& value, const std::string& hint) {
  return {"unknown value " + in_quotes(value) + " for axis " + axis + hint, ""};
}

Pairs pairs_of(const RawValue& raw) {
  if (!raw.pairs.empty()) return raw.pairs;
  Pairs pairs;
  for (std::size_t begin = 0; begin <= raw.scalar.size();) {
    const std::size_t end = std::min(raw.scalar.find('+', begin), raw.scalar.size());
    const std::string part = raw.scalar.substr(begin, end - begin);
    const std::size_t colon = std::min(part.find(':'), part.size());
    pairs.emplace_back(part.substr(0, colon), part.substr(std::min(colon + 1, part.size())));
    begin = end + 1;
  }
  return pairs;
}

bool is_map(const RawValue& raw) {
  return !raw.pairs.empty() || raw.scalar.find(':') != std::string::npos;
}

Result<std::string> closed_value(const std::string& axis, const RawValue& raw, const Words& words) {
  if (!raw.pairs.empty()) {
    return Error{"axis " + axis + " has plain values, not a map; known: " + words[0] + " …", ""};
  }
  const bool known = std::find(words.begin(), words.end(), raw.scalar) != words.end();
  if (!known) return bad_value(axis, raw.scalar, did_you_mean(raw.scalar, words));
  return raw.scalar;
}

Result<std::int64_t> count_value(const std::string& axis, const RawValue& raw, std::int64_t most) {
  std::int64_t number = 0;
  if (!raw.pairs.empty() || !parse_integer(raw.scalar, 1, most, number)) {
    const std::string shown = raw.pairs.empty() ? raw.scalar : raw.pairs[0].first + ": …";
    return bad_value(axis, shown, "; a whole number from 1 to " + std::to_string(most));
  }
  return number;
}

AxisValue scalar_value(const std::string& text, AxisSetting setting) {
  return {text, {}, text, std::move(setting)};
}

AxisValue map_value(const std::map<std::string, std::string>& args, const std::string& head,
                    AxisSetting setting) {
  AxisValue value{"", args, head, std::move(setting)};
  for (const auto& [key, text] : args) {
    value.text += (value.text.empty() ? "" : "+") + key + ":" + text;
  }
  return value;
}

bool always(const AxisValue&) {
  return true;
}
bool never(const AxisValue&) {
  return false;
}

}  // namespace isobit::axes
