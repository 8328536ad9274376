// One filter language for command line and scenario files.
//
//   precision=bf16 and batch>1 and not tag(slow)
//   cache in (on, off) or cache=chunked:17
// Operators: = != < <= > >= in, and or not, parentheses, tag(NAME), name(GLOB).
// = and != compare canonical texts; the part before ':' alone also matches (cache=chunked matches
// chunked:17, batch=3 matches order:reversed+size:3 by its size). Orderings compare numbers.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace isobit {

struct AxisValue;

class Filter {
 public:
  /// Matches everything.
  Filter() = default;
  /// Unknown axis names are errors with a suggestion; `place` is prefixed, columns are counted
  /// inside the expression.
  static Result<Filter> parse(const std::string& expression, const std::string& place);

  /// What a filter asks of a cell.
  struct Subject {
    std::function<const AxisValue*(const std::string& axis)> axis;
    std::function<bool(const std::string& tag)> has_tag;
    std::string name;
  };
  /// The axes that it asks about, each once.
  [[nodiscard]] std::set<std::string> axes() const;
  [[nodiscard]] bool matches(const Subject& subject) const;
  [[nodiscard]] bool empty() const { return root_ == nullptr; }
  [[nodiscard]] const std::string& text() const { return text_; }

  struct Node;

 private:
  std::shared_ptr<const Node> root_;
  std::string text_;
};

}  // namespace isobit
