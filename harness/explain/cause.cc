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
    for (const std::string& path : engine.libraries())
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

void add_environment(const Environment& a, const Environment& b, std::vector<std::string>& out) {
  std::vector<EnvironmentDifference> differences = diff(a, b);
  const std::set<std::string> files = engine_files();
  std::erase_if(differences, [&](const EnvironmentDifference& d) {
    return place_of(d.name) < 0 || files.count(d.name) != 0;
  });
  std::stable_sort(differences.begin(), differences.end(), [](const auto& x, const auto& y) {
    return place_of(x.name) < place_of(y.name);
  });
  for (const EnvironmentDifference& d : differences) out.push_back(words_of(d));
}

}  // namespace

std::map<std::string, std::string> prompt_digests(const CellTrace& trace) {
  std::map<std::string, std::string> out;
  for (const PromptTrace& prompt : trace.prompts) out[prompt.id] = to_hex(prompt.tokens_digest);
  return out;
}

Provenance provenance_of(const CellInfo& cell, const CellTrace& trace, const RunInfo& run) {
  Provenance out{cell.class_recipe, prompt_digests(trace), {}};
  const auto environment = Environment::from_json(run.environment_json, "");
  if (environment) out.environment = *environment;
  return out;
}

std::vector<std::string> causes_of(const Provenance& a, const Provenance& b) {
  std::vector<std::string> out;
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
  add_environment(a.environment, b.environment, out);
  return out;
}

std::string cause_text(const std::vector<std::string>& causes) {
  std::string out;
  for (const std::string& cause : causes) out += (out.empty() ? "" : "; ") + cause;
  if (!out.empty()) return out;
  return "recipe, program and machine are the same: the bits depend on something that is not "
         "recorded (a race, memory that was never written, a broken chip)";
}

Result<std::optional<Witness>> witness_of(Store& store, const GoldenBlock& block) {
  constexpr int kMostTried = 16;
  auto cells = store.of_class(block.key.class_hash, kMostTried);
  ISOBIT_TRY(cells);
  for (CellInfo& cell : *cells) {
    auto trace = store.trace(cell, false);
    ISOBIT_TRY(trace);
    for (std::size_t p = 0; p < trace->prompts.size(); ++p) {
      const PromptTrace& prompt = trace->prompts[p];
      if (to_hex(prompt.tokens_digest) != block.key.prompt_digest) continue;
      if (make_block(block.key.class_hash, "", prompt).rows != block.rows) continue;
      auto run = store.run(cell.run);
      ISOBIT_TRY(run);
      if (!*run) continue;
      return std::optional(Witness{std::move(cell), std::move(*trace), int(p), std::move(**run)});
    }
  }
  return std::optional<Witness>();
}

namespace {

/// The block that a cell's difference from its golden is about.
const GoldenBlock* differing_block(const GoldenFile& golden, const JudgeCell& cell,
                                   const Difference& difference) {
  for (const PromptTrace& prompt : cell.attempts.front().prompts) {
    if (prompt.id != difference.prompt_id) continue;
    return golden.find({cell.class_hash, to_hex(prompt.tokens_digest)});
  }
  return nullptr;
}

/// From the golden's bits, as this database knows them, to those of now.
Result<std::string> golden_cause(Store& store, const GoldenBlock& block, const Provenance& now) {
  const auto witness = witness_of(store, block);
  ISOBIT_TRY(witness);
  if (!*witness) {
    return std::string(
        "the recipe is the golden's: program, driver or machine; no execution in "
        "this database gave the golden's bits");
  }
  return "since run " + std::to_string((*witness)->run.id) + ", which gave the golden's bits: " +
         cause_text(
             causes_of(provenance_of((*witness)->cell, (*witness)->trace, (*witness)->run), now));
}

}  // namespace

Result<void> name_causes(const GoldenFile& golden, const StoredBaseline* baseline,
                         const Traces& traces, const Records& records, Judged& judged) {
  std::map<std::string, std::string> known;  // golden class -> cause
  for (std::size_t i = 0; i < judged.cells.size(); ++i) {
    Difference& difference = judged.cells[i].difference;
    const JudgeCell& cell = traces.cells[i];
    if (!difference.present || judged.cells[i].against >= 0 || !cell.has_trace()) continue;
    const CellInfo& record = records.cells[i];
    const Provenance now = provenance_of(record, cell.attempts.front(), records.run);
    if (baseline != nullptr) {
      const auto before = baseline->cells.find(record.hash);
      if (before == baseline->cells.end()) continue;
      const CellTrace& trace = baseline->baseline.cells.at(record.hash).trace;
      difference.cause =
          cause_text(causes_of(provenance_of(before->second, trace, baseline->run), now));
    } else if (difference.against == "golden") {
      const GoldenBlock* block = differing_block(golden, cell, difference);
      if (block == nullptr) continue;
      const auto [at, is_new] = known.emplace(cell.class_hash, "");
      if (is_new) {
        auto cause = golden_cause(*records.store, *block, now);
        ISOBIT_TRY(cause);
        at->second = std::move(*cause);
      }
      difference.cause = at->second;
    }
  }
  return {};
}

}  // namespace isobit
