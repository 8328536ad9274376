// Places and overrides on the tree of a scenario.
#include "harness/scenario/tree.h"

#include <algorithm>

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

}  // namespace isobit
