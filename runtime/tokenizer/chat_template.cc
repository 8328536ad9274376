// The canonical form of a chat template: just enough of Jinja's syntax to compare two templates
// by what they print. Declared in chat.h; no template is ever executed.
#include <string_view>
#include <vector>

#include "runtime/tokenizer/chat.h"

namespace isobit {
namespace {

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void strip_end(std::string& text) {
  while (!text.empty() && is_blank(text.back())) text.pop_back();
}

/// One term of an expression: a constant string (its value) or code without needless spaces.
struct Term {
  bool constant = false;
  std::string text;
};

/// Reads the quoted string at `at`, escapes undone; `at` ends behind it.
std::string quoted(std::string_view code, std::size_t& at) {
  const char quote = code[at++];
  std::string value;
  for (; at < code.size() && code[at] != quote; ++at) {
    if (code[at] != '\\' || at + 1 >= code.size()) {
      value += code[at];
      continue;
    }
    const char escaped = code[++at];
    value += escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped;
  }
  if (at < code.size()) ++at;
  return value;
}

/// x['name'] becomes x.name.
bool subscript(std::string_view code, std::size_t& at, std::string& out) {
  std::size_t next = at + 1;
  if (next >= code.size() || (code[next] != '\'' && code[next] != '"')) return false;
  const std::string name = quoted(code, next);
  if (next >= code.size() || code[next] != ']') return false;
  out += '.' + name;
  at = next + 1;
  return true;
}

/// Cuts code at each top-level '+'.
std::vector<Term> terms_of(std::string_view code) {
  std::vector<Term> terms(1);
  int depth = 0;
  for (std::size_t at = 0; at < code.size();) {
    const char c = code[at];
    std::string& text = terms.back().text;
    if (is_blank(c)) {
      while (at < code.size() && is_blank(code[at])) ++at;
      const bool between_words =
          !text.empty() && is_word(text.back()) && at < code.size() && is_word(code[at]);
      if (between_words) text += ' ';
    } else if (c == '\'' || c == '"') {
      const std::string value = quoted(code, at);
      if (text.empty() && !terms.back().constant) {
        terms.back() = {true, value};
      } else {
        text += "'" + value + "'";
      }
    } else if (c == '+' && depth == 0) {
      terms.emplace_back();
      ++at;
    } else if (c == '[' && subscript(code, at, text)) {
      continue;
    } else {
      if (terms.back().constant) {  // not a constant after all
        text = "'" + text + "'";
        terms.back().constant = false;
      }
      depth += c == '(' || c == '[' ? 1 : c == ')' || c == ']' ? -1 : 0;
      text += c;
      ++at;
    }
  }
  return terms;
}

std::string expression(std::string_view code) {
  std::string out;
  for (const Term& term : terms_of(code))
    out += term.constant ? term.text : "{{" + term.text + "}}";
  return out;
}

std::string block(std::string_view code) {
  std::string out = "{%";
  bool first = true;
  for (const Term& term : terms_of(code)) {
    if (!first) out += '+';
    out += term.constant ? "'" + term.text + "'" : term.text;
    first = false;
  }
  return out + "%}";
}

/// End of the tag that opens at `at` (its second closing character), quotes respected.
std::size_t tag_end(std::string_view text, std::size_t at, char close) {
  char quote = '\0';
  for (std::size_t next = at + 2; next + 1 < text.size(); ++next) {
    const char c = text[next];
    if (quote != '\0') {
      if (c == '\\') {
        ++next;
      } else if (c == quote) {
        quote = '\0';
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == close && text[next + 1] == '}') {
      return next;
    }
  }
  return std::string_view::npos;
}

/// What Jinja with lstrip_blocks removes before a block: blanks after the line's beginning.
void strip_line_start(std::string& text) {
  std::size_t end = text.size();
  while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t')) --end;
  if (end == 0 || text[end - 1] == '\n') text.resize(end);
}

}  // namespace

std::string canonical_template(const std::string& chat_template) {
  std::string_view text = chat_template;
  if (!text.empty() && text.back() == '\n') text.remove_suffix(1);  // as Jinja does
  std::string out;
  std::string literal;
  bool strip_next = false;
  for (std::size_t at = 0; at < text.size();) {
    const bool tag = at + 1 < text.size() && text[at] == '{' &&
                     (text[at + 1] == '%' || text[at + 1] == '{' || text[at + 1] == '#');
    const char kind = tag ? text[at + 1] : '\0';
    const std::size_t end =
        tag ? tag_end(text, at, kind == '{' ? '}' : kind) : std::string_view::npos;
    // Jinja refuses a tag that nothing closes, so that no form is the right one. Looking for the
    // end of each later tag, which is not there either, would take the square of the text's length.
    if (tag && end == std::string_view::npos) return out + literal + std::string(text.substr(at));
    if (!tag) {
      if (!strip_next || !is_blank(text[at])) {
        literal += text[at];
        strip_next = false;
      }
      ++at;
      continue;
    }
    std::string_view code = text.substr(at + 2, end - at - 2);
    const bool strip_before = !code.empty() && code.front() == '-';
    if (strip_before) code.remove_prefix(1);
    strip_next = !code.empty() && code.back() == '-';
    if (strip_next) code.remove_suffix(1);
    if (strip_before) strip_end(literal);
    if (!strip_before && kind != '{') strip_line_start(literal);
    out += literal;
    literal.clear();
    if (kind == '{') out += expression(code);
    if (kind == '%') out += block(code);
    at = end + 2;
    if (kind != '{' && at < text.size() && text[at] == '\n') ++at;  // trim_blocks
  }
  return out + literal;
}

}  // namespace isobit
