// Checked conversions of tree nodes that keep the first error and go on with a default, so that a
// reader is written as its schema reads. Private to harness/scenario*.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/scenario/tree.h"

namespace isobit {

class NodeReader {
 public:
  /// REQUIRES: the tree outlives the reader.
  explicit NodeReader(const Tree& tree) : tree_(tree) {}

 protected:
  void fail(const TreeNode& node, const std::string& message) {
    if (!error_) error_ = Error{message, tree_.place(node)};
  }
  bool is(const TreeNode& node, TreeNode::Kind kind, const std::string& what);
  /// One line of text that is not empty.
  std::string word(const TreeNode& node, const std::string& what);
  std::string choice(const TreeNode& node, const std::string& what,
                     const std::vector<std::string>& words);
  std::int64_t integer(const TreeNode& node, const std::string& what, std::int64_t low,
                       std::int64_t high);
  double number(const TreeNode& node, const std::string& what, double low, double high);
  bool boolean(const TreeNode& node, const std::string& what);
  /// The items of a list that is not empty; no items after an error.
  const std::vector<TreeNode>& list(const TreeNode& node, const std::string& what);
  /// Whether it is a map that is not empty; its keys must be known (`known` empty: any).
  bool map(const TreeNode& node, const std::string& what, const std::vector<std::string>& known);

  const Tree& tree_;
  std::optional<Error> error_;
};

}  // namespace isobit
