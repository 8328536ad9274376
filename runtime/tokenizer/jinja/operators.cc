// Operators and comparisons, as Python has them.
#include <algorithm>

#include "runtime/tokenizer/jinja/eval.h"

namespace isobit::jinja {
namespace {

using Kind = Value::Kind;

bool is_number(const Value& value) {
  return value.is(Kind::integer) || value.is(Kind::boolean);
}

/// Whether the sum, the difference, … does not fit in 64 bits, or is not known.
bool overflows(const std::string& op, std::int64_t a, std::int64_t b, std::int64_t& out) {
  if (op == "+") return __builtin_add_overflow(a, b, &out);
  if (op == "-") return __builtin_sub_overflow(a, b, &out);
  if (op == "*") return __builtin_mul_overflow(a, b, &out);
  if ((op != "%" && op != "//") || b == 0) return true;
  if (b == -1) return op == "%" ? (out = 0) != 0 : __builtin_sub_overflow(0, a, &out);
  const bool down = a % b != 0 && (a % b < 0) != (b < 0);  // Python rounds down
  out = op == "%" ? a % b + (down ? b : 0) : a / b - (down ? 1 : 0);
  return false;
}

}  // namespace

Value Evaluator::unary(const Expr& expr) {
  const Value value = evaluate(*expr.items[0]);
  if (failed()) return {};
  if (expr.text == "not") return Value::of_bool(!value.truthy());
  if (!is_number(value)) {
    return fail(expr.text + " before " + kind_name(value) + " is not supported");
  }
  std::int64_t out = value.number;
  if (expr.text == "-" && __builtin_sub_overflow(0, value.number, &out)) {
    return fail("- before " + std::to_string(value.number) + " is too large a number");
  }
  return Value::of(out);
}

Value Evaluator::binary(const Expr& expr) {
  Value a = evaluate(*expr.items[0]);
  if (failed()) return {};
  if (expr.text == "and") return a.truthy() ? evaluate(*expr.items[1]) : a;
  if (expr.text == "or") return a.truthy() ? a : evaluate(*expr.items[1]);
  const Value b = evaluate(*expr.items[1]);
  if (failed()) return {};
  if (expr.text == "~") return joined(text_of(a), text_of(b));
  return arithmetic(expr.text, a, b);
}

Value Evaluator::arithmetic(const std::string& op, const Value& a, const Value& b) {
  for (const Value* each : {&a, &b}) {
    if (each->is(Kind::undefined)) return fail(each->text());
  }
  if (op == "+" && a.is(Kind::text) && b.is(Kind::text)) return joined(a.text(), b.text());
  if (op == "+" && a.is(Kind::list) && b.is(Kind::list)) {
    if (!take(a.list->size() + b.list->size())) return {};
    Value::List out = *a.list;
    out.insert(out.end(), b.list->begin(), b.list->end());
    return Value::of(std::move(out));
  }
  std::int64_t out = 0;
  if (is_number(a) && is_number(b) && !overflows(op, a.number, b.number, out)) {
    return Value::of(out);
  }
  return fail("the operation " + std::string(kind_name(a)) + " " + op + " " + kind_name(b) +
              " is not supported");
}

Value Evaluator::compare(const Expr& expr) {
  Value left = evaluate(*expr.items[0]);
  for (std::size_t at = 0; at < expr.operators.size(); ++at) {
    Value right = evaluate(*expr.items[at + 1]);
    if (failed()) return {};
    if (!compared(expr.operators[at], left, right)) return Value::of_bool(false);
    left = std::move(right);
  }
  return Value::of_bool(!failed());
}

bool Evaluator::compared(const std::string& op, const Value& a, const Value& b) {
  if (op == "==") return equal(a, b);
  if (op == "!=") return !equal(a, b);
  if (op == "in") return contains(b, a);
  if (op == "not in") return !contains(b, a);
  int order = 0;
  if (is_number(a) && is_number(b)) {
    order = a.number < b.number ? -1 : a.number > b.number ? 1 : 0;
  } else if (a.is(Kind::text) && b.is(Kind::text)) {
    look_at(a.text());
    order = a.text().compare(b.text());
  } else {
    fail(std::string("the order of ") + kind_name(a) + " and " + kind_name(b) + " is not defined");
    return false;
  }
  if (op == "<") return order < 0;
  if (op == "<=") return order <= 0;
  return op == ">" ? order > 0 : order >= 0;
}

/// Numbers and booleans compare by value. What is one and the same is equal: no value here differs
/// from itself.
bool Evaluator::equal(const Value& a, const Value& b) {
  if (is_number(a) && is_number(b)) return a.number == b.number;
  if (a.kind != b.kind || !take(1)) return false;
  switch (a.kind) {
    case Kind::text:
    case Kind::function:
      if (&a.text() == &b.text()) return true;
      if (a.text().size() != b.text().size()) return false;
      look_at(a.text());
      return a.text() == b.text();
    case Kind::list:
      return a.list == b.list ||
             std::equal(a.list->begin(), a.list->end(), b.list->begin(), b.list->end(),
                        [&](const Value& one, const Value& other) { return equal(one, other); });
    case Kind::dict:
      return a.dict == b.dict ||
             (a.dict->size() == b.dict->size() &&
              std::all_of(a.dict->begin(), a.dict->end(), [&](const auto& item) {
                const Value* other = member(b, item.first);
                return other != nullptr && equal(item.second, *other);
              }));
    case Kind::space:
      return a.dict == b.dict;
    case Kind::macro:
      return a.macro == b.macro;
    default:
      return true;
  }
}

}  // namespace isobit::jinja
