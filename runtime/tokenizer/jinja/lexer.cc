// The tokens of a template, as jinja2's lexer makes them with trim_blocks and lstrip_blocks, which
// transformers sets.
#include <algorithm>

#include "runtime/tokenizer/jinja/tree.h"
#include "runtime/tokenizer/jinja/value.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit::jinja {
namespace {

using Kind = Token::Kind;

bool is_name(char c, bool first) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         (!first && c >= '0' && c <= '9');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f');
}

/// Every kind of line end becomes \n, and one at the text's end goes.
std::string with_newlines(const std::string& source) {
  std::string out;
  for (std::size_t at = 0; at < source.size(); ++at) {
    if (source[at] == '\r') {
      out += '\n';
      if (at + 1 < source.size() && source[at + 1] == '\n') ++at;
    } else {
      out += source[at];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size()) {
      auto done = data();
      ISOBIT_TRY(done);
      if (at_ >= source_.size()) break;
      done = source_[at_ + 1] == '#' ? comment() : tag();
      ISOBIT_TRY(done);
    }
    put(Kind::end, "");
    return std::move(tokens_);
  }

 private:
  void put(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  [[nodiscard]] Error error(const std::string& what) const {
    return {what, "line " + std::to_string(line_)};
  }
  [[nodiscard]] bool follows(std::string_view text) const {
    return source_.compare(at_, text.size(), text) == 0;
  }
  void advance(std::size_t bytes) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(at_ + bytes),
                                         '\n'));
    if (bytes > 0) line_starts_ = source_[at_ + bytes - 1] == '\n';
    at_ += bytes;
  }
  void skip_blank() {
    std::size_t end = at_;
    while (end < source_.size() && is_blank(source_[end])) ++end;
    advance(end - at_);
  }

  Result<void> data();
  Result<void> comment();
  Result<void> tag();
  Result<bool> ends(Kind begin);
  Result<void> expression_token();
  Result<void> quoted();
  Result<void> escape(std::size_t& at, std::string& out);
  void number();

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // the last token ended with a line
  int depth_ = 0;            // of brackets in the tag
  std::vector<Token> tokens_;
};

/// Text up to the next tag, stripped as the tag says.
Result<void> Lexer::data() {
  std::size_t end = at_;
  for (;; ++end) {
    end = source_.find('{', end);
    if (end == std::string::npos || end + 1 >= source_.size()) {
      end = source_.size();
      break;
    }
    const char next = source_[end + 1];
    if (next == '{' || next == '%' || next == '#') break;
  }
  std::string text = source_.substr(at_, end - at_);
  if (end < source_.size()) {
    const char sign = end + 2 < source_.size() ? source_[end + 2] : '\0';
    if (sign == '-') {
      text = stripped(text, nullptr, false, true);
    } else if (sign != '+' && source_[end + 1] != '{') {
      const std::size_t newline = text.rfind('\n');
      const std::size_t line = newline == std::string::npos ? 0 : newline + 1;
      const bool blank = text.find_first_not_of(" \t", line) == std::string::npos;
      if ((line > 0 || line_starts_) && blank) text.resize(line);
    }
  }
  if (!text.empty()) put(Kind::data, std::move(text));
  advance(end - at_);
  return {};
}

Result<void> Lexer::comment() {
  const std::size_t end = source_.find("#}", at_ + 2);
  if (end == std::string::npos) return error("a comment that nothing closes");
  const bool strips = source_[end - 1] == '-' && end > at_ + 2;
  const bool keeps = source_[end - 1] == '+' && end > at_ + 2;
  advance(end + 2 - at_);
  if (strips) {
    skip_blank();
  } else if (!keeps && at_ < source_.size() && source_[at_] == '\n') {
    advance(1);
  }
  return {};
}

Result<void> Lexer::tag() {
  const Kind begin = source_[at_ + 1] == '{' ? Kind::variable_begin : Kind::block_begin;
  advance(2);
  if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) advance(1);
  put(begin, "");
  depth_ = 0;
  for (;;) {
    skip_blank();
    if (at_ >= source_.size()) return error("a tag that nothing closes");
    const auto ended = ends(begin);
    ISOBIT_TRY(ended);
    if (*ended) break;
    const auto done = expression_token();
    ISOBIT_TRY(done);
  }
  // Inside raw nothing is a tag; the few templates that use it are refused.
  const std::size_t size = tokens_.size();
  const bool raw = begin == Kind::block_begin && size >= 3 && tokens_[size - 2].text == "raw" &&
                   tokens_[size - 3].kind == Kind::block_begin;
  if (raw) return error("the statement raw is not supported");
  return {};
}

/// Whether the tag ends here; then it is read with what it strips.
Result<bool> Lexer::ends(Kind begin) {
  const bool block = begin == Kind::block_begin;
  const std::string close = block ? "%}" : "}}";
  if (depth_ == 0 && follows("-" + close)) {
    put(block ? Kind::block_end : Kind::variable_end, "");
    advance(3);
    skip_blank();
    return true;
  }
  if (block && follows("+%}")) {
    put(Kind::block_end, "");
    advance(3);
    return true;
  }
  if (depth_ != 0 || !follows(close)) return false;
  put(block ? Kind::block_end : Kind::variable_end, "");
  advance(2);
  if (block && at_ < source_.size() && source_[at_] == '\n') advance(1);
  return true;
}

/// Names are copied and compared at every step.
constexpr std::size_t kLongestName = 1000;

Result<void> Lexer::expression_token() {
  const char c = source_[at_];
  if (c == '\'' || c == '"') return quoted();
  if (is_digit(c)) {
    number();
    return {};
  }
  if (is_name(c, true)) {
    std::size_t end = at_ + 1;
    while (end < source_.size() && is_name(source_[end], false)) ++end;
    if (end - at_ > kLongestName) return error("a name of more than 1000 characters");
    put(Kind::name, source_.substr(at_, end - at_));
    advance(end - at_);
    return {};
  }
  for (const char* two : {"==", "!=", "<=", ">=", "//", "**"}) {
    if (!follows(two)) continue;
    put(Kind::op, two);
    advance(2);
    return {};
  }
  if (std::string_view("+-*/%~<>=()[]{},.:|;").find(c) == std::string_view::npos) {
    return error(std::string("the character ") + c + " has no meaning in a tag");
  }
  if (c == '(' || c == '[' || c == '{') ++depth_;
  if (c == ')' || c == ']' || c == '}') --depth_;
  if (depth_ < 0) return error("a bracket that nothing opens");
  put(Kind::op, std::string(1, c));
  advance(1);
  return {};
}

void Lexer::number() {
  std::size_t end = at_;
  bool real = false;
  while (end < source_.size()) {
    const char c = source_[end];
    const bool point = c == '.' && end + 1 < source_.size() && is_digit(source_[end + 1]) && !real;
    if (!is_name(c, false) && !point) break;
    real = real || point || !is_digit(c);
    ++end;
  }
  put(real || end - at_ > 18 ? Kind::real : Kind::number, source_.substr(at_, end - at_));
  advance(end - at_);
}

/// One of Python's escapes; `at` is behind the backslash.
Result<void> Lexer::escape(std::size_t& at, std::string& out) {
  static constexpr std::string_view kFrom = "\\'\"abfnrtv";
  static constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
  const char c = source_[at++];
  if (const std::size_t simple = kFrom.find(c); simple != std::string_view::npos) {
    out += kTo[simple];
    return {};
  }
  if (c == '\n') return {};
  std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  std::uint32_t code = 0;
  if (digits > 0) {
    for (; digits > 0; --digits, ++at) {
      const char d = at < source_.size() ? source_[at] : '\0';
      const char low = d >= 'A' && d <= 'F' ? static_cast<char>(d - 'A' + 'a') : d;
      if (!is_digit(low) && !(low >= 'a' && low <= 'f')) return error("an escape without digits");
      code = code << 4 | static_cast<std::uint32_t>(is_digit(low) ? low - '0' : low - 'a' + 10);
    }
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
      return error("an escape that is no character");
    }
    append_utf8(code, out);
    return {};
  }
  if (c >= '0' && c <= '7') {
    code = static_cast<std::uint32_t>(c - '0');
    for (int more = 0; more < 2 && at < source_.size(); ++more, ++at) {
      if (source_[at] < '0' || source_[at] > '7') break;
      code = code << 3 | static_cast<std::uint32_t>(source_[at] - '0');
    }
    append_utf8(code, out);
    return {};
  }
  if (c == 'N') return error("the escape \\N is not supported");
  out += '\\';
  out += c;
  return {};
}

Result<void> Lexer::quoted() {
  const char quote = source_[at_];
  std::string value;
  std::size_t at = at_ + 1;
  while (at < source_.size() && source_[at] != quote) {
    if (source_[at] != '\\') {
      value += source_[at++];
      continue;
    }
    if (++at >= source_.size()) break;
    const auto done = escape(at, value);
    ISOBIT_TRY(done);
  }
  if (at >= source_.size()) return error("a text that nothing closes");
  put(Kind::text, std::move(value));
  advance(at + 1 - at_);
  return {};
}

}  // namespace

Result<std::vector<Token>> tokens_of(const std::string& source) {
  return Lexer(with_newlines(source)).run();
}

}  // namespace isobit::jinja
