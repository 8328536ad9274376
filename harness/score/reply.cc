// The rules, one function each.
#include "harness/score/reply.h"

#include <algorithm>
#include <cctype>

#include "harness/score/code_points.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \n\t\r");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \n\t\r") + 1 - begin);
}

std::string behind_mark(const std::string& text, const std::string& mark) {
  const std::size_t at = text.rfind(mark);
  return at == std::string::npos ? text : text.substr(at + mark.size());
}

bool is_digit(char c) {
  return std::isdigit(static_cast<unsigned char>(c)) != 0;
}

bool is_alphanumeric(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0;
}

/// The last number of a text as a decimal in one form, commas dropped; empty: there is none. It may
/// begin with a point. A minus, also one before a $, counts where no digit, letter or other minus
/// stands before it.
std::string last_number(const std::string& text) {
  std::string best;
  for (std::size_t i = 0; i < text.size();) {
    const bool fraction = text[i] == '.' && i + 1 < text.size() && is_digit(text[i + 1]) &&
                          (i == 0 || !is_digit(text[i - 1]));
    if (!is_digit(text[i]) && !fraction) {
      ++i;
      continue;
    }
    const std::size_t sign = i > 0 && text[i - 1] == '$' ? i - 1 : i;
    const bool minus = sign > 0 && text[sign - 1] == '-' &&
                       (sign < 2 || (text[sign - 2] != '-' && !is_alphanumeric(text[sign - 2])));
    best = minus ? "-" : "";
    bool point = false;
    for (; i < text.size(); ++i) {
      const bool more = i + 1 < text.size() && is_digit(text[i + 1]);
      if (text[i] == ',' && more) continue;
      if (text[i] == '.' && more && !point) {
        point = true;
      } else if (!is_digit(text[i])) {
        break;
      }
      best += text[i];
    }
  }
  return best;
}

/// Without zeros that change nothing: "-007.50" is "-7.5", "-0" is "0".
std::string plain_decimal(std::string number) {
  const bool minus = !number.empty() && number[0] == '-';
  if (minus) number.erase(0, 1);
  if (number.find('.') != std::string::npos) {
    while (number.back() == '0') number.pop_back();
    if (number.back() == '.') number.pop_back();
  }
  const std::size_t first = std::min(number.find_first_not_of('0'), number.size());
  number.erase(0, first);
  if (number.empty() || number[0] == '.') number.insert(0, "0");
  return (minus && number != "0" ? "-" : "") + number;
}

std::string gold_of(const std::string& answer) {
  const std::string gold = trimmed(behind_mark(answer, "####"));
  const bool digits = std::any_of(gold.begin(), gold.end(), is_digit);
  const bool number = digits && gold.find_first_not_of("0123456789.,-$ ") == std::string::npos;
  return number ? last_number(gold) : "";
}

Text32 without_edges(const Text32& text) {
  const auto inner = [](char32_t c) { return is_word(c) && c != U'_'; };
  const auto begin = std::find_if(text.begin(), text.end(), inner);
  const auto end = std::find_if(text.rbegin(), std::make_reverse_iterator(begin), inner).base();
  return {begin, end};
}

/// As the options of the score have it; a string of punctuation alone stays.
Text32 seen(const Text32& text, const ScoreSpec& spec) {
  Text32 out = spec.ignore_case ? lower(text) : text;
  const Text32 inner = spec.ignore_punctuation ? without_edges(out) : out;
  return inner.empty() ? out : inner;
}

}  // namespace

std::string reply_of(const PromptTrace& prompt) {
  return prompt.text.substr(0, prompt.text.find("<|"));
}

bool is_answer(const std::string& reply, const std::string& answer) {
  const std::string said = trimmed(behind_mark(reply, "####"));
  return !said.empty() && said == answer;
}

bool has_gold_number(const std::string& answer) {
  return !gold_of(answer).empty();
}

bool is_last_number(const std::string& reply, const std::string& answer) {
  const std::string gold = gold_of(answer), said = last_number(reply);
  return !gold.empty() && !said.empty() && plain_decimal(said) == plain_decimal(gold);
}

bool is_one_string(const std::string& answer) {
  return strings_of(code_points(answer)).size() == 1;
}

bool is_next_string(const std::string& reply, const std::string& answer, const ScoreSpec& spec) {
  const std::vector<Text32> said = strings_of(code_points(reply));
  const std::vector<Text32> wanted = strings_of(code_points(answer));
  return !said.empty() && wanted.size() == 1 && seen(said[0], spec) == seen(wanted[0], spec);
}

bool is_retrieved(const std::string& reply, const std::string& answer,
                  const std::vector<std::string>& values, bool ignore_case) {
  const auto read = [&](const std::string& text) {
    const Text32 points = code_points(text);
    return ignore_case ? lower(points) : points;
  };
  const Text32 said = read(reply), wanted = read(answer);
  const std::size_t own = find_apart(said, wanted);
  if (own == Text32::npos) return false;
  return std::none_of(values.begin(), values.end(), [&](const std::string& value) {
    const Text32 other = read(value);
    if (other == wanted) return false;
    const std::size_t at = find_apart(said, other);
    return at < own || (at == own && other.size() > wanted.size());
  });
}

bool scores(ScoreKind kind, const PromptTrace& prompt) {
  if (kind == ScoreKind::last_number) return has_gold_number(prompt.answer);
  return !prompt.answer.empty();
}

bool is_right(ScoreKind kind, const PromptTrace& prompt) {
  const std::string reply = reply_of(prompt);
  if (kind == ScoreKind::last_number) return is_last_number(reply, prompt.answer);
  return is_answer(reply, prompt.answer);
}

Score score_of(const CellTrace& trace, ScoreKind kind) {
  Score score;
  for (const PromptTrace& prompt : trace.prompts) {
    if (!scores(kind, prompt)) continue;
    ++score.scored;
    score.correct += is_right(kind, prompt) ? 1 : 0;
  }
  return score;
}

}  // namespace isobit
