// The report as JSON for other programs: everything, nothing rounded for people.
//
// "format" rises when a key changes its meaning or goes; new keys may come at any time. Floats that
// decide something are given twice: as a number and as a hexadecimal float in <key>_hex.
#include <nlohmann/json.hpp>
#include <string>

#include "harness/metric.h"
#include "harness/score/score.h"
#include "reports/describe.h"
#include "reports/report.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

constexpr int kJsonFormat = 1;
using Json = nlohmann::ordered_json;

std::string clean(const std::string& bytes) {
  return text::valid_utf8(bytes);
}

Json strings(const std::vector<std::string>& values) {
  Json out = Json::array();
  for (const std::string& value : values) out.push_back(clean(value));
  return out;
}

Json strings(const std::map<std::string, std::string>& values) {
  Json out = Json::object();
  for (const auto& [key, value] : values) out[clean(key)] = clean(value);
  return out;
}

Json distance_json(const RowDistance& distance) {
  return {{"differing", distance.differing},
          {"max_abs", distance.max_abs},
          {"max_abs_hex", text::hex_float(distance.max_abs)},
          {"max_ulp", distance.max_ulp},
          {"kl", distance.kl},
          {"kl_hex", text::hex_float(distance.kl)},
          {"js", distance.js},
          {"total_variation", distance.total_variation},
          {"margin_a", distance.margin_a},
          {"margin_b", distance.margin_b},
          {"argmax_a", distance.argmax_a},
          {"argmax_b", distance.argmax_b},
          {"first_segment", distance.first_segment},
          {"first_element", distance.first_element}};
}

Json divergence_json(const Difference& divergence) {
  if (!divergence.present) return nullptr;
  Json out = {{"against", clean(divergence.against)},
              {"prompt", clean(divergence.prompt_id)},
              {"position", divergence.position},
              {"index", divergence.index},
              {"id_a", divergence.id_a},
              {"id_b", divergence.id_b},
              {"text_a", clean(divergence.text_a)},
              {"text_b", clean(divergence.text_b)},
              {"digest_a", clean(divergence.digest_a)},
              {"digest_b", clean(divergence.digest_b)},
              {"margin", divergence.margin},
              {"margin_hex", text::hex_float(divergence.margin)},
              {"layer_site", clean(divergence.layer_site)},
              {"differing", divergence.differing},
              {"tokens", divergence.tokens},
              {"flipped", divergence.flipped},
              {"cause", clean(divergence.cause)}};
  out["distance"] = divergence.has_distance ? distance_json(divergence.distance) : Json(nullptr);
  return out;
}

Json cost_json(const ReportCost& cost) {
  if (cost.executions.empty()) return nullptr;
  const auto measured = [](std::int64_t value) { return value > 0 ? Json(value) : Json(nullptr); };
  Json executions = Json::array();
  for (const ReportCost::Execution& one : cost.executions) {
    executions.push_back({{"seconds", one.seconds},
                          {"prompt_tokens", one.prompt_tokens},
                          {"tokens", one.tokens},
                          {"peak_bytes", measured(one.peak_bytes)},
                          {"energy_mj", measured(one.energy_mj)}});
  }
  return {{"executions", executions},
          {"weight_bytes", measured(cost.weight_bytes)},
          {"cache_bytes", cost.cache_bytes},
          {"moved_bytes", cost.moved_bytes},
          {"memory_of", cost.on_gpu ? "gpu" : "process"},
          {"energy_source", clean(cost.energy_source)}};
}

Json number_json(const std::optional<double>& real) {
  return real ? Json(*real) : Json(nullptr);
}

Json score_json(const Report& report, const ScoreValue& value) {
  const ScoreEntry* entry = find_score(value.score + "." + value.value_name);
  const bool compared = value.reference >= 0;
  return {{"score", clean(value.score)},
          {"name", clean(value.value_name)},
          {"n", value.n},
          {"right", value.right < 0 ? Json(nullptr) : Json(value.right)},
          {"left_out", value.left_out},
          {"value", number_json(value.value)},
          {"value_hex", value.value ? Json(text::hex_float(*value.value)) : Json(nullptr)},
          {"standard_error", number_json(value.error)},
          {"reason", clean(value.reason)},
          {"reference",
           compared ? clean(cell_text(report.cells.at(std::size_t(value.reference)))) : ""},
          {"difference", number_json(value.difference)},
          {"gained", value.gained},
          {"lost", value.lost},
          {"p", number_json(value.p)},
          {"unit", entry != nullptr ? entry->unit : ""},
          {"formula", entry != nullptr ? entry->formula : ""},
          {"source", entry != nullptr ? entry->source : ""}};
}

Json cell_json(const Report& report, const ReportCell& cell) {
  Json scores = Json::array();
  for (const ScoreValue& value : cell.scores) scores.push_back(score_json(report, value));
  return {{"name", clean(cell.name)},
          {"hash", clean(cell.hash)},
          {"axes", strings(cell.axes)},
          {"verdict", name_of(cell.verdict)},
          {"severity", name_of(cell.severity)},
          {"reason", clean(cell.reason)},
          {"class", clean(cell.class_label)},
          {"root", clean(cell.root)},
          {"cached", cell.cached},
          {"cached_date", clean(cell.cached_date)},
          {"imported", clean(cell.imported)},
          {"virtual_ranks", cell.virtual_ranks},
          {"scored", cell.score.scored},
          {"correct", cell.score.correct},
          {"scores", scores},
          {"tokens", cell.tokens},
          {"executions", cell.executions},
          {"seconds", cell.seconds},
          {"cost", cost_json(cell.cost)},
          {"divergence", divergence_json(cell.divergence)},
          {"repro", clean(cell.repro)}};
}

Json spread_json(const EnsembleSpread& spread) {
  return {{"of", spread.of},
          {"nll", spread.nll},
          {"nll_hex", text::hex_float(spread.nll)},
          {"probability", spread.probability},
          {"probability_hex", text::hex_float(spread.probability)}};
}

Json ensemble_json(const EnsembleResult& ensemble) {
  if (ensemble.sizes.empty()) return nullptr;
  Json sizes = Json::array(), alone = Json::array();
  for (const EnsembleMember& member : ensemble.alone) {
    alone.push_back({{"weights", clean(member.weights)},
                     {"nll", member.nll},
                     {"nll_hex", text::hex_float(member.nll)},
                     {"error", member.error},
                     {"ece", member.ece},
                     {"prompts_right", member.right}});
  }
  for (const EnsembleSize& size : ensemble.sizes) {
    Json out = {{"members", size.members}, {"prompts_right", size.right}};
    const auto add = [&out](const std::string& key, double value) {
      out[key] = value;
      out[key + "_hex"] = text::hex_float(value);
    };
    add("nll", size.nll), add("error", size.error), add("ece", size.ece);
    add("member_nll", size.member_nll), add("ambiguity", size.ambiguity);
    sizes.push_back(std::move(out));
  }
  return {{"targets", ensemble.targets},
          {"prompts", ensemble.prompts},
          {"bins", ensemble.bins},
          {"sizes", sizes},
          {"alone", alone},
          {"members", spread_json(ensemble.members)},
          {"runtime", spread_json(ensemble.runtime)}};
}

Json group_json(const Report& report, const GroupResult& group) {
  const auto name = [&](int index) {
    return clean(cell_text(report.cells.at(std::size_t(index))));
  };
  Json margins = Json::array(), pairs = Json::array(), cells = Json::array();
  for (const float margin : group.flip_margins) margins.push_back(double(margin));
  for (const int cell : group.cells) cells.push_back(name(cell));
  for (const PairResult& pair : group.pairs) {
    pairs.push_back({{"cell", name(pair.cell)},
                     {"rows", pair.rows},
                     {"differing", pair.differing},
                     {"flipped", pair.flipped},
                     {"prompts", pair.prompts},
                     {"prompts_differing", pair.prompts_differing},
                     {"earliest", pair.earliest}});
  }
  return {{"rule", clean(group.rule)},
          {"key", clean(group.key)},
          {"verdict", name_of(group.judgement.verdict)},
          {"reason", clean(group.judgement.reason)},
          {"cells", cells},
          {"compared_cells", group.compared_cells},
          {"unselected_cells", group.unselected_cells},
          {"classes", letters_of(group, report)},
          {"equal_pairs", strings(equal_pair_lines(group, report))},
          {"compared_tokens", group.compared_tokens},
          {"differing", group.differing},
          {"flipped", group.flipped},
          {"comparable_rows", group.comparable_rows},
          {"flip_rate_bound", group.flip_rate_bound},
          {"divergence_index", group.divergence_index},
          {"flip_margins", margins},
          {"base", group.base < 0 ? std::string() : name(group.base)},
          {"pairs", pairs},
          {"ensemble", ensemble_json(group.ensemble)}};
}

Json metric_json(const MetricValue& value) {
  const MetricEntry* entry = find_metric(value.metric);
  Json parts = Json::object();
  for (const auto& [name, part] : value.parts) parts[clean(name)] = part;
  return {{"metric", clean(value.metric)},
          {"parts", parts},
          {"value", number_json(value.value)},
          {"value_hex", value.value ? Json(text::hex_float(*value.value)) : Json(nullptr)},
          {"standard_error", number_json(value.error)},
          {"prompts", value.prompts},
          {"reason", clean(value.reason)},
          {"unit", entry != nullptr ? entry->unit : ""},
          {"formula", entry != nullptr ? entry->formula : ""},
          {"source", entry != nullptr ? entry->source : ""}};
}

/// Absent where the group has no metric of pairs.
void add_pairs(const Report& report, const MeasuredGroup& group, Json& out) {
  const IdentityControl& control = group.control;
  if (control.pairs > 0 || !control.problem.empty()) {
    out["identity_control"] = {
        {"pairs", control.pairs}, {"exact", control.exact}, {"problem", clean(control.problem)}};
  }
  for (const MeasuredPair& pair : group.pairs) {
    Json values = Json::array(), layers = Json::array(), cells = Json::array();
    for (const MetricValue& value : pair.values) values.push_back(metric_json(value));
    for (const auto& [reference, cell] : pair.cells) {
      cells.push_back({clean(cell_text(report.cells.at(std::size_t(reference)))),
                       clean(cell_text(report.cells.at(std::size_t(cell))))});
    }
    for (const LayerDrift& one : layer_drifts(pair)) {
      layers.push_back({{"layer", one.layer},
                        {"site", clean(one.site)},
                        {"rows", one.rows},
                        {"evicted", one.evicted},
                        {"mean_distance", one.mean_distance},
                        {"relative", number_json(one.relative)},
                        {"max_abs", one.max_abs},
                        {"added", number_json(one.added)}});
    }
    out["pairs"].push_back({{"configuration", clean(pair.configuration)},
                            {"reference", clean(pair.reference)},
                            {"cells", cells},
                            {"rows", pair.rows.size()},
                            {"problem", clean(pair.problem)},
                            {"values", values},
                            {"layers", layers}});
  }
}

Json measured_json(const Report& report, const MeasuredGroup& group) {
  Json cells = Json::array(), values = Json::array();
  for (const int cell : group.cells) {
    cells.push_back(clean(cell_text(report.cells.at(std::size_t(cell)))));
  }
  for (const MetricValue& value : group.values) values.push_back(metric_json(value));
  Json out = {{"rule", clean(group.rule)},
              {"key", clean(group.key)},
              {"cells", cells},
              {"unselected_cells", group.unselected_cells},
              {"configurations", group.configurations},
              {"lost", group.lost},
              {"samples", group.samples},
              {"prompts", group.prompts},
              {"left_out", group.left_out},
              {"values", values}};
  add_pairs(report, group, out);
  return out;
}

}  // namespace

std::string render_json(const Report& report) {
  Json counts = Json::object();
  for (int i = 0; i < kVerdicts; ++i) {
    counts[name_of(Verdict(i))] = report.counts[std::size_t(i)];
  }
  const std::int64_t trials = independent_executions(report);
  Json cells = Json::array(), groups = Json::array(), measured = Json::array();
  for (const ReportCell& cell : report.cells) cells.push_back(cell_json(report, cell));
  for (const GroupResult& group : report.groups) groups.push_back(group_json(report, group));
  for (const MeasuredGroup& group : report.measured) {
    measured.push_back(measured_json(report, group));
  }
  const Json out = {
      {"format", kJsonFormat},
      {"scenario", clean(report.scenario)},
      {"question", clean(report.question)},
      {"path", clean(report.path)},
      {"command", clean(report.command)},
      {"run", report.run},
      {"exit_code", report.exit_code},
      {"counts", counts},
      {"cells_executed", report.cells_executed},
      {"cells_cached", report.cells_cached},
      {"cells_imported", report.cells_imported},
      {"tokens", report.tokens},
      {"tokens_compared", report.tokens_compared},
      {"seconds", report.seconds},
      {"cell_seconds", report.cell_seconds},
      {"record_seconds", report.record_seconds},
      {"agreement", agreement_text(report)},
      {"independent_executions", trials},
      {"seen_fault_rate", trials == 0 ? Json(nullptr) : Json(seen_fault_rate(trials))},
      {"notes", strings(report.notes)},
      {"environment", strings(report.environment)},
      {"groups", groups},
      {"measured", measured},
      {"cells", cells}};
  return out.dump(2, ' ', true) + "\n";  // ASCII: nothing in it is obeyed by a terminal
}

std::string render_json(const std::vector<Report>& reports) {
  if (reports.size() == 1) return render_json(reports[0]);
  std::string out = "{\"format\": " + std::to_string(kJsonFormat) + ", \"reports\": [\n";
  for (std::size_t i = 0; i < reports.size(); ++i) {
    out += (i == 0 ? "" : ",\n") + render_json(reports[i]);
  }
  return out + "]}\n";
}

}  // namespace isobit
