// Look-up in the generated tables and the UTF-8 reader of unicode_tables.h.
#include <algorithm>
#include <array>
#include <iterator>

#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

std::uint16_t find_class(std::uint32_t code) {
  if (code > 0x10ffff) return 0;
  constexpr std::uint32_t kMask = (1U << kClassBits) - 1;
  const std::uint32_t* after =
      std::upper_bound(kClassRuns, kClassRuns + kClassRunCount, code << kClassBits | kMask);
  return static_cast<std::uint16_t>(*std::prev(after) & kMask);
}

/// Length of the UTF-8 sequence that `lead` begins and the range of its second byte (the rule that
/// excludes overlong forms, surrogates and everything above U+10FFFF). 0: begins none.
struct Lead {
  std::uint32_t bytes;
  std::uint8_t low, high;
};

Lead lead_of(std::uint8_t lead) {
  if (lead >= 0xc2 && lead <= 0xdf) return {2, 0x80, 0xbf};
  if (lead == 0xe0) return {3, 0xa0, 0xbf};
  if (lead == 0xed) return {3, 0x80, 0x9f};
  if (lead >= 0xe1 && lead <= 0xef) return {3, 0x80, 0xbf};
  if (lead == 0xf0) return {4, 0x90, 0xbf};
  if (lead >= 0xf1 && lead <= 0xf3) return {4, 0x80, 0xbf};
  if (lead == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

}  // namespace

void append_utf8(std::uint32_t code, std::string& out) {
  const auto put = [&](std::uint32_t value) { out += static_cast<char>(value & 0xff); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

std::uint16_t char_class(std::uint32_t code) {
  static const std::array<std::uint16_t, 128> ascii = [] {
    std::array<std::uint16_t, 128> table{};
    for (std::uint32_t at = 0; at < table.size(); ++at) table[at] = find_class(at);
    return table;
  }();
  return code < ascii.size() ? ascii[code] : find_class(code);
}

Char char_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t offset) { return static_cast<std::uint8_t>(text[offset]); };
  const std::uint8_t first = byte(at);
  if (first < 0x80) return {first, 1, char_class(first)};
  const Lead lead = lead_of(first);
  if (lead.bytes == 0 || text.size() - at < lead.bytes) return {};
  if (byte(at + 1) < lead.low || byte(at + 1) > lead.high) return {};
  std::uint32_t code = first & (0x7fU >> lead.bytes);
  for (std::uint32_t offset = 1; offset < lead.bytes; ++offset) {
    const std::uint8_t next = byte(at + offset);
    if ((next & 0xc0) != 0x80) return {};
    code = code << 6 | (next & 0x3fU);
  }
  return {code, lead.bytes, char_class(code)};
}

}  // namespace isobit
