// `isobit bless`, `pending`, `review`, `reject`: what may become a golden, and who decides.
#include <algorithm>
#include <filesystem>

#include "golden/bless.h"
#include "golden/golden.h"
#include "harness/bless.h"
#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/scenario/scenario.h"
#include "runtime/base/words.h"

namespace isobit::commands {
namespace {

namespace fs = std::filesystem;

/// One pending block against the golden that it would replace.
struct Waiting {
  const GoldenBlock* block = nullptr;
  const GoldenBlock* old = nullptr;  // null: new
  std::int64_t compared = 0, differing = 0, flipped = 0, first_position = -1;
  [[nodiscard]] const char* state() const {
    if (old == nullptr) return "new";
    return old->rows == block->rows ? "equal" : "changed";
  }
};

struct PendingFile {
  std::string path, golden_file;
  GoldenFile pending, golden;
  std::vector<Waiting> blocks;
};

Waiting compare_block(const GoldenBlock& block, const GoldenFile& golden) {
  Waiting out;
  out.block = &block;
  out.old = golden.find(block.key);
  if (out.old == nullptr) return out;
  const std::size_t rows = std::min(block.rows.size(), out.old->rows.size());
  for (std::size_t i = 0; i < rows; ++i) {
    const GoldenRow &a = out.old->rows[i], &b = block.rows[i];
    ++out.compared;
    if (a == b) continue;
    if (out.first_position < 0) out.first_position = b.position;
    ++out.differing;
    out.flipped += a.id != b.id ? 1 : 0;
    if (a.id != b.id) break;  // later rows have other inputs
  }
  return out;
}

/// Where a scenario's goldens are: its newest run knows its path.
std::string golden_file_of(const std::string& scenario, const Arguments& arguments) {
  std::string path = "scenario";
  const auto store = open_database(arguments);
  if (store) {
    const auto runs = (*store)->runs();
    if (runs) {
      const auto found = std::find_if(runs->begin(), runs->end(),
                                      [&](const RunInfo& run) { return run.scenario == scenario; });
      if (found != runs->end()) path = found->scenario_path;
    }
  }
  return golden_path(path, scenario, golden_folder(arguments));
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

/// Fills in place: the blocks point into `pending` and `golden`.
Result<void> read_pending(const std::string& name, const Arguments& arguments, PendingFile& out) {
  out.path = pending_path(database_path(arguments), name);
  out.golden_file = golden_file_of(name, arguments);
  auto pending = read_pending_file(out.path, name);
  ISOBIT_TRY(pending);
  auto golden = read_golden_file(out.golden_file, name);
  ISOBIT_TRY(golden);
  out.pending = std::move(*pending);
  out.golden = std::move(*golden);
  for (const auto& [key, block] : out.pending.blocks) {
    out.blocks.push_back(compare_block(block, out.golden));
  }
  return {};
}

Json json_of(const Waiting& w) {
  return {{"state", w.state()},
          {"prompt", w.block->prompt_id},
          {"class", w.block->key.class_hash},
          {"recipe", w.block->class_recipe},
          {"block", w.block->block_hash()},
          {"parent", w.old == nullptr ? Json(nullptr) : Json(w.old->block_hash())},
          {"rows", w.block->rows.size()},
          {"compared", w.compared},
          {"differing", w.differing},
          {"flipped", w.flipped},
          {"first_position", w.first_position}};
}

/// The lines of a class recipe that people know a class by.
std::string class_words(const std::string& recipe) {
  std::string out;
  for (std::size_t at = 0; at < recipe.size();) {
    const std::size_t end = std::min(recipe.find('\n', at), recipe.size());
    const std::string line = recipe.substr(at, end - at);
    const std::string key = line.substr(0, line.find('='));
    if (key == "engine" || key == "precision" || key == "teacher_forced") {
      out += (out.empty() ? "" : " ") + line;
    }
    at = end + 1;
  }
  return out;
}

void print_block(const Waiting& w, bool details) {
  print("  " + std::string(w.state()) + "  " + w.block->block_hash() + "  prompt " +
        shown_text(w.block->prompt_id) + ", " + std::to_string(w.block->rows.size()) + " rows, " +
        shown_text(class_words(w.block->class_recipe)) + "\n");
  if (!details || w.old == nullptr || w.old->rows == w.block->rows) return;
  if (w.differing > 0) {
    print("    first at position " + std::to_string(w.first_position) + "; " +
          std::to_string(w.differing) + " of " + std::to_string(w.compared) + " rows differ" +
          (w.flipped > 0 ? ", then a token flips" : ", no token flips") + "; replaces " +
          w.old->block_hash() + "\n");
  } else {
    print("    another number of rows: " + std::to_string(w.old->rows.size()) + " became " +
          std::to_string(w.block->rows.size()) + "; replaces " + w.old->block_hash() + "\n");
  }
}

Result<int> show_pending(const Arguments& arguments, bool details) {
  const auto names = names_wanted(arguments);
  ISOBIT_TRY(names);
  Json out = Json::array();
  for (const std::string& name : *names) {
    PendingFile file;
    if (auto ok = read_pending(name, arguments, file); !ok) return ok.error();
    Json blocks = Json::array();
    for (const Waiting& w : file.blocks) blocks.push_back(json_of(w));
    out.push_back({{"scenario", name},
                   {"pending", file.path},
                   {"golden", file.golden_file},
                   {"blocks", blocks}});
    if (arguments.has("json")) continue;
    print(shown_text(name) + ": " + std::to_string(file.blocks.size()) + " blocks in " + file.path +
          "\n");
    for (const Waiting& w : file.blocks) print_block(w, details);
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
    blocks += std::int64_t(file.blocks.size());
    if (dry_run) continue;
    auto store = Store::open(database_path(arguments), Store::Mode::read_write);
    ISOBIT_TRY(store);
    for (const Waiting& w : file.blocks) {
      const GoldenEvent event{"reject",
                              name,
                              w.block->key.class_hash,
                              w.block->prompt_id,
                              w.block->block_hash(),
                              w.old == nullptr ? "-" : w.old->block_hash(),
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
