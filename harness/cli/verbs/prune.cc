// `isobit prune`: retires the golden blocks that no scenario of a folder asks for.
#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>

#include "golden/bless.h"
#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "runtime/base/file.h"

namespace isobit::commands {
namespace {

namespace fs = std::filesystem;

/// What the scenarios found ask for: by golden file.
struct Asked {
  std::string scenario;
  std::set<GoldenKey> keys;
  std::set<std::string> classes_here;  // of cells that can run on this machine …
  std::set<std::string> asked_here;    // … and asked_class() of them
};
using AskedByFile = std::map<std::string, Asked>;

bool is_yaml(const fs::path& path) {
  return path.extension() == ".yaml" || path.extension() == ".yml";
}

/// YAML files below a folder, but not below hidden folders.
Result<std::vector<std::string>> yaml_below(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code problem;
  fs::recursive_directory_iterator at(folder, problem);
  for (; !problem && at != fs::recursive_directory_iterator(); at.increment(problem)) {
    const fs::path& path = at->path();
    std::error_code ignored;
    if (at->is_directory(ignored)) {
      if (path.filename().string().starts_with('.')) at.disable_recursion_pending();
    } else if (is_yaml(path)) {
      out.push_back(path.lexically_normal().string());
    }
  }
  if (problem) return Error{problem.message(), folder};
  std::sort(out.begin(), out.end());
  return out;
}

/// The scenario files among the words, and those below the folders.
Result<std::vector<std::string>> scenario_files(const std::vector<std::string>& words) {
  std::vector<std::string> out;
  for (const std::string& word : words) {
    std::error_code problem;
    if (!fs::is_directory(word, problem)) {
      out.push_back(word);
      continue;
    }
    const auto found = yaml_below(word);
    ISOBIT_TRY(found);
    if (found->empty()) return Error{"no scenario (*.yaml, *.yml) in this folder", word};
    out.insert(out.end(), found->begin(), found->end());
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
    for (const PlannedCell& cell : plan->cells) {
      if (cell.class_hash.empty()) continue;
      asked.classes_here.insert(cell.class_hash);
      asked.asked_here.insert(cell.asked_class);
    }
  }
  return out;
}

/// Names that any YAML file below a project's folder gives a scenario, read as text: a scenario
/// that was not among the words, or cannot be read, keeps its goldens.
Result<std::set<std::string>> names_below(const fs::path& project) {
  const auto files = yaml_below(project.string());
  ISOBIT_TRY(files);
  std::set<std::string> names;
  for (const std::string& file : *files) {
    const auto text = read_file(file, std::size_t{1} << 20, "");
    if (!text) continue;  // what no run can read names no scenario
    std::istringstream stream(*text);
    for (std::string line; std::getline(stream, line);) {
      if (!line.starts_with("name:")) continue;
      std::string name = line.substr(5, line.find(" #") - 5);
      std::erase_if(name, [](char c) { return c == ' ' || c == '"' || c == '\'' || c == '\r'; });
      names.insert(name);
    }
  }
  return names;
}

/// With a folder of scenarios, golden files beside theirs that no scenario of the project names.
Result<void> add_orphans(const std::vector<std::string>& words, AskedByFile& asked) {
  std::error_code problem;
  const bool folder = std::any_of(words.begin(), words.end(), [&](const std::string& word) {
    return fs::is_directory(word, problem);
  });
  if (!folder) return {};
  std::set<fs::path> places;
  for (const auto& [file, ignored] : asked) places.insert(fs::path(file).parent_path());
  for (const fs::path& place : places) {
    if (!fs::is_directory(place, problem)) continue;
    const auto names = names_below(fs::absolute(place).lexically_normal().parent_path());
    ISOBIT_TRY(names);
    for (const auto& entry : fs::directory_iterator(place, problem)) {
      const std::string name = entry.path().stem().string();
      if (entry.path().extension() != ".golden" || names->count(name) != 0) continue;
      asked.try_emplace(entry.path().string(), Asked{name, {}, {}, {}});
    }
    if (problem) return Error{problem.message(), place.string()};
  }
  return {};
}

/// The blocks of vendors' engines that another library file or other hardware than this machine's
/// gave. Of an engine that cannot run here nothing is known.
void add_foreign(const GoldenFile& file, const Asked& asked, std::vector<GoldenBlock>& gone) {
  for (const auto& [key, block] : file.blocks) {
    const GoldenKey wanted = block.asked_key();
    const bool of_machine = wanted.class_hash != key.class_hash;
    const bool foreign = of_machine && asked.asked_here.count(wanted.class_hash) != 0 &&
                         asked.classes_here.count(key.class_hash) == 0;
    if (foreign && asked.keys.count(wanted) != 0) gone.push_back(block);
  }
}

/// ", libopenblas.so.0 234bd1960cee, Zen": what a vendor's block was made with, or nothing.
std::string machine_text(const GoldenBlock& block) {
  constexpr std::string_view kLibrary = "library.";
  std::string out, variant;
  for (const auto& [key, value] : recipe_lines(block.class_recipe)) {
    if (key.starts_with(kLibrary))
      out += ", " + key.substr(kLibrary.size()) + " " + short_value(value);
    if (key == "variant") variant = ", " + value;
  }
  return out + variant;
}

/// A golden file with what nobody asks for in it.
struct Pruned {
  std::string path;
  GoldenFile file;
  std::vector<GoldenBlock> gone;
};

/// Every file is read, and its folder locked, before one is written.
Result<int> prune_all(const AskedByFile& asked, const Arguments& arguments) {
  const bool write = arguments.has("yes");
  std::map<fs::path, FolderLock> locks;
  std::vector<Pruned> all;
  for (const auto& [path, wanted] : asked) {
    std::error_code problem;
    if (!fs::exists(path, problem)) continue;
    const fs::path folder = fs::weakly_canonical(fs::path(path).parent_path(), problem);
    if (write && locks.count(folder) == 0) {
      auto lock = FolderLock::take(folder.string());
      ISOBIT_TRY(lock);
      locks.emplace(folder, std::move(*lock));
    }
    auto file = read_golden_file(path, wanted.scenario);
    ISOBIT_TRY(file);
    std::vector<GoldenBlock> gone = unasked_blocks(*file, wanted.keys);
    if (arguments.has("foreign")) add_foreign(*file, wanted, gone);
    if (!gone.empty()) all.push_back({path, std::move(*file), std::move(gone)});
  }
  const std::string by = who(arguments);
  const std::string reason = arguments.text("reason", "no scenario asks for it");
  Json rows = Json::array();
  for (Pruned& each : all) {
    for (const GoldenBlock& block : each.gone) {
      rows.push_back(
          {{"golden", each.path}, {"block", block.block_hash()}, {"prompt", block.prompt_id}});
      if (arguments.has("json")) continue;
      print(shown_text(each.path) + "  " + block.block_hash() + "  prompt " +
            shown_text(block.prompt_id + machine_text(block)) + "\n");
    }
    if (!write) continue;
    retire_blocks(each.file, each.gone, by, reason);
    if (auto ok = write_golden_file(each.path, each.file); !ok) return ok.error();
  }
  if (arguments.has("json")) {
    print_json({{"format", kOutputFormat}, {"retired", write}, {"blocks", rows}});
  } else {
    print(std::to_string(rows.size()) + (write ? " golden blocks retired\n"
                                               : " golden blocks would be retired; --yes does "
                                                 "it\n"));
  }
  return int(kExitOk);
}

}  // namespace

Result<int> prune(const Arguments& arguments) {
  const auto files = scenario_files(arguments.words);
  ISOBIT_TRY(files);
  auto asked = asked_by_file(*files, arguments);
  ISOBIT_TRY(asked);
  if (auto ok = add_orphans(arguments.words, *asked); !ok) return ok.error();
  return prune_all(*asked, arguments);
}

}  // namespace isobit::commands
