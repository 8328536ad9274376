// The pairs of a measured group: the identity control first, then what the scenario asks.
#include <algorithm>

#include "harness/judge/pair_metrics.h"
#include "harness/judge/pairs.h"
#include "harness/judge/steps.h"
#include "harness/matrix/patches.h"

namespace isobit::judge_steps {
namespace {

const PairValues* values_of(const Judging& all, std::pair<int, int> cells) {
  if (all.in.pairs == nullptr) return nullptr;
  const auto at = all.in.pairs->find(cells);
  return at == all.in.pairs->end() ? nullptr : &at->second;
}

/// Sites whose values must be equal where two cells are: those with equal digests, and what the
/// caches show where they follow one policy and nothing is put in, which a patch of the stream does
/// above the K of its layer.
std::vector<std::string> equal_sites(const CellTrace& a, const CellTrace& b, bool patched) {
  std::vector<std::string> out;
  for (int i = 0; i < kSites; ++i) {
    if (records(a.level, Site(i)) && records(b.level, Site(i))) out.emplace_back(name_of(Site(i)));
  }
  if (!patched && a.observed.kv == b.observed.kv) {
    out.insert(out.end(), {name_of(Site::k_seen), name_of(Site::v_seen)});
  }
  return out;
}

/// What is wrong with the values of two cells; `equal`: their bits are.
std::string fault_of(const Judging& all, std::pair<int, int> cells, bool equal) {
  const PairValues* values = values_of(all, cells);
  if (values == nullptr) return "";
  if (!values->wrong.empty() || !equal) return values->wrong;
  const auto is_patched = [&](int i) {
    return patch_of(all.in.matrix.cells[std::size_t(i)]) != nullptr;
  };
  return not_identical(values->rows, values->layers,
                       equal_sites(all.trace(cells.first), all.trace(cells.second),
                                   is_patched(cells.first) || is_patched(cells.second)));
}

/// Every equal pair has distances of 0, and every value is the one that was recorded.
IdentityControl control_of(Judging& all, const Group& group,
                           const std::vector<ConfigurationPair>& pairs) {
  IdentityControl out;
  const auto look = [&](std::pair<int, int> cells, bool equal) {
    const std::string fault = fault_of(all, cells, equal);
    if (equal && fault.empty()) ++out.exact;
    if (fault.empty()) return;
    const PairValues* values = values_of(all, cells);
    const bool one = values != nullptr && !values->wrong.empty();
    const Judgement mistrusted{Verdict::mistrusted, Severity::none, "identity control: " + fault};
    if (!one || values->wrong_reference) all.raise(cells.first, mistrusted);
    if (!one || !values->wrong_reference) all.raise(cells.second, mistrusted);
    if (out.problem.empty()) {
      out.problem = all.name(cells.second) + " against " + all.name(cells.first) + ": " + fault;
    }
  };
  for (const std::pair<int, int>& cells : equal_pairs(group, all.in.cells)) {
    if (values_of(all, cells) == nullptr) continue;
    ++out.pairs;
    look(cells, true);
  }
  for (const ConfigurationPair& pair : pairs) {
    for (const std::pair<int, int>& cells : pair.cells) look(cells, false);
  }
  return out;
}

/// Whether `reference` is the run whose rows were put into `patched`; a cell without a patch has
/// the recovery 0 against any.
bool is_donor_of(const Cell& reference, const Cell& patched) {
  const PatchValue* const patch = patch_of(patched);
  if (patch == nullptr) return true;
  const Cell donor = *donor_of(patched);
  const auto same = [&](const auto& axis) {
    return axis.second.text == reference.value(axis.first);
  };
  return patch->spec.prompt.empty() && std::all_of(donor.axes.begin(), donor.axes.end(), same);
}

bool is_forced(const Cell& cell) {
  return !is_usual("teacher_forced", cell.at("teacher_forced"));
}

/// Layers of another sample into those of the samples before it.
void join(const std::vector<LayerSum>& more, std::vector<LayerSum>& all) {
  for (const LayerSum& sum : more) {
    const auto at = std::find_if(all.begin(), all.end(), [&](const LayerSum& each) {
      return each.layer == sum.layer && each.site == sum.site;
    });
    if (at == all.end()) {
      all.push_back(sum);
      continue;
    }
    at->rows += sum.rows;
    at->distance += sum.distance, at->norm += sum.norm, at->squares += sum.squares;
    at->max_abs = std::max(at->max_abs, sum.max_abs);
    at->magnitude += sum.magnitude, at->direction += sum.direction;
    at->evicted += sum.evicted;
  }
}

std::vector<PairRow> numbered(std::vector<PairRow> rows, std::size_t sample) {
  for (PairRow& row : rows) row.sample = std::int32_t(sample);
  return rows;
}

void append(std::vector<PairRow>&& more, std::vector<PairRow>& all) {
  all.insert(all.end(), more.begin(), more.end());
}

/// The samples that both sides have a result of.
std::vector<std::pair<int, int>> with_results(const Judging& all, const ConfigurationPair& pair) {
  std::vector<std::pair<int, int>> out;
  for (const auto& [a, b] : pair.cells) {
    if (is_comparable(all.cell(a), true) && is_comparable(all.cell(b), true))
      out.emplace_back(a, b);
  }
  return out;
}

PairEvidence evidence_of(const Judging& all, const std::vector<std::pair<int, int>>& samples,
                         bool by_value) {
  PairEvidence out;
  out.teacher_forced = true;
  for (std::size_t s = 0; s < samples.size(); ++s) {
    const auto& [a, b] = samples[s];
    out.traces.emplace_back(&all.trace(a), &all.trace(b));
    for (const int i : {a, b}) {
      out.teacher_forced = out.teacher_forced && is_forced(all.in.matrix.cells[std::size_t(i)]);
    }
    if (!by_value) continue;
    const PairValues* values = values_of(all, samples[s]);
    if (values == nullptr) {
      out.no_values = "rows by value are of cells that were executed in this run";
      continue;
    }
    if (out.no_values.empty()) out.no_values = values->problem;
    append(numbered(values->rows, s), out.rows);
    join(values->layers, out.layers);
    out.keys.append(values->keys);
    out.values.append(values->values);
    out.one_type = out.one_type && values->one_type;
  }
  return out;
}

MeasuredPair measured_pair(const Judging& all, const Measure& measure,
                           const std::vector<ConfigurationPair>& pairs, std::size_t at) {
  const ConfigurationPair& pair = pairs[at];
  MeasuredPair out;
  out.configuration = pair.configuration;
  out.reference = pair.reference;
  out.cells = with_results(all, pair);
  if (pair.cells.empty()) out.problem = "the group has no cell of the reference";
  if (out.problem.empty() && out.cells.empty()) out.problem = "one of the two has no result";
  if (!out.problem.empty()) return out;
  PairEvidence evidence = evidence_of(all, out.cells, measure.needs_values());
  if (pair.unpatched >= 0) {
    const auto recipient = with_results(all, pairs[std::size_t(pair.unpatched)]);
    for (std::size_t s = 0; s < recipient.size(); ++s) {
      const PairValues* values = values_of(all, recipient[s]);
      if (values == nullptr) continue;
      append(numbered(values->rows, s), evidence.donor);
      evidence.patched = true;
    }
  }
  evidence.of_donor = std::all_of(out.cells.begin(), out.cells.end(), [&](const auto& each) {
    return is_donor_of(all.in.matrix.cells[std::size_t(each.first)],
                       all.in.matrix.cells[std::size_t(each.second)]);
  });
  out.values = measure_pair(measure.metrics, evidence);
  out.layers = std::move(evidence.layers);
  out.rows = std::move(evidence.rows);
  return out;
}

}  // namespace

void measure_pairs(Judging& all, const Measure& measure, const Group& group,
                   MeasuredGroup& measured) {
  const std::vector<ConfigurationPair> pairs = pairs_of(measure, group, all.in.matrix);
  if (measure.needs_values()) measured.control = control_of(all, group, pairs);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (measured.control.problem.empty()) {
      measured.pairs.push_back(measured_pair(all, measure, pairs, i));
      continue;
    }
    MeasuredPair& none = measured.pairs.emplace_back();
    none.configuration = pairs[i].configuration;
    none.reference = pairs[i].reference;
    none.problem = "the identity control failed";
  }
  if (measured.control.problem.empty()) return;
  for (MetricValue& value : measured.values) {
    value.value.reset(), value.error.reset();
    value.reason = "the identity control failed";
  }
}

}  // namespace isobit::judge_steps
