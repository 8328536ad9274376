// `isobit bless`, `pending`, `review`, `reject`: what may become a golden, and who decides.
#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "golden/bless.h"
#include "harness/bless.h"
#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/explain/change.h"
#include "harness/models/models.h"
#include "harness/scenario/scenario.h"
#include "runtime/base/words.h"

namespace isobit::commands {
namespace {

namespace fs = std::filesystem;

struct PendingFile {
  std::string scenario_path;  // as its newest run had it; empty when the database has none
  std::string path, golden_file;
  GoldenFile pending, golden;
  std::vector<GoldenChange> changes;  // point into `golden`
};

/// The scenario's file as its newest run had it, or empty.
std::string scenario_path_of(const std::string& scenario, const Arguments& arguments) {
  const auto store = open_database(arguments);
  if (!store) return "";
  const auto runs = (*store)->runs();
  if (!runs) return "";
  const auto found = std::find_if(runs->begin(), runs->end(),
                                  [&](const RunInfo& run) { return run.scenario == scenario; });
  return found == runs->end() ? "" : found->scenario_path;
}

/// Names of scenarios with pending blocks: those asked for, or all.
Result<std::vector<std::string>> names_wanted(const Arguments& arguments) {
  std::vector<std::string> there;
  std::error_code problem;
  const fs::path folder = fs::path(pending_path(database_path(arguments), "x")).parent_path();
  for (const auto& entry : fs::directory_iterator(folder, problem)) {
    if (entry.path().extension() == ".golden") there.push_back(entry.path().stem().string());
  }
  std::sort(there.begin(), there.end());
  if (arguments.words.empty()) return there;
  std::vector<std::string> out;
  for (const std::string& word : arguments.words) {
    std::string name = word;
    if (fs::is_regular_file(word, problem)) {
      auto scenario = load_scenario(word, {});
      ISOBIT_TRY(scenario);
      name = scenario->name;
    }
    if (std::find(there.begin(), there.end(), name) == there.end()) {
      return Error{"nothing is pending for " + in_quotes(name) + did_you_mean(name, there),
                   folder.string()};
    }
    out.push_back(name);
  }
  return out;
}

/// Fills in place: the changes point into `golden`.
Result<void> read_pending(const std::string& name, const Arguments& arguments, PendingFile& out) {
  out.scenario_path = scenario_path_of(name, arguments);
  out.path = pending_path(database_path(arguments), name);
  out.golden_file = golden_path(out.scenario_path.empty() ? "scenario" : out.scenario_path, name,
                                golden_folder(arguments));
  auto pending = read_pending_file(out.path, name);
  ISOBIT_TRY(pending);
  auto golden = read_golden_file(out.golden_file, name);
  ISOBIT_TRY(golden);
  out.pending = std::move(*pending);
  out.golden = std::move(*golden);
  std::vector<GoldenBlock> blocks;
  for (const auto& [key, block] : out.pending.blocks) blocks.push_back(block);
  out.changes = golden_changes(out.golden, blocks);
  return {};
}

/// For the texts of tokens; none when the model is not there any more, or needs none.
std::optional<Tokenizer> tokenizer_of(const PendingFile& file) {
  if (file.scenario_path.empty()) return std::nullopt;
  const auto scenario = load_scenario(file.scenario_path, {});
  if (!scenario) return std::nullopt;
  const auto model =
      open_model(scenario->model, fs::path(file.scenario_path).parent_path().string());
  if (!model) return std::nullopt;
  auto tokenizer = Tokenizer::from_model(*model);
  return tokenizer ? std::optional(std::move(*tokenizer)) : std::nullopt;
}

Json json_of(const ChangeView& view) {
  const GoldenBlock& block = view.change->block;
  const GoldenBlock* reference = view.change->reference();
  const std::optional<StoredDistance>& d = view.distance;
  Json distance = nullptr;
  if (d) {
    distance = {{"stored_logits", d->logits},
                {"max_ulp", d->distance.max_ulp},
                {"kl", d->distance.kl},
                {"margin_before", d->distance.margin_a},
                {"margin_after", d->distance.margin_b}};
  }
  return {{"state", view.state()},
          {"prompt", block.prompt_id},
          {"class", block.key.class_hash},
          {"recipe", block.class_recipe},
          {"block", block.block_hash()},
          {"parent", reference == nullptr ? Json(nullptr) : Json(reference->block_hash())},
          {"replaced", view.replaced},
          {"rows", block.rows.size()},
          {"compared", view.compared},
          {"differing", view.differing},
          {"flipped", view.flipped},
          {"first_position", view.position},
          {"id_before", view.id_before},
          {"id_after", view.id_after},
          {"text_before", view.text_before},
          {"text_after", view.text_after},
          {"distance", distance},
          {"cause", view.cause}};
}

/// The line that blesses what was shown, wherever it is pasted in this folder.
std::string blessing_line(const PendingFile& file, const Arguments& arguments) {
  std::vector<std::string> words{"isobit", "bless",
                                 file.scenario_path.empty() ? "SCENARIO" : file.scenario_path,
                                 "--reviewed", review_hash(file.changes)};
  for (const char* option : {"db", "golden"}) {
    if (arguments.has(option)) {
      words.push_back(std::string("--") + option);
      words.push_back(arguments.text(option));
    }
  }
  return shell_line(words) + " --reason '…'";
}

std::vector<ChangeView> views_of(const PendingFile& file, const Arguments& arguments) {
  const auto tokenizer = tokenizer_of(file);
  const auto store = open_database(arguments);  // without one there is no cause and no distance
  Witnesses witnesses(store ? store->get() : nullptr);
  std::vector<ChangeView> views;
  for (const GoldenChange& change : file.changes) {
    views.push_back(view_of(witnesses, change, tokenizer ? &*tokenizer : nullptr));
  }
  return views;
}

/// Every cause once, with how many blocks have it: an environment that moved moves many.
void print_review(const PendingFile& file, const Arguments& arguments) {
  constexpr std::size_t kMostShown = 20;
  const std::vector<ChangeView> views = views_of(file, arguments);
  const bool all = arguments.has("verbose");
  for (std::size_t i = 0; i < views.size() && (all || i < kMostShown); ++i) {
    for (const std::string& line : lines_of(views[i])) print("  " + line + "\n");
  }
  if (!all && views.size() > kMostShown) {
    print("  and " + std::to_string(views.size() - kMostShown) + " more blocks: -v shows all\n");
  }
  std::map<std::string, std::int64_t> causes;
  for (const ChangeView& view : views) {
    if (!view.cause.empty()) ++causes[view.cause];
  }
  for (const std::string& line : counted_causes(causes, "block"))
    print("  " + shown_text(line) + "\n");
  if (!views.empty()) print("  to bless exactly these: " + blessing_line(file, arguments) + "\n");
}

Result<int> show_pending(const Arguments& arguments, bool details) {
  const auto names = names_wanted(arguments);
  ISOBIT_TRY(names);
  Json out = Json::array();
  for (const std::string& name : *names) {
    PendingFile file;
    if (auto ok = read_pending(name, arguments, file); !ok) return ok.error();
    if (arguments.has("json")) {
      Json blocks = Json::array();
      for (const ChangeView& view : views_of(file, arguments)) blocks.push_back(json_of(view));
      out.push_back({{"scenario", name},
                     {"pending", file.path},
                     {"golden", file.golden_file},
                     {"review", review_hash(file.changes)},
                     {"blocks", blocks}});
      continue;
    }
    print(shown_text(name) + ": " + std::to_string(file.changes.size()) + " blocks in " +
          shown_text(file.path) + "\n");
    if (details) {
      print_review(file, arguments);
      continue;
    }
    for (const GoldenChange& change : file.changes) print("  " + line_of(change) + "\n");
  }
  if (arguments.has("json"))
    print_json({{"format", kOutputFormat}, {"scenarios", out}});
  else if (names->empty())
    print("nothing is pending\n");
  return int(kExitOk);
}

}  // namespace

Result<int> pending(const Arguments& arguments) {
  return show_pending(arguments, false);
}

Result<int> review(const Arguments& arguments) {
  return show_pending(arguments, true);
}

Result<int> bless(const Arguments& arguments) {
  auto options = run_options(arguments);
  ISOBIT_TRY(options);
  if (arguments.text("reason").empty()) {
    return Error{"a golden needs a reason: --reason 'why these bits are right'", "bless"};
  }
  BlessOptions bless_options;
  bless_options.run = *options;
  bless_options.dry_run = arguments.has("dry-run");
  bless_options.reviewed = arguments.text("reviewed");
  if (!bless_options.reviewed.empty() && options->scenarios.size() != 1) {
    return Error{"belongs to one scenario; `isobit review` prints one line for each", "--reviewed"};
  }
  bless_options.reason = arguments.text("reason");
  bless_options.by = who(arguments);
  return isobit::bless(bless_options);
}

Result<int> reject(const Arguments& arguments) {
  const auto names = names_wanted(arguments);
  ISOBIT_TRY(names);
  std::int64_t blocks = 0;
  const bool dry_run = arguments.has("dry-run");
  for (const std::string& name : *names) {
    const auto lock = lock_pending(pending_path(database_path(arguments), name));
    ISOBIT_TRY(lock);
    PendingFile file;
    if (auto ok = read_pending(name, arguments, file); !ok) return ok.error();
    blocks += std::int64_t(file.changes.size());
    if (dry_run) continue;
    auto store = Store::open(database_path(arguments), Store::Mode::read_write);
    ISOBIT_TRY(store);
    for (const GoldenChange& change : file.changes) {
      const GoldenEvent event{"reject",
                              name,
                              change.block.key.class_hash,
                              change.block.prompt_id,
                              change.block.block_hash(),
                              change.parent,
                              who(arguments),
                              arguments.text("reason"),
                              utc_now()};
      if (auto ok = (*store)->record(event); !ok) return ok.error();
    }
    std::error_code problem;
    fs::remove(file.path, problem);
    if (problem) return Error{problem.message(), file.path};
  }
  if (arguments.has("json")) {
    print_json({{"format", kOutputFormat},
                {"scenarios", *names},
                {"blocks", blocks},
                {"dry_run", dry_run}});
  } else {
    print(std::to_string(blocks) +
          (dry_run ? " pending blocks would be rejected\n" : " pending blocks rejected\n"));
  }
  return int(kExitOk);
}

}  // namespace isobit::commands
