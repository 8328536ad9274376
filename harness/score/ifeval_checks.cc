// Twenty checkers. Where the data set's definition is a regular expression, the function walks the
// text as that expression would match it, leftmost, greedy, without overlap, in linear time.
#include "harness/score/ifeval_checks.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "runtime/tokenizer/unicode_tables.h"

namespace isobit::ifeval {
namespace {

std::int64_t number(const Instruction& i, const char* name) {
  return i.numbers.at(name);
}
Text32 text(const Instruction& i, const char* name) {
  return code_points(i.texts.at(name));
}
bool holds(std::int64_t found, const std::string& relation, std::int64_t wanted) {
  return relation == "less than" ? found < wanted : found >= wanted;
}
bool is_blank(const Text32& piece) {
  return strip(piece).empty();
}
std::string utf8(const Text32& points) {
  std::string out;
  for (const char32_t c : points) append_utf8(std::uint32_t(c), out);
  return out;
}
std::size_t end_of_line(const Text32& reply, std::size_t from) {
  return std::min(reply.find(U'\n', from), reply.size());
}
std::size_t behind_space(const Text32& reply, std::size_t from) {
  while (from < reply.size() && is_space(reply[from])) ++from;
  return from;
}

std::int64_t occurrences(const Text32& reply, const Text32& word) {
  std::int64_t found = 0;
  std::size_t at = find_word(reply, word, 0, false);
  for (; at != Text32::npos; at = find_word(reply, word, at + word.size(), false)) ++found;
  return found;
}

bool existence(const Instruction& i, const Text32& reply) {
  const Text32 all = lower(reply);
  const auto& keywords = i.lists.at("keywords");
  return std::all_of(keywords.begin(), keywords.end(), [&](const std::string& keyword) {
    return occurrences(all, lower(code_points(keyword))) > 0;
  });
}

bool frequency(const Instruction& i, const Text32& reply) {
  return holds(occurrences(lower(reply), lower(text(i, "keyword"))), i.texts.at("relation"),
               number(i, "frequency"));
}

bool forbidden_words(const Instruction& i, const Text32& reply) {
  const Text32 all = lower(reply);
  const auto& words = i.lists.at("forbidden_words");
  return std::none_of(words.begin(), words.end(), [&](const std::string& word) {
    return find_word(all, lower(code_points(word)), 0, true) != Text32::npos;
  });
}

bool letter_frequency(const Instruction& i, const Text32& reply) {
  const Text32 letter = lower(strip(text(i, "letter")));
  const Text32 all = lower(reply);
  const auto found = letter.size() == 1 ? std::count(all.begin(), all.end(), letter[0]) : 0;
  return holds(found, i.texts.at("let_relation"), number(i, "let_frequency"));
}

/// Pieces between dividers; those at the ends may be blank and do not count then. -1: one inside
/// is blank.
std::int64_t pieces_between(const std::vector<Text32>& pieces) {
  std::int64_t count = 0;
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    const bool edge = p == 0 || p + 1 == pieces.size();
    if (is_blank(pieces[p]) && !edge) return -1;
    count += is_blank(pieces[p]) ? 0 : 1;
  }
  return count;
}

/// Paragraphs stand between "***", which may have a blank on either side. A run of asterisks is as
/// many dividers as it has threes.
bool number_paragraphs(const Instruction& i, const Text32& reply) {
  return pieces_between(split(reply, U"***")) == number(i, "num_paragraphs");
}

bool number_words(const Instruction& i, const Text32& reply) {
  std::int64_t words = 0;
  for (std::size_t at = 0; at < reply.size(); ++at) {
    words += is_word(reply[at]) && (at == 0 || !is_word(reply[at - 1])) ? 1 : 0;
  }
  return holds(words, i.texts.at("relation"), number(i, "num_words"));
}

bool nth_paragraph_first_word(const Instruction& i, const Text32& reply) {
  const std::vector<Text32> pieces = split(reply, U"\n\n");
  const std::int64_t count = std::count_if(pieces.begin(), pieces.end(),
                                           [](const Text32& piece) { return !is_blank(piece); });
  const std::int64_t nth = number(i, "nth_paragraph");
  if (nth < 1 || nth > count || count != number(i, "num_paragraphs")) return false;
  const std::vector<Text32> words = strings_of(pieces[std::size_t(nth - 1)]);  // blank ones count
  if (words.empty()) return false;
  Text32 word = words[0];
  word.erase(0, std::min(word.find_first_not_of(U'\''), word.size()));
  word.erase(0, std::min(word.find_first_not_of(U'"'), word.size()));
  return lower(word.substr(0, word.find_first_of(U".,?!'\""))) == lower(text(i, "first_word"));
}

/// "[…]" on one line, the shortest at each place.
bool number_placeholders(const Instruction& i, const Text32& reply) {
  std::int64_t found = 0;
  for (std::size_t at = reply.find(U'['); at != Text32::npos; at = reply.find(U'[', at)) {
    const std::size_t end = reply.find_first_of(U"]\n", at);
    if (end == Text32::npos) break;
    found += reply[end] == U']' ? 1 : 0;
    at = end + 1;
  }
  return found >= number(i, "num_placeholders");
}

/// Letters and dots one after the other, '_' a place where one blank may stand.
bool has_spaced(const Text32& reply, const Text32& pattern) {
  for (std::size_t begin = 0; begin < reply.size(); ++begin) {
    std::size_t at = begin;
    const bool fits = std::all_of(pattern.begin(), pattern.end(), [&](char32_t c) {
      if (c == U'_') {
        at += at < reply.size() && is_space(reply[at]) ? 1 : 0;
        return true;
      }
      return at < reply.size() && reply[at++] == c;
    });
    if (fits) return true;
  }
  return false;
}

bool postscript(const Instruction& i, const Text32& reply) {
  const std::string& marker = i.texts.at("postscript_marker");
  const Text32 all = lower(reply);
  if (marker == "P.P.S") return has_spaced(all, U"p._p._s");
  if (marker == "P.S.") return has_spaced(all, U"p._s.");
  return find_word(all, lower(code_points(marker)), 0, false) != Text32::npos;
}

/// Lines that begin, behind white space, with `mark`, and not with `but_not` behind it; where that
/// is asked, something must stand behind the mark.
std::int64_t bullets(const Text32& reply, char32_t mark, bool not_twice) {
  std::int64_t found = 0;
  for (std::size_t begin = 0; begin <= reply.size();) {
    const std::size_t at = behind_space(reply, begin);
    const std::size_t next = at + 1;
    const bool fits = at < reply.size() && reply[at] == mark &&
                      (!not_twice || (next < reply.size() && reply[next] != mark));
    found += fits ? 1 : 0;
    const std::size_t from = fits ? (not_twice ? next + 1 : next) : at;
    begin = end_of_line(reply, std::min(from, reply.size())) + 1;
  }
  return found;
}

bool number_bullet_lists(const Instruction& i, const Text32& reply) {
  return bullets(reply, U'*', true) + bullets(reply, U'-', false) == number(i, "num_bullets");
}

bool constrained_response(const Instruction&, const Text32& reply) {
  const auto says = [&](const char32_t* option) { return reply.find(option) != Text32::npos; };
  return says(U"My answer is yes.") || says(U"My answer is no.") || says(U"My answer is maybe.");
}

/// Spans between `mark`s on one line, without an asterisk in them, that are not blank.
std::int64_t spans_between(const Text32& reply, const Text32& mark) {
  std::int64_t found = 0;
  for (std::size_t at = reply.find(mark); at != Text32::npos; at = reply.find(mark, at)) {
    const std::size_t inner = at + mark.size();
    const std::size_t end = std::min(reply.find_first_of(U"\n*", inner), reply.size());
    if (reply.compare(end, mark.size(), mark) != 0) {
      ++at;
      continue;
    }
    found += is_blank(reply.substr(inner, end - inner)) ? 0 : 1;
    at = end + mark.size();
  }
  return found;
}

bool number_highlighted_sections(const Instruction& i, const Text32& reply) {
  return spans_between(reply, U"*") + spans_between(reply, U"**") >= number(i, "num_highlights");
}

/// Splitter, perhaps a blank, a number.
bool multiple_sections(const Instruction& i, const Text32& reply) {
  const Text32 splitter = text(i, "section_spliter");
  const auto digit = [&](std::size_t at) {
    return at < reply.size() && reply[at] >= U'0' && reply[at] <= U'9';
  };
  std::int64_t found = 0;
  std::size_t at = find_word(reply, splitter, 0, false);
  while (at != Text32::npos) {
    const std::size_t behind = at + splitter.size();
    const bool blank = behind < reply.size() && is_space(reply[behind]);
    const bool fits = digit(behind) || (blank && digit(behind + 1));
    found += fits ? 1 : 0;
    at = find_word(reply, splitter, fits ? behind : at + 1, false);
  }
  return found >= number(i, "num_sections");
}

bool json_format(const Instruction&, const Text32& reply) {
  Text32 body = strip(reply);
  for (const char32_t* fence : {U"```json", U"```Json", U"```JSON", U"```"}) {
    if (starts_with(body, fence)) body.erase(0, Text32(fence).size());
  }
  if (ends_with(body, U"```")) body.resize(body.size() - 3);
  return nlohmann::json::accept(utf8(strip(body)));
}

/// "<<…>>" on one line, from the first to the last of it, with something inside.
bool title(const Instruction&, const Text32& reply) {
  for (std::size_t begin = 0; begin < reply.size();) {
    const std::size_t end = end_of_line(reply, begin);
    const Text32 line = reply.substr(begin, end - begin);
    begin = end + 1;
    const std::size_t open = line.find(U"<<"), close = line.rfind(U">>");
    if (open == Text32::npos || close == Text32::npos || close < open + 3) continue;
    const Text32 span = line.substr(open, close + 2 - open);
    const std::size_t first = span.find_first_not_of(U'<'), last = span.find_last_not_of(U'>');
    if (first != Text32::npos && last != Text32::npos && first <= last &&
        !is_blank(span.substr(first, last + 1 - first))) {
      return true;
    }
  }
  return false;
}

bool two_responses(const Instruction&, const Text32& reply) {
  const std::vector<Text32> pieces = split(reply, U"******");
  if (pieces_between(pieces) != 2) return false;
  std::vector<Text32> said;
  for (const Text32& piece : pieces) {
    if (!is_blank(piece)) said.push_back(strip(piece));
  }
  return said[0] != said[1];
}

bool repeat_prompt(const Instruction& i, const Text32& reply) {
  return starts_with(lower(strip(reply)), lower(strip(text(i, "prompt_to_repeat"))));
}

bool end_checker(const Instruction& i, const Text32& reply) {
  Text32 said = strip(reply);
  said.erase(0, std::min(said.find_first_not_of(U'"'), said.size()));
  said.resize(said.find_last_not_of(U'"') + 1);
  return ends_with(lower(said), lower(strip(text(i, "end_phrase"))));
}

bool quotation(const Instruction&, const Text32& reply) {
  const Text32 said = strip(reply);
  return said.size() > 1 && said.front() == U'"' && said.back() == U'"';
}

bool no_comma(const Instruction&, const Text32& reply) {
  return reply.find(U',') == Text32::npos;
}

}  // namespace

Check check_of(const std::string& type) {
  static const std::map<std::string, Check> all = {
      {"keywords:existence", existence},
      {"keywords:frequency", frequency},
      {"keywords:forbidden_words", forbidden_words},
      {"keywords:letter_frequency", letter_frequency},
      {"length_constraints:number_paragraphs", number_paragraphs},
      {"length_constraints:number_words", number_words},
      {"length_constraints:nth_paragraph_first_word", nth_paragraph_first_word},
      {"detectable_content:number_placeholders", number_placeholders},
      {"detectable_content:postscript", postscript},
      {"detectable_format:number_bullet_lists", number_bullet_lists},
      {"detectable_format:constrained_response", constrained_response},
      {"detectable_format:number_highlighted_sections", number_highlighted_sections},
      {"detectable_format:multiple_sections", multiple_sections},
      {"detectable_format:json_format", json_format},
      {"detectable_format:title", title},
      {"combination:two_responses", two_responses},
      {"combination:repeat_prompt", repeat_prompt},
      {"startend:end_checker", end_checker},
      {"startend:quotation", quotation},
      {"punctuation:no_comma", no_comma}};
  const auto at = all.find(type);
  return at == all.end() ? nullptr : at->second;
}

}  // namespace isobit::ifeval
