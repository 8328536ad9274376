// Filters, tests, methods and functions: those that chat templates use, each as jinja2 and Python
// have it. Any other is refused by name.
#include <algorithm>

#include "runtime/tokenizer/jinja/eval.h"
#include "runtime/tokenizer/unicode_tables.h"

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

/// Python's str.replace(), whose size is counted before it is built. REQUIRES: `from` is not empty.
Value replaced(Evaluator& run, const std::string& text, const std::string& from,
               const std::string& to, std::int64_t most) {
  if (!run.search(text, from)) return {};
  std::size_t count = 0;
  for (std::size_t at = 0; most < 0 || count < static_cast<std::uint64_t>(most); ++count) {
    at = text.find(from, at);
    if (at == std::string::npos) break;
    at += from.size();
  }
  if (!run.fits(text.size() - count * from.size() + count * to.size())) return {};
  std::string out;
  std::size_t at = 0;
  for (; count != 0; --count) {
    const std::size_t found = text.find(from, at);
    out.append(text, at, found - at).append(to);
    at = found + from.size();
  }
  return run.made(out.append(text, at));
}

/// Python's str.strip(), whose work is counted: a look at all of `chars` for each character.
Value strip(Evaluator& run, const std::string& text, const std::string* chars, bool left,
            bool right) {
  if (chars != nullptr && chars->size() > kMostCharacters) {
    return run.fail("more than 1 MB of characters to strip");
  }
  run.look_through(text, chars == nullptr ? 1 : 1 + chars->size());
  return run.failed() ? Value() : run.made(stripped(text, chars, left, right));
}

/// The end of the characters from `at` that are white space, or that are not.
std::size_t skipped(const std::string& text, std::size_t at, bool blank) {
  while (at < text.size()) {
    const std::string_view one = std::string_view(text).substr(at, char_at(text, at).bytes);
    if (stripped(one, nullptr, true, false).empty() != blank) break;
    at += one.size();
  }
  return at;
}

/// Python's str.split(): by `by`, or by runs of white space when it is null. A part is a step.
Value split(Evaluator& run, const std::string& text, const std::string* by, std::int64_t most) {
  Value::List out;
  if (by == nullptr) run.look_through(text);
  if (!run.search(text, by == nullptr ? " " : *by)) return {};
  std::size_t at = by == nullptr ? skipped(text, 0, true) : 0;
  for (; most != 0; --most) {
    const std::size_t end = by == nullptr ? skipped(text, at, false) : text.find(*by, at);
    if (end >= text.size() || !run.take(1)) break;
    out.push_back(run.made(text.substr(at, end - at)));
    at = by == nullptr ? skipped(text, end, true) : end + by->size();
  }
  if (by != nullptr || at < text.size()) out.push_back(run.made(text.substr(at)));
  return Value::of(std::move(out));
}

const std::string* text_in(const Value* value) {
  return value != nullptr && value->is(Kind::text) ? &value->text() : nullptr;
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
      look_through(value.text());
      return static_cast<std::int64_t>(count_characters(value.text()));
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
      if (take(value.list->size())) out = *value.list;
      break;
    case Kind::dict:
      if (!take(value.dict->size())) break;
      for (const auto& [key, item] : *value.dict) out.push_back(made(key));
      break;
    case Kind::text:
      if (value.text().size() > kMostCharacters) {
        fail("a text of more than 1 MB is not gone over one character at a time");
        break;
      }
      if (!take(count_characters(value.text()))) break;
      for (std::string& c : characters(value.text())) out.push_back(Value::of(std::move(c)));
      break;
    default:
      fail(std::string(kind_name(value)) + " has no items to go over");
  }
  return out;
}

bool Evaluator::contains(const Value& whole, const Value& part) {
  switch (whole.kind) {
    case Kind::undefined:
      return false;
    case Kind::text:
      if (!part.is(Kind::text)) break;
      return search(whole.text(), part.text()) &&
             whole.text().find(part.text()) != std::string::npos;
    case Kind::list:
      return std::any_of(whole.list->begin(), whole.list->end(),
                         [&](const Value& each) { return equal(each, part); });
    case Kind::dict:
      return part.is(Kind::text) && member(whole, part.text()) != nullptr;
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
    look(given.named.size() * given.named.size() * sizeof(std::string));
    if (failed()) return {};
    for (const auto& [key, value] : given.named) {
      if (key[0] == '_') return fail("the name " + key + " is not supported");
      if (!may_hold(value)) return {};
      jinja::put(items, key, value);
    }
    return name == "dict" ? Value::of(std::move(items)) : Value::space(std::move(items));
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
  return take(out.size()) ? Value::of(std::move(out)) : Value();
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
    out = strip(run, text, argument, name != "rstrip", name != "lstrip");
  } else if (name == "split" && (blank || (argument != nullptr && !argument->empty()))) {
    out = split(run, text, argument, most);
  } else if ((name == "startswith" || name == "endswith") && first != nullptr &&
             given.values.size() == 1) {
    bool found = false;
    if (!argument && !first->is(Kind::list)) return false;
    for (const Value& each : argument ? std::vector<Value>{*first} : run.iterated(*first)) {
      if (!each.is(Kind::text)) return false;
      run.look_at(each.text());
      found = found || begins(text, each.text(), name == "endswith");
    }
    out = Value::of_bool(found);
  } else if (name == "replace" && argument && !argument->empty() && given.values.size() >= 2 &&
             given.values[1].is(Kind::text)) {
    const Value* count = given.find(2, "count");
    if (count != nullptr && !count->is(Kind::integer)) return false;
    const std::int64_t limit = count == nullptr ? -1 : count->number;
    out = replaced(run, text, *argument, given.values[1].text(), limit);
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
  if (value.is(Kind::undefined)) return fail(value.text() + " (asked for its " + name + ")");
  Value out;
  if (value.is(Kind::text)) {
    if (text_method(*this, value.text(), name, given, out)) return out;
  } else if (value.is(Kind::dict)) {
    const Value* key = given.find(0, "");
    if (name == "get" && key != nullptr && key->is(Kind::text)) {
      const Value* found = member(value, key->text());
      const Value* otherwise = given.find(1, "default");
      return found != nullptr ? *found : otherwise != nullptr ? *otherwise : Value::none();
    }
    Value::List list;
    if (!take(value.dict->size())) return {};
    for (const auto& [text, item] : *value.dict) {
      if (name == "keys") list.push_back(made(text));
      if (name == "values") list.push_back(item);
      if (name == "items") list.push_back(Value::of(Value::List{made(text), item}));
    }
    const bool view = name == "keys" || name == "values" || name == "items";
    if (view && given.values.empty()) return Value::of(std::move(list));
  }
  const Value* found = member(value, name);
  if (found != nullptr && found->is(Kind::macro)) return call_macro(*found->macro, given);
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
    out = strip(run, run.text_of(value), text_in(chars), true, true);
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
    out = replaced(run, run.text_of(value), *from, *to, -1);
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
  const Value absent = Value::undefined("no attribute " + *key);
  Value::List kept;
  for (const Value& each : run.iterated(value)) {
    if (run.failed()) return true;
    const Value* member = each.is(Kind::dict) ? run.member(each, *key) : nullptr;
    const Value found = member != nullptr ? *member : absent;
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
    std::string text, comma;
    bool first = true;
    for (const Value& each : iterated(value)) {
      const std::string part = text_of(each);
      if (!first && between != nullptr && comma.empty()) comma = text_of(*between);
      if (!fits(text.size() + comma.size() + part.size())) return {};
      if (!first) text += comma;
      text += part;
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
