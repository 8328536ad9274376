// Filters, tests, methods and functions: those that chat templates use, each as jinja2 and Python
// have it. Any other is refused by name.
#include <algorithm>

#include "runtime/tokenizer/jinja/eval.h"

namespace isobit::jinja {
namespace {

using Kind = Value::Kind;

bool is_ascii(const std::string& text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
}
char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

std::string replaced(const std::string& text, const std::string& from, const std::string& to,
                     std::int64_t most) {
  std::string out;
  std::size_t at = 0;
  for (; most != 0; --most) {
    const std::size_t found = text.find(from, at);
    if (found == std::string::npos) break;
    out += text.substr(at, found - at) + to;
    at = found + from.size();
  }
  return out + text.substr(at);
}

/// Python's str.split(): by `by`, or by runs of white space when it is null.
std::vector<std::string> parts_of(const std::string& text, const std::string* by,
                                  std::int64_t most) {
  std::vector<std::string> out;
  if (by != nullptr) {
    std::size_t at = 0;
    for (; most != 0; --most) {
      const std::size_t found = text.find(*by, at);
      if (found == std::string::npos) break;
      out.push_back(text.substr(at, found - at));
      at = found + by->size();
    }
    out.push_back(text.substr(at));
    return out;
  }
  std::string word;
  std::string rest = stripped(text, nullptr, true, false);
  while (!rest.empty()) {
    if (most-- == 0) {
      out.push_back(stripped(rest, nullptr, false, true));
      break;
    }
    word.clear();
    std::size_t bytes = 0;
    for (const std::string& c : characters(rest)) {
      if (stripped(c, nullptr, true, false).empty()) break;
      bytes += c.size();
    }
    out.push_back(rest.substr(0, bytes));
    rest = stripped(rest.substr(bytes), nullptr, true, false);
  }
  return out;
}

const std::string* text_in(const Value* value) {
  return value != nullptr && value->is(Kind::text) ? &value->text : nullptr;
}

bool begins(const std::string& text, const std::string& part, bool at_end) {
  if (part.size() > text.size()) return false;
  return text.compare(at_end ? text.size() - part.size() : 0, part.size(), part) == 0;
}

}  // namespace

std::int64_t Evaluator::length(const Value& value) {
  switch (value.kind) {
    case Kind::undefined:
      return 0;
    case Kind::text:
      return static_cast<std::int64_t>(characters(value.text).size());
    case Kind::list:
      return static_cast<std::int64_t>(value.list->size());
    case Kind::dict:
      return static_cast<std::int64_t>(value.dict->size());
    default:
      fail(std::string(kind_name(value)) + " has no length");
      return 0;
  }
}

std::vector<Value> Evaluator::iterated(const Value& value) {
  std::vector<Value> out;
  switch (value.kind) {
    case Kind::undefined:
      break;
    case Kind::list:
      out = *value.list;
      break;
    case Kind::dict:
      for (const auto& [key, item] : *value.dict) out.push_back(Value::of(key));
      break;
    case Kind::text:
      if (value.text.size() > kMostCharacters) {
        fail("a text of more than 1 MB is not gone over one character at a time");
        break;
      }
      for (std::string& c : characters(value.text)) out.push_back(Value::of(std::move(c)));
      break;
    default:
      fail(std::string(kind_name(value)) + " has no items to go over");
  }
  steps_ += static_cast<std::int64_t>(out.size());
  return out;
}

bool Evaluator::contains(const Value& whole, const Value& part) {
  switch (whole.kind) {
    case Kind::undefined:
      return false;
    case Kind::text:
      if (part.is(Kind::text)) return whole.text.find(part.text) != std::string::npos;
      break;
    case Kind::list:
      return std::any_of(whole.list->begin(), whole.list->end(),
                         [&](const Value& each) { return equal(each, part); });
    case Kind::dict:
      return part.is(Kind::text) && whole.find(part.text) != nullptr;
    default:
      break;
  }
  fail(std::string(kind_name(part)) + " in " + kind_name(whole) + " is not supported");
  return false;
}

Value Evaluator::function(const std::string& name, const Arguments& given) {
  if (name == "raise_exception") {
    const Value* message = given.find(0, "message");
    return fail("the template refuses: " + (message == nullptr ? "" : text_of(*message)));
  }
  if (name == "namespace" || name == "dict") {
    if (!given.values.empty()) return fail(name + " of values without names is not supported");
    Value::Dict items;
    for (const auto& [key, value] : given.named) {
      if (key[0] == '_') return fail("the name " + key + " is not supported");
      jinja::put(items, key, value);
    }
    Value out = Value::of(std::move(items));
    if (name == "namespace") out.kind = Kind::space;
    return out;
  }
  if (name != "range") return fail("the function " + name + " is not supported");
  std::int64_t numbers[3] = {0, 0, 1};
  const std::size_t count = given.values.size();
  if (count == 0 || count > 3 || !given.named.empty()) return fail("range takes 1 to 3 numbers");
  for (std::size_t at = 0; at < count; ++at) {
    if (!given.values[at].is(Kind::integer)) return fail("range of something that is no number");
    numbers[count == 1 ? 1 : at] = given.values[at].number;
  }
  constexpr std::int64_t kLongest = 100'000;  // as the sandbox has it
  const auto [start, stop, by] = numbers;
  if (by == 0) return fail("range with a step of 0");
  Value::List out;
  for (std::int64_t at = start; by > 0 ? at < stop : at > stop;) {
    if (static_cast<std::int64_t>(out.size()) >= kLongest) return fail("the range is too long");
    out.push_back(Value::of(at));
    if (__builtin_add_overflow(at, by, &at)) break;
  }
  steps_ += static_cast<std::int64_t>(out.size());
  return Value::of(std::move(out));
}

namespace {

/// Methods of a text; false when there is none of the name.
bool text_method(Evaluator& run, const std::string& text, const std::string& name,
                 const Arguments& given, Value& out) {
  const Value* first = given.find(0, "");
  const std::string* argument = text_in(first);
  const bool blank = first == nullptr || first->is(Kind::none);
  const Value* second = given.find(1, "maxsplit");
  const std::int64_t most = second != nullptr && second->is(Kind::integer) ? second->number : -1;
  if ((name == "strip" || name == "lstrip" || name == "rstrip") && (blank || argument)) {
    out = run.made(stripped(text, argument, name != "rstrip", name != "lstrip"));
  } else if (name == "split" && (blank || (argument != nullptr && !argument->empty()))) {
    Value::List parts;
    for (std::string& part : parts_of(text, argument, most)) {
      parts.push_back(run.made(std::move(part)));
    }
    out = Value::of(std::move(parts));
  } else if ((name == "startswith" || name == "endswith") && first != nullptr &&
             given.values.size() == 1) {
    bool found = false;
    if (!argument && !first->is(Kind::list)) return false;
    for (const Value& each : argument ? std::vector<Value>{*first} : *first->list) {
      if (!each.is(Kind::text)) return false;
      found = found || begins(text, each.text, name == "endswith");
    }
    out = Value::of_bool(found);
  } else if (name == "replace" && argument && !argument->empty() && given.values.size() >= 2 &&
             given.values[1].is(Kind::text)) {
    const Value* count = given.find(2, "count");
    if (count != nullptr && !count->is(Kind::integer)) return false;
    const std::int64_t limit = count == nullptr ? -1 : count->number;
    out = run.made(replaced(text, *argument, given.values[1].text, limit));
  } else if ((name == "removeprefix" || name == "removesuffix") && argument) {
    const bool end = name == "removesuffix";
    const std::size_t cut = begins(text, *argument, end) ? argument->size() : 0;
    out = run.made(text.substr(end ? 0 : cut, text.size() - cut));
  } else if (name == "upper" || name == "lower" || name == "capitalize" || name == "title") {
    out = run.filter(name, Value::of(text), given);
  } else {
    return false;
  }
  return true;
}

}  // namespace

Value Evaluator::method(const Value& value, const std::string& name, const Arguments& given) {
  if (value.is(Kind::undefined)) return fail(value.text + " (asked for its " + name + ")");
  Value out;
  if (value.is(Kind::text)) {
    if (text_method(*this, value.text, name, given, out)) return out;
  } else if (value.is(Kind::dict)) {
    const Value* key = given.find(0, "");
    if (name == "get" && key != nullptr && key->is(Kind::text)) {
      const Value* found = value.find(key->text);
      const Value* otherwise = given.find(1, "default");
      return found != nullptr ? *found : otherwise != nullptr ? *otherwise : Value::none();
    }
    Value::List list;
    for (const auto& [member, item] : *value.dict) {
      if (name == "keys") list.push_back(Value::of(member));
      if (name == "values") list.push_back(item);
      if (name == "items") list.push_back(Value::of(Value::List{Value::of(member), item}));
    }
    const bool view = name == "keys" || name == "values" || name == "items";
    if (view && given.values.empty()) return Value::of(std::move(list));
  }
  const Value* member = value.find(name);
  if (member != nullptr && member->is(Kind::macro)) return call_macro(*member->macro, given);
  return fail("the method " + name + " of " + kind_name(value) +
              (given.values.empty() ? "" : " with these arguments") + " is not supported");
}

bool Evaluator::test(const std::string& name, const Value& value, const Arguments& given) {
  const auto number = [&] { return value.is(Kind::integer) || value.is(Kind::boolean); };
  const Value* other = given.find(0, "other");
  if (other != nullptr) {
    if (name == "equalto" || name == "eq" || name == "==") return equal(value, *other);
    if (name == "ne" || name == "!=") return !equal(value, *other);
    if (name == "in") return contains(*other, value);
    fail("the test " + name + " with an argument is not supported");
    return false;
  }
  if (name == "defined") return !value.is(Kind::undefined);
  if (name == "undefined") return value.is(Kind::undefined);
  if (name == "none") return value.is(Kind::none);
  if (name == "string") return value.is(Kind::text);
  if (name == "mapping") return value.is(Kind::dict);
  if (name == "number") return number();
  if (name == "integer") return value.is(Kind::integer);
  if (name == "boolean") return value.is(Kind::boolean);
  if (name == "true") return value.is(Kind::boolean) && value.number == 1;
  if (name == "false") return value.is(Kind::boolean) && value.number == 0;
  if (name == "iterable" || name == "sequence") {
    return value.is(Kind::text) || value.is(Kind::list) || value.is(Kind::dict) ||
           value.is(Kind::undefined);
  }
  if ((name == "odd" || name == "even") && number()) {
    return (value.number % 2 != 0) == (name == "odd");
  }
  fail("the test " + name + " is not supported");
  return false;
}

namespace {

/// Filters of a text; false when there is none of the name.
bool text_filter(Evaluator& run, const std::string& name, const Value& value,
                 const Arguments& given, Value& out) {
  if (name == "trim") {
    const Value* chars = given.find(0, "chars");
    if (chars != nullptr && !chars->is(Kind::text) && !chars->is(Kind::none)) return false;
    out = run.made(stripped(run.text_of(value), text_in(chars), true, true));
    return true;
  }
  if (name == "string" || name == "safe") {
    out = run.made(run.text_of(value));
    return true;
  }
  if (name == "replace") {
    const std::string* from = text_in(given.find(0, "old"));
    const std::string* to = text_in(given.find(1, "new"));
    if (from == nullptr || to == nullptr || from->empty() || given.find(2, "count")) return false;
    out = run.made(replaced(run.text_of(value), *from, *to, -1));
    return true;
  }
  const bool cased = name == "upper" || name == "lower" || name == "capitalize";
  if (!cased) return false;
  std::string text = run.text_of(value);
  if (!is_ascii(text)) {
    run.fail("the filter " + name + " of a text that is not ASCII is not supported");
    return true;
  }
  for (char& c : text) c = name == "upper" ? upper(c) : lower(c);
  if (name == "capitalize" && !text.empty()) text[0] = upper(text[0]);
  out = run.made(std::move(text));
  return true;
}

/// selectattr, rejectattr and map(attribute=…).
bool attribute_filter(Evaluator& run, const std::string& name, const Value& value,
                      const Arguments& given, Value& out) {
  const bool map = name == "map";
  const std::string* key = text_in(map ? given.find(9, "attribute") : given.find(0, "attribute"));
  if (key == nullptr || key->find('.') != std::string::npos) return false;
  const std::string* test = map ? nullptr : text_in(given.find(1, "test"));
  Arguments rest;
  if (given.values.size() > 2) rest.values.assign(given.values.begin() + 2, given.values.end());
  Value::List kept;
  for (const Value& each : run.iterated(value)) {
    if (run.failed()) return true;
    const Value* member = each.is(Kind::dict) ? each.find(*key) : nullptr;
    const Value found = member != nullptr ? *member : Value::undefined("no attribute " + *key);
    if (map) {
      kept.push_back(found);
      continue;
    }
    const bool holds = test == nullptr ? found.truthy() : run.test(*test, found, rest);
    if (holds == (name == "selectattr")) kept.push_back(each);
  }
  out = Value::of(std::move(kept));
  return true;
}

}  // namespace

Value Evaluator::filter(const std::string& name, const Value& value, const Arguments& given) {
  Value out;
  if (text_filter(*this, name, value, given, out)) return out;
  if (name == "length" || name == "count") return Value::of(length(value));
  if (name == "default" || name == "d") {
    const Value* otherwise = given.find(0, "default_value");
    const Value* falsy = given.find(1, "boolean");
    const bool use =
        value.is(Kind::undefined) || (falsy != nullptr && falsy->truthy() && !value.truthy());
    if (!use) return value;
    return otherwise != nullptr ? *otherwise : Value::of(std::string());
  }
  if (name == "first" || name == "last") {
    const std::vector<Value> items = iterated(value);
    if (items.empty()) return Value::undefined("there is no " + name + " item");
    return name == "first" ? items.front() : items.back();
  }
  if (name == "list") return Value::of(iterated(value));
  if (name == "items" && value.is(Kind::dict)) return method(value, "items", {});
  if (name == "join" && given.find(1, "attribute") == nullptr) {
    const Value* between = given.find(0, "d");
    std::string text;
    bool first = true;
    for (const Value& each : iterated(value)) {
      if (!first && between != nullptr) text += text_of(*between);
      text += text_of(each);
      first = false;
    }
    return made(std::move(text));
  }
  if (name == "selectattr" || name == "rejectattr" || name == "map") {
    if (attribute_filter(*this, name, value, given, out)) return out;
  }
  return fail("the filter " + name + (given.values.empty() ? "" : " with these arguments") +
              " is not supported");
}

}  // namespace isobit::jinja
