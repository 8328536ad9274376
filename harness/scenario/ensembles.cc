// Tree -> rules of kind ensemble.
#include "harness/scenario/ensembles.h"

#include <algorithm>

#include "harness/axes/axes.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr std::int64_t kMostBins = 1000;

class EnsembleReader : private NodeReader {
 public:
  using NodeReader::NodeReader;

  std::optional<Error> read(const TreeNode& node, std::vector<Expectation>& rules) {
    for (const TreeNode& entry : list(node, "ensemble")) rules.push_back(rule(entry));
    return error_;
  }

 private:
  Expectation rule(const TreeNode& entry) {
    Expectation out;
    out.kind = Expectation::Kind::ensemble;
    out.place = tree_.place(entry);
    if (!map(entry, "an entry of ensemble", {"across", "where", "bins"})) return out;
    for (std::size_t i = 0; i < entry.keys.size(); ++i) {
      const std::string& key = entry.keys[i].text;
      const TreeNode& item = entry.items[i];
      if (key == "bins") out.bins = integer(item, "bins", 1, kMostBins);
      if (key == "where") where(item, out);
      if (key == "across") across(item, out);
    }
    const auto& axes = out.across;
    if (std::find(axes.begin(), axes.end(), "weights") == axes.end()) {
      fail(entry, "the members of an ensemble differ in their weights: across must name weights");
    }
    return out;
  }

  void where(const TreeNode& node, Expectation& out) {
    const std::string text = word(node, "where");
    if (error_) return;
    auto filter = Filter::parse(text, tree_.place(node));
    if (filter) {
      out.where = std::move(*filter);
    } else {
      error_ = filter.error();
    }
  }

  void across(const TreeNode& node, Expectation& out) {
    for (const TreeNode& axis : list(node, "across")) {
      if (!is(axis, TreeNode::Kind::scalar, "an axis of across")) continue;
      if (find_axis(axis.text) == nullptr) {
        fail(axis, "unknown axis " + in_quotes(axis.text) + did_you_mean(axis.text, axis_names()));
      }
      if (std::count(out.across.begin(), out.across.end(), axis.text) != 0) {
        fail(axis, "axis " + axis.text + " is twice in across");
      }
      out.across.push_back(axis.text);
    }
  }
};

}  // namespace

std::optional<Error> read_ensembles(const Tree& tree, const TreeNode& node,
                                    std::vector<Expectation>& rules) {
  return EnsembleReader(tree).read(node, rules);
}

}  // namespace isobit
