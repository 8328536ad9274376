// The evaluation of a template. Private to runtime/tokenizer/jinja.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/tokenizer/jinja/tree.h"
#include "runtime/tokenizer/jinja/value.h"

namespace isobit::jinja {

/// What limits a hostile template: steps, bytes of all texts made and looked at, characters of a
/// text that is gone over one by one, nested calls.
inline constexpr std::int64_t kMostSteps = 2'000'000;
inline constexpr std::size_t kMostBytes = std::size_t{256} << 20;
inline constexpr std::size_t kMostRead = std::size_t{4} << 30;
inline constexpr std::size_t kMostCharacters = 1'000'000;
inline constexpr int kDeepestCalls = 50;

struct Arguments {
  std::vector<Value> values;
  std::vector<std::pair<std::string, Value>> named;
  [[nodiscard]] const Value* find(std::size_t at, const char* name) const;
};

class Evaluator {
 public:
  explicit Evaluator(const Value::Dict& variables) : scopes_{variables} {}

  Result<std::string> run(const Nodes& nodes);

  // For the filters, tests, methods and functions in builtins.cc. After fail() every value is
  // undefined and the evaluation ends.
  Value fail(const std::string& what);
  [[nodiscard]] bool failed() const { return error_.has_value(); }
  /// Python's str().
  std::string text_of(const Value& value);
  /// A new text, whose bytes are counted.
  Value made(std::string text);
  /// Counts a look at all bytes of a text.
  void look_at(const std::string& text);
  Value attribute(const Value& value, const std::string& name);
  Value filter(const std::string& name, const Value& value, const Arguments& arguments);
  bool test(const std::string& name, const Value& value, const Arguments& arguments);
  Value method(const Value& value, const std::string& name, const Arguments& arguments);
  Value function(const std::string& name, const Arguments& arguments);
  std::vector<Value> iterated(const Value& value);
  std::int64_t length(const Value& value);
  bool contains(const Value& whole, const Value& part);

 private:
  enum class Flow : std::uint8_t { on, leave, next };

  bool step(int line);
  Flow execute(const Nodes& nodes, std::string& out);
  Flow execute(const Node& node, std::string& out);
  Flow loop(const Node& node, std::string& out);
  void assign(const Node& node, const Value& value);
  void put(const std::string& name, Value value) {
    jinja::put(scopes_.back(), name, std::move(value));
  }
  void print(const Value& value, std::string& out);

  Value evaluate(const Expr& expr);
  Value compute(const Expr& expr);
  Value look_up(const std::string& name);
  Value item(const Value& value, const Value& key);
  Value slice(const Expr& expr);
  Value unary(const Expr& expr);
  Value binary(const Expr& expr);
  Value arithmetic(const std::string& op, const Value& a, const Value& b);
  Value compare(const Expr& expr);
  bool compared(const std::string& op, const Value& a, const Value& b);
  Value call(const Expr& expr);
  Value call_macro(const Macro& macro, const Arguments& arguments);
  Arguments arguments(const Expr& expr);

  std::vector<Value::Dict> scopes_;  // variables, the outermost first
  std::int64_t steps_ = 0;
  std::size_t bytes_ = 0, read_ = 0;
  int calls_ = 0;
  int line_ = 1;
  std::optional<Error> error_;
};

}  // namespace isobit::jinja
