// Quoting of free text in golden files: double quotes, backslash escapes, one line always.
//
// Used by golden/*.cc only.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace isobit::golden_text {

/// `text` with \\ \" \n \r \t \xHH for backslash, quote and control characters (DEL too).
std::string escape(std::string_view text);
/// Undoes escape(); nothing else is accepted, so that escape(*unescape(t)) == t.
std::optional<std::string> unescape(std::string_view text);
/// Exactly `digits` lower-case hex digits.
bool is_hex(std::string_view text, std::size_t digits);

}  // namespace isobit::golden_text
