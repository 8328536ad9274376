// The entries of `measure`: which metrics of which groups of runtime configurations.
#include <algorithm>

#include "harness/axes/axes.h"
#include "harness/scenario/tree.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr const char* kPatchAxis = "patch";

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
    if (!map(node, "an entry of measure", {"metrics", "across", "over", "where", "against"}))
      return out;
    const TreeNode *names = nullptr, *reference = nullptr;
    for (std::size_t i = 0; i < node.keys.size(); ++i) {
      const std::string& key = node.keys[i].text;
      const TreeNode& item = node.items[i];
      if (key == "metrics") names = &item;
      if (key == "across") out.across = axis_list(item, "across");
      if (key == "where") out.where = where(item);
      if (key == "against") reference = &item;
      if (key == "over") out.over = choice(item, "axis of over", {"seed"});
    }
    if (names == nullptr) {
      fail(node, "an entry of measure needs metrics: " + std::string("a list of their names"));
    } else {
      metrics(*names, out);
    }
    if (out.across.empty())
      fail(node, "an entry of measure needs across: the axes that make its configurations");
    if (!out.over.empty() && std::count(out.across.begin(), out.across.end(), out.over) != 0)
      fail(node, "axis " + out.over + " is in across and in over; samples are no configurations");
    if (reference != nullptr && !error_) against(*reference, out);
    return out;
  }

  void against(const TreeNode& node, Measure& out) {
    if (!out.has_pairs())
      fail(node, "against names the reference of pairs, and no metric here is of pairs");
    if (!map(node, "against", out.across)) return;
    for (std::size_t i = 0; i < node.keys.size(); ++i) {
      const std::string& axis = node.keys[i].text;
      if (known_axis(node.keys[i])) {
        out.against[axis] = axis_value_of(axis, node.items[i], ValueUse::exact);
      }
    }
  }

  void metrics(const TreeNode& node, Measure& out) {
    for (const TreeNode& item : list(node, "metrics")) {
      const MetricEntry* entry = find_metric(choice(item, "metric", metric_names()));
      if (entry == nullptr) continue;  // the error is there
      if (std::count(out.metrics.begin(), out.metrics.end(), entry->metric) != 0)
        fail(item, "metric " + item.text + " is given twice");
      if (entry->samples && out.over.empty())
        fail(item, item.text + " is of several samples; add over: seed, and the axis seed");
      if (entry->metric == Metric::recovery &&
          std::count(out.across.begin(), out.across.end(), std::string(kPatchAxis)) == 0)
        fail(item, "recovery is of patched runs; across must have the axis patch");
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

bool Measure::has_pairs() const {
  return std::any_of(metrics.begin(), metrics.end(),
                     [](Metric metric) { return entry_of(metric).of_pairs(); });
}

bool Measure::needs(PairNeed need) const {
  return std::any_of(metrics.begin(), metrics.end(),
                     [need](Metric metric) { return entry_of(metric).need == need; });
}

bool Measure::needs_values() const {
  return std::any_of(metrics.begin(), metrics.end(),
                     [](Metric metric) { return entry_of(metric).by_value(); });
}

bool Measure::needs_inner_values() const {
  return needs(PairNeed::layers) || needs(PairNeed::keys) || needs(PairNeed::values);
}

std::optional<Error> check_measures(const Scenario& scenario) {
  for (const Measure& measure : scenario.measures) {
    for (const auto& [need, site] :
         {std::pair(PairNeed::layers, Site::h2), std::pair(PairNeed::keys, Site::k_seen),
          std::pair(PairNeed::values, Site::v_seen)}) {
      const auto& sites = scenario.values.sites;
      if (!measure.needs(need) || std::count(sites.begin(), sites.end(), site) != 0) continue;
      const std::string name = name_of(site);
      return Error{measure.text() + ": its metrics need values of " + name +
                       "; add observe: {values: {sites: [" + name + "]}}",
                   measure.place};
    }
    for (const auto& [axis, value] : measure.against) {
      const std::vector<std::string> known = value_texts(scenario, axis);
      if (std::count(known.begin(), known.end(), value.text) != 0 || known.empty()) continue;
      return Error{"against names " + axis + " " + in_quotes(value.text) + ", which no cell has" +
                       among_known(value.text, known),
                   value.place};
    }
  }
  return {};
}

std::string Measure::text() const {
  std::string out = "measure across ";
  for (std::size_t i = 0; i < across.size(); ++i) out += (i == 0 ? "" : ", ") + across[i];
  if (!over.empty()) out += " over " + over;
  for (const auto& [axis, value] : against) {
    out += (axis == against.begin()->first ? " against " : ",") + axis + "=" + value.text;
  }
  return where.empty() ? out : out + " where " + where.text();
}

}  // namespace isobit
