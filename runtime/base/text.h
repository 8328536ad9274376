// Text that is safe to show: escaping, truncation, counts and times. Pure.
//
// Token texts and reasons may hold anything: broken UTF-8, control characters, markup. What these
// functions return is always valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace isobit::text {

/// Invalid bytes as \xNN, everything else as it is.
std::string valid_utf8(std::string_view bytes);
/// For one line of a terminal: also control characters (\n, \t, \x1b, …) and the invisible
/// characters that reorder a line (\u{202e}) escaped. At most `limit` code points, then "…".
std::string printable(std::string_view bytes, std::size_t limit = std::size_t(-1));
/// printable() that keeps the line ends: the last thing that happens to what a command prints, for
/// what was not made printable where it was put into a line.
std::string printable_lines(std::string_view bytes);
/// Whether printable() would escape nothing.
bool is_printable(std::string_view bytes);
/// printable() in double quotes, quotes and backslashes escaped; the limit is for the content.
std::string quoted(std::string_view bytes, std::size_t limit = std::size_t(-1));
/// At most `limit` code points of valid UTF-8; the last is "…" when something was cut.
std::string truncate(std::string_view valid, std::size_t limit);
/// Number of code points of valid UTF-8.
std::size_t length(std::string_view valid);

/// For an XML 1.0 text or attribute. Characters that XML cannot hold appear as \xNN.
std::string xml(std::string_view bytes);
/// For a Markdown table cell: no markup, one line.
std::string markdown(std::string_view bytes);
/// For a Markdown code span in a table cell.
std::string markdown_code(std::string_view bytes);

/// "1,234,567"
std::string count(std::int64_t value);
/// "1 cell", "12 cells"
std::string count(std::int64_t value, const char* noun);
/// Bytes in units of 2^20, "64.0".
std::string mebibytes(std::size_t bytes);
/// "0.42 s", "12.3 s", "3:05", "1:02:03"
std::string duration(double seconds);
/// Six significant digits for people; with_bits adds the hexadecimal float.
std::string number(double value);
std::string with_bits(double value);
/// An exact hexadecimal float.
std::string hex_float(double value);

}  // namespace isobit::text
