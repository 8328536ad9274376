// The evaluation of a template. Private to runtime/tokenizer/jinja.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/tokenizer/jinja/tree.h"
#include "runtime/tokenizer/jinja/value.h"

namespace isobit::jinja {

/// What limits a hostile template: steps, bytes of all texts made and looked at, characters of a
/// text that is gone over one by one, nested calls, lists within lists, and statements and
/// expressions within one another, through macros too.
inline constexpr std::int64_t kMostSteps = 2'000'000;
inline constexpr std::size_t kMostBytes = std::size_t{256} << 20;
inline constexpr std::size_t kMostRead = std::size_t{4} << 30;
inline constexpr std::size_t kMostCharacters = 1'000'000;
inline constexpr std::size_t kBytesACharacter = 8;  // that are looked at in the time
inline constexpr int kDeepestCalls = 50;
inline constexpr int kDeepestValue = 100;
inline constexpr int kDeepestFrames = 700;

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
  /// Whether a new text may have so many bytes; to be asked before it is built.
  bool fits(std::size_t bytes);
  /// A new text of two.
  Value joined(const std::string& a, const std::string& b);
  /// Counts steps, of items that are gone over or copied; false when they are too many.
  bool take(std::size_t steps);
  /// Counts a look at bytes, at all those of a text, or a search in it at its worst.
  void look(std::size_t bytes);
  void look_at(const std::string& text) { look(text.size()); }
  /// Counts a look at the characters of a text one by one, which takes longer.
  void look_through(const std::string& text, std::size_t times = 1) {
    look(kBytesACharacter * text.size() * times);
  }
  bool search(const std::string& text, const std::string& part);
  /// The member of a dict or namespace, all of which is looked at; nullptr when there is none.
  const Value* member(const Value& whole, const std::string& name);
  /// Whether a list, dict or namespace may hold the value. A namespace may not be held: it could
  /// hold its holder.
  bool may_hold(const Value& value);
  Value attribute(const Value& value, const std::string& name);
  Value filter(const std::string& name, const Value& value, const Arguments& arguments);
  bool test(const std::string& name, const Value& value, const Arguments& arguments);
  Value method(const Value& value, const std::string& name, const Arguments& arguments);
  Value function(const std::string& name, const Arguments& arguments);
  std::vector<Value> iterated(const Value& value);
  std::int64_t length(const Value& value);
  bool contains(const Value& whole, const Value& part);
  bool equal(const Value& a, const Value& b);

 private:
  enum class Flow : std::uint8_t { on, leave, next };
  struct Frame {
    explicit Frame(Evaluator& run) : owner(run) {
      if (++owner.frames_ > kDeepestFrames) owner.fail("the template nests too deeply");
    }
    ~Frame() { --owner.frames_; }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    Evaluator& owner;
  };

  bool step(int line);
  Flow execute(const Nodes& nodes, std::string& out);
  Flow execute(const Node& node, std::string& out);
  Flow loop(const Node& node, std::string& out);
  void assign(const Node& node, const Value& value);
  void put(const std::string& name, Value value) {
    look(scopes_.back().size() * sizeof(std::string));
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
  int calls_ = 0, frames_ = 0;
  int line_ = 1;
  std::optional<Error> error_;
};

}  // namespace isobit::jinja
