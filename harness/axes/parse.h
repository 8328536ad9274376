// Steps that the axes of this folder share. Private to harness/axes.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "harness/axes/axis.h"
#include "runtime/base/words.h"

namespace isobit::axes {

using Pairs = std::vector<std::pair<std::string, std::string>>;
using Words = std::vector<std::string>;

/// 'unknown value "x" for axis a' and a hint.
Error bad_value(const std::string& axis, const std::string& value, const std::string& hint);

/// The pairs of a map, or of a scalar "a:b+c:d" (a part without ':' has an empty value).
Pairs pairs_of(const RawValue& raw);
/// The text of a value: its scalar, or the pairs of its map as "a:b+c:d".
std::string text_of(const RawValue& raw);
/// The options of such a text by their names; of one that stands twice, the last.
std::map<std::string, std::string> args_of(const std::string& text);
/// Whether the value is a map, or a scalar that is written as one.
bool is_map(const RawValue& raw);

bool is_one_of(const std::string& word, const Words& words);
/// One of the words.
Result<std::string> closed_value(const std::string& axis, const RawValue& raw, const Words& words);
/// A whole number in [1, most].
Result<std::int64_t> count_value(const std::string& axis, const RawValue& raw, std::int64_t most);

/// The options of a map, or of a scalar that stands for option `main` alone; each is given once and
/// is read by take(key, text), which gives a Result<void>.
template <class Take>
Result<std::map<std::string, std::string>> options_of(const std::string& axis, const RawValue& raw,
                                                      const std::string& main, const Take& take) {
  std::map<std::string, std::string> options;
  for (const auto& [key, text] : is_map(raw) ? pairs_of(raw) : Pairs{{main, raw.scalar}}) {
    if (options.count(key))
      return Error{"option " + in_quotes(key) + " of " + axis + " is given twice", ""};
    if (auto ok = take(key, text); !ok) return ok.error();
    options[key] = text;
  }
  return options;
}

AxisValue scalar_value(const std::string& text, AxisSetting setting);
/// A value whose map is sorted by key.
AxisValue map_value(const std::map<std::string, std::string>& args, const std::string& head,
                    AxisSetting setting);

bool always(const AxisValue&);
bool never(const AxisValue&);

}  // namespace isobit::axes
