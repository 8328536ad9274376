// Places and overrides on the tree of a scenario, and conversions of its nodes: each says what it
// wanted and what it got.
#include "harness/scenario/tree.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "harness/axes/axes.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

std::vector<std::string> split_path(const std::string& dotted) {
  std::vector<std::string> steps;
  std::size_t begin = 0;
  while (begin <= dotted.size()) {
    const std::size_t end = std::min(dotted.find('.', begin), dotted.size());
    steps.push_back(dotted.substr(begin, end - begin));
    begin = end + 1;
  }
  return steps;
}

/// The child of a map, created when missing.
TreeNode* map_child(TreeNode& map, const std::string& step, int origin) {
  for (std::size_t i = 0; i < map.keys.size(); ++i)
    if (map.keys[i].text == step) return &map.items[i];
  TreeNode key;
  key.kind = TreeNode::Kind::scalar;
  key.text = step;
  key.origin = origin;
  key.line = 0;
  TreeNode value;
  value.origin = origin;
  value.line = 0;
  map.keys.push_back(key);
  map.items.push_back(value);
  return &map.items.back();
}

using Kind = TreeNode::Kind;

std::string kind_name(const TreeNode& node) {
  switch (node.kind) {
    case Kind::null:
      return "nothing";
    case Kind::scalar:
      return in_quotes(node.text);
    case Kind::list:
      return "a list";
    case Kind::map:
      break;
  }
  return "a map";
}

std::string shown_bound(double bound) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", bound);
  return text;
}

/// Why a scalar that looks like a number is none.
std::string quotes_or_hint(const TreeNode& node) {
  if (node.kind != Kind::scalar) return "";
  return node.plain ? number_hint(node.text) : " in quotes, which make it a text";
}

}  // namespace

std::string Tree::place(const TreeNode& node) const {
  if (node.origin < 0)
    return path + ":" + std::to_string(node.line) + ":" + std::to_string(node.column);
  const std::string& text = overrides[static_cast<std::size_t>(node.origin)];
  if (node.line == 0) return "--set " + text;
  const std::size_t before = node.line == 1 ? text.find('=') + 1 : 0;
  const std::size_t column = before + static_cast<std::size_t>(node.column);
  return "--set " + text + ", column " + std::to_string(column);
}

Result<void> set_path(Tree& tree, int override_index, const std::string& dotted,
                      const TreeNode& value) {
  constexpr std::size_t kDeepestPath = 8;
  const std::string place = "--set " + tree.overrides[static_cast<std::size_t>(override_index)];
  const std::vector<std::string> steps = split_path(dotted);
  if (steps.size() > kDeepestPath) return Error{"the path is too deep", place};
  TreeNode* node = &tree.root;
  for (const std::string& step : steps) {
    if (step.empty()) return Error{"the path has an empty step", place};
    if (node->kind == TreeNode::Kind::list) {
      std::int64_t index = 0;
      const auto size = static_cast<std::int64_t>(node->items.size());
      if (!parse_integer(step, 0, size - 1, index))
        return Error{in_quotes(step) + " is not an index of a list of " + std::to_string(size),
                     place};
      node = &node->items[static_cast<std::size_t>(index)];
      continue;
    }
    if (node->kind == TreeNode::Kind::scalar)
      return Error{in_quotes(step) + " is below a plain value", place};
    node->kind = TreeNode::Kind::map;
    node = map_child(*node, step, override_index);
  }
  *node = value;
  return {};
}

bool NodeReader::is(const TreeNode& node, Kind kind, const std::string& what) {
  if (node.kind == kind) return true;
  const char* wanted = kind == Kind::map ? "a map" : kind == Kind::list ? "a list" : "a value";
  fail(node, what + " must be " + wanted + ", not " + kind_name(node));
  return false;
}

std::string NodeReader::word(const TreeNode& node, const std::string& what) {
  if (!is(node, Kind::scalar, what)) return "";
  if (node.text.empty()) fail(node, what + " is empty");
  if (!is_one_line(node.text)) fail(node, what + " must be one line of text");
  return node.text;
}

std::string NodeReader::choice(const TreeNode& node, const std::string& what,
                               const std::vector<std::string>& words) {
  const std::string text = word(node, what);
  if (std::find(words.begin(), words.end(), text) == words.end())
    fail(node, "unknown " + what + " " + in_quotes(text) + did_you_mean(text, words));
  return text;
}

std::int64_t NodeReader::integer(const TreeNode& node, const std::string& what, std::int64_t low,
                                 std::int64_t high) {
  std::int64_t out = low;
  if (node.kind == Kind::scalar && node.plain && parse_integer(node.text, low, high, out))
    return out;
  const bool any = low == INT64_MIN && high == INT64_MAX;
  fail(node, what + " must be a whole number" +
                 (any ? "" : " from " + std::to_string(low) + " to " + std::to_string(high)) +
                 ", not " + kind_name(node) + quotes_or_hint(node));
  return low;
}

double NodeReader::number(const TreeNode& node, const std::string& what, double low, double high) {
  double out = 0;
  const char* begin = node.text.data();
  const char* end = begin + node.text.size();
  const auto [stop, code] = std::from_chars(begin, end, out);
  const std::size_t sign = node.text.starts_with('-') ? 1 : 0;
  const bool padded = node.text.size() > sign + 1 && node.text[sign] == '0' &&
                      node.text[sign + 1] >= '0' && node.text[sign + 1] <= '9';  // 010: octal?
  const bool read =
      node.kind == Kind::scalar && node.plain && !padded && code == std::errc() && stop == end;
  if (read && std::isfinite(out) && out >= low && out <= high) return out;
  fail(node, what + " must be a number from " + shown_bound(low) + " to " + shown_bound(high) +
                 ", not " + kind_name(node) + quotes_or_hint(node));
  return low;
}

void NodeReader::no_quoted_number(const TreeNode& node) {
  std::int64_t number = 0;
  if (node.kind != Kind::scalar || node.plain) return;
  if (!parse_integer(node.text, INT64_MIN, INT64_MAX, number) && number_hint(node.text).empty()) {
    return;
  }
  fail(node, in_quotes(node.text) + " is a text because of its quotes; a number has none");
}

bool NodeReader::boolean(const TreeNode& node, const std::string& what) {
  bool flag = false;
  if (node.kind == Kind::scalar && node.plain && parse_boolean(node.text, flag)) return flag;
  fail(node, what + " must be true or false, not " + kind_name(node));
  return false;
}

namespace {

bool is_date(const std::string& text) {
  static const int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
  const auto number = [&](std::size_t at, std::size_t digits) {
    int value = 0;
    for (const char c : text.substr(at, digits)) {
      value = c >= '0' && c <= '9' && value >= 0 ? value * 10 + (c - '0') : -1;
    }
    return value;
  };
  const int year = number(0, 4), month = number(5, 2), day = number(8, 2);
  if (year < 1970 || month < 1 || month > 12 || day < 1) return false;
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return day <= kDays[month - 1] + (leap && month == 2 ? 1 : 0);
}

}  // namespace

std::string NodeReader::date(const TreeNode& node, const std::string& what) {
  std::string text = word(node, what);
  if (!error_ && !is_date(text))
    fail(node, what + " must be a date as 2027-03-01, not " + in_quotes(text));
  return text;
}

std::vector<std::string> NodeReader::words(const TreeNode& node, const std::string& what) {
  std::vector<std::string> out;
  for (const TreeNode& item : list(node, what)) out.push_back(word(item, what));
  return out;
}

std::string NodeReader::flat(const TreeNode& node, const std::string& what, int depth) {
  constexpr int kDeepest = 4;
  if (depth > kDeepest) fail(node, what + " is nested too deeply");
  if (error_) return {};
  std::string text;
  const bool one =
      node.kind == Kind::list && node.items.size() == 1 && what != "layers" && what != "chain";
  if (node.kind == Kind::list && !one) {
    for (const TreeNode& item : list(node, what)) {
      text += (text.empty() ? "" : "/") + flat(item, what, depth + 1);
    }
  } else if (node.kind == Kind::map) {
    if (!map(node, what, {})) return {};
    for (std::size_t i = 0; i < node.keys.size(); ++i) {
      const std::string& key = node.keys[i].text;
      text += (text.empty() ? "(" : "+") + key + ":" + flat(node.items[i], key, depth + 1);
    }
    text += ")";
  } else {
    text = word(node, what);
    no_quoted_number(node);
    if (text.find('+') != std::string::npos && text.find(':') == std::string::npos) {
      fail(node, what + ": a plus sign joins pairs; write a number without it, 1e5");
    }
  }
  return text;
}

const std::vector<TreeNode>& NodeReader::list(const TreeNode& node, const std::string& what) {
  static const std::vector<TreeNode> nothing;
  if (!is(node, Kind::list, what)) return nothing;
  if (node.items.empty()) fail(node, what + " is an empty list");
  return node.items;
}

/// A non-empty map whose keys are all known (`known` empty: any).
bool NodeReader::map(const TreeNode& node, const std::string& what,
                     const std::vector<std::string>& known) {
  if (!is(node, Kind::map, what)) return false;
  if (node.keys.empty()) fail(node, what + " is an empty map");
  for (const TreeNode& key : node.keys) {
    if (known.empty() || std::find(known.begin(), known.end(), key.text) != known.end()) continue;
    fail(key, "unknown key " + in_quotes(key.text) + " in " + what + did_you_mean(key.text, known));
    break;  // the first is told, and a hint takes its time
  }
  return !node.keys.empty();
}

Filter NodeReader::where(const TreeNode& node) {
  const std::string text = word(node, "where");
  if (error_) return {};
  auto filter = Filter::parse(text, tree_.place(node));
  if (filter) {
    for (const std::string& axis : filter->axes()) belongs(axis, node);
    return filter.value();
  }
  if (!error_) error_ = filter.error();
  return {};
}

bool NodeReader::known_axis(const TreeNode& node) {
  if (find_axis(node.text) != nullptr) return belongs(node.text, node);
  fail(node, "unknown axis " + in_quotes(node.text) + did_you_mean(node.text, axis_names()));
  return false;
}

std::vector<std::string> NodeReader::axis_list(const TreeNode& node, const std::string& what) {
  std::vector<std::string> out;
  for (const TreeNode& axis : list(node, what)) {
    if (!is(axis, Kind::scalar, "an axis of " + what) || !known_axis(axis)) continue;
    if (std::count(out.begin(), out.end(), axis.text) != 0)
      fail(axis, "axis " + axis.text + " is twice in " + what);
    if (axis.text == "model")
      fail(axis, "axis model cannot be in " + what +
                     ": another model is another function of other tokens. Each model has groups "
                     "of its own; where: model=NAME chooses one");
    out.push_back(axis.text);
  }
  return out;
}

}  // namespace isobit
