// The key `model`: a word, or a map of base, tasks, merge and store (scenario/tree.h).
#include "harness/merged.h"
#include "harness/scenario/tree.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

using Kind = TreeNode::Kind;

/// Reads the map; the checks that need no place are harness/merged.h's.
class MergedReader : public NodeReader {
 public:
  using NodeReader::NodeReader;

  Result<std::string> read(const TreeNode& node) {
    map(node, "model", {"base", "tasks", "merge", "store"});
    for (std::size_t i = 0; i < node.keys.size(); ++i) part(node.keys[i].text, node.items[i]);
    if (error_) return *error_;
    const MergedProblem problem = check(merged_);
    if (problem.message.empty()) return text_of(merged_);
    const TreeNode* at = &node;
    for (std::size_t i = 0; i < node.keys.size(); ++i) {
      if (node.keys[i].text == problem.key) at = &node.items[i];
    }
    return Error{"model: " + problem.key + " " + problem.message, tree_.place(*at)};
  }

 private:
  MergedModel merged_;

  void part(const std::string& key, const TreeNode& node) {
    if (key == "base") merged_.base = word(node, "base");
    if (key == "merge" && !is_none(node)) merge(node);
    if (key == "store" && !is_none(node)) store(node);
    if (key != "tasks" || !is(node, Kind::list, "tasks")) return;
    for (const TreeNode& item : node.items) merged_.tasks.push_back(word(item, "a task"));
  }

  static bool is_none(const TreeNode& node) {
    return node.kind == Kind::scalar && node.text == "none";
  }

  /// The one key of a map, which is known; null after an error.
  const TreeNode* only(const TreeNode& node, const std::string& what,
                       const std::vector<std::string>& known) {
    if (node.kind != Kind::map) {
      fail(node, what + " must be none or a map of one key: " + known.front() +
                     (known.size() > 1 ? ", " + known[1] + " or " + known[2] : ""));
    }
    if (!map(node, what, known) || error_) return nullptr;
    if (node.keys.size() == 1) return &node.items[0];
    fail(node.keys[1], what + " is one of them, not several");
    return nullptr;
  }

  void merge(const TreeNode& node) {
    const TreeNode* scale = only(node, "merge", {"arithmetic"});
    if (scale != nullptr)
      merged_.scale = number(*scale, "arithmetic", -kLargestScale, kLargestScale);
  }

  int bits(const TreeNode& node, const std::string& what) {
    return int(integer(node, what, 1, kMostTaskBits));
  }

  void store(const TreeNode& node) {
    const TreeNode* value = only(node, "store", {"tvq", "rtvq", "rtn"});
    if (value == nullptr) return;
    const std::string& kind = node.keys[0].text;
    if (kind != "rtvq") {
      const auto its = kind == "tvq" ? TaskStore::Kind::tvq : TaskStore::Kind::rtn;
      merged_.store = {its, bits(*value, kind), 0};
      return;
    }
    const std::vector<TreeNode>& both = list(*value, "rtvq");
    if (error_) return;
    if (both.size() != 2) return fail(*value, "rtvq must be [bits of the base, of an offset]");
    merged_.store = {TaskStore::Kind::rtvq, bits(both[1], "rtvq"), bits(both[0], "rtvq")};
  }
};

}  // namespace

std::string NodeReader::model(const TreeNode& node) {
  Result<std::string> text("");
  if (node.kind == Kind::map) {
    text = MergedReader(tree_).read(node);
  } else {
    text = word(node, "model");
    if (error_ || !is_merged(*text)) return *text;
    const auto merged = parse_merged(*text);
    if (merged) return text_of(*merged);
    text = Error{merged.error().message, tree_.place(node)};
  }
  if (text) return *text;
  if (!error_) error_ = text.error();
  return "";
}

}  // namespace isobit
