// Tree -> rules of kind ensemble.
#include "harness/scenario/ensembles.h"

#include <algorithm>

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
      if (key == "where") out.where = where(item);
      if (key == "across") out.across = axis_list(item, "across");
    }
    const auto& axes = out.across;
    if (std::find(axes.begin(), axes.end(), "weights") == axes.end()) {
      fail(entry, "the members of an ensemble differ in their weights: across must name weights");
    }
    return out;
  }
};

}  // namespace

std::optional<Error> read_ensembles(const Tree& tree, const TreeNode& node,
                                    std::vector<Expectation>& rules) {
  return EnsembleReader(tree).read(node, rules);
}

}  // namespace isobit
