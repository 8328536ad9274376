// A YAML document as a plain tree with places: between yaml-cpp (scenario.cc) and the reader
// (scenario/read.cc). Private to harness/scenario*.cc.
//
// Anchors, aliases, tags, duplicate keys, deep nesting and second documents never get this far.
#pragma once

#include <string>
#include <vector>

#include "harness/scenario/scenario.h"
#include "runtime/base/result.h"

namespace isobit {

struct TreeNode {
  enum class Kind { null, scalar, list, map };
  Kind kind = Kind::null;
  std::string text;             // scalar
  bool plain = true;            // scalar without quotes
  int line = 1, column = 1;     // 1-based; columns count bytes; line 0: the whole override
  int origin = -1;              // -1: the file, else the index of an override
  std::vector<TreeNode> keys;   // map: scalars, keys[i] -> items[i]
  std::vector<TreeNode> items;  // list, map
};

struct Tree {
  std::string path;                    // of the file, for messages
  std::vector<std::string> overrides;  // as given: "axes.batch=[1,2]"
  TreeNode root;

  /// "file:line:column", or "--set axes.batch=[1,2], column 14".
  [[nodiscard]] std::string place(const TreeNode& node) const;
};

/// Sets the value at a dotted path (keys, or list indices from 0); missing keys are created.
Result<void> set_path(Tree& tree, int override_index, const std::string& dotted,
                      const TreeNode& value);

/// Tree -> Scenario without path and text (scenario/read.cc).
Result<Scenario> read_scenario(const Tree& tree);

}  // namespace isobit
