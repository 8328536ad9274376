// Tokenizer, recursive-descent parser (depth-limited) and evaluator of the filter language.
#include "harness/scenario/filter.h"

#include <algorithm>
#include <cstdint>

#include "harness/axes/axes.h"
#include "runtime/base/words.h"

namespace isobit {

struct Filter::Node {
  enum class Kind { all, any, negation, compare, tag, name };
  Kind kind = Kind::all;
  std::vector<std::shared_ptr<const Node>> children;  // all, any, negation
  std::string axis;                                   // compare
  std::string op;                                     // compare: = < <= > >=
  std::vector<std::string> values;                    // compare: any of; tag, name: the argument
  std::int64_t number = 0;                            // compare by order
};

namespace {

using Node = Filter::Node;
using NodePointer = std::shared_ptr<const Node>;

constexpr std::size_t kLongestFilter = 16384;
constexpr int kDeepest = 64;

struct FilterToken {
  enum class Kind { word, text, symbol, end };  // text: quoted
  Kind kind = Kind::end;
  std::string text;
  std::size_t column = 1;
};

class FilterParser {
 public:
  FilterParser(const std::string& source, const std::string& place)
      : source_(source), place_(place) {}

  Result<NodePointer> parse();

 private:
  Result<void> tokenize();
  Result<FilterToken> quoted_token(std::size_t& at) const;
  Result<NodePointer> any_of(int depth);
  Result<NodePointer> all_of(int depth);
  Result<NodePointer> unary(int depth);
  Result<NodePointer> call(const FilterToken& function);
  Result<NodePointer> comparison(const FilterToken& axis);
  Result<std::string> value(const std::string& axis);
  Result<void> expect_symbol(const std::string& symbol);

  [[nodiscard]] const FilterToken& peek() const { return tokens_[next_]; }
  [[nodiscard]] bool at(FilterToken::Kind kind, const std::string& text) const {
    return peek().kind == kind && peek().text == text;
  }
  FilterToken take() { return peek().kind == FilterToken::Kind::end ? peek() : tokens_[next_++]; }
  [[nodiscard]] Error error(const FilterToken& token, const std::string& message) const {
    return error_at(token.column, message);
  }
  [[nodiscard]] Error error_at(std::size_t column, const std::string& message) const {
    const std::string where = "column " + std::to_string(column);
    return {message, place_.empty() ? where : place_ + ", " + where};
  }

  const std::string& source_;
  const std::string& place_;
  std::vector<FilterToken> tokens_;
  std::size_t next_ = 0;
};

std::string shown(const FilterToken& token) {
  return token.kind == FilterToken::Kind::end ? "the end" : in_quotes(token.text);
}

Result<NodePointer> FilterParser::parse() {
  auto tokens = tokenize();
  ISOBIT_TRY(tokens);
  if (peek().kind == FilterToken::Kind::end) return error(peek(), "the filter is empty");
  auto root = any_of(0);
  ISOBIT_TRY(root);
  if (peek().kind == FilterToken::Kind::end) return root;
  if (at(FilterToken::Kind::symbol, ")")) return error(peek(), "\")\" without \"(\"");
  return error(
      peek(),
      "expected and or or before " + shown(peek()) +
          (peek().kind == FilterToken::Kind::word ? did_you_mean(peek().text, {"and", "or"}) : ""));
}

Result<void> FilterParser::tokenize() {
  if (source_.size() > kLongestFilter) return error_at(1, "the filter is too long");
  static const std::string kSymbols = "()=!<>,";
  std::size_t i = 0;
  while (i < source_.size()) {
    const char c = source_[i];
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      ++i;
    } else if (c == '\'' || c == '"') {
      auto token = quoted_token(i);
      ISOBIT_TRY(token);
      tokens_.push_back(std::move(token.value()));
    } else if (kSymbols.find(c) != std::string::npos) {
      const bool comparing = c != '(' && c != ')' && c != ',';
      const bool two = comparing && i + 1 < source_.size() && source_[i + 1] == '=';
      tokens_.push_back({FilterToken::Kind::symbol, source_.substr(i, two ? 2 : 1), i + 1});
      i += two ? 2 : 1;
    } else {
      const std::size_t end = source_.find_first_of(" \t\n\r'\"()=!<>,", i);
      const std::size_t stop = std::min(end, source_.size());
      tokens_.push_back({FilterToken::Kind::word, source_.substr(i, stop - i), i + 1});
      i = stop;
    }
  }
  tokens_.push_back({FilterToken::Kind::end, "", source_.size() + 1});
  return {};
}

Result<FilterToken> FilterParser::quoted_token(std::size_t& at) const {
  const std::size_t close = source_.find(source_[at], at + 1);
  if (close == std::string::npos) return error_at(at + 1, "a quote is not closed");
  FilterToken token{FilterToken::Kind::text, source_.substr(at + 1, close - at - 1), at + 1};
  at = close + 1;
  return token;
}

Result<NodePointer> FilterParser::any_of(int depth) {
  if (depth > kDeepest) return error(peek(), "the filter is nested too deeply");
  auto node = std::make_shared<Node>();
  node->kind = Node::Kind::any;
  while (true) {
    auto child = all_of(depth);
    ISOBIT_TRY(child);
    node->children.push_back(std::move(child.value()));
    if (!at(FilterToken::Kind::word, "or")) break;
    take();
  }
  if (node->children.size() == 1) return node->children[0];
  return NodePointer(node);
}

Result<NodePointer> FilterParser::all_of(int depth) {
  auto node = std::make_shared<Node>();
  while (true) {
    auto child = unary(depth);
    ISOBIT_TRY(child);
    node->children.push_back(std::move(child.value()));
    if (!at(FilterToken::Kind::word, "and")) break;
    take();
  }
  if (node->children.size() == 1) return node->children[0];
  return NodePointer(node);
}

Result<NodePointer> FilterParser::unary(int depth) {
  if (depth > kDeepest) return error(peek(), "the filter is nested too deeply");
  const FilterToken token = take();
  if (token.kind == FilterToken::Kind::symbol && token.text == "(") {
    auto inner = any_of(depth + 1);
    ISOBIT_TRY(inner);
    auto close = expect_symbol(")");
    ISOBIT_TRY(close);
    return inner;
  }
  if (token.kind != FilterToken::Kind::word)
    return error(token, "expected an axis, tag(…), name(…) or not, got " + shown(token));
  if (token.text == "not") {
    auto inner = unary(depth + 1);
    ISOBIT_TRY(inner);
    auto node = std::make_shared<Node>();
    node->kind = Node::Kind::negation;
    node->children.push_back(std::move(inner.value()));
    return NodePointer(node);
  }
  if (at(FilterToken::Kind::symbol, "(")) return call(token);
  return comparison(token);
}

Result<NodePointer> FilterParser::call(const FilterToken& function) {
  const bool tag = function.text == "tag";
  if (!tag && function.text != "name")
    return error(function, "unknown function " + shown(function) +
                               did_you_mean(function.text, {"tag", "name"}));
  take();
  const FilterToken argument = take();
  if (argument.kind != FilterToken::Kind::word && argument.kind != FilterToken::Kind::text)
    return error(argument, "expected a word in " + function.text + "(…), got " + shown(argument));
  auto close = expect_symbol(")");
  ISOBIT_TRY(close);
  auto node = std::make_shared<Node>();
  node->kind = tag ? Node::Kind::tag : Node::Kind::name;
  node->values = {argument.text};
  return NodePointer(node);
}

Result<NodePointer> FilterParser::comparison(const FilterToken& axis) {
  if (find_axis(axis.text) == nullptr)
    return error(axis, "unknown axis " + shown(axis) + did_you_mean(axis.text, axis_names()));
  auto node = std::make_shared<Node>();
  node->kind = Node::Kind::compare;
  node->axis = axis.text;
  const FilterToken op = take();
  const bool symbol = op.kind == FilterToken::Kind::symbol;
  const bool list = op.kind == FilterToken::Kind::word && op.text == "in";
  const bool equality = symbol && (op.text == "=" || op.text == "==" || op.text == "!=");
  const bool order = symbol && (op.text[0] == '<' || op.text[0] == '>');
  if (!list && !equality && !order)
    return error(op,
                 "expected =, !=, <, <=, >, >= or in after " + axis.text + ", got " + shown(op));
  if (order && !find_axis(axis.text)->numeric)
    return error(op, "axis " + axis.text + " has no order; use = or in");
  node->op = order ? op.text : "=";
  if (list) {
    auto open = expect_symbol("(");
    ISOBIT_TRY(open);
  }
  do {
    const FilterToken token = peek();
    auto text = value(axis.text);
    ISOBIT_TRY(text);
    if (order && !parse_integer(text.value(), 0, INT64_MAX, node->number))
      return error(token, "expected a number after " + op.text + ", got " + shown(token) +
                              number_hint(token.text));
    node->values.push_back(std::move(text.value()));
    if (!list || !at(FilterToken::Kind::symbol, ",")) break;
    take();
  } while (true);
  if (list) {
    auto close = expect_symbol(")");
    ISOBIT_TRY(close);
  }
  if (op.text != "!=") return NodePointer(node);
  auto negation = std::make_shared<Node>();
  negation->kind = Node::Kind::negation;
  negation->children.push_back(node);
  return NodePointer(negation);
}

/// A canonical value or pattern. Orderings may name numbers that the axis cannot hold (gpus>3).
Result<std::string> FilterParser::value(const std::string& axis) {
  const FilterToken token = take();
  if (token.kind != FilterToken::Kind::word && token.kind != FilterToken::Kind::text)
    return error(token, "expected a value of " + axis + ", got " + shown(token));
  std::int64_t number = 0;
  if (find_axis(axis)->numeric && parse_integer(token.text, 0, INT64_MAX, number))
    return std::to_string(number);
  auto value = axis_value(axis, {token.text, {}}, ValueUse::pattern);
  if (!value) return error(token, value.error().message);
  return value->text;
}

Result<void> FilterParser::expect_symbol(const std::string& symbol) {
  if (!at(FilterToken::Kind::symbol, symbol))
    return error(peek(), "expected \"" + symbol + "\", got " + shown(peek()));
  take();
  return {};
}

/// * any run, ? any one byte; iterative, so that no pattern is slow or deep.
bool glob_matches(const std::string& pattern, const std::string& text) {
  std::size_t p = 0, t = 0, star = std::string::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool compare_value(const Node& node, const AxisValue& value) {
  if (node.op == "=") {
    const auto equal = [&](const std::string& text) { return value_matches(value, text); };
    return std::any_of(node.values.begin(), node.values.end(), equal);
  }
  std::int64_t number = 0;
  if (!numeric_value(value, number)) return false;
  if (node.op == "<") return number < node.number;
  if (node.op == "<=") return number <= node.number;
  return node.op == ">" ? number > node.number : number >= node.number;
}

bool evaluate(const Node& node, const Filter::Subject& subject) {
  const auto holds = [&](const NodePointer& child) { return evaluate(*child, subject); };
  const auto& children = node.children;
  switch (node.kind) {
    case Node::Kind::all:
      return std::all_of(children.begin(), children.end(), holds);
    case Node::Kind::any:
      return std::any_of(children.begin(), children.end(), holds);
    case Node::Kind::negation:
      return !evaluate(*children[0], subject);
    case Node::Kind::tag:
      return subject.has_tag && subject.has_tag(node.values[0]);
    case Node::Kind::name:
      return glob_matches(node.values[0], subject.name);
    case Node::Kind::compare:
      break;
  }
  const AxisValue* value = subject.axis ? subject.axis(node.axis) : nullptr;
  return value != nullptr && compare_value(node, *value);
}

void add_axes(const Node& node, std::set<std::string>& out) {
  if (node.kind == Node::Kind::compare) out.insert(node.axis);
  for (const NodePointer& child : node.children) add_axes(*child, out);
}

}  // namespace

Result<Filter> Filter::parse(const std::string& expression, const std::string& place) {
  auto root = FilterParser(expression, place).parse();
  ISOBIT_TRY(root);
  Filter filter;
  filter.root_ = std::move(root.value());
  filter.text_ = expression;
  return filter;
}

std::set<std::string> Filter::axes() const {
  std::set<std::string> out;
  if (root_ != nullptr) add_axes(*root_, out);
  return out;
}

bool Filter::matches(const Subject& subject) const {
  return root_ == nullptr || evaluate(*root_, subject);
}

}  // namespace isobit
