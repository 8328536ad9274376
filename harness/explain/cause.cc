// Causes in order (cause.h).
#include "harness/explain/cause.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <string_view>

#include "golden/recipe.h"
#include "runtime/run/generate.h"

namespace isobit {
namespace {

/// "prompt p003 has other tokens", "prompts p001, p002 and 7 more have other tokens".
std::string prompts_cause(const Provenance& a, const Provenance& b) {
  constexpr std::size_t kMostNamed = 3;
  std::vector<std::string> changed;
  std::size_t only = 0;
  for (const auto& [id, digest] : a.prompts) {
    const auto other = b.prompts.find(id);
    if (other == b.prompts.end())
      ++only;
    else if (other->second != digest)
      changed.push_back(id);
  }
  for (const auto& [id, digest] : b.prompts) only += a.prompts.count(id) == 0 ? 1 : 0;
  std::string out;
  if (!changed.empty()) {
    out = changed.size() == 1 ? "prompt " : "prompts ";
    for (std::size_t i = 0; i < std::min(changed.size(), kMostNamed); ++i)
      out += (i == 0 ? "" : ", ") + changed[i];
    if (changed.size() > kMostNamed)
      out += " and " + std::to_string(changed.size() - kMostNamed) + " more";
    out += changed.size() == 1 ? " has other tokens" : " have other tokens";
  }
  if (only > 0) {
    out += (out.empty() ? "" : "; ") + std::to_string(only) +
           (only == 1 ? " prompt is" : " prompts are") + " on one side only";
  }
  return out;
}

/// Files of vendors' engines: they are in the recipes of those that use them, and of no concern to
/// the others.
std::set<std::string> engine_files() {
  std::set<std::string> out;
  for (const EngineEntry& engine : engine_entries()) {
    for (const std::string& path : engine.libraries({}))
      out.insert("lib." + std::filesystem::path(path).filename().string());
  }
  return out;
}

/// Place among the causes; none for what changes no bit, or is in the recipe.
int place_of(const std::string& name) {
  if (name == "executable") return 0;
  if (name == "isobit" || name == "compiler" || name == "compiler.flags" || name == "build")
    return 1;
  if (name.starts_with("lib.")) return 2;
  if (name == "gpu.driver") return 3;
  if (name == "gpu" || name == "cpu" || name == "cpu.flags") return 4;
  if (name == "arch" || name == "libc" || name == "fp.control" || name == "nccl") return 5;
  return -1;
}

std::string words_of(const EnvironmentDifference& d) {
  static const std::map<std::string, std::string> kWords = {
      {"executable", "program"}, {"isobit", "version"}, {"gpu.driver", "driver"}};
  const auto at = kWords.find(d.name);
  const std::string name = at != kWords.end()           ? at->second
                           : d.name.starts_with("lib.") ? "library " + d.name.substr(4)
                                                        : d.name;
  return RecipeChange{name, d.a, d.b}.text();
}

/// Axes of which no recipe speaks: those that must not change a bit.
void add_axes(const Provenance& a, const Provenance& b, std::vector<std::string>& out) {
  const auto lines_a = recipe_lines(a.recipe), lines_b = recipe_lines(b.recipe);
  for (const auto& [axis, value] : a.axes) {
    const auto other = b.axes.find(axis);
    const bool in_recipe = lines_a.count(axis) != 0 || lines_b.count(axis) != 0;
    if (in_recipe || other == b.axes.end() || other->second == value) continue;
    out.push_back(RecipeChange{axis, value, other->second}.text());
  }
}

/// `partly`: a side says of itself what its recorder chose to; what it leaves out is no difference.
void add_environment(const Environment& a, const Environment& b, bool partly,
                     std::vector<std::string>& out) {
  std::vector<EnvironmentDifference> differences = diff(a, b);
  if (partly) {
    std::erase_if(differences, [](const auto& d) { return d.a.empty() || d.b.empty(); });
  }
  const std::set<std::string> files = engine_files();
  std::erase_if(differences, [&](const EnvironmentDifference& d) {
    return place_of(d.name) < 0 || files.count(d.name) != 0;
  });
  std::stable_sort(differences.begin(), differences.end(), [](const auto& x, const auto& y) {
    return place_of(x.name) < place_of(y.name);
  });
  for (const EnvironmentDifference& d : differences) out.push_back(words_of(d));
}

/// That a side was recorded elsewhere comes before all that differs here.
void add_origin(const Provenance& a, const Provenance& b, std::vector<std::string>& out) {
  if (a.evidence != b.evidence)
    out.push_back(RecipeChange{"evidence", a.evidence, b.evidence}.text());
  if (a.imported == b.imported) return;
  const auto name = [](const Provenance& side) {
    return side.imported.empty() ? std::string("executed here") : "imported from " + side.imported;
  };
  out.push_back(RecipeChange{"origin", name(a), name(b)}.text());
}

}  // namespace

std::map<std::string, std::string> prompt_digests(const CellTrace& trace) {
  std::map<std::string, std::string> out;
  for (const PromptTrace& prompt : trace.prompts) out[prompt.id] = to_hex(prompt.tokens_digest);
  return out;
}

Provenance provenance_of(const CellInfo& cell, const CellTrace& trace, const RunInfo& run) {
  Provenance out;
  out.recipe = cell.class_recipe;
  out.prompts = prompt_digests(trace);
  out.evidence = trace.observed.evidence;
  if (!trace.observed.imported.empty()) {
    out.imported = trace.observed.imported + " (" + trace.observed.engine + ")";
  }
  // A cell's axes are an object of texts, as a fingerprint is.
  if (const auto axes = Environment::from_json(cell.axes_json, "")) out.axes = axes->entries;
  if (const auto here = Environment::from_json(run.environment_json, "")) out.environment = *here;
  return out;
}

std::vector<std::string> causes_of(const Provenance& a, const Provenance& b) {
  std::vector<std::string> out;
  add_origin(a, b, out);
  const std::string prompts = prompts_cause(a, b);
  bool told = prompts.empty();
  for (const RecipeChange& change : recipe_changes(a.recipe, b.recipe)) {
    const bool before = change.key.starts_with("model") || change.key.starts_with("tokenizer");
    if (!before && !told) {
      out.push_back(prompts);
      told = true;
    }
    out.push_back(change.text());
  }
  if (!told) out.push_back(prompts);
  add_axes(a, b, out);
  const bool partly = !a.imported.empty() || !b.imported.empty();
  add_environment(a.environment, b.environment, partly, out);
  return out;
}

std::string cause_text(const std::vector<std::string>& causes) {
  std::string out;
  for (const std::string& cause : causes) out += (out.empty() ? "" : "; ") + cause;
  if (!out.empty()) return out;
  return "recipe, axes, program and machine are the same: the bits depend on something that is not "
         "recorded (a race, memory that was never written, a broken chip)";
}

std::vector<std::string> counted_causes(const std::map<std::string, std::int64_t>& causes,
                                        const std::string& thing) {
  std::vector<std::string> out;
  for (const auto& [cause, count] : causes) {
    out.push_back("cause of " + std::to_string(count) + " " + thing + (count == 1 ? "" : "s") +
                  ": " + cause);
  }
  return out;
}

std::optional<Witness> Witnesses::of(const GoldenBlock& block, const std::string& rather) {
  if (store_ == nullptr) return std::nullopt;
  PromptTrace rows;
  for (const GoldenRow& row : block.rows) {
    rows.tokens.emplace_back();
    rows.tokens.back().position = row.position;
    rows.tokens.back().id = row.id;
    rows.tokens.back().digest = row.digest;
  }
  const auto cell = store_->with_rows(block.key.class_hash, block.key.prompt_digest,
                                      token_root(rows), but_not_, rather);
  if (!cell || !*cell) return std::nullopt;
  if (last_cell_ != (*cell)->id) {
    auto trace = store_->trace(**cell, false);
    if (!trace) return std::nullopt;
    last_trace_ = std::make_shared<const CellTrace>(std::move(*trace));
    last_cell_ = (*cell)->id;
  }
  const auto& prompts = last_trace_->prompts;
  const auto at = std::find_if(prompts.begin(), prompts.end(), [&](const PromptTrace& prompt) {
    return to_hex(prompt.tokens_digest) == block.key.prompt_digest;
  });
  const auto run = store_->run((*cell)->run);
  if (at == prompts.end() || !run || !*run) return std::nullopt;
  Witness out{last_trace_, int(at - prompts.begin()), (*cell)->run, {}};
  CellTrace only;
  only.prompts = {*at};
  only.prompts.front().id = block.prompt_id;  // what the prompt file calls it may have changed
  out.from = provenance_of(**cell, only, {});
  const auto [known, is_new] = environments_.try_emplace((*cell)->run);
  if (is_new) {
    if (auto there = Environment::from_json((*run)->environment_json, "")) known->second = *there;
  }
  out.from.environment = known->second;
  return out;
}

namespace {

/// The execution behind a cell of a run: the run's own, or the one whose trace it reuses.
Provenance provenance_now(const Records& records, std::size_t i, const CellTrace& trace) {
  const CellInfo& cell = records.cells[i];
  Provenance out = provenance_of(cell, trace, records.run);
  if (cell.source == 0) return out;
  const auto source = records.store->cell(cell.source);
  if (!source || !*source) return out;
  const auto run = records.store->run((*source)->run);
  return run && *run ? provenance_of(cell, trace, **run) : out;
}

/// Of several prompts the one that is spoken of, when both sides have it with the same tokens: the
/// others have no part in its difference.
void keep_prompt(const std::string& id, Provenance& a, Provenance& b) {
  const auto in_a = a.prompts.find(id), in_b = b.prompts.find(id);
  if (in_a == a.prompts.end() || in_b == b.prompts.end() || in_a->second != in_b->second) return;
  a.prompts = b.prompts = {{id, in_a->second}};
}

/// From the golden's bits, as this database knows them, to those of now.
std::string golden_cause(Witnesses& witnesses, const GoldenBlock& block, const CellInfo& cell,
                         Provenance now) {
  auto witness = witnesses.of(block, cell.hash);
  if (!witness && !now.imported.empty()) return "imported from " + now.imported;
  if (!witness) {
    return "the recipe is the golden's: program, driver or machine; no execution in this database "
           "gave the golden's bits";
  }
  now.prompts = {{block.prompt_id, block.key.prompt_digest}};
  return "since run " + std::to_string(witness->run) +
         ", which gave the golden's bits: " + cause_text(causes_of(witness->from, now));
}

/// The block that a cell's difference from its golden is about.
const GoldenBlock* differing_block(const GoldenFile& golden, const JudgeCell& cell,
                                   const Difference& difference) {
  for (const PromptTrace& prompt : cell.attempts.front().prompts) {
    if (prompt.id != difference.prompt_id) continue;
    return golden.find({cell.class_hash, to_hex(prompt.tokens_digest)});
  }
  return nullptr;
}

}  // namespace

void name_causes(const GoldenFile& golden, const StoredBaseline* baseline, const Traces& traces,
                 const Records& records, Judged& judged) {
  Witnesses witnesses(records.store.get(), records.run.id);
  for (std::size_t i = 0; i < judged.cells.size(); ++i) {
    Difference& difference = judged.cells[i].difference;
    const JudgeCell& cell = traces.cells[i];
    if (!difference.present || judged.cells[i].against >= 0 || !cell.has_trace()) continue;
    const CellInfo& record = records.cells[i];
    Provenance now = provenance_now(records, i, cell.attempts.front());
    if (baseline != nullptr) {
      const auto before = baseline->cells.find(record.hash);
      if (before == baseline->cells.end()) continue;
      const CellTrace& trace = baseline->baseline.cells.at(record.hash).trace;
      Provenance then = provenance_of(before->second, trace, baseline->run);
      keep_prompt(difference.prompt_id, then, now);
      difference.cause = cause_text(causes_of(then, now));
    } else if (difference.against == "golden") {
      const GoldenBlock* block = differing_block(golden, cell, difference);
      if (block != nullptr) difference.cause = golden_cause(witnesses, *block, record, now);
    }
  }
}

}  // namespace isobit
