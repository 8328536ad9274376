// Configurations by their values of `across`, in the order of the matrix.
#include "harness/judge/pairs.h"

#include <algorithm>
#include <map>

namespace isobit {
namespace {

constexpr const char* kPatch = "patch";  // an axis of other scenarios too: asked for by its name

using Values = std::map<std::string, std::string>;  // by axis

struct Configuration {
  Values values;
  std::vector<std::pair<std::string, int>> samples;  // value of `over`, cell
};

std::string text_of(const Measure& measure, const Values& values) {
  std::string out;
  for (const std::string& axis : measure.across) {
    out += (out.empty() ? "" : ",") + axis + "=" + values.at(axis);
  }
  return out;
}

std::vector<Configuration> configurations_of(const Measure& measure, const Group& group,
                                             const Matrix& matrix) {
  std::vector<Configuration> out;
  for (const int i : group.cells) {
    const Cell& cell = matrix.cells[std::size_t(i)];
    Values values;
    for (const std::string& axis : measure.across) values[axis] = cell.value(axis);
    auto at = std::find_if(out.begin(), out.end(),
                           [&](const Configuration& one) { return one.values == values; });
    if (at == out.end()) at = out.insert(out.end(), {values, {}});
    at->samples.emplace_back(measure.over.empty() ? "" : cell.value(measure.over), i);
  }
  return out;
}

/// The place of a configuration with these values, or -1.
int find(const std::vector<Configuration>& all, const Values& values) {
  const auto at = std::find_if(all.begin(), all.end(),
                               [&](const Configuration& one) { return one.values == values; });
  return at == all.end() ? -1 : int(at - all.begin());
}

Values reference_of(const Measure& measure, const std::vector<Configuration>& all,
                    const Configuration& one) {
  Values out = one.values;
  if (!measure.against.empty()) {
    for (const auto& [axis, value] : measure.against) out[axis] = value.text;
    return out;
  }
  for (auto& [axis, value] : out) value = usual_value(axis).text;
  return find(all, out) >= 0 ? out : all.front().values;
}

std::vector<std::pair<int, int>> joined(const Configuration& reference, const Configuration& one) {
  std::vector<std::pair<int, int>> out;
  for (const auto& [sample, cell] : one.samples) {
    for (const auto& [other, base] : reference.samples) {
      if (other == sample) out.emplace_back(base, cell);
    }
  }
  return out;
}

bool is_equal(const CellTrace& a, const CellTrace& b) {
  if (cell_root(a) != cell_root(b) || a.prompts.size() != b.prompts.size()) return false;
  for (std::size_t p = 0; p < a.prompts.size(); ++p) {
    if (a.prompts[p].observations != b.prompts[p].observations) return false;
  }
  return true;
}

bool has_rows(const JudgeCell& cell) {
  return cell.state == JudgeCell::State::executed && is_comparable(cell, true);
}

}  // namespace

std::vector<ConfigurationPair> pairs_of(const Measure& measure, const Group& group,
                                        const Matrix& matrix) {
  const std::vector<Configuration> all = configurations_of(measure, group, matrix);
  std::vector<ConfigurationPair> out;
  std::vector<Values> unpatched;  // by pair; empty: not patched
  for (const Configuration& one : all) {
    const Values values = reference_of(measure, all, one);
    if (values == one.values) continue;
    ConfigurationPair pair{text_of(measure, one.values), text_of(measure, values), {}, -1};
    const int reference = find(all, values);
    if (reference >= 0) pair.cells = joined(all[std::size_t(reference)], one);
    out.push_back(std::move(pair));
    Values& without = unpatched.emplace_back();
    const auto patch = one.values.find(kPatch);
    if (patch == one.values.end() || patch->second == "none") continue;
    without = one.values;
    without[kPatch] = "none";
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (unpatched[i].empty()) continue;
    const std::string text = text_of(measure, unpatched[i]);
    const auto at = std::find_if(out.begin(), out.end(), [&](const ConfigurationPair& pair) {
      return pair.configuration == text && pair.reference == out[i].reference;
    });
    if (at != out.end()) out[i].unpatched = int(at - out.begin());
  }
  return out;
}

std::vector<std::pair<int, int>> equal_pairs(const Group& group,
                                             const std::vector<JudgeCell>& cells) {
  std::vector<std::pair<int, int>> out;
  std::vector<int> firsts;
  for (const int i : group.cells) {
    const JudgeCell& cell = cells[std::size_t(i)];
    if (!has_rows(cell)) continue;
    const auto first = std::find_if(firsts.begin(), firsts.end(), [&](int f) {
      return is_equal(cells[std::size_t(f)].attempts.front(), cell.attempts.front());
    });
    if (first == firsts.end()) {
      firsts.push_back(i);
    } else {
      out.emplace_back(*first, i);
    }
  }
  return out;
}

std::vector<std::pair<int, int>> value_pairs(const Measure& measure, const Group& group,
                                             const Matrix& matrix,
                                             const std::vector<JudgeCell>& cells) {
  if (!measure.needs_values()) return {};
  std::vector<std::pair<int, int>> out = equal_pairs(group, cells);
  for (const ConfigurationPair& pair : pairs_of(measure, group, matrix)) {
    for (const auto& [a, b] : pair.cells) {
      if (has_rows(cells[std::size_t(a)]) && has_rows(cells[std::size_t(b)])) {
        out.emplace_back(a, b);
      }
    }
  }
  return out;
}

}  // namespace isobit
