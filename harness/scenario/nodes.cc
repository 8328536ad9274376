// Conversions of tree nodes: each says what it wanted and what it got.
#include "harness/scenario/nodes.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "harness/axes/axes.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

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

}  // namespace

bool NodeReader::is(const TreeNode& node, Kind kind, const std::string& what) {
  if (node.kind == kind) return true;
  const char* wanted = kind == Kind::map ? "a map" : kind == Kind::list ? "a list" : "a value";
  fail(node, what + " must be " + wanted + ", not " + kind_name(node));
  return false;
}

std::string NodeReader::word(const TreeNode& node, const std::string& what) {
  if (!is(node, Kind::scalar, what)) return "";
  if (node.text.empty()) fail(node, what + " is empty");
  const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  if (std::any_of(node.text.begin(), node.text.end(), control))
    fail(node, what + " must be one line of text");
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
                 ", not " + kind_name(node) + (node.plain ? "" : " in quotes"));
  return low;
}

double NodeReader::number(const TreeNode& node, const std::string& what, double low, double high) {
  double out = 0;
  const char* begin = node.text.data();
  const char* end = begin + node.text.size();
  const auto [stop, code] = std::from_chars(begin, end, out);
  const bool read = node.kind == Kind::scalar && node.plain && code == std::errc() && stop == end;
  if (read && std::isfinite(out) && out >= low && out <= high) return out;
  fail(node, what + " must be a number from " + shown_bound(low) + " to " + shown_bound(high) +
                 ", not " + kind_name(node) + (node.plain ? "" : " in quotes"));
  return low;
}

bool NodeReader::boolean(const TreeNode& node, const std::string& what) {
  bool flag = false;
  if (node.kind == Kind::scalar && node.plain && parse_boolean(node.text, flag)) return flag;
  fail(node, what + " must be true or false, not " + kind_name(node));
  return false;
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
  }
  return !node.keys.empty();
}

}  // namespace isobit
