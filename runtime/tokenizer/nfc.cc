// NFC and NFD (Unicode Standard Annex 15) on generated tables of one fixed version, because
// a library's version, and with it the ids, would depend on the machine.
#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <vector>

#include "runtime/tokenizer/normalize.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

constexpr std::uint64_t kCodeMask = (1U << 21) - 1;
constexpr std::uint32_t kRawByte = 0x80000000;  // marks a byte that is no character

// Hangul syllables are composed by arithmetic.
constexpr std::uint32_t kSyllables = 0xac00, kSyllableEnd = 0xd7a4;
constexpr std::uint32_t kLeads = 0x1100, kVowels = 0x1161, kTrails = 0x11a7;
constexpr std::uint32_t kLeadCount = 19, kVowelCount = 21, kTrailCount = 28;

struct Code {
  std::uint32_t code;
  std::uint8_t combining;
};

std::uint8_t combining_class(std::uint32_t code) {
  if (code < 0x300 || code > 0x10ffff) return 0;
  const auto* after =
      std::upper_bound(kCombiningRuns, kCombiningRuns + kCombiningRunCount, code << 8 | 0xff);
  return static_cast<std::uint8_t>(*std::prev(after) & 0xff);
}

/// The table's entry of a code point, 0 when it has none.
std::uint64_t decomposition(std::uint32_t code) {
  const auto* end = kDecompositions + kDecompositionCount;
  const auto* found = std::lower_bound(
      kDecompositions, end, code,
      [](std::uint64_t entry, std::uint32_t wanted) { return (entry & kCodeMask) < wanted; });
  return found != end && (*found & kCodeMask) == code ? *found : 0;
}

/// Appends the full canonical decomposition.
void decompose(std::uint32_t code, std::vector<Code>& out) {
  if (code >= kSyllables && code < kSyllableEnd) {
    const std::uint32_t index = code - kSyllables;
    out.push_back({kLeads + index / (kVowelCount * kTrailCount), 0});
    out.push_back({kVowels + index / kTrailCount % kVowelCount, 0});
    if (index % kTrailCount != 0) out.push_back({kTrails + index % kTrailCount, 0});
    return;
  }
  const std::uint64_t entry = code < 0xc0 ? 0 : decomposition(code);
  if (entry == 0) {
    out.push_back({code, combining_class(code)});
    return;
  }
  const auto second = static_cast<std::uint32_t>(entry >> 42 & kCodeMask);
  decompose(static_cast<std::uint32_t>(entry >> 21 & kCodeMask), out);
  if (second != 0) out.push_back({second, combining_class(second)});  // decomposes no further
}

/// The character that two compose to, 0 when they do not.
std::uint32_t compose(std::uint32_t first, std::uint32_t second) {
  const std::uint32_t vowel = second - kVowels;
  if (first - kLeads < kLeadCount && vowel < kVowelCount) {
    return kSyllables + ((first - kLeads) * kVowelCount + vowel) * kTrailCount;
  }
  const std::uint32_t syllable = first - kSyllables;
  if (syllable < kSyllableEnd - kSyllables && syllable % kTrailCount == 0 &&
      second - kTrails - 1 < kTrailCount - 1) {
    return first + (second - kTrails);
  }
  static const auto pairs = [] {
    std::unordered_map<std::uint64_t, std::uint32_t> made;
    for (const std::uint64_t entry : kDecompositions) {
      if (entry >> 63 == 0) continue;
      made.emplace(entry << 1 >> 22, static_cast<std::uint32_t>(entry & kCodeMask));
    }
    return made;
  }();
  const auto found = pairs.find(std::uint64_t{second} << 21 | first);
  return found == pairs.end() ? 0 : found->second;
}

/// Sorts each run of combining characters by class, equal ones staying in order.
void order(std::vector<Code>& codes) {
  for (auto at = codes.begin(); at != codes.end();) {
    if (at->combining == 0) {
      ++at;
      continue;
    }
    const auto end = std::find_if(at, codes.end(), [](const Code& c) { return c.combining == 0; });
    std::stable_sort(at, end,
                     [](const Code& a, const Code& b) { return a.combining < b.combining; });
    at = end;
  }
}

/// Joins each character to the last starter before it, unless something between blocks it.
std::vector<Code> composed(const std::vector<Code>& codes) {
  std::vector<Code> out;
  std::size_t starter = SIZE_MAX;  // in out
  for (const Code& next : codes) {
    if (starter != SIZE_MAX) {
      const bool adjacent = starter + 1 == out.size();
      if (adjacent || (out.back().combining != 0 && out.back().combining < next.combining)) {
        if (const std::uint32_t joined = compose(out[starter].code, next.code); joined != 0) {
          out[starter].code = joined;
          continue;
        }
      }
    }
    if (next.combining == 0) starter = out.size();
    out.push_back(next);
  }
  return out;
}

/// The full canonical decomposition, in canonical order.
std::vector<Code> decomposed(std::string_view text) {
  std::vector<Code> codes;
  codes.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Char c = char_at(text, at);
    if (c.code == kInvalidByte) {
      codes.push_back({kRawByte | static_cast<std::uint8_t>(text[at]), 0});
    } else {
      decompose(c.code, codes);
    }
    at += c.bytes;
  }
  order(codes);
  return codes;
}

std::string text_of_codes(const std::vector<Code>& codes, std::size_t bytes) {
  std::string out;
  out.reserve(bytes);
  for (const Code& c : codes) {
    if ((c.code & kRawByte) != 0) {
      out += static_cast<char>(c.code & 0xff);
    } else {
      append_utf8(c.code, out);
    }
  }
  return out;
}

}  // namespace

std::string normalize_nfc(std::string_view text) {
  return text_of_codes(composed(decomposed(text)), text.size());
}

std::string normalize_nfd(std::string_view text) {
  return text_of_codes(decomposed(text), text.size());
}

}  // namespace isobit
