// Escaping by code point: one decoder, one function an output language.
#include "runtime/base/text.h"

#include <cmath>
#include <cstdio>

namespace isobit::text {
namespace {

struct CodePoint {
  std::uint32_t value = 0;  // of a valid sequence, else the byte
  std::size_t size = 1;     // bytes
  bool valid = false;
};

// REQUIRES: not empty. Refuses overlong forms, surrogates and values above U+10FFFF.
CodePoint decode(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return std::uint32_t(std::uint8_t(bytes[i])); };
  const std::uint32_t first = byte(0);
  if (first < 0x80) return {first, 1, true};
  const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || bytes.size() < size) return {first, 1, false};
  std::uint32_t value = first & (0x7Fu >> size);
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {first, 1, false};
    value = value << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (size == 3 && value < 0x800) || (size == 4 && value < 0x10000);
  if (overlong || (value >= 0xD800 && value <= 0xDFFF) || value > 0x10FFFF) {
    return {first, 1, false};
  }
  return {value, size, true};
}

// Calls emit(code point, its bytes) for each code point or invalid byte.
template <class Emit>
void for_each(std::string_view bytes, const Emit& emit) {
  while (!bytes.empty()) {
    const CodePoint point = decode(bytes);
    emit(point, bytes.substr(0, point.size));
    bytes.remove_prefix(point.size);
  }
}

std::string escaped_byte(std::uint32_t value) {
  char buffer[8];
  std::snprintf(buffer, sizeof buffer, "\\x%02x", unsigned(value));
  return buffer;
}

std::string escaped_point(std::uint32_t value) {
  char buffer[16];
  std::snprintf(buffer, sizeof buffer, "\\u{%04x}", unsigned(value));
  return buffer;
}

bool is_control(std::uint32_t value) {
  return value < 0x20 || (value >= 0x7F && value < 0xA0);
}

// Invisible characters that change how the rest of a line is shown.
bool reorders(std::uint32_t value) {
  return (value >= 0x202A && value <= 0x202E) || (value >= 0x2066 && value <= 0x2069) ||
         value == 0x200E || value == 0x200F || value == 0x061C || value == 0x2028 ||
         value == 0x2029 || value == 0xFEFF;
}

std::string shown(const CodePoint& point, std::string_view bytes) {
  if (!point.valid) return escaped_byte(point.value);
  switch (point.value) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      break;
  }
  if (point.value >= 0x80 && (is_control(point.value) || reorders(point.value))) {
    return escaped_point(point.value);
  }
  return is_control(point.value) ? escaped_byte(point.value) : std::string(bytes);
}

}  // namespace

std::string valid_utf8(std::string_view bytes) {
  std::string out;
  for_each(bytes, [&](const CodePoint& point, std::string_view raw) {
    out += point.valid ? std::string(raw) : escaped_byte(point.value);
  });
  return out;
}

std::string truncate(std::string_view valid, std::size_t limit) {
  if (length(valid) <= limit) return std::string(valid);
  if (limit == 0) return {};
  std::size_t end = 0;
  for (std::size_t i = 0; i + 1 < limit; ++i) end += decode(valid.substr(end)).size;
  return std::string(valid.substr(0, end)) + "…";
}

std::size_t length(std::string_view valid) {
  std::size_t points = 0;
  for_each(valid, [&](const CodePoint&, std::string_view) { ++points; });
  return points;
}

std::string printable(std::string_view bytes, std::size_t limit) {
  std::string out;
  for_each(bytes, [&](const CodePoint& point, std::string_view raw) { out += shown(point, raw); });
  return truncate(out, limit);
}

std::string printable_lines(std::string_view bytes) {
  std::string out;
  for_each(bytes, [&](const CodePoint& point, std::string_view raw) {
    out += point.valid && point.value == '\n' ? "\n" : shown(point, raw);
  });
  return out;
}

bool is_printable(std::string_view bytes) {
  bool all = true;
  for_each(bytes, [&](const CodePoint& point, std::string_view) {
    all = all && point.valid && !is_control(point.value) && !reorders(point.value);
  });
  return all;
}

std::string quoted(std::string_view bytes, std::size_t limit) {
  std::string out;
  for_each(bytes, [&](const CodePoint& point, std::string_view raw) {
    if (point.valid && (point.value == '"' || point.value == '\\')) out += '\\';
    out += shown(point, raw);
  });
  return '"' + truncate(out, limit) + '"';
}

std::string xml(std::string_view bytes) {
  std::string out;
  for_each(bytes, [&](const CodePoint& point, std::string_view raw) {
    const std::uint32_t value = point.value;
    if (!point.valid) {
      out += escaped_byte(value);
    } else if (value == '&') {
      out += "&amp;";
    } else if (value == '<') {
      out += "&lt;";
    } else if (value == '>') {
      out += "&gt;";
    } else if (value == '"') {
      out += "&quot;";
    } else if (value == '\n' || value == '\t' || value == '\r') {
      out += "&#" + std::to_string(value) + ";";
    } else if (value < 0x20) {
      out += escaped_byte(value);
    } else if ((value >= 0x7F && value < 0xA0) || reorders(value) || value == 0xFFFE ||
               value == 0xFFFF) {
      out += escaped_point(value);
    } else {
      out += raw;
    }
  });
  return out;
}

std::string markdown(std::string_view bytes) {
  std::string out;
  for_each(bytes, [&](const CodePoint& point, std::string_view raw) {
    const std::string piece = shown(point, raw);
    if (piece == "<") {
      out += "&lt;";
    } else if (piece == ">") {
      out += "&gt;";
    } else if (piece == "&") {
      out += "&amp;";
    } else if (piece.size() == 1 &&
               std::string_view("\\`*_[]|#~@").find(piece[0]) != std::string_view::npos) {
      out += "\\" + piece;
    } else {
      out += piece;
    }
  });
  return out;
}

std::string markdown_code(std::string_view bytes) {
  const std::string shown_text = printable(bytes);
  std::string fence = "`";
  while (shown_text.find(fence) != std::string::npos) fence += '`';
  std::string out = fence.size() > 1 ? fence + " " : fence;
  for (const char c : shown_text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out + (fence.size() > 1 ? " " + fence : fence);
}

std::string count(std::int64_t value) {
  std::string digits = std::to_string(value);
  const std::size_t first = digits[0] == '-' ? 1 : 0;
  for (std::size_t i = digits.size(); i > first + 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

std::string count(std::int64_t value, const char* noun) {
  return count(value) + " " + noun + (value == 1 ? "" : "s");
}

std::string mebibytes(std::size_t bytes) {
  const std::size_t tenths = bytes / 1024 * 10 / 1024;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
}

std::string duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  char buffer[48];
  if (seconds < 59.95) {
    std::snprintf(buffer, sizeof buffer, seconds < 9.995 ? "%.2f s" : "%.1f s", seconds);
    return buffer;
  }
  const long long whole = std::llround(seconds);
  if (whole < 3600) {
    std::snprintf(buffer, sizeof buffer, "%lld:%02lld", whole / 60, whole % 60);
  } else {
    std::snprintf(buffer, sizeof buffer, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60,
                  whole % 60);
  }
  return buffer;
}

std::string number(double value) {
  char buffer[48];
  std::snprintf(buffer, sizeof buffer, "%.6g", value);
  return buffer;
}

std::string hex_float(double value) {
  char buffer[48];
  std::snprintf(buffer, sizeof buffer, "%a", value);
  return buffer;
}

std::string with_bits(double value) {
  return number(value) + " (" + hex_float(value) + ")";
}

}  // namespace isobit::text
