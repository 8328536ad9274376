// The plugin's row of the table: its file, its options, and where it can run.
#include "runtime/backends/plugin/engine.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "runtime/backends/plugin/backend.h"
#include "runtime/backends/reference.h"
#include "runtime/base/option_text.h"
#include "runtime/base/process.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

/// Whether a cell's text can hold the name of an option; values are escaped.
bool is_option_name(const std::string& word) {
  return !word.empty() && escaped(word) == word && word.find_first_of("/:=@,") == word.npos;
}

/// The plugin's file as an absolute path, empty without one. A bare name is a file too: the loader
/// would look for it in the system's folders.
std::string file_of(const EngineChoice& choice) {
  namespace fs = std::filesystem;
  for (const auto& [key, value] : choice.pairs) {
    if (key != "plugin") continue;
    std::error_code problem;
    return fs::absolute(fs::path(choice.folder) / unescaped(value), problem)
        .lexically_normal()
        .string();
  }
  return "";
}

Error no_file() {
  return {"engine plugin needs the file of a plugin, e.g. {plugin: ./kernels.so}", ""};
}

}  // namespace

Result<EngineChoice> parse_plugin(const EnginePairs& pairs) {
  EngineChoice engine;
  engine.name = "plugin";
  std::set<std::string> seen;
  for (const auto& [key, text] : pairs) {
    if (!seen.insert(key).second) {
      return Error{"option " + in_quotes(key) + " of plugin is given twice", ""};
    }
    if (!is_option_name(key)) {
      return Error{
          "an option of engine plugin is a word of letters, digits, '.', '-' and '_', not " +
              in_quotes(key),
          ""};
    }
    const std::string word = unescaped(text);
    if (key != "plugin") {
      engine.pairs.emplace_back(key, escaped(word));
    } else if (!word.empty()) {
      const std::string file = std::filesystem::path(word).lexically_normal().string();
      engine.pairs.emplace_back(key, escaped(file));
    }
  }
  std::sort(engine.pairs.begin(), engine.pairs.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first != "plugin", a.first) < std::pair(b.first != "plugin", b.first);
  });
  if (!engine.pairs.empty() && engine.pairs.front().first != "plugin") return no_file();
  return engine;
}

std::string plugin_unsupported(const BackendOptions& options, const Mode& mode) {
  return reference_unsupported(options, mode);
}

Result<void> check_plugin(const EngineChoice& choice) {
  const std::string path = file_of(choice);
  if (path.empty()) return no_file();
  const auto loaded = ask_in_child([&]() -> Result<std::string> {
    const auto library = load_plugin(path);
    ISOBIT_TRY(library);
    return std::string();
  });
  if (loaded) return {};
  const std::string& said = loaded.error().message;  // of the library, or of the child process
  return Error{"plugin " + (said.starts_with(path) ? said : path + ": " + said), ""};
}

Result<std::unique_ptr<Backend>> make_plugin(const BackendOptions& options, const Mode& mode) {
  const std::string path = file_of(options.engine);
  if (path.empty()) return no_file();
  const auto library = load_plugin(path);
  if (!library) return Error{"plugin " + library.error().text(), ""};
  auto reference = make_reference(options, mode);
  ISOBIT_TRY(reference);
  try {
    return std::unique_ptr<Backend>(
        std::make_unique<PluginBackend>(std::move(*reference), **library, options));
  } catch (const BackendError& error) {
    return Error{error.what(), ""};
  }
}

std::vector<std::string> plugin_libraries(const EngineChoice& choice) {
  const std::string path = file_of(choice);
  std::error_code problem;
  if (path.empty() || !std::filesystem::is_regular_file(path, problem)) return {};
  return {path};
}

std::vector<EngineStatus> plugin_status() {
  return {{"plugin", "ready", {"interface version " + std::to_string(ISOBIT_PLUGIN_ABI)}}};
}

}  // namespace isobit
