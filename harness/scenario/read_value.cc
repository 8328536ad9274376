// A value of an axis as a file has it: scalars, maps, and what nests in them (tree.h).
#include <filesystem>

#include "harness/axes/axes.h"
#include "harness/scenario/tree.h"
#include "runtime/base/option_text.h"
#include "runtime/base/words.h"

namespace isobit {

AxisValue NodeReader::axis_value_of(const std::string& axis, const TreeNode& node, ValueUse use) {
  RawValue raw;
  const Axis* known = find_axis(axis);
  const bool nests = known != nullptr && known->nests;
  if (node.kind == TreeNode::Kind::map) {
    if (!map(node, "a value of axis " + axis, {})) return {};
    for (std::size_t i = 0; i < node.keys.size(); ++i) {
      const std::string& key = node.keys[i].text;
      const TreeNode& item = node.items[i];
      if (known != nullptr && known->lists && item.kind == TreeNode::Kind::list) {
        raw.pairs.emplace_back(key, list_text(words(item, key)));
        continue;
      }
      const bool plain = known != nullptr && known->lists;
      raw.pairs.emplace_back(key, nests   ? flat(item, key)
                                  : plain ? escaped(word(item, key))
                                          : word(item, key));
      if (!nests) no_quoted_number(item);
    }
  } else {
    raw.scalar = word(node, "a value of axis " + axis);
    no_quoted_number(node);
  }
  if (error_) return {};
  raw.folder = std::filesystem::path(tree_.path).parent_path().string();
  auto canonical = axis_value(axis, raw, use);
  if (canonical) {
    canonical->place = tree_.place(node);
    return *canonical;
  }
  fail(node, canonical.error().message);
  return {};
}

}  // namespace isobit
