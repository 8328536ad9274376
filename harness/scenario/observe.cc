// The key `observe`: how much a trace records, and which inner rows cells give by value.
#include <algorithm>

#include "harness/scenario/tree.h"

namespace isobit {
namespace {

constexpr std::int64_t kMostLayers = 1000, kMostPrompts = 1000000;

class ObserveReader : private NodeReader {
 public:
  using NodeReader::NodeReader;

  std::optional<Error> read(const TreeNode& node, Scenario& out) {
    if (node.kind != TreeNode::Kind::map) {
      out.observe = level(node);
      return error_;
    }
    if (!map(node, "observe", {"level", "values"})) return error_;
    for (std::size_t i = 0; i < node.keys.size(); ++i) {
      if (node.keys[i].text == "level") out.observe = level(node.items[i]);
      if (node.keys[i].text == "values") values(node.items[i], out.values);
    }
    return error_;
  }

 private:
  TraceLevel level(const TreeNode& node) {
    const std::string word = choice(node, "observe", {"logits", "layers", "ops"});
    return word == "ops"      ? TraceLevel::ops
           : word == "layers" ? TraceLevel::layers
                              : TraceLevel::logits;
  }

  void values(const TreeNode& node, ValueChoice& out) {
    if (!map(node, "values", {"sites", "layers", "prompts"})) return;
    const TreeNode* sites = nullptr;
    for (std::size_t i = 0; i < node.keys.size(); ++i) {
      const std::string& key = node.keys[i].text;
      const TreeNode& item = node.items[i];
      if (key == "sites") sites = &item;
      if (key == "layers") out.layers = layers(item);
      if (key == "prompts") out.prompts = integer(item, "prompts", 1, kMostPrompts);
    }
    if (sites == nullptr) return fail(node, "values needs sites: a list of them, e.g. [h2, h1]");
    out.sites = read_sites(*sites);
  }

  std::vector<Site> read_sites(const TreeNode& node) {
    std::vector<std::string> known;
    for (int i = 0; i < kValueSites; ++i) {
      if (Site(i) != Site::logits) known.emplace_back(name_of(Site(i)));  // measures ask for those
    }
    std::vector<Site> out;
    for (const TreeNode& item : list(node, "sites")) {
      const std::string name = choice(item, "site", known);
      for (int i = 0; i < kValueSites; ++i) {
        if (name != name_of(Site(i))) continue;
        if (std::count(out.begin(), out.end(), Site(i)) != 0)
          fail(item, "site " + name + " is given twice");
        out.push_back(Site(i));
      }
    }
    return out;
  }

  std::vector<std::int32_t> layers(const TreeNode& node) {
    std::vector<std::int32_t> out;
    if (node.kind != TreeNode::Kind::list) {
      choice(node, "layers", {"all"});
      return out;
    }
    for (const TreeNode& item : list(node, "layers")) {
      const auto layer = std::int32_t(integer(item, "layer", 0, kMostLayers - 1));
      if (std::count(out.begin(), out.end(), layer) != 0)
        fail(item, "layer " + item.text + " is given twice");
      out.push_back(layer);
    }
    return out;
  }
};

}  // namespace

std::optional<Error> read_observe(const Tree& tree, const TreeNode& node, Scenario& scenario) {
  return ObserveReader(tree).read(node, scenario);
}

}  // namespace isobit
