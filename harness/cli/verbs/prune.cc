// `isobit prune`: retires the golden blocks that no scenario of a folder asks for.
#include <algorithm>
#include <filesystem>
#include <map>

#include "golden/bless.h"
#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "runtime/base/words.h"

namespace isobit::commands {
namespace {

namespace fs = std::filesystem;

/// What the scenarios found ask for: by golden file.
struct Asked {
  std::string scenario;
  std::set<GoldenKey> keys;
};
using AskedByFile = std::map<std::string, Asked>;

/// Scenario files, and those of the folders among the words.
Result<std::vector<std::string>> scenario_files(const std::vector<std::string>& words) {
  std::vector<std::string> out;
  for (const std::string& word : words) {
    std::error_code problem;
    if (!fs::is_directory(word, problem)) {
      out.push_back(word);
      continue;
    }
    const std::size_t before = out.size();
    for (const auto& entry : fs::directory_iterator(word, problem)) {
      if (entry.path().extension() == ".yaml") out.push_back(entry.path().string());
    }
    if (out.size() == before) return Error{"no scenario (*.yaml) in this folder", word};
    std::sort(out.begin() + std::ptrdiff_t(before), out.end());
  }
  return out;
}

/// One scenario that cannot be read stops everything: its goldens would be taken for nobody's.
Result<AskedByFile> asked_by_file(const std::vector<std::string>& files,
                                  const Arguments& arguments) {
  const Environment here = fingerprint();
  AskedByFile out;
  for (const std::string& path : files) {
    auto loaded = load(path, {});
    ISOBIT_TRY(loaded);
    Selection everything;
    everything.allow_large = true;
    const auto plan = make_plan(*loaded, everything, here);
    ISOBIT_TRY(plan);
    const std::string& name = loaded->scenario.name;
    Asked& asked = out[golden_path(path, name, golden_folder(arguments))];
    asked.scenario = name;
    asked.keys.merge(asked_blocks(*loaded, *plan));
  }
  return out;
}

/// With a folder of scenarios, the golden files beside theirs belong to it too.
void add_orphans(const std::vector<std::string>& words, AskedByFile& asked) {
  std::error_code problem;
  const bool folder = std::any_of(words.begin(), words.end(), [&](const std::string& word) {
    return fs::is_directory(word, problem);
  });
  if (!folder) return;
  std::set<fs::path> places;
  for (const auto& [file, ignored] : asked) places.insert(fs::path(file).parent_path());
  for (const fs::path& place : places) {
    for (const auto& entry : fs::directory_iterator(place, problem)) {
      if (entry.path().extension() != ".golden") continue;
      asked.try_emplace(entry.path().string(), Asked{entry.path().stem().string(), {}});
    }
  }
}

/// The blocks of one file that nobody asks for; takes them out when `write`.
Result<std::vector<GoldenBlock>> prune_file(const std::string& path, const Asked& asked, bool write,
                                            const std::string& by, const std::string& reason) {
  std::error_code problem;
  if (!fs::exists(path, problem)) return std::vector<GoldenBlock>{};
  const auto lock = FolderLock::take(fs::path(path).parent_path().string());
  ISOBIT_TRY(lock);
  auto file = read_golden_file(path, asked.scenario);
  ISOBIT_TRY(file);
  std::vector<GoldenBlock> gone = unasked_blocks(*file, asked.keys);
  if (!write || gone.empty()) return gone;
  retire_blocks(*file, gone, by, reason);
  if (auto ok = write_golden_file(path, *file); !ok) return ok.error();
  return gone;
}

}  // namespace

Result<int> prune(const Arguments& arguments) {
  const auto files = scenario_files(arguments.words);
  ISOBIT_TRY(files);
  auto asked = asked_by_file(*files, arguments);
  ISOBIT_TRY(asked);
  add_orphans(arguments.words, *asked);
  const bool write = arguments.has("yes");
  const std::string reason = arguments.text("reason", "no scenario asks for it");
  Json rows = Json::array();
  std::int64_t count = 0;
  for (const auto& [path, wanted] : *asked) {
    const auto gone = prune_file(path, wanted, write, who(arguments), reason);
    ISOBIT_TRY(gone);
    for (const GoldenBlock& block : *gone) {
      ++count;
      rows.push_back(
          {{"golden", path}, {"block", block.block_hash()}, {"prompt", block.prompt_id}});
      if (arguments.has("json")) continue;
      print(shown_text(path) + "  " + block.block_hash() + "  prompt " +
            shown_text(block.prompt_id) + "\n");
    }
  }
  if (arguments.has("json")) {
    print_json({{"format", kOutputFormat}, {"retired", write}, {"blocks", rows}});
  } else {
    print(std::to_string(count) + (write ? " golden blocks retired\n"
                                         : " golden blocks would be retired; --yes does it\n"));
  }
  return int(kExitOk);
}

}  // namespace isobit::commands
