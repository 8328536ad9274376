// Executes two cells again around their first difference (explain/values.h).
#include "harness/explain/values.h"

#include <algorithm>
#include <map>

#include "golden/recipe.h"
#include "harness/explain/rebuild.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

/// A side's trace and the index of the prompt in question.
struct Side {
  const CellInfo* cell = nullptr;
  CellTrace trace;
  int prompt = -1;
  std::optional<JobResult> again;
};

/// The prompt of b that has the tokens of prompt `index` of a, counting equal ones.
int matching_prompt(const CellTrace& a, int index, const CellTrace& b) {
  const Sha256& wanted = a.prompts[std::size_t(index)].tokens_digest;
  int repeat = 0;
  for (int i = 0; i < index; ++i) repeat += a.prompts[std::size_t(i)].tokens_digest == wanted;
  for (std::size_t i = 0; i < b.prompts.size(); ++i) {
    if (b.prompts[i].tokens_digest == wanted && repeat-- == 0) return int(i);
  }
  return -1;
}

const TokenRecord* row_at(const CellTrace& trace, int prompt, std::int64_t position) {
  if (prompt < 0 || std::size_t(prompt) >= trace.prompts.size()) return nullptr;
  for (const TokenRecord& token : trace.prompts[std::size_t(prompt)].tokens) {
    if (token.position == position) return &token;
  }
  return nullptr;
}

/// Why executing the cell now would not be what was executed then, or empty.
std::string not_that_recipe(const Rebuilt& rebuilt, const CellInfo& stored) {
  const auto cell = cell_of(rebuilt, stored);
  if (!cell || stored.class_recipe.empty()) return "";  // execute_again says why
  std::vector<RecipeChange> changed =
      recipe_changes(stored.class_recipe,
                     class_recipe(rebuilt.scenario, **cell, rebuilt.session.of(**cell).inputs));
  // Which library there is now is not asked here: what it gives is compared with what was stored.
  std::erase_if(changed, [](const RecipeChange& change) { return is_machine_key(change.key); });
  if (changed.empty()) return "";
  return "what run " + std::to_string(stored.run) +
         " executed is not there any more: " + text_of(changed);
}

Result<void> run_again(Store& store, Side& side, std::int64_t position, bool ops) {
  auto run = store.run(side.cell->run);
  ISOBIT_TRY(run);
  if (!*run) return Error{"its run is gone", side.cell->name};
  auto rebuilt = rebuild(**run, *side.cell);
  ISOBIT_TRY(rebuilt);
  if (const std::string why = not_that_recipe(**rebuilt, *side.cell); !why.empty()) {
    return Error{why, side.cell->name};
  }
  auto again = execute_again(**rebuilt, *side.cell, side.trace, {{side.prompt, position}}, ops);
  ISOBIT_TRY(again);
  side.again.emplace(std::move(*again));
  return {};
}

void measure(Side& a, Side& b, std::int64_t position, ValueDifference& out) {
  const auto row_a = a.again->captured.find({a.prompt, position});
  const auto row_b = b.again->captured.find({b.prompt, position});
  if (row_a == a.again->captured.end() || row_b == b.again->captured.end() ||
      row_a->second.size() != row_b->second.size()) {
    out.notes.push_back("executing again did not reach this row on both sides");
    return;
  }
  const bool wide =
      a.again->trace.observed.precision == "fp64" || b.again->trace.observed.precision == "fp64";
  if (wide) {
    out.distance = row_distance(std::span<const double>(row_a->second),
                                std::span<const double>(row_b->second));
  } else {
    const auto narrow = [](const RowValues& row) {
      std::vector<float> values;
      for (const double value : row) values.push_back(float(value));
      return values;
    };
    const std::vector<float> x = narrow(row_a->second), y = narrow(row_b->second);
    out.distance = row_distance(std::span<const float>(x), std::span<const float>(y));
  }
  out.has_distance = true;
  for (const Side* side : {&a, &b}) {
    const TokenRecord* stored = row_at(side->trace, side->prompt, position);
    const TokenRecord* now = row_at(side->again->trace, side->prompt, position);
    out.same_bits &= stored != nullptr && now != nullptr && stored->digest == now->digest;
  }
}

/// What stored observations say.
void place_from_store(const Side& a, const Side& b, ValueDifference& out) {
  if (a.prompt < 0 || b.prompt < 0) return;
  out.location =
      localise(a.trace.prompts[std::size_t(a.prompt)], b.trace.prompts[std::size_t(b.prompt)]);
}

}  // namespace

StoredDistance stored_distance(const TokenRecord& a, const TokenRecord& b) {
  std::map<std::int32_t, float> values;
  for (int i = 0; i < b.top_count; ++i)
    values[b.top_ids[std::size_t(i)]] = b.top_logits[std::size_t(i)];
  std::map<std::int32_t, std::pair<float, float>> shared;
  for (int i = 0; i < a.top_count; ++i) {
    const auto other = values.find(a.top_ids[std::size_t(i)]);
    if (other != values.end()) shared[other->first] = {a.top_logits[std::size_t(i)], other->second};
  }
  if (shared.size() < 2) return StoredDistance{int(shared.size()), {}};
  std::vector<float> x, y;
  for (const auto& [id, pair] : shared) {
    x.push_back(pair.first);
    y.push_back(pair.second);
  }
  StoredDistance out{int(shared.size()),
                     row_distance(std::span<const float>(x), std::span<const float>(y))};
  out.distance.margin_a = double(a.margin);
  out.distance.margin_b = double(b.margin);
  return out;
}

std::string text_of(const StoredDistance& stored) {
  const RowDistance& d = stored.distance;
  if (stored.logits < 2) {
    return "no distance: of the largest logits that each side stored, " +
           std::to_string(stored.logits) + " are of the same token";
  }
  return "max ULP " + std::to_string(d.max_ulp) + ", KL " + text::number(d.kl) + " over the " +
         std::to_string(stored.logits) + " stored logits of both, margin " +
         text::number(d.margin_a) + " / " + text::number(d.margin_b);
}

Result<ValueDifference> explain_pair(Store& store, const CellInfo& a, const CellInfo& b,
                                     const std::vector<Store::TokenDifference>& first,
                                     bool execute) {
  ValueDifference out;
  const auto at = std::find_if(first.begin(), first.end(),
                               [](const auto& d) { return !d.a.none() && !d.b.none(); });
  if (at == first.end()) {
    out.notes.push_back("no row is on both sides of a difference");
    return out;
  }
  Side sides[2];
  for (int i = 0; i < 2; ++i) {
    sides[i].cell = i == 0 ? &a : &b;
    auto trace = store.trace(*sides[i].cell, true);
    ISOBIT_TRY(trace);
    sides[i].trace = std::move(*trace);
  }
  sides[0].prompt = at->prompt;
  sides[1].prompt = matching_prompt(sides[0].trace, at->prompt, sides[1].trace);
  place_from_store(sides[0], sides[1], out);
  const bool ops_stored =
      sides[0].trace.level == TraceLevel::ops && sides[1].trace.level == TraceLevel::ops;
  if (!execute) {
    if (!out.location) {
      out.notes.push_back("layers were not recorded; `observe: layers` or `ops` records them");
    }
    return out;
  }
  for (Side& side : sides) {
    if (auto ok = run_again(store, side, at->position, !ops_stored); !ok) {
      out.notes.push_back("no values: " + ok.error().text());
      const TokenRecord* a_row = row_at(sides[0].trace, sides[0].prompt, at->position);
      const TokenRecord* b_row = row_at(sides[1].trace, sides[1].prompt, at->position);
      if (a_row != nullptr && b_row != nullptr) out.stored = stored_distance(*a_row, *b_row);
      return out;
    }
  }
  measure(sides[0], sides[1], at->position, out);
  if (!ops_stored) {
    const auto& prompts_a = sides[0].again->trace.prompts;
    const auto& prompts_b = sides[1].again->trace.prompts;
    if (auto found = localise(prompts_a[std::size_t(sides[0].prompt)],
                              prompts_b[std::size_t(sides[1].prompt)])) {
      out.location = found;
      out.location_recomputed = true;
    }
  }
  return out;
}

}  // namespace isobit
