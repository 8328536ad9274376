// A parsed template: statements and expressions. Private to runtime/tokenizer/jinja.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/result.h"

namespace isobit::jinja {

/// The most expressions that lie within one another: evaluation and destruction recurse.
inline constexpr int kTallest = 500;

struct Expr {
  enum class Kind : std::uint8_t {
    text,         // text
    number,       // number
    constant,     // "true", "false", "none"
    name,         // text
    list,         // items; a tuple too
    dict,         // items: key, value, key, value
    member,       // items[0].text
    item,         // items[0][items[1]]
    slice,        // items[0][items[1]:items[2]:items[3]], absent ones null
    call,         // items[0](items[1…], named)
    filter,       // items[0]|text(items[1…], named)
    test,         // items[0] is text(items[1…])
    unary,        // text: "not", "-", "+"
    binary,       // text: an operator, "and", "or"
    compare,      // items[0] then (operators[i], items[i + 1])
    conditional,  // items: value, condition, otherwise (may be null)
    unknown,      // text: what is not supported, told when it is reached
  };
  Kind kind = Kind::unknown;
  std::string text;
  std::int64_t number = 0;
  std::vector<std::unique_ptr<Expr>> items;
  std::vector<std::pair<std::string, std::unique_ptr<Expr>>> named;
  std::vector<std::string> operators;
  std::shared_ptr<const std::string> literal;  // of a text, what its values share
  int line = 0;
  int height = 1;  // 1 + that of the highest expression within

  /// Adds an expression within (nullptr: an absent one).
  void add(std::unique_ptr<Expr> child) {
    grow(child.get());
    items.push_back(std::move(child));
  }
  void add(std::string name, std::unique_ptr<Expr> child) {
    grow(child.get());
    named.emplace_back(std::move(name), std::move(child));
  }

 private:
  void grow(const Expr* child) {
    if (child != nullptr && child->height >= height) height = child->height + 1;
  }
};
using ExprPtr = std::unique_ptr<Expr>;

struct Node;
using Nodes = std::vector<Node>;

struct Macro {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  std::unique_ptr<Nodes> body;
};

struct Node {
  enum class Kind : std::uint8_t {
    data,     // text
    print,    // value
    branch,   // arms: condition (null: else) and body
    loop,     // targets in value if condition: body, otherwise
    set,      // targets = value; text: attribute of a namespace, or empty
    capture,  // targets[0] = what the body prints
    scope,    // body, with variables of its own (generation)
    macro,    // macro
    leave,    // break
    next,     // continue
  };
  Kind kind = Kind::data;
  std::string text;
  std::vector<std::string> targets;
  ExprPtr value;
  ExprPtr condition;
  std::vector<std::pair<ExprPtr, Nodes>> arms;
  Nodes body;
  Nodes otherwise;
  std::unique_ptr<Macro> macro;
  int line = 0;
};

struct Token {
  enum class Kind : std::uint8_t {
    data,
    variable_begin,
    variable_end,
    block_begin,
    block_end,
    name,
    text,
    number,
    real,
    op,
    end,
  };
  Kind kind = Kind::end;
  std::string text;
  int line = 1;
};

/// Jinja's tokens with trim_blocks and lstrip_blocks, comments left out.
Result<std::vector<Token>> tokens_of(const std::string& source);
/// REQUIRES: tokens that end with Kind::end.
Result<Nodes> parse(const std::vector<Token>& tokens);

}  // namespace isobit::jinja
