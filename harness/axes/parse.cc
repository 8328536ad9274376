// Scalars, counts and maps of axis values.
#include "harness/axes/parse.h"

#include <algorithm>

#include "runtime/base/option_text.h"
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

std::string text_of(const RawValue& raw) {
  std::string text = raw.scalar;
  for (const auto& [key, value] : raw.pairs) text += (text.empty() ? "" : "+") + key + ":" + value;
  return text;
}

std::map<std::string, std::string> args_of(const std::string& text) {
  std::map<std::string, std::string> args;
  for (const auto& [key, value] : option_pairs(text)) args[key] = value;
  return args;
}

bool is_map(const RawValue& raw) {
  return !raw.pairs.empty() || raw.scalar.find(':') != std::string::npos;
}

bool is_one_of(const std::string& word, const Words& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

Result<std::string> closed_value(const std::string& axis, const RawValue& raw, const Words& words) {
  if (!raw.pairs.empty()) {
    return Error{"axis " + axis + " has plain values, not a map; known: " + words[0] + " …", ""};
  }
  if (!is_one_of(raw.scalar, words))
    return bad_value(axis, raw.scalar, did_you_mean(raw.scalar, words));
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
  return {text_of({"", Pairs(args.begin(), args.end())}), args, head, std::move(setting)};
}

bool always(const AxisValue&) {
  return true;
}
bool never(const AxisValue&) {
  return false;
}

}  // namespace isobit::axes
