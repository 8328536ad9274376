// A YAML document as a plain tree with places: between yaml-cpp (scenario.cc) and the reader
// (scenario/read.cc). Private to harness/scenario.
//
// Anchors, aliases, tags, duplicate keys, deep nesting and second documents never get this far.
#pragma once

#include <cstdint>
#include <optional>
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

/// Checked conversions of nodes that keep the first error and go on with a default, so that a
/// reader is written as its schema reads.
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
  /// Refuses a number in quotes where a text is fine too: YAML says that it is a text.
  void no_quoted_number(const TreeNode& node);
  bool boolean(const TreeNode& node, const std::string& what);
  /// A value within a value as one text: lists joined by '/', maps in parentheses, their pairs
  /// joined by '+', as canonical texts of axis values are.
  std::string flat(const TreeNode& node, const std::string& what, int depth = 0);
  /// The items of a list that is not empty; no items after an error.
  const std::vector<TreeNode>& list(const TreeNode& node, const std::string& what);
  /// The words of such a list.
  std::vector<std::string> words(const TreeNode& node, const std::string& what);
  /// A day as 2027-03-01.
  std::string date(const TreeNode& node, const std::string& what);
  /// A model's word, or the text of a merged model (harness/merged.h) from a map.
  std::string model(const TreeNode& node);
  /// A value of an axis as a person wrote it.
  RawValue raw_value(const std::string& axis, const TreeNode& node);
  RawValue raw_model(const TreeNode& node);
  /// {op: gemm, shapes: FILE}
  OperationChoice operation(const TreeNode& node);
  static bool is_operation(const TreeNode& model);
  /// A key of the file that says something of a model, in a scenario of one operation.
  void refuse_key(const TreeNode& key);
  /// Whether it is a map that is not empty; its keys must be known (`known` empty: any).
  bool map(const TreeNode& node, const std::string& what, const std::vector<std::string>& known);

  /// The filter of a `where`.
  Filter where(const TreeNode& node);
  /// Whether a key or a word names an axis.
  bool known_axis(const TreeNode& node);
  /// A value of a known axis; seeds and files are the caller's to look at.
  AxisValue axis_value_of(const std::string& axis, const TreeNode& node, ValueUse use);
  /// A list of different axes, none of which is `model`: cells of two models are not compared.
  std::vector<std::string> axis_list(const TreeNode& node, const std::string& what);

  /// Whether an axis is one of this scenario's; known_axis() and where() ask.
  bool belongs(const std::string& axis, const TreeNode& node);

  const Tree& tree_;
  std::optional<Error> error_;
  OperationKind operation_ = OperationKind::none;  // of the scenario
};

/// Appends the entries of `measure` (scenario/measures.cc); gives the first error. Whether the
/// scenario varies the axis of `over` is asked by whoever has read the whole file.
std::optional<Error> read_measures(const Tree& tree, const TreeNode& node,
                                   std::vector<Measure>& out);

/// What measures need of the rest of the file: axes' values, recorded values
/// (scenario/measures.cc).
std::optional<Error> check_measures(const Scenario& scenario);
/// `observe`: a level, or a map of a level and of rows wanted by value (scenario/observe.cc).
std::optional<Error> read_observe(const Tree& tree, const TreeNode& node, Scenario& scenario);
/// A seed that the axis `seed` and a value of `decode` both give, and samples without seeds.
std::optional<Error> check_draws(const Scenario& scenario, bool has_seeds);
/// Two models with one name: cells could not tell them apart.
std::optional<Error> check_model_names(const Scenario& scenario);

/// What the scenario of one operation cannot ask (scenario/read_operation.cc); nothing: all is
/// fine.
std::optional<Error> check_operation(const Scenario& scenario);

/// Tree -> Scenario without path and text (scenario/read.cc).
Result<Scenario> read_scenario(const Tree& tree);

}  // namespace isobit
