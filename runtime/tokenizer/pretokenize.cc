// The matchers of runtime/tokenizer/pretokenize.h. Each gives the end of the match that begins at a
// byte, or that byte when there is none; they follow their regular expression alternative by
// alternative, with its backtracking worked out by hand.
#include "runtime/tokenizer/pretokenize.h"

#include <cstdint>

#include "runtime/base/result.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

using Matcher = std::size_t (*)(std::string_view, std::size_t);

constexpr std::uint8_t kWordOrSpace = kLetter | kNumber | kSpace;

/// End of the run of characters with any of `bits`, at most `limit` characters.
std::size_t run_of(std::string_view text, std::size_t at, std::uint8_t bits,
                   std::size_t limit = SIZE_MAX) {
  for (; at < text.size() && limit > 0; --limit) {
    const Char c = char_at(text, at);
    if (!c.is(bits)) break;
    at += c.bytes;
  }
  return at;
}

/// End of the run of characters with none of `bits`.
std::size_t run_without(std::string_view text, std::size_t at, std::uint8_t bits) {
  while (at < text.size()) {
    const Char c = char_at(text, at);
    if (c.is(bits)) break;
    at += c.bytes;
  }
  return at;
}

bool is_newline(std::uint32_t code) {
  return code == '\r' || code == '\n';
}

/// 's 't 're 've 'm 'll 'd; with `fold`, in any case (U+017F is a folded s).
std::size_t contraction(std::string_view text, std::size_t at, bool fold) {
  if (text[at] != '\'' || at + 1 >= text.size()) return at;
  const auto lower = [&](std::size_t offset) {
    const char c = offset < text.size() ? text[offset] : '\0';
    return fold && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char first = lower(at + 1);
  const char second = lower(at + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  if ((first == 'r' || first == 'v') && second == 'e') return at + 3;
  if (first == 'l' && second == 'l') return at + 3;
  if (fold && text.substr(at + 1, 2) == "\xc5\xbf") return at + 3;
  return at;
}

/// \s+(?!\S)|\s+ : a run before a word gives its last character up, unless it is the only one.
std::size_t spaces(std::string_view text, std::size_t at) {
  std::size_t last = at;
  std::size_t end = at;
  while (end < text.size()) {
    const Char c = char_at(text, end);
    if (!c.is(kSpace)) break;
    last = end;
    end += c.bytes;
  }
  return end < text.size() && last > at ? last : end;
}

std::size_t match_gpt2(std::string_view text, std::size_t at) {
  if (const std::size_t end = contraction(text, at, false); end > at) return end;
  const std::size_t word = at + (text[at] == ' ' ? 1 : 0);
  if (word < text.size()) {
    const Char c = char_at(text, word);
    if (c.is(kLetter)) return run_of(text, word, kLetter);
    if (c.is(kNumber)) return run_of(text, word, kNumber);
    if (!c.is(kSpace)) return run_without(text, word, kWordOrSpace);
  }
  return spaces(text, at);
}

/// \s*[\r\n]+ : through the last newline of the run of white space, `at` when there is none.
std::size_t lines(std::string_view text, std::size_t at) {
  std::size_t end = at;
  for (std::size_t next = at; next < text.size();) {
    const Char c = char_at(text, next);
    if (!c.is(kSpace)) break;
    next += c.bytes;
    if (is_newline(c.code)) end = next;
  }
  return end;
}

std::size_t match_llama(std::string_view text, std::size_t at, std::size_t digits) {
  if (const std::size_t end = contraction(text, at, true); end > at) return end;
  const Char first = char_at(text, at);
  if (first.is(kLetter)) return run_of(text, at, kLetter);
  if (!first.is(kNumber) && !is_newline(first.code)) {
    const std::size_t word = at + first.bytes;
    if (const std::size_t end = run_of(text, word, kLetter); end > word) return end;
  }
  if (first.is(kNumber)) return run_of(text, at, kNumber, digits);
  const std::size_t symbol = at + (first.code == ' ' ? 1 : 0);
  if (std::size_t end = run_without(text, symbol, kWordOrSpace); end > symbol) {
    while (end < text.size() && is_newline(static_cast<unsigned char>(text[end]))) ++end;
    return end;
  }
  if (const std::size_t end = lines(text, at); end > at) return end;
  return spaces(text, at);
}

std::size_t match_llama3(std::string_view text, std::size_t at) {
  return match_llama(text, at, 3);
}
std::size_t match_qwen2(std::string_view text, std::size_t at) {
  return match_llama(text, at, 1);
}

std::size_t match_digit(std::string_view text, std::size_t at) {
  return run_of(text, at, kDigitsNumber, 1);
}
std::size_t match_digits(std::string_view text, std::size_t at) {
  return run_of(text, at, kDigitsNumber);
}
std::size_t match_numbers(std::string_view text, std::size_t at) {
  return run_of(text, at, kNumber);
}

std::size_t match_triple(std::string_view text, std::size_t at) {
  const auto digit = [&](std::size_t offset) {
    return offset < text.size() && text[offset] >= '0' && text[offset] <= '9';
  };
  return digit(at) && digit(at + 1) && digit(at + 2) ? at + 3 : at;
}

std::size_t match_punctuation(std::string_view text, std::size_t at) {
  constexpr std::string_view kAlso = "$+<=>^~|";
  while (at < text.size()) {
    const Char c = char_at(text, at);
    if (!c.is(kPunctuation) && kAlso.find(text[at]) == std::string_view::npos) break;
    at += c.bytes;
  }
  return at;
}

struct Rule {
  SplitRule rule;
  const char* name;
  Matcher match;
  std::string_view regex;  // empty: has another spelling in tokenizer.json
};

#define ISOBIT_LLAMA_REGEX(digits)                                     \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits \
  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

constexpr Rule kRules[] = {
    {SplitRule::gpt2, "gpt2", match_gpt2,
     "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
    {SplitRule::llama3, "llama3", match_llama3, ISOBIT_LLAMA_REGEX("\\p{N}{1,3}")},
    {SplitRule::qwen2, "qwen2", match_qwen2, ISOBIT_LLAMA_REGEX("\\p{N}")},
    {SplitRule::digits_each, "digits_each", match_digit, ""},
    {SplitRule::digits_runs, "digits_runs", match_digits, ""},
    {SplitRule::number_runs, "number_runs", match_numbers, "\\p{N}+"},
    {SplitRule::digit_triples, "digit_triples", match_triple, "[0-9][0-9][0-9]"},
    {SplitRule::punctuation_runs, "punctuation_runs", match_punctuation,
     "[\\p{P}\\$\\+<=>\\^~\\|]+"},
    {SplitRule::prefix_space, "prefix_space", nullptr, ""},
};
#undef ISOBIT_LLAMA_REGEX

}  // namespace

const char* name_of(SplitRule rule) {
  return kRules[static_cast<std::size_t>(rule)].name;
}

const SplitRule* split_rule_of_regex(std::string_view regex) {
  for (const Rule& rule : kRules) {
    if (!rule.regex.empty() && rule.regex == regex) return &rule.rule;
  }
  return nullptr;
}

void split(SplitRule rule, std::string_view text, std::vector<std::string_view>& pieces) {
  const Matcher match = kRules[static_cast<std::size_t>(rule)].match;
  ISOBIT_CHECK(match != nullptr);
  std::size_t gap = 0;  // what no match covers is a piece too
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = match(text, at);
    if (end == at) {
      at += char_at(text, at).bytes;
      continue;
    }
    if (gap < at) pieces.push_back(text.substr(gap, at - gap));
    pieces.push_back(text.substr(at, end - at));
    at = gap = end;
  }
  if (gap < text.size()) pieces.push_back(text.substr(gap));
}

}  // namespace isobit
