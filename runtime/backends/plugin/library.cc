// Everything of dlopen that plugins need.
#include "runtime/backends/plugin/library.h"

#include <dlfcn.h>

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>

#include "runtime/base/sha256.h"

namespace isobit {
namespace {

/// What the loader says of its last failure, without the path that begins it.
std::string loader_text(const std::string& path) {
  const char* said = dlerror();
  std::string text = said == nullptr ? "the loader does not say why" : said;
  if (text.starts_with(path + ": ")) text.erase(0, path.size() + 2);
  return text;
}

Result<std::unique_ptr<PluginLibrary>> load(const std::string& path) {
  std::error_code problem;
  if (!std::filesystem::exists(path, problem)) return Error{"there is no such file", path};
  if (!std::filesystem::is_regular_file(path, problem)) return Error{"it is no file", path};
  auto library = std::make_unique<PluginLibrary>();
  library->path = path;
  Sha256 hash{};
  if (!sha256_file(path, hash)) return Error{"it cannot be read", path};
  library->sha256_hex = to_hex(hash);
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return Error{"it cannot be loaded: " + loader_text(path), path};
  const auto* abi = static_cast<const std::uint32_t*>(dlsym(handle, "isobit_plugin_abi"));
  if (abi == nullptr) {
    return Error{"it is no plugin of Isobit: it lacks isobit_plugin_abi (plugin_abi.h)", path};
  }
  if (*abi != ISOBIT_PLUGIN_ABI) {
    return Error{"it was built for version " + std::to_string(*abi) +
                     " of the plug-in interface, this program has version " +
                     std::to_string(ISOBIT_PLUGIN_ABI) +
                     "; compile it with this program's plugin_abi.h",
                 path};
  }
  library->open =
      reinterpret_cast<decltype(PluginLibrary::open)>(dlsym(handle, "isobit_plugin_open"));
  if (library->open == nullptr) return Error{"it lacks isobit_plugin_open", path};
  return library;
}

}  // namespace

Result<const PluginLibrary*> load_plugin(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<PluginLibrary>> loaded;
  const std::lock_guard lock(mutex);
  const auto found = loaded.find(path);
  if (found != loaded.end()) return found->second.get();
  auto fresh = load(path);
  ISOBIT_TRY(fresh);
  return loaded.emplace(path, std::move(*fresh)).first->second.get();
}

}  // namespace isobit
