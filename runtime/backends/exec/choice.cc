// Reading `{exec: NAME, option: value}`, and finding the adapters' folder.
#include "runtime/backends/exec/choice.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "runtime/base/option_text.h"
#include "runtime/base/words.h"

#ifndef ISOBIT_INSTALLED_ADAPTERS_DIR
#define ISOBIT_INSTALLED_ADAPTERS_DIR "../share/isobit/adapters"
#endif

namespace isobit::exec {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAdaptersOfCheckout = "runtime/backends/exec/adapters";

/// Beside an installed program, or in the checkout around a built one; empty: nowhere.
fs::path adapter_file(const std::string& name) {
  std::error_code problem;
  fs::path folder = fs::read_symlink("/proc/self/exe", problem).parent_path();
  const fs::path installed = folder / ISOBIT_INSTALLED_ADAPTERS_DIR / name;
  if (fs::exists(installed, problem)) return installed.lexically_normal();
  for (; folder.has_relative_path(); folder = folder.parent_path()) {
    const fs::path built = folder / kAdaptersOfCheckout / name;
    if (fs::exists(built, problem)) return built;
  }
  return {};
}

bool is_option_name(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

}  // namespace

Result<std::string> adapter_path(const std::string& file) {
  const fs::path found = adapter_file(file);
  if (!found.empty()) return found.string();
  return Error{file + " is neither beside the program (" + ISOBIT_INSTALLED_ADAPTERS_DIR +
                   ") nor in a checkout around it",
               ""};
}

const std::vector<std::string>& adapter_names() {
  static const std::vector<std::string> names = {"transformers", "llama_cpp", "openai"};
  return names;
}

Result<std::vector<std::string>> ExecSettings::words() const {
  if (adapter.empty()) return command;
  const auto file = adapter_path(adapter + ".py");
  ISOBIT_TRY(file);
  return std::vector<std::string>{"python3", *file};
}

Result<EngineChoice> parse_exec(const EnginePairs& pairs) {
  auto settings = std::make_shared<ExecSettings>();
  EngineChoice choice;
  choice.name = "exec";
  for (const auto& [key, value] : pairs) {
    if (key != "exec") {
      if (!is_option_name(key)) {
        return Error{
            "an option of an external engine is a word of small letters, not " + in_quotes(key),
            ""};
      }
      if (!settings->options.emplace(key, unescaped(value)).second) {
        return Error{"option " + in_quotes(key) + " of engine exec is given twice", ""};
      }
      continue;
    }
    if (!choice.pairs.empty()) return Error{"engine exec has two programs", ""};
    choice.pairs.emplace_back(key, value);
    settings->command = list_of(value);
    if (settings->command.empty()) settings->adapter = value;
  }
  const std::vector<std::string>& known = adapter_names();
  const bool shipped = std::find(known.begin(), known.end(), settings->adapter) != known.end();
  if (settings->command.empty() && !shipped) {
    return Error{"there is no adapter " + in_quotes(settings->adapter) +
                     among_known(settings->adapter, known) +
                     "; a program of one's own is a list: {exec: [program, argument]}",
                 ""};
  }
  if (!settings->command.empty() && settings->command[0].empty()) {
    return Error{"the program of engine exec has no name", ""};
  }
  for (const auto& [key, value] : settings->options) {
    choice.pairs.emplace_back(key, escaped(value));
  }
  choice.settings = std::move(settings);
  return choice;
}

const ExecSettings& settings_of(const EngineChoice& choice) {
  const auto* settings = dynamic_cast<const ExecSettings*>(choice.settings.get());
  ISOBIT_CHECK(settings != nullptr);
  return *settings;
}

}  // namespace isobit::exec
