// The evaluation of statements and expressions, as jinja2 compiles them to Python.
#include "runtime/tokenizer/jinja/eval.h"

#include <algorithm>
#include <utility>

#include "runtime/base/interrupt.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit::jinja {

using Kind = Value::Kind;

const Value* Arguments::find(std::size_t at, const char* name) const {
  if (at < values.size()) return &values[at];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Value Evaluator::fail(const std::string& what) {
  if (!error_) error_ = Error{what, "line " + std::to_string(line_)};
  return {};
}

bool Evaluator::step(int line) {
  if (line > 0) line_ = line;
  if (++steps_ > kMostSteps) fail("the template takes too many steps");
  if (interrupted != 0) fail("interrupted");
  return !failed();
}

bool Evaluator::take(std::size_t steps) {
  steps_ += static_cast<std::int64_t>(steps);
  if (steps_ > kMostSteps) fail("the template takes too many steps");
  return !failed();
}

bool Evaluator::fits(std::size_t bytes) {
  if (bytes > kMostBytes - bytes_) fail("the template makes too much text");
  return !failed();
}

Value Evaluator::made(std::string text) {
  if (!fits(text.size())) return {};
  bytes_ += text.size();
  return Value::of(std::move(text));
}

Value Evaluator::joined(const std::string& a, const std::string& b) {
  return fits(a.size() + b.size()) ? made(a + b) : Value();
}

void Evaluator::look(std::size_t bytes) {
  if (bytes > kMostRead - read_) {
    fail("the template looks at too much text");
  } else {
    read_ += bytes;
  }
}

bool Evaluator::search(const std::string& text, const std::string& part) {
  const std::size_t places = text.size() < part.size() ? 0 : text.size() - part.size() + 1;
  look(text.size() + places * part.size());  // each below 2^28
  return !failed();
}

const Value* Evaluator::member(const Value& whole, const std::string& name) {
  if (whole.dict != nullptr) look(whole.dict->size() * sizeof(std::string));
  return whole.find(name);
}

bool Evaluator::may_hold(const Value& value) {
  if (value.is(Kind::space)) fail("a namespace within another value is not supported");
  return !failed();
}

std::string Evaluator::text_of(const Value& value) {
  switch (value.kind) {
    case Kind::undefined:
      return "";
    case Kind::none:
      return "None";
    case Kind::boolean:
      return value.number != 0 ? "True" : "False";
    case Kind::integer:
      return std::to_string(value.number);
    case Kind::text:
      return value.text();
    default:
      fail(std::string("the text of ") + kind_name(value) + " is not supported");
      return "";
  }
}

void Evaluator::print(const Value& value, std::string& out) {
  const std::string text = text_of(value);
  if (!fits(text.size())) return;
  bytes_ += text.size();
  out += text;
}

Result<std::string> Evaluator::run(const Nodes& nodes) {
  std::string out;
  execute(nodes, out);
  if (error_) return *error_;
  return out;
}

Evaluator::Flow Evaluator::execute(const Nodes& nodes, std::string& out) {
  const Frame frame(*this);
  for (const Node& node : nodes) {
    if (!step(node.line)) return Flow::on;
    const Flow flow = execute(node, out);
    if (flow != Flow::on) return flow;
  }
  return Flow::on;
}

Evaluator::Flow Evaluator::execute(const Node& node, std::string& out) {
  switch (node.kind) {
    case Node::Kind::data:
      print(Value::of(node.text), out);
      break;
    case Node::Kind::print:
      print(evaluate(*node.value), out);
      break;
    case Node::Kind::branch:
      for (const auto& [condition, arm] : node.arms) {
        if (condition != nullptr && !evaluate(*condition).truthy()) continue;
        return failed() ? Flow::on : execute(arm, out);
      }
      break;
    case Node::Kind::loop:
      return loop(node, out);
    case Node::Kind::set:
      assign(node, evaluate(*node.value));
      break;
    case Node::Kind::capture:
    case Node::Kind::scope: {
      std::string inner;
      scopes_.emplace_back();
      const Flow flow = execute(node.body, inner);
      scopes_.pop_back();
      if (node.kind == Node::Kind::capture) {
        assign(node, made(std::move(inner)));
      } else {
        out += inner;
      }
      return flow;
    }
    case Node::Kind::macro: {
      Value value;
      value.kind = Kind::macro;
      value.macro = node.macro.get();
      put(node.macro->name, value);
      break;
    }
    case Node::Kind::leave:
      return Flow::leave;
    case Node::Kind::next:
      return Flow::next;
  }
  return Flow::on;
}

void Evaluator::assign(const Node& node, const Value& value) {
  if (failed()) return;
  if (!node.text.empty()) {
    const Value space = look_up(node.targets[0]);
    if (!space.is(Kind::space)) {
      fail("cannot assign an attribute to " + std::string(kind_name(space)));
    } else if (node.text[0] == '_') {
      fail("a namespace cannot have the attribute " + node.text);
    } else if (may_hold(value)) {
      look(space.dict->size() * sizeof(std::string));
      jinja::put(*space.dict, node.text, value);
    }
    return;
  }
  if (node.targets.size() == 1) return put(node.targets[0], value);
  const std::vector<Value> parts = iterated(value);
  if (failed()) return;
  if (parts.size() != node.targets.size()) {
    fail("cannot give " + std::to_string(parts.size()) + " values to " +
         std::to_string(node.targets.size()) + " names");
    return;
  }
  for (std::size_t at = 0; at < parts.size(); ++at) put(node.targets[at], parts[at]);
}

Evaluator::Flow Evaluator::loop(const Node& node, std::string& out) {
  std::vector<Value> items = iterated(evaluate(*node.value));
  if (node.condition != nullptr) {
    std::vector<Value> kept;
    for (Value& each : items) {
      if (!step(node.line)) return Flow::on;
      scopes_.emplace_back();
      assign(node, each);
      const bool keep = evaluate(*node.condition).truthy();
      scopes_.pop_back();
      if (keep) kept.push_back(std::move(each));
    }
    items = std::move(kept);
  }
  if (failed()) return Flow::on;
  const auto count = static_cast<std::int64_t>(items.size());
  for (std::int64_t at = 0; at < count; ++at) {
    const auto neighbour = [&](std::int64_t other, const char* name) {
      return other < 0 || other >= count ? Value::undefined(name)
                                         : items[static_cast<std::size_t>(other)];
    };
    Value::Dict state{{"index", Value::of(at + 1)},
                      {"index0", Value::of(at)},
                      {"revindex", Value::of(count - at)},
                      {"revindex0", Value::of(count - at - 1)},
                      {"first", Value::of_bool(at == 0)},
                      {"last", Value::of_bool(at + 1 == count)},
                      {"length", Value::of(count)},
                      {"depth", Value::of(std::int64_t{1})},
                      {"depth0", Value::of(std::int64_t{0})},
                      {"previtem", neighbour(at - 1, "there is no previous item")},
                      {"nextitem", neighbour(at + 1, "there is no next item")}};
    Value variable = Value::space(std::move(state));  // its attributes, not its items
    scopes_.emplace_back();
    assign(node, items[static_cast<std::size_t>(at)]);
    put("loop", std::move(variable));
    const Flow flow = execute(node.body, out);
    scopes_.pop_back();
    if (failed() || flow == Flow::leave) return Flow::on;
  }
  return count == 0 ? execute(node.otherwise, out) : Flow::on;
}

Value Evaluator::look_up(const std::string& name) {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    look(scope->size() * sizeof(std::string));
    for (const auto& [key, value] : *scope) {
      if (key == name) return value;
    }
  }
  for (const char* known : {"range", "namespace", "dict", "raise_exception", "strftime_now",
                            "cycler", "joiner", "lipsum"}) {
    if (name == known) return Value::function(name);
  }
  return Value::undefined("'" + name + "' is undefined");
}

Value Evaluator::evaluate(const Expr& expr) {
  const Frame frame(*this);
  if (!step(expr.line)) return {};
  Value value = compute(expr);
  look_at(value.text());
  // What it says may hold a key of any length.
  if (value.is(Kind::undefined) && fits(value.text().size())) bytes_ += value.text().size();
  if (value.depth > kDeepestValue) return fail("lists and dicts lie within one another too deeply");
  return value;
}

Value Evaluator::compute(const Expr& expr) {
  switch (expr.kind) {
    case Expr::Kind::text:
      return Value::shared(expr.literal);
    case Expr::Kind::number:
      return Value::of(expr.number);
    case Expr::Kind::constant:
      return expr.text == "none" ? Value::none() : Value::of_bool(expr.text == "true");
    case Expr::Kind::name:
      return look_up(expr.text);
    case Expr::Kind::list: {
      Value::List items;
      for (const ExprPtr& each : expr.items) {
        items.push_back(evaluate(*each));
        if (!may_hold(items.back())) return {};
      }
      return Value::of(std::move(items));
    }
    case Expr::Kind::dict: {
      Value::Dict items;
      for (std::size_t at = 0; at + 1 < expr.items.size(); at += 2) {
        const Value key = evaluate(*expr.items[at]);
        if (!key.is(Kind::text)) return fail("a key that is no text is not supported");
        const Value value = evaluate(*expr.items[at + 1]);
        if (!may_hold(value) || !fits(key.text().size())) return {};
        bytes_ += key.text().size();
        look(items.size() * sizeof(std::string));
        jinja::put(items, key.text(), value);
      }
      return Value::of(std::move(items));
    }
    case Expr::Kind::member:
      return attribute(evaluate(*expr.items[0]), expr.text);
    case Expr::Kind::item: {
      const Value value = evaluate(*expr.items[0]);
      return item(value, evaluate(*expr.items[1]));
    }
    case Expr::Kind::slice:
      return slice(expr);
    case Expr::Kind::call:
      return call(expr);
    case Expr::Kind::filter: {
      const Value value = evaluate(*expr.items[0]);
      const Arguments given = arguments(expr);
      return failed() ? Value() : filter(expr.text, value, given);
    }
    case Expr::Kind::test: {
      const Value value = evaluate(*expr.items[0]);
      const Arguments given = arguments(expr);
      return failed() ? Value() : Value::of_bool(test(expr.text, value, given));
    }
    case Expr::Kind::unary:
      return unary(expr);
    case Expr::Kind::binary:
      return binary(expr);
    case Expr::Kind::compare:
      return compare(expr);
    case Expr::Kind::conditional:
      if (evaluate(*expr.items[1]).truthy()) return evaluate(*expr.items[0]);
      if (expr.items[2] == nullptr) return Value::undefined("the condition has no else");
      return evaluate(*expr.items[2]);
    case Expr::Kind::unknown:
      return fail(expr.text + " is not supported");
  }
  return {};
}

/// x.name: of a namespace or loop its attribute, of a dict its member.
Value Evaluator::attribute(const Value& value, const std::string& name) {
  if (failed()) return {};
  if (value.is(Kind::undefined)) return fail(value.text() + " (asked for its " + name + ")");
  if (!name.empty() && name[0] == '_') return fail("the attribute " + name + " is not supported");
  const Value* found = member(value, name);
  if (value.is(Kind::dict)) {
    for (const char* method : {"items", "keys", "values", "get", "pop", "popitem", "update",
                               "clear", "copy", "fromkeys", "setdefault"}) {
      if (name == method) return fail("the method " + name + " as a value is not supported");
    }
  }
  if (found != nullptr) return *found;
  if (value.is(Kind::space) && value.find("revindex0") != nullptr) {
    return fail("loop." + name + " is not supported");
  }
  return Value::undefined(std::string(kind_name(value)) + " has no attribute '" + name + "'");
}

Value Evaluator::item(const Value& value, const Value& key) {
  if (failed()) return {};
  if (value.is(Kind::undefined)) return fail(value.text());
  if (key.is(Kind::text)) {
    if (!value.is(Kind::dict)) return attribute(value, key.text());
    const Value* found = member(value, key.text());
    return found != nullptr ? *found : Value::undefined("a dict has no '" + key.text() + "'");
  }
  const bool number = key.is(Kind::integer) || key.is(Kind::boolean);
  if (!number || (!value.is(Kind::list) && !value.is(Kind::text))) {
    return Value::undefined(std::string(kind_name(value)) + " has no such item");
  }
  const std::int64_t size = length(value);
  const std::int64_t at = key.number < 0 ? key.number + size : key.number;
  if (at < 0 || at >= size) return Value::undefined("there is no such item");
  if (value.is(Kind::list)) return (*value.list)[static_cast<std::size_t>(at)];
  look_through(value.text());
  std::size_t from = 0;
  for (std::int64_t left = at; left > 0; --left) from += char_at(value.text(), from).bytes;
  return made(value.text().substr(from, char_at(value.text(), from).bytes));
}

Value Evaluator::slice(const Expr& expr) {
  const Value value = evaluate(*expr.items[0]);
  std::optional<std::int64_t> parts[3];
  for (std::size_t at = 0; at < 3; ++at) {
    if (expr.items[at + 1] == nullptr) continue;
    const Value part = evaluate(*expr.items[at + 1]);
    if (part.is(Kind::none)) continue;
    if (!part.is(Kind::integer)) return fail("a slice of something that is no number");
    parts[at] = part.number;
  }
  if (failed()) return {};
  if (!value.is(Kind::list) && !value.is(Kind::text)) {
    return fail(std::string("a slice of ") + kind_name(value) + " is not supported");
  }
  const std::vector<Value> all = iterated(value);
  const auto size = static_cast<std::int64_t>(all.size());
  const std::int64_t step = parts[2].value_or(1);
  if (step == 0) return fail("a slice with a step of 0");
  const auto bound = [&](const std::optional<std::int64_t>& part, std::int64_t otherwise) {
    if (!part) return otherwise;
    const std::int64_t at = *part < 0 ? *part + size : *part;
    return std::clamp<std::int64_t>(at, step > 0 ? 0 : -1, step > 0 ? size : size - 1);
  };
  const std::int64_t stop = bound(parts[1], step > 0 ? size : -1);
  Value::List out;
  for (std::int64_t at = bound(parts[0], step > 0 ? 0 : size - 1);
       step > 0 ? at < stop : at > stop;) {
    out.push_back(all[static_cast<std::size_t>(at)]);
    if (step > 0 ? step >= stop - at : step <= stop - at) break;
    at += step;
  }
  if (value.is(Kind::list)) return Value::of(std::move(out));
  std::string text;
  for (const Value& each : out) text += each.text();
  return made(std::move(text));
}

Arguments Evaluator::arguments(const Expr& expr) {
  Arguments out;
  for (std::size_t at = 1; at < expr.items.size(); ++at) {
    out.values.push_back(evaluate(*expr.items[at]));
  }
  for (const auto& [name, value] : expr.named) out.named.emplace_back(name, evaluate(*value));
  return out;
}

Value Evaluator::call(const Expr& expr) {
  const Expr& callee = *expr.items[0];
  if (callee.kind == Expr::Kind::member) {
    const Value value = evaluate(*callee.items[0]);
    const Arguments given = arguments(expr);
    return failed() ? Value() : method(value, callee.text, given);
  }
  const Value value = evaluate(callee);
  const Arguments given = arguments(expr);
  if (failed()) return {};
  if (value.is(Kind::function)) return function(value.text(), given);
  if (value.is(Kind::macro)) return call_macro(*value.macro, given);
  if (value.is(Kind::undefined)) return fail(value.text());
  return fail(std::string(kind_name(value)) + " cannot be called");
}

Value Evaluator::call_macro(const Macro& macro, const Arguments& given) {
  const std::size_t count = macro.parameters.size();
  if (given.values.size() > count) return fail("too many arguments for macro " + macro.name);
  if (++calls_ > kDeepestCalls) return fail("macros call each other too deeply");
  look(count * (count + given.named.size()) * sizeof(std::string));
  if (failed()) return {};
  Value::Dict scope;
  const std::size_t required = count - macro.defaults.size();
  for (std::size_t at = 0; at < count; ++at) {
    const std::string& name = macro.parameters[at];
    const Value* value = given.find(at, name.c_str());
    if (value != nullptr) {
      jinja::put(scope, name, *value);
    } else {
      jinja::put(scope, name,
                 at >= required ? evaluate(*macro.defaults[at - required])
                                : Value::undefined("parameter '" + name + "' was not provided"));
    }
  }
  for (const auto& [name, value] : given.named) {
    const auto& known = macro.parameters;
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return fail("macro " + macro.name + " has no parameter " + name);
    }
  }
  if (!take(scopes_[0].size())) return {};
  std::vector<Value::Dict> outer = std::move(scopes_);
  scopes_ = {outer[0], std::move(scope)};  // a macro sees what the whole template sees
  std::string out;
  execute(*macro.body, out);
  scopes_ = std::move(outer);
  --calls_;
  return failed() ? Value() : made(std::move(out));
}

}  // namespace isobit::jinja
