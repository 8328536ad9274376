// The values of a template: Python's, as far as the chat templates of published models need them.
//
// Promise: plain data; lists, dicts and namespaces are shared, as Python's references are. Called
// by runtime/tokenizer/jinja only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace isobit::jinja {

struct Macro;

struct Value {
  enum class Kind : std::uint8_t {
    undefined,
    none,
    boolean,
    integer,
    text,
    list,
    dict,
    space,     // namespace()
    function,  // a function of the environment, by name
    macro,
  };
  using List = std::vector<Value>;
  using Dict = std::vector<std::pair<std::string, Value>>;  // in the order of insertion

  Kind kind = Kind::undefined;
  std::int64_t number = 0;       // boolean, integer
  std::shared_ptr<List> list;    // list
  std::shared_ptr<Dict> dict;    // dict, space
  const Macro* macro = nullptr;  // macro
  int depth = 0;                 // 1 + that of the deepest item of a list or dict

  static Value of(std::string value);
  static Value of(std::int64_t value);
  static Value of_bool(bool value);
  static Value none();
  static Value undefined(std::string name);
  static Value of(List items);
  static Value of(Dict items);
  static Value space(Dict items);
  static Value function(std::string name);

  /// Text; undefined, function: its name. Copies share it, so that they take no memory.
  [[nodiscard]] const std::string& text() const;
  static Value shared(std::shared_ptr<const std::string> value);

  [[nodiscard]] bool is(Kind other) const { return kind == other; }
  [[nodiscard]] bool truthy() const;
  /// The member of a dict or namespace, nullptr when there is none.
  [[nodiscard]] const Value* find(std::string_view key) const;

 private:
  std::shared_ptr<const std::string> text_;  // null: empty
};

/// "a list": for errors.
const char* kind_name(const Value& value);

/// Sets the member of a dict or namespace.
void put(Value::Dict& dict, const std::string& key, Value value);

/// Python's str.strip(), or of the characters `chars` (nullptr: white space).
std::string stripped(std::string_view text, const std::string* chars, bool left, bool right);
/// How many characters a text has.
std::size_t count_characters(std::string_view text);
/// The characters of a text, one string each.
std::vector<std::string> characters(std::string_view text);

}  // namespace isobit::jinja
