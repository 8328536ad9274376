// The entries of `measure`: which metrics of which groups of runtime configurations.
#include <algorithm>

#include "harness/scenario/tree.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

class MeasureReader : private NodeReader {
 public:
  using NodeReader::NodeReader;

  std::optional<Error> read(const TreeNode& node, std::vector<Measure>& out) {
    for (const TreeNode& item : list(node, "measure")) out.push_back(entry(item));
    return error_;
  }

 private:
  Measure entry(const TreeNode& node) {
    Measure out;
    out.place = tree_.place(node);
    if (!map(node, "an entry of measure", {"metrics", "across", "over", "where"})) return out;
    const TreeNode* names = nullptr;
    for (std::size_t i = 0; i < node.keys.size(); ++i) {
      const std::string& key = node.keys[i].text;
      const TreeNode& item = node.items[i];
      if (key == "metrics") names = &item;
      if (key == "across") out.across = axis_list(item, "across");
      if (key == "where") out.where = where(item);
      if (key == "over") out.over = choice(item, "axis of over", {"seed"});
    }
    if (names == nullptr)
      fail(node, "an entry of measure needs metrics: " + std::string("a list of their names"));
    else
      metrics(*names, out);
    if (out.across.empty())
      fail(node, "an entry of measure needs across: the axes that make its configurations");
    if (!out.over.empty() && std::count(out.across.begin(), out.across.end(), out.over) != 0)
      fail(node, "axis " + out.over + " is in across and in over; samples are no configurations");
    return out;
  }

  void metrics(const TreeNode& node, Measure& out) {
    for (const TreeNode& item : list(node, "metrics")) {
      const MetricEntry* entry = find_metric(choice(item, "metric", metric_names()));
      if (entry == nullptr) continue;  // the error is there
      if (std::count(out.metrics.begin(), out.metrics.end(), entry->metric) != 0)
        fail(item, "metric " + item.text + " is given twice");
      if (entry->samples && out.over.empty())
        fail(item, item.text + " is of several samples; add over: seed, and the axis seed");
      out.metrics.push_back(entry->metric);
    }
  }
};

}  // namespace

std::optional<Error> read_measures(const Tree& tree, const TreeNode& node,
                                   std::vector<Measure>& out) {
  return MeasureReader(tree).read(node, out);
}

bool Measure::needs_log_sums() const {
  return std::any_of(metrics.begin(), metrics.end(),
                     [](Metric metric) { return entry_of(metric).log_sums; });
}

std::string Measure::text() const {
  std::string out = "measure across ";
  for (std::size_t i = 0; i < across.size(); ++i) out += (i == 0 ? "" : ", ") + across[i];
  if (!over.empty()) out += " over " + over;
  return where.empty() ? out : out + " where " + where.text();
}

}  // namespace isobit
