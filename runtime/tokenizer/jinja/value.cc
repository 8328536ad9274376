// Implementation of runtime/tokenizer/jinja/value.h.
#include "runtime/tokenizer/jinja/value.h"

#include <algorithm>

#include "runtime/tokenizer/unicode_tables.h"

namespace isobit::jinja {

Value Value::of(std::string value) {
  return shared(std::make_shared<const std::string>(std::move(value)));
}
Value Value::shared(std::shared_ptr<const std::string> value) {
  Value out;
  out.kind = Kind::text;
  out.text_ = std::move(value);
  return out;
}
const std::string& Value::text() const {
  static const std::string kEmpty;
  return text_ == nullptr ? kEmpty : *text_;
}
Value Value::of(std::int64_t value) {
  Value out;
  out.kind = Kind::integer;
  out.number = value;
  return out;
}
Value Value::of_bool(bool value) {
  Value out;
  out.kind = Kind::boolean;
  out.number = value ? 1 : 0;
  return out;
}
Value Value::none() {
  Value out;
  out.kind = Kind::none;
  return out;
}
Value Value::undefined(std::string name) {
  Value out = of(std::move(name));
  out.kind = Kind::undefined;
  return out;
}
Value Value::of(List items) {
  Value out;
  out.kind = Kind::list;
  for (const Value& each : items) out.depth = std::max(out.depth, each.depth);
  ++out.depth;
  out.list = std::make_shared<List>(std::move(items));
  return out;
}
Value Value::of(Dict items) {
  Value out;
  out.kind = Kind::dict;
  for (const auto& [name, each] : items) out.depth = std::max(out.depth, each.depth);
  ++out.depth;
  out.dict = std::make_shared<Dict>(std::move(items));
  return out;
}
Value Value::space(Dict items) {
  Value out;
  out.kind = Kind::space;
  out.dict = std::make_shared<Dict>(std::move(items));
  return out;
}
Value Value::function(std::string name) {
  Value out = of(std::move(name));
  out.kind = Kind::function;
  return out;
}

bool Value::truthy() const {
  switch (kind) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return number != 0;
    case Kind::text:
      return !text().empty();
    case Kind::list:
      return !list->empty();
    case Kind::dict:
      return !dict->empty();
    case Kind::space:
    case Kind::function:
    case Kind::macro:
      return true;
  }
  return false;
}

const Value* Value::find(std::string_view key) const {
  if (dict == nullptr) return nullptr;
  for (const auto& [name, value] : *dict) {
    if (name == key) return &value;
  }
  return nullptr;
}

const char* kind_name(const Value& value) {
  static constexpr const char* kNames[] = {
      "something undefined", "none",       "a boolean", "a number", "a text", "a list", "a dict",
      "a namespace",         "a function", "a macro"};
  return kNames[static_cast<std::size_t>(value.kind)];
}

void put(Value::Dict& dict, const std::string& key, Value value) {
  for (auto& [name, known] : dict) {
    if (name == key) {
      known = std::move(value);
      return;
    }
  }
  dict.emplace_back(key, std::move(value));
}

std::size_t count_characters(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count) at += char_at(text, at).bytes;
  return count;
}

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = char_at(text, at).bytes;
    out.emplace_back(text.substr(at, bytes));
    at += bytes;
  }
  return out;
}

std::string stripped(std::string_view text, const std::string* chars, bool left, bool right) {
  std::vector<std::string> set;
  if (chars != nullptr) set = characters(*chars);
  const auto goes = [&](std::string_view one) {
    if (chars != nullptr) return std::find(set.begin(), set.end(), one) != set.end();
    const Char c = char_at(one, 0);
    return c.is(kSpace) || (c.code >= 0x1c && c.code <= 0x1f);
  };
  while (left && !text.empty()) {
    const std::size_t bytes = char_at(text, 0).bytes;
    if (!goes(text.substr(0, bytes))) break;
    text.remove_prefix(bytes);
  }
  while (right && !text.empty()) {
    std::size_t start = text.size() - 1;
    const std::size_t floor = text.size() > 4 ? text.size() - 4 : 0;
    while (start > floor && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) --start;
    if (start + char_at(text, start).bytes != text.size()) start = text.size() - 1;
    if (!goes(text.substr(start))) break;
    text = text.substr(0, start);
  }
  return std::string(text);
}

}  // namespace isobit::jinja
