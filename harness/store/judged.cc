// What was concluded of a run: verdicts, differences and groups, written and read back whole.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "harness/store/impl.h"

namespace isobit {
namespace {

using Json = nlohmann::ordered_json;

std::string print(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// The one list of a struct's fields, for both directions.
template <class D, class F>
void visit(D& d, F&& field) requires std::is_same_v<std::remove_const_t<D>, RowDistance> {
  field("differing", d.differing), field("max_abs", d.max_abs), field("max_ulp", d.max_ulp);
  field("kl", d.kl), field("js", d.js), field("total_variation", d.total_variation);
  field("margin_a", d.margin_a), field("margin_b", d.margin_b);
  field("argmax_a", d.argmax_a), field("argmax_b", d.argmax_b);
  field("first_segment", d.first_segment), field("first_element", d.first_element);
}

template <class D, class F>
void visit(D& d, F&& field) requires std::is_same_v<std::remove_const_t<D>, Difference> {
  field("against", d.against), field("prompt", d.prompt_id), field("position", d.position);
  field("index", d.index), field("id_a", d.id_a), field("id_b", d.id_b);
  field("text_a", d.text_a), field("text_b", d.text_b);
  field("digest_a", d.digest_a), field("digest_b", d.digest_b), field("margin", d.margin);
  field("layer_site", d.layer_site), field("differing", d.differing);
  field("tokens", d.tokens), field("flipped", d.flipped), field("cause", d.cause);
}

template <class P, class F>
void visit(P& p, F&& field) requires std::is_same_v<std::remove_const_t<P>, PairResult> {
  field("cell", p.cell), field("rows", p.rows), field("differing", p.differing);
  field("flipped", p.flipped), field("prompts", p.prompts);
  field("prompts_differing", p.prompts_differing), field("earliest", p.earliest);
}

template <class S, class F>
void visit(S& s, F&& field) requires std::is_same_v<std::remove_const_t<S>, EnsembleSize> {
  field("members", s.members), field("nll", s.nll), field("error", s.error), field("ece", s.ece);
  field("member_nll", s.member_nll), field("ambiguity", s.ambiguity), field("right", s.right);
}

template <class M, class F>
void visit(M& m, F&& field) requires std::is_same_v<std::remove_const_t<M>, EnsembleMember> {
  field("weights", m.weights), field("nll", m.nll), field("error", m.error), field("ece", m.ece);
  field("right", m.right);
}

template <class S, class F>
void visit(S& s, F&& field) requires std::is_same_v<std::remove_const_t<S>, EnsembleSpread> {
  field("of", s.of), field("nll", s.nll), field("probability", s.probability);
}

template <class E, class F>
void visit(E& e, F&& field) requires std::is_same_v<std::remove_const_t<E>, EnsembleResult> {
  field("targets", e.targets), field("prompts", e.prompts), field("bins", e.bins);
}

/// What a group's row has no column for.
template <class G, class F>
void visit(G& g, F&& field) requires std::is_same_v<std::remove_const_t<G>, GroupResult> {
  field("comparable_rows", g.comparable_rows), field("flip_rate_bound", g.flip_rate_bound);
  field("divergence_index", g.divergence_index), field("flip_margins", g.flip_margins);
  field("equal_pairs", g.equal_pairs), field("base", g.base);
  field("compared_cells", g.compared_cells), field("unselected_cells", g.unselected_cells);
}

/// A number that JSON cannot hold is written as its name.
Json number(double value) {
  if (value != value) return "nan";
  if (value == std::numeric_limits<double>::infinity()) return "inf";
  if (value == -std::numeric_limits<double>::infinity()) return "-inf";
  return value;
}

template <class T>
Json to_json(const T& value) {
  if constexpr (std::is_floating_point_v<T>) {
    return number(double(value));
  } else if constexpr (std::is_same_v<T, std::vector<float>>) {
    Json out = Json::array();
    for (const float x : value) out.push_back(number(double(x)));
    return out;
  } else {
    return Json(value);
  }
}

double real_of(const Json& json) {
  if (json.is_number()) return json.get<double>();
  if (json == "inf") return std::numeric_limits<double>::infinity();
  if (json == "-inf") return -std::numeric_limits<double>::infinity();
  return std::numeric_limits<double>::quiet_NaN();
}

/// Leaves the value as it is when the JSON has another type: an edited database gives defaults.
template <class T>
void from_json(const Json& json, T& value) {
  if constexpr (std::is_floating_point_v<T>) {
    value = T(real_of(json));
  } else if constexpr (std::is_integral_v<T>) {
    if (json.is_number_integer()) value = json.get<T>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (json.is_string()) value = json.get<T>();
  } else if constexpr (std::is_same_v<T, std::vector<float>>) {
    for (const Json& x : json) value.push_back(float(real_of(x)));
  } else if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) {
    for (const Json& x : json) value.push_back(x.is_number_integer() ? x.get<std::int64_t>() : -1);
  } else {
    for (const Json& x : json) {
      const bool pair =
          x.is_array() && x.size() == 2 && x[0].is_number_integer() && x[1].is_number_integer();
      if (pair) value.emplace_back(x[0].get<int>(), x[1].get<int>());
    }
  }
}

template <class V>
Json json_of(const V& value) {
  Json out = Json::object();
  visit(value, [&](const char* name, const auto& field) { out[name] = to_json(field); });
  return out;
}

template <class V>
void read_json(const Json& json, V& value) {
  if (!json.is_object()) return;
  visit(value, [&](const char* name, auto& field) {
    if (const auto at = json.find(name); at != json.end()) from_json(*at, field);
  });
}

Json ensemble_json(const EnsembleResult& ensemble) {
  Json out = json_of(ensemble);
  out["sizes"] = Json::array();
  for (const EnsembleSize& size : ensemble.sizes) out["sizes"].push_back(json_of(size));
  out["alone"] = Json::array();
  for (const EnsembleMember& member : ensemble.alone) out["alone"].push_back(json_of(member));
  out["members"] = json_of(ensemble.members);
  out["runtime"] = json_of(ensemble.runtime);
  return out;
}

void read_ensemble(const Json& measured, EnsembleResult& ensemble) {
  const auto at = measured.find("ensemble");
  if (at == measured.end() || !at->is_object()) return;
  read_json(*at, ensemble);
  if (const auto sizes = at->find("sizes"); sizes != at->end()) {
    for (const Json& size : *sizes) read_json(size, ensemble.sizes.emplace_back());
  }
  if (const auto alone = at->find("alone"); alone != at->end()) {
    for (const Json& member : *alone) read_json(member, ensemble.alone.emplace_back());
  }
  if (at->contains("members")) read_json((*at)["members"], ensemble.members);
  if (at->contains("runtime")) read_json((*at)["runtime"], ensemble.runtime);
}

}  // namespace

std::string print_difference(const Difference& difference) {
  if (!difference.present) return "null";
  Json out = json_of(difference);
  if (difference.has_distance) out["distance"] = json_of(difference.distance);
  return print(out);
}

Difference parse_difference(std::string_view text) {
  Difference difference;
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return difference;
  difference.present = true;
  read_json(json, difference);
  if (const auto at = json.find("distance"); at != json.end()) {
    difference.has_distance = true;
    read_json(*at, difference.distance);
  }
  return difference;
}

Result<void> StoreImpl::judge(const std::vector<CellInfo>& cells,
                              const std::vector<GroupResult>& groups) {
  Transaction transaction(*db_);
  ISOBIT_TRY(transaction.begun());
  Query update(*db_,
               "UPDATE cell SET verdict = ?2, severity = ?3, verdict_reason = ?4, difference = ?5,"
               " scored = ?6, correct = ?7 WHERE id = ?1");
  for (const CellInfo& cell : cells) {
    update.rebind(cell.id, name_of(cell.judgement.verdict), name_of(cell.judgement.severity),
                  cell.judgement.reason, print_difference(cell.difference), cell.score.scored,
                  cell.score.correct);
    auto updated = update.run();
    ISOBIT_TRY(updated);
    if (db_->changes() != 1) {
      return Error{"there is no cell " + std::to_string(cell.id), db_->path()};
    }
    auto scored = insert_scores(cell);
    ISOBIT_TRY(scored);
  }
  for (std::size_t g = 0; g < groups.size(); ++g) {
    auto inserted = insert_group(cells.front().run, std::int64_t(g), groups[g], cells);
    ISOBIT_TRY(inserted);
  }
  return transaction.commit();
}

Result<void> StoreImpl::insert_group(std::int64_t run, std::int64_t index, const GroupResult& group,
                                     const std::vector<CellInfo>& cells) {
  Json measured = json_of(group);
  measured["pairs"] = Json::array();
  for (const PairResult& pair : group.pairs) measured["pairs"].push_back(json_of(pair));
  if (!group.ensemble.sizes.empty()) measured["ensemble"] = ensemble_json(group.ensemble);
  Query insert(*db_,
               "INSERT INTO contract_group (run, number, rule, key, verdict, reason,"
               " compared_tokens, differing, flipped, measured)"
               " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
               run, index, group.rule, group.key, name_of(group.judgement.verdict),
               group.judgement.reason, group.compared_tokens, group.differing, group.flipped,
               print(measured));
  auto inserted = insert.run();
  ISOBIT_TRY(inserted);
  Query member(*db_,
               "INSERT INTO contract_member (run, number, place, cell) VALUES (?1, ?2, ?3, ?4)");
  for (std::size_t place = 0; place < group.cells.size(); ++place) {
    member.rebind(run, index, std::int64_t(place), cells.at(std::size_t(group.cells[place])).id);
    auto done = member.run();
    ISOBIT_TRY(done);
  }
  return {};
}

namespace {

/// Whether every cell that a stored group names is one of `cells` first attempts. Reports look
/// them up by these numbers.
bool names_cells(const GroupResult& group, int cells) {
  const auto known = [cells](int cell) { return cell >= 0 && cell < cells; };
  const auto known_pair = [&](const auto& pair) { return known(pair.first) && known(pair.second); };
  return (known(group.base) || (group.base == -1 && group.pairs.empty())) &&
         std::all_of(group.equal_pairs.begin(), group.equal_pairs.end(), known_pair) &&
         std::all_of(group.pairs.begin(), group.pairs.end(),
                     [&](const PairResult& pair) { return known(pair.cell); });
}

}  // namespace

Result<std::vector<GroupResult>> StoreImpl::groups(std::int64_t run) {
  const Error strange{"a group has a cell that its run does not have", db_->path()};
  std::map<std::int64_t, int> place_of;  // cell id -> place among first attempts
  Query cells(*db_, "SELECT id FROM cell WHERE run = ?1 AND attempt = 1 ORDER BY id", run);
  while (cells.next()) place_of.emplace(cells.integer(0), int(place_of.size()));
  if (!cells.ok()) return cells.error();

  std::vector<GroupResult> out;
  Query query(*db_,
              "SELECT rule, key, verdict, reason, compared_tokens, differing, flipped, measured"
              " FROM contract_group WHERE run = ?1 ORDER BY number",
              run);
  while (query.next()) {
    GroupResult group;
    group.rule = query.text(0);
    group.key = query.text(1);
    group.judgement.verdict = verdict_of(query.text(2));
    group.judgement.reason = query.text(3);
    group.compared_tokens = query.integer(4);
    group.differing = query.integer(5);
    group.flipped = query.integer(6);
    const Json measured = Json::parse(query.text(7), nullptr, false);
    read_json(measured, group);
    if (measured.is_object() && measured.contains("pairs")) {
      for (const Json& pair : measured["pairs"]) read_json(pair, group.pairs.emplace_back());
    }
    if (measured.is_object()) read_ensemble(measured, group.ensemble);
    if (!names_cells(group, int(place_of.size()))) return strange;
    out.push_back(std::move(group));
  }
  if (!query.ok()) return query.error();
  Query members(
      *db_, "SELECT number, cell FROM contract_member WHERE run = ?1 ORDER BY number, place", run);
  while (members.next()) {
    const auto number = members.integer(0);
    const auto at = place_of.find(members.integer(1));
    if (number < 0 || number >= std::int64_t(out.size()) || at == place_of.end()) {
      return strange;
    }
    out[std::size_t(number)].cells.push_back(at->second);
  }
  if (!members.ok()) return members.error();
  return out;
}

}  // namespace isobit
