// The matchers of runtime/tokenizer/pretokenize.h. Each gives the end of the match that begins at a
// byte, or that byte when there is none; they follow their regular expression alternative by
// alternative, with its backtracking worked out by hand.
#include "runtime/tokenizer/pretokenize.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "runtime/base/result.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

using Matcher = std::size_t (*)(std::string_view, std::size_t);

constexpr std::uint16_t kWordOrSpace = kLetter | kNumber | kSpace;

/// End of the run of characters with any of `bits`, at most `limit` characters.
std::size_t run_of(std::string_view text, std::size_t at, std::uint16_t bits,
                   std::size_t limit = SIZE_MAX) {
  for (; at < text.size() && limit > 0; --limit) {
    const Char c = char_at(text, at);
    if (!c.is(bits)) break;
    at += c.bytes;
  }
  return at;
}

/// End of the run of characters with none of `bits`.
std::size_t run_without(std::string_view text, std::size_t at, std::uint16_t bits) {
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

/// The characters of a word in GPT-4o's expression: capitals with letters and marks that have no
/// case, small letters with the same.
bool of_upper(const Char& c) {
  return c.is(kUpper | kMark) || (c.is(kLetter) && !c.is(kLower));
}
bool of_lower(const Char& c) {
  return c.is(kLower | kMark) || (c.is(kLetter) && !c.is(kUpper));
}

template <class Is>
std::size_t run_where(std::string_view text, std::size_t at, const Is& is) {
  while (at < text.size()) {
    const Char c = char_at(text, at);
    if (!is(c)) break;
    at += c.bytes;
  }
  return at;
}

/// upper* lower+ from `at`: its end, or `at`. The run of capitals gives characters back until one
/// may be a small letter too.
std::size_t small_word(std::string_view text, std::size_t at) {
  const std::size_t upper = run_where(text, at, of_upper);
  const std::size_t end = run_where(text, upper, of_lower);
  if (end > upper) return end;
  for (std::size_t next = upper; next > at;) {
    std::size_t start = next - 1;
    while (start > at && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) --start;
    if (of_lower(char_at(text, start))) return next;
    next = start;
  }
  return at;
}

/// upper+ lower* from `at`: its end, or `at`.
std::size_t big_word(std::string_view text, std::size_t at) {
  const std::size_t upper = run_where(text, at, of_upper);
  return upper == at ? at : run_where(text, upper, of_lower);
}

/// The two alternatives for words, each with the character before them and without.
std::size_t cased_word(std::string_view text, std::size_t at) {
  const Char first = char_at(text, at);
  const bool lead = !first.is(kLetter | kNumber) && !is_newline(first.code);
  for (const auto word : {small_word, big_word}) {
    if (lead && at + first.bytes < text.size()) {
      const std::size_t start = at + first.bytes;
      if (const std::size_t end = word(text, start); end > start) return end;
    }
    if (const std::size_t end = word(text, at); end > at) return end;
  }
  return at;
}

std::size_t match_cased(std::string_view text, std::size_t at, std::size_t digits, bool shortened) {
  if (const std::size_t end = cased_word(text, at); end > at) {
    return shortened && end < text.size() ? contraction(text, end, true) : end;
  }
  const Char first = char_at(text, at);
  if (first.is(kNumber)) return run_of(text, at, kNumber, digits);
  const std::size_t symbol = at + (first.code == ' ' ? 1 : 0);
  if (std::size_t end = run_without(text, symbol, kWordOrSpace); end > symbol) {
    while (end < text.size() &&
           (is_newline(static_cast<unsigned char>(text[end])) || text[end] == '/')) {
      ++end;
    }
    return end;
  }
  if (const std::size_t end = lines(text, at); end > at) return end;
  return spaces(text, at);
}

std::size_t match_gpt4o(std::string_view text, std::size_t at) {
  return match_cased(text, at, 3, true);
}
std::size_t match_tekken(std::string_view text, std::size_t at) {
  return match_cased(text, at, 1, false);
}

std::size_t match_space(std::string_view text, std::size_t at) {
  return run_of(text, at, kSpace, 1);
}
std::size_t match_mark(std::string_view text, std::size_t at) {
  return run_of(text, at, kPunctuationStep, 1);
}
std::size_t match_words(std::string_view text, std::size_t at) {
  const std::size_t end = run_of(text, at, kWord);
  return end > at ? end : run_without(text, at, kWord | kSpace);
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

#define ISOBIT_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define ISOBIT_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define ISOBIT_CASED_REGEX(digits, short)                           \
  "[^\\r\\n\\p{L}\\p{N}]?" ISOBIT_UPPER "*" ISOBIT_LOWER            \
  "+" short "|[^\\r\\n\\p{L}\\p{N}]?" ISOBIT_UPPER "+" ISOBIT_LOWER \
            "*" short "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define ISOBIT_LLAMA_REGEX(digits)                                     \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits \
  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

constexpr Rule kRules[] = {
    {SplitRule::gpt2, "gpt2", match_gpt2,
     "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
    {SplitRule::llama3, "llama3", match_llama3, ISOBIT_LLAMA_REGEX("\\p{N}{1,3}")},
    {SplitRule::qwen2, "qwen2", match_qwen2, ISOBIT_LLAMA_REGEX("\\p{N}")},
    {SplitRule::gpt4o, "gpt4o", match_gpt4o,
     ISOBIT_CASED_REGEX("\\p{N}{1,3}", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?")},
    {SplitRule::tekken, "tekken", match_tekken, ISOBIT_CASED_REGEX("\\p{N}", "")},
    {SplitRule::digits_each, "digits_each", match_digit, ""},
    {SplitRule::digits_runs, "digits_runs", match_digits, ""},
    {SplitRule::number_runs, "number_runs", match_numbers, "\\p{N}+"},
    {SplitRule::digit_triples, "digit_triples", match_triple, "[0-9][0-9][0-9]"},
    {SplitRule::punctuation_runs, "punctuation_runs", match_punctuation,
     "[\\p{P}\\$\\+<=>\\^~\\|]+"},
    {SplitRule::white_space, "white_space", match_space, ""},
    {SplitRule::words, "words", match_words, "\\w+|[^\\w\\s]+"},
    {SplitRule::punctuation, "punctuation", match_mark, ""},
    {SplitRule::literal, "literal", nullptr, ""},
    {SplitRule::any_of, "any_of", nullptr, ""},
    {SplitRule::prefix_space, "prefix_space", nullptr, ""},
    {SplitRule::metaspace, "metaspace", nullptr, ""},
};
#undef ISOBIT_LLAMA_REGEX
#undef ISOBIT_CASED_REGEX
#undef ISOBIT_LOWER
#undef ISOBIT_UPPER

/// A stretch of a text: what a rule found, or what lies between.
struct Stretch {
  std::size_t begin, end;
  bool found;
};

void put_stretch(std::size_t begin, std::size_t end, bool found, std::vector<Stretch>& out) {
  if (begin < end) out.push_back({begin, end, found});
}

/// The finds of a rule and all between them, in order.
std::vector<Stretch> stretches(const PreStep& step, std::string_view text) {
  std::vector<Stretch> out;
  if (step.rule == SplitRule::any_of) {
    std::vector<Segment> segments;
    step.list->split(text, segments);
    for (const Segment& s : segments) {
      const auto begin = static_cast<std::size_t>(s.text.data() - text.data());
      put_stretch(begin, begin + s.text.size(), s.id >= 0, out);
    }
    return out;
  }
  const Matcher match = kRules[static_cast<std::size_t>(step.rule)].match;
  std::size_t gap = 0;  // what no match covers
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    if (step.rule == SplitRule::literal) {
      at = std::min(text.find(step.text, at), text.size());
      end = std::min(at + step.text.size(), text.size());
      if (at == text.size()) break;
    } else {
      end = match(text, at);
    }
    if (end == at) {
      at += char_at(text, at).bytes;
      continue;
    }
    put_stretch(gap, at, false, out);
    put_stretch(at, end, true, out);
    at = gap = end;
  }
  put_stretch(gap, text.size(), false, out);
  return out;
}

/// Joins each find to the stretch before it, unless that one ends with a find.
std::vector<Stretch> joined_back(const std::vector<Stretch>& all) {
  std::vector<Stretch> out;
  bool after_find = false;
  for (const Stretch& s : all) {
    if (s.found && !after_find && !out.empty()) {
      out.back().end = s.end;
    } else {
      out.push_back(s);
    }
    after_find = s.found;
  }
  return out;
}

/// Joins each find to the stretch after it, unless that one begins with a find.
std::vector<Stretch> joined_on(const std::vector<Stretch>& all) {
  std::vector<Stretch> out;
  bool before_find = false;
  for (auto s = all.rbegin(); s != all.rend(); ++s) {
    if (s->found && !before_find && !out.empty()) {
      out.back().begin = s->begin;
    } else {
      out.push_back(*s);
    }
    before_find = s->found;
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<Stretch> behaved(SplitBehavior behavior, std::vector<Stretch> all) {
  if (behavior == SplitBehavior::merged_with_previous) return joined_back(all);
  if (behavior == SplitBehavior::merged_with_next) return joined_on(all);
  std::vector<Stretch> out;
  for (const Stretch& s : all) {
    if (behavior == SplitBehavior::removed && s.found) continue;
    const bool joins =
        behavior == SplitBehavior::contiguous && !out.empty() && out.back().found == s.found;
    if (joins) {
      out.back().end = s.end;
    } else {
      out.push_back(s);
    }
  }
  return out;
}

void cut(const PreStep& step, const Piece& piece, std::vector<Piece>& out) {
  std::vector<Stretch> all = stretches(step, piece.text);
  if (step.invert) {
    for (Stretch& s : all) s.found = !s.found;
  }
  for (const Stretch& s : behaved(step.behavior, std::move(all))) {
    out.push_back({piece.text.substr(s.begin, s.end - s.begin), piece.first && s.begin == 0});
  }
}

/// The piece with ▁ for its spaces, and at its front where the step says so.
std::string with_marks(const PreStep& step, const Piece& piece) {
  std::string out;
  for (const char c : piece.text) {
    if (c == ' ') {
      out += step.text;
    } else {
      out += c;
    }
  }
  const bool asked = step.prefix == PreStep::Prefix::always ||
                     (step.prefix == PreStep::Prefix::first && piece.first);
  if (asked && out.compare(0, step.text.size(), step.text) != 0) out.insert(0, step.text);
  return out;
}

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

bool covers_all(SplitRule rule) {
  using enum SplitRule;
  return rule == gpt2 || rule == llama3 || rule == qwen2 || rule == gpt4o || rule == tekken;
}

std::string text_of(const PreStep& step) {
  std::string out = name_of(step.rule);
  const std::string text = step.text + step.list_text;
  if (!text.empty()) out += "(" + std::to_string(text.size()) + " " + text + ")";
  if (step.rule == SplitRule::metaspace) {
    static constexpr const char* kPrefix[] = {"never", "first", "always"};
    out += std::string(":") + kPrefix[static_cast<std::size_t>(step.prefix)];
    return out + (step.cut ? ":cut" : "");
  }
  static constexpr const char* kBehavior[] = {"", ":removed", ":previous", ":next", ":contiguous"};
  // A rule whose matches leave nothing between them means the same in both ways.
  const bool plain =
      covers_all(step.rule) && step.behavior == SplitBehavior::removed && step.invert;
  if (plain) return out;
  out += kBehavior[static_cast<std::size_t>(step.behavior)];
  return out + (step.invert ? ":inverted" : "");
}

void apply_step(const PreStep& step, std::vector<Piece>& pieces, std::deque<std::string>& made) {
  std::vector<Piece> out;
  out.reserve(pieces.size());
  PreStep at_mark(SplitRule::literal);
  at_mark.text = step.text;
  at_mark.behavior = SplitBehavior::merged_with_next;
  for (const Piece& piece : pieces) {
    if (step.rule == SplitRule::prefix_space) {
      const bool has = piece.text.front() == ' ';
      out.push_back(
          {has ? piece.text : made.emplace_back(" " + std::string(piece.text)), piece.first});
    } else if (step.rule == SplitRule::metaspace) {
      const Piece marked{made.emplace_back(with_marks(step, piece)), piece.first};
      if (step.cut) {
        cut(at_mark, marked, out);
      } else {
        out.push_back(marked);
      }
    } else {
      cut(step, piece, out);
    }
  }
  pieces = std::move(out);
}

void split(SplitRule rule, std::string_view text, std::vector<std::string_view>& pieces) {
  ISOBIT_CHECK(kRules[static_cast<std::size_t>(rule)].match != nullptr);
  std::vector<Piece> out;
  cut(PreStep(rule), {text, true}, out);
  for (const Piece& piece : out) pieces.push_back(piece.text);
}

}  // namespace isobit
