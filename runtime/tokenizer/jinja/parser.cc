// From tokens to statements: the grammar of jinja2's parser. What it knows and this project does
// not becomes an expression that is an error when it is reached, or, for a statement, at once.
#include <charconv>
#include <initializer_list>
#include <optional>

#include "runtime/tokenizer/jinja/tree.h"

namespace isobit::jinja {
namespace {

using Kind = Token::Kind;

/// Deeper nesting than any template has; each level takes a few frames of the stack.
constexpr int kDeepest = 100;

class Parser {
 public:
  explicit Parser(const std::vector<Token>& tokens) : tokens_(tokens) {}

  Result<Nodes> run() {
    Nodes out = body({});
    if (error_) return *error_;
    return out;
  }

 private:
  struct Depth {
    explicit Depth(Parser& parser) : owner(parser) {
      if (++owner.depth_ > kDeepest) owner.fail("is nested too deeply");
    }
    ~Depth() { --owner.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;
    Parser& owner;
  };

  [[nodiscard]] const Token& now() const { return tokens_[at_]; }
  [[nodiscard]] bool is(Kind kind) const { return now().kind == kind; }
  [[nodiscard]] bool is_op(const char* text) const { return is(Kind::op) && now().text == text; }
  [[nodiscard]] bool is_word(const char* text) const {
    return is(Kind::name) && now().text == text;
  }
  void step() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }
  bool take(bool there) {
    if (there) step();
    return there;
  }
  bool take_op(const char* text) { return take(is_op(text)); }
  bool take_word(const char* text) { return take(is_word(text)); }
  /// Keeps the first problem and goes to the end, so that every loop stops.
  void fail(const std::string& what) {
    if (!error_) error_ = Error{what, "line " + std::to_string(now().line)};
    at_ = tokens_.size() - 1;
  }
  void want_op(const char* text) {
    if (!take_op(text)) fail(std::string("expected ") + text + " at \"" + now().text + "\"");
  }
  void want(Kind kind, const char* what) {
    if (is(kind)) return step();
    fail(std::string("expected ") + what);
  }
  std::string name() {
    const std::string out = is(Kind::name) ? now().text : "";
    want(Kind::name, "a name");
    return out;
  }
  ExprPtr make(Expr::Kind kind, std::string text = "") {
    auto out = std::make_unique<Expr>();
    out->kind = kind;
    out->text = std::move(text);
    out->line = now().line;
    return out;
  }
  ExprPtr make(Expr::Kind kind, std::string text, ExprPtr a, ExprPtr b = nullptr) {
    ExprPtr out = make(kind, std::move(text));
    out->add(std::move(a));
    if (b != nullptr) out->add(std::move(b));
    if (out->height > kTallest) fail("an expression has too many operators within one another");
    return out;
  }

  Nodes body(const std::vector<std::string>& ends);
  void statement(Nodes& out);
  void parse_if(Node& node);
  void parse_for(Node& node);
  void parse_set(Node& node);
  void parse_macro(Node& node);
  void end_block() { want(Kind::block_end, "the end of the tag"); }

  ExprPtr tuple();
  ExprPtr expression(bool conditional = true);
  ExprPtr either();
  ExprPtr both();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr chain(std::initializer_list<const char*> operators, ExprPtr (Parser::*operand)());
  ExprPtr sum() { return chain({"+", "-"}, &Parser::joined); }
  ExprPtr joined() { return chain({"~"}, &Parser::product); }
  ExprPtr product() { return chain({"*", "/", "//", "%", "**"}, &Parser::filtered); }

  ExprPtr filtered() { return unary(true); }
  ExprPtr unary(bool filters);
  ExprPtr primary();
  ExprPtr after(ExprPtr value, bool filters);
  ExprPtr subscript(ExprPtr value);
  ExprPtr test(ExprPtr value);
  void arguments(Expr& call);
  ExprPtr dict();

  const std::vector<Token>& tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  std::optional<Error> error_;
};

/// Statements up to a block whose first word is in `ends`, which is left to be read.
Nodes Parser::body(const std::vector<std::string>& ends) {
  const Depth depth(*this);
  Nodes out;
  while (!is(Kind::end)) {
    if (is(Kind::data)) {
      out.emplace_back();
      out.back().text = now().text;
      step();
    } else if (is(Kind::variable_begin)) {
      step();
      out.emplace_back();
      out.back().kind = Node::Kind::print;
      out.back().line = now().line;
      out.back().value = tuple();
      want(Kind::variable_end, "the end of the tag");
    } else {
      const std::string& word = tokens_[std::min(at_ + 1, tokens_.size() - 1)].text;
      for (const std::string& end : ends) {
        if (word == end) return out;
      }
      step();
      statement(out);
    }
  }
  if (!ends.empty()) fail("the statement that " + ends.back() + " ends is not ended");
  return out;
}

void Parser::statement(Nodes& out) {
  const int line = now().line;
  const std::string word = name();
  Node node;
  node.line = line;
  if (word == "if") {
    parse_if(node);
  } else if (word == "for") {
    parse_for(node);
  } else if (word == "set") {
    parse_set(node);
  } else if (word == "macro") {
    parse_macro(node);
  } else if (word == "generation") {
    end_block();
    node.kind = Node::Kind::scope;
    node.body = body({"endgeneration"});
    step(), step(), end_block();
  } else if (word == "break" || word == "continue") {
    node.kind = word == "break" ? Node::Kind::leave : Node::Kind::next;
    end_block();
  } else {
    return fail("the statement " + word + " is not supported");
  }
  out.push_back(std::move(node));
}

void Parser::parse_if(Node& node) {
  node.kind = Node::Kind::branch;
  for (bool last = false; !last && !error_;) {
    ExprPtr condition = tuple();
    end_block();
    Nodes arm = body({"elif", "else", "endif"});
    node.arms.emplace_back(std::move(condition), std::move(arm));
    step();
    const std::string word = name();
    if (word == "elif") continue;
    last = true;
    if (word == "else") {
      end_block();
      Nodes otherwise = body({"endif"});
      node.arms.emplace_back(nullptr, std::move(otherwise));
      step(), step();
    }
    end_block();
  }
}

void Parser::parse_for(Node& node) {
  node.kind = Node::Kind::loop;
  const bool brackets = take_op("(");
  do {
    node.targets.push_back(name());
  } while (take_op(","));
  if (brackets) want_op(")");
  if (!take_word("in")) fail("expected in");
  node.value = expression(false);
  if (take_word("if")) node.condition = expression();
  if (take_word("recursive")) fail("a recursive for is not supported");
  end_block();
  node.body = body({"else", "endfor"});
  step();
  if (name() == "else") {
    end_block();
    node.otherwise = body({"endfor"});
    step(), step();
  }
  end_block();
}

void Parser::parse_set(Node& node) {
  node.kind = Node::Kind::set;
  do {
    node.targets.push_back(name());
  } while (take_op(","));
  if (take_op(".")) node.text = name();
  if (take_op("=")) {
    node.value = tuple();
    return end_block();
  }
  if (is_op("|")) return fail("a set block with a filter is not supported");
  node.kind = Node::Kind::capture;
  end_block();
  node.body = body({"endset"});
  step(), step(), end_block();
}

void Parser::parse_macro(Node& node) {
  node.kind = Node::Kind::macro;
  node.macro = std::make_unique<Macro>();
  Macro& macro = *node.macro;
  macro.name = name();
  want_op("(");
  for (bool more = true; more && !is_op(")") && !error_; more = take_op(",")) {
    macro.parameters.push_back(name());
    if (take_op("=")) {
      macro.defaults.push_back(expression());
    } else if (!macro.defaults.empty()) {
      fail("a parameter without a default after one with it");
    }
  }
  want_op(")"), end_block();
  macro.body = std::make_unique<Nodes>(body({"endmacro"}));
  step(), step();
  if (is(Kind::name)) step();  // the macro's name again
  end_block();
}

/// One expression, or several with commas, which are a tuple.
ExprPtr Parser::tuple() {
  ExprPtr first = expression();
  if (!is_op(",")) return first;
  ExprPtr out = make(Expr::Kind::list, "", std::move(first));
  while (take_op(",") && !is(Kind::variable_end) && !is(Kind::block_end) && !is_op(")")) {
    out->add(expression());
  }
  return out;
}

ExprPtr Parser::expression(bool conditional) {
  const Depth depth(*this);
  if (error_) return make(Expr::Kind::unknown);
  ExprPtr value = either();
  while (conditional && take_word("if")) {
    ExprPtr condition = either();
    value = make(Expr::Kind::conditional, "", std::move(value), std::move(condition));
    value->add(take_word("else") ? expression() : nullptr);
  }
  return value;
}

ExprPtr Parser::either() {
  ExprPtr left = both();
  while (take_word("or")) left = make(Expr::Kind::binary, "or", std::move(left), both());
  return left;
}

ExprPtr Parser::both() {
  ExprPtr left = negation();
  while (take_word("and")) left = make(Expr::Kind::binary, "and", std::move(left), negation());
  return left;
}

ExprPtr Parser::negation() {
  const Depth depth(*this);
  if (!error_ && take_word("not")) return make(Expr::Kind::unary, "not", negation());
  return comparison();
}

ExprPtr Parser::comparison() {
  ExprPtr first = sum();
  ExprPtr out;
  while (!error_) {
    std::string found;
    for (const char* op : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (found.empty() && take_op(op)) found = op;
    }
    if (found.empty() && take_word("in")) found = "in";
    const bool not_in = is_word("not") && at_ + 1 < tokens_.size() &&
                        tokens_[at_ + 1].kind == Kind::name && tokens_[at_ + 1].text == "in";
    if (found.empty() && not_in) {
      step(), step();
      found = "not in";
    }
    if (found.empty()) break;
    if (out == nullptr) out = make(Expr::Kind::compare, "", std::move(first));
    out->operators.push_back(found);
    out->add(sum());
  }
  return out != nullptr ? std::move(out) : std::move(first);
}

/// Operators of one rank, from the left.
ExprPtr Parser::chain(std::initializer_list<const char*> operators, ExprPtr (Parser::*operand)()) {
  ExprPtr left = (this->*operand)();
  for (bool more = true; more && !error_;) {
    more = false;
    for (const char* op : operators) {
      if (!take_op(op)) continue;
      left = make(Expr::Kind::binary, op, std::move(left), (this->*operand)());
      more = true;
    }
  }
  return left;
}

ExprPtr Parser::unary(bool filters) {
  const Depth depth(*this);
  if (error_) return make(Expr::Kind::unknown);
  ExprPtr value;
  if (is_op("-") || is_op("+")) {
    const std::string op = now().text;
    step();
    value = make(Expr::Kind::unary, op, unary(false));
  } else {
    value = primary();
  }
  return after(std::move(value), filters);
}

ExprPtr Parser::primary() {
  const Token token = now();
  if (token.kind == Kind::name) {
    step();
    std::string low = token.text;
    if (low == "True" || low == "False" || low == "None") low[0] = static_cast<char>(low[0] + 32);
    const bool constant = low == "true" || low == "false" || low == "none";
    return make(constant ? Expr::Kind::constant : Expr::Kind::name, low);
  }
  if (token.kind == Kind::text) {
    ExprPtr out = make(Expr::Kind::text);
    std::string text;
    for (; is(Kind::text); step()) text += now().text;
    out->literal = std::make_shared<const std::string>(std::move(text));
    return out;
  }
  if (token.kind == Kind::number) {
    step();
    ExprPtr out = make(Expr::Kind::number);
    std::from_chars(token.text.data(), token.text.data() + token.text.size(), out->number);
    return out;
  }
  if (token.kind == Kind::real) {
    step();
    return make(Expr::Kind::unknown, "the number " + token.text);
  }
  if (take_op("(")) {
    ExprPtr out = is_op(")") ? make(Expr::Kind::list) : tuple();
    want_op(")");
    return out;
  }
  if (take_op("[")) {
    ExprPtr out = make(Expr::Kind::list);
    do {
      if (!is_op("]")) out->add(expression());
    } while (take_op(",") && !error_);
    want_op("]");
    return out;
  }
  if (take_op("{")) return dict();
  fail("expected an expression at \"" + token.text + "\"");
  return make(Expr::Kind::unknown);
}

ExprPtr Parser::dict() {
  ExprPtr out = make(Expr::Kind::dict);
  for (bool more = true; more && !is_op("}") && !error_; more = take_op(",")) {
    out->add(expression());
    want_op(":");
    out->add(expression());
  }
  want_op("}");
  return out;
}

/// Members, subscripts, calls; then filters and tests where they may stand, and calls of them.
ExprPtr Parser::after(ExprPtr value, bool filters) {
  bool filtered = false;
  while (!error_) {
    if (filtered && (is_op(".") || is_op("["))) break;
    if (take_op(".")) {
      const bool number = is(Kind::number);
      ExprPtr out = make(number ? Expr::Kind::unknown : Expr::Kind::member,
                         number ? "a number after a point" : now().text, std::move(value));
      if (!number && !is(Kind::name)) fail("expected a name after the point");
      step();
      value = std::move(out);
    } else if (take_op("[")) {
      value = subscript(std::move(value));
    } else if (take_op("(")) {
      value = make(Expr::Kind::call, "", std::move(value));
      arguments(*value);
    } else if (filters && take_op("|")) {
      std::string filter = name();
      filtered = true;
      while (take_op(".")) filter += "." + name();
      value = make(Expr::Kind::filter, filter, std::move(value));
      if (take_op("(")) arguments(*value);
    } else if (filters && take_word("is")) {
      filtered = true;
      value = test(std::move(value));
    } else {
      break;
    }
  }
  return value;
}

ExprPtr Parser::subscript(ExprPtr value) {
  ExprPtr parts[3];
  bool slice = false;
  std::size_t part = 0;
  while (!is_op("]") && !error_) {
    if (take_op(":")) {
      slice = true;
      if (++part > 2) fail("a slice has at most three parts");
      continue;
    }
    if (parts[part] != nullptr || part > 2) fail("expected ]");
    if (!error_) parts[part] = expression();
  }
  want_op("]");
  if (!slice) {
    if (parts[0] == nullptr) fail("expected a subscript");
    return make(Expr::Kind::item, "", std::move(value), std::move(parts[0]));
  }
  ExprPtr out = make(Expr::Kind::slice, "", std::move(value));
  for (ExprPtr& each : parts) out->add(std::move(each));
  return out;
}

ExprPtr Parser::test(ExprPtr value) {
  const bool negated = take_word("not");
  std::string test = is_op("==") || is_op("!=") || is_op("<") || is_op(">") ? now().text : name();
  if (!test.empty() && !(test[0] >= 'A')) step();
  ExprPtr out = make(Expr::Kind::test, test, std::move(value));
  const bool operand = is(Kind::text) || is(Kind::number) || is_op("[") || is_op("{") ||
                       (is(Kind::name) && !is_word("else") && !is_word("or") && !is_word("and") &&
                        !is_word("if") && !is_word("is") && !is_word("in") && !is_word("not"));
  if (take_op("(")) {
    arguments(*out);
  } else if (operand) {
    out->add(after(primary(), false));
  }
  return negated ? make(Expr::Kind::unary, "not", std::move(out)) : std::move(out);
}

/// Up to the closing bracket.
void Parser::arguments(Expr& call) {
  while (!is_op(")") && !error_) {
    const bool named = is(Kind::name) && at_ + 1 < tokens_.size() &&
                       tokens_[at_ + 1].kind == Kind::op && tokens_[at_ + 1].text == "=";
    if (named) {
      std::string key = name();
      step();
      call.add(std::move(key), expression());
    } else if (is_op("*") || is_op("**")) {
      fail("arguments with a star are not supported");
    } else {
      call.add(expression());
    }
    if (!take_op(",")) break;
  }
  want_op(")");
}

}  // namespace

Result<Nodes> parse(const std::vector<Token>& tokens) {
  return Parser(tokens).run();
}

}  // namespace isobit::jinja
