// Reads manifests strictly and finds the folders of models (models.h, scenarios/models/README.md).
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/models/files.h"
#include "runtime/base/file.h"
#include "runtime/base/text.h"
#include "runtime/base/words.h"
#include "runtime/checkpoint/json.h"

#ifndef ISOBIT_INSTALLED_MODELS_DIR
#define ISOBIT_INSTALLED_MODELS_DIR "../share/isobit/scenarios/models"
#endif

namespace isobit {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargestManifest = std::size_t{1} << 20;
constexpr const char* kModelsOfCheckout = "scenarios/models";
constexpr std::size_t kMostTransforms = 5;  // of each other; they may also go in a circle

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_folder(const fs::path& path) {
  std::error_code problem;
  return fs::is_directory(path, problem);
}

/// The scenario's folder and those above it, up to the one that holds the repository; without a
/// repository the first two: what lies further up belongs to nobody in particular.
std::vector<fs::path> project_folders(const std::string& base) {
  std::vector<fs::path> out;
  std::error_code problem;
  const fs::path start = fs::absolute(base.empty() ? "." : base, problem).lexically_normal();
  fs::path at = start.has_filename() ? start : start.parent_path();
  for (;; at = at.parent_path()) {
    out.push_back(at);
    if (fs::exists(at / ".git", problem)) return out;
    if (at == at.root_path() || at.empty()) break;
  }
  out.resize(std::min<std::size_t>(out.size(), 2));
  return out;
}

/// The checkout that an executable was built in: the nearest folder above it that is one. Empty:
/// none.
fs::path checkout_around(fs::path folder) {
  for (; !folder.empty() && folder != folder.root_path(); folder = folder.parent_path()) {
    std::error_code problem;
    const bool checkout = fs::exists(folder / "CMakeLists.txt", problem);
    if (checkout && is_folder(folder / kModelsOfCheckout)) return folder;
  }
  return {};
}

/// Words that a manifest may have, "text" or "number" or "map".
const std::vector<std::string>& manifest_keys() {
  static const std::vector<std::string> keys = {
      "format",       "name",   "kind",       "path",   "package", "version",
      "wheel_sha256", "file",   "size",       "sha256", "of",      "transform",
      "licence",      "source", "parameters", "parts",  "terms"};
  return keys;
}

/// A relative path that stays where it is.
bool stays_inside(const std::string& path) {
  if (path.empty() || fs::path(path).is_absolute()) return false;
  const std::string normal = fs::path(path).lexically_normal().generic_string();
  return normal != ".." && normal.rfind("../", 0) != 0;
}

bool is_sha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

class ManifestReader {
 public:
  ManifestReader(const nlohmann::json& json, std::string place)
      : json_(json), place_(std::move(place)) {}

  [[nodiscard]] Error wrong(const std::string& message) const { return Error{message, place_}; }

  Result<void> keys() const {
    if (!json_.is_object()) return wrong("a manifest is one JSON object");
    for (const auto& [key, value] : json_.items()) {
      const auto& known = manifest_keys();
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        return wrong("unknown key " + in_quotes(key) + did_you_mean(key, known));
      }
      const bool number = key == "format" || key == "size" || key == "parameters";
      if (number            ? !value.is_number_integer()
          : key == "sha256" ? !value.is_object()
          : key == "parts"  ? !value.is_array()
                            : !value.is_string()) {
        return wrong("key " + in_quotes(key) + " must be " +
                     (number            ? "a whole number"
                      : key == "sha256" ? "an object"
                      : key == "parts"  ? "a list"
                                        : "text"));
      }
    }
    if (json_.value("format", 0) != 1) return wrong("\"format\" must be 1");
    return {};
  }
  [[nodiscard]] std::string text(const char* key) const { return json_.value(key, std::string()); }

  Result<void> digests(ModelManifest& manifest) const {
    if (!json_.contains("sha256")) return {};
    for (const auto& [file, digest] : json_["sha256"].items()) {
      const std::string hex = digest.is_string() ? digest.get<std::string>() : "";
      if (!is_sha256(hex)) return wrong("sha256 of " + in_quotes(file) + " is not 64 hex digits");
      if (!stays_inside(file)) return wrong("path " + in_quotes(file) + " leaves the folder");
      manifest.sha256[file] = hex;
    }
    return {};
  }

  /// The wheels that "parts" lists, or the one that the manifest's own keys name.
  Result<void> wheels(ModelManifest& manifest) const {
    if (!json_.contains("parts")) {
      manifest.parts.push_back(part_of(json_));
      return {};
    }
    for (const char* key : {"package", "wheel_sha256", "version"}) {
      if (json_.contains(key)) return wrong(in_quotes(key) + " stands beside \"parts\"");
    }
    if (json_["parts"].empty()) return wrong("\"parts\" is empty");
    static const std::vector<std::string> known = {"package", "version", "wheel_sha256", "file",
                                                   "size"};
    for (const nlohmann::json& part : json_["parts"]) {
      const std::string number = "part " + std::to_string(manifest.parts.size() + 1);
      if (!part.is_object()) return wrong(number + " is not an object");
      for (const auto& [key, value] : part.items()) {
        if (std::find(known.begin(), known.end(), key) == known.end()) {
          return wrong(number + ": unknown key " + in_quotes(key) + did_you_mean(key, known));
        }
        if (key == "size" ? !value.is_number_integer() : !value.is_string()) {
          return wrong(number + ": key " + in_quotes(key) + " must be " +
                       (key == "size" ? "a whole number" : "text"));
        }
      }
      manifest.parts.push_back(part_of(part));
    }
    return {};
  }

  Result<void> required(const std::vector<std::string>& names) const {
    for (const std::string& name : names) {
      if (text(name.c_str()).empty()) return wrong("key " + in_quotes(name) + " is missing");
    }
    return {};
  }

 private:
  static WheelPart part_of(const nlohmann::json& json) {
    const std::string none;
    return {json.value("package", none), json.value("version", none),
            json.value("wheel_sha256", none), json.value("file", none),
            json.value("size", std::int64_t{0})};
  }

  const nlohmann::json& json_;
  std::string place_;
};

Result<void> check_part(const WheelPart& part, const std::string& which,
                        const ManifestReader& reader) {
  const std::pair<const char*, const std::string&> texts[] = {{"package", part.package},
                                                              {"version", part.version},
                                                              {"wheel_sha256", part.wheel_sha256},
                                                              {"file", part.file}};
  for (const auto& [key, text] : texts) {
    if (text.empty()) return reader.wrong(which + "key " + in_quotes(key) + " is missing");
  }
  const std::string allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+!";
  const std::string requirement = part.package + part.version;
  if (requirement.find_first_not_of(allowed) != std::string::npos || part.package[0] == '-') {
    return reader.wrong(which + "\"package\" and \"version\" must be a plain name and number");
  }
  if (!is_sha256(part.wheel_sha256)) {
    return reader.wrong(which + "wheel_sha256 is not 64 hex digits");
  }
  if (!stays_inside(part.file)) return reader.wrong(which + "\"file\" leaves its folder");
  if (part.size <= 0) return reader.wrong(which + "\"size\" must be the member's length in bytes");
  return {};
}

Result<void> check_kind(const ModelManifest& manifest, const ManifestReader& reader) {
  if (manifest.kind == "directory") {
    if (auto ok = reader.required({"path"}); !ok) return ok.error();
    if (!stays_inside(manifest.path)) return reader.wrong("\"path\" leaves the manifest's folder");
    return {};
  }
  if (manifest.kind == "transform") {
    if (auto ok = reader.required({"of", "transform"}); !ok) return ok.error();
    if (manifest.of == manifest.name) return reader.wrong("\"of\" names the model itself");
    return {};
  }
  if (manifest.kind != "wheel-gguf") {
    return reader.wrong("unknown kind " + in_quotes(manifest.kind) +
                        did_you_mean(manifest.kind, {"directory", "wheel-gguf", "transform"}));
  }
  if (auto ok = reader.required({"file"}); !ok) return ok.error();
  if (manifest.size <= 0) return reader.wrong("\"size\" must be the file's length in bytes");
  if (!stays_inside(manifest.file)) return reader.wrong("\"file\" leaves its folder");
  std::int64_t left = manifest.size;
  for (std::size_t i = 0; i < manifest.parts.size(); ++i) {
    const std::string which =
        manifest.parts.size() == 1 ? "" : "part " + std::to_string(i + 1) + ": ";
    if (auto ok = check_part(manifest.parts[i], which, reader); !ok) return ok.error();
    if (manifest.parts[i].size > left) return reader.wrong("the parts are larger than \"size\"");
    left -= manifest.parts[i].size;
  }
  if (left != 0) {
    return reader.wrong("the parts are " + std::to_string(left) + " bytes smaller than \"size\"");
  }
  if (manifest.sha256.count(manifest.file) == 0) return reader.wrong("no sha256 of \"file\"");
  return {};
}

}  // namespace

std::vector<std::string> models_folders(const std::string& base) {
  std::vector<std::string> out;
  const auto add = [&](const fs::path& folder) {
    const std::string text = folder.lexically_normal().string();
    if (std::find(out.begin(), out.end(), text) == out.end()) out.push_back(text);
  };
  std::error_code problem;
  if (const std::string chosen = variable("ISOBIT_MODELS"); !chosen.empty()) {
    add(fs::absolute(chosen, problem));
  }
  for (const fs::path& folder : project_folders(base)) add(folder / "models");
  const fs::path program = fs::read_symlink("/proc/self/exe", problem).parent_path();
  if (!problem) {
    add(program / ISOBIT_INSTALLED_MODELS_DIR);
    if (const fs::path checkout = checkout_around(program); !checkout.empty()) {
      add(checkout / kModelsOfCheckout);
    }
  }
  if (const auto cache = cache_folder()) add(fs::path(*cache) / "models");
  return out;
}

Result<std::string> cache_folder() {
  if (std::string chosen = variable("ISOBIT_CACHE"); !chosen.empty()) return chosen;
  if (std::string base = variable("XDG_CACHE_HOME"); !base.empty()) return base + "/isobit";
  if (std::string home = variable("HOME"); !home.empty()) return home + "/.cache/isobit";
  return Error{
      "the cache of models has no place: set ISOBIT_CACHE to a folder (or XDG_CACHE_HOME, or "
      "HOME); none of them is set",
      "ISOBIT_CACHE"};
}

std::vector<std::string> manifest_names(const std::string& base) {
  std::set<std::string> names;
  for (const std::string& folder : models_folders(base)) {
    std::error_code problem;
    for (const auto& entry : fs::directory_iterator(folder, problem)) {
      if (entry.path().extension() == ".json") names.insert(entry.path().stem().string());
    }
  }
  return {names.begin(), names.end()};
}

Result<ModelManifest> read_manifest(const std::string& name, const std::string& base) {
  const std::string path = models::manifest_path(name, base);
  if (path.empty()) {
    std::string looked;
    for (const std::string& folder : models_folders(base)) {
      looked += (looked.empty() ? "" : ", ") + text::printable(folder) +
                (is_folder(folder) ? "" : " (no such folder)");
    }
    return Error{"unknown model " + in_quotes(name) + did_you_mean(name, manifest_names(base)) +
                     "; a model is a folder, a .gguf file or the name of a manifest; looked in " +
                     looked,
                 ""};
  }
  const auto text = read_file(path, kLargestManifest, "larger than 1 MiB: not a manifest");
  ISOBIT_TRY(text);
  return models::parse_manifest(*text, path, name);
}

namespace models {

std::string manifest_path(const std::string& name, const std::string& base) {
  if (name.empty() || name[0] == '.' || name.find('/') != std::string::npos) return "";
  for (const std::string& folder : models_folders(base)) {
    std::error_code problem;
    const fs::path path = fs::path(folder) / (name + ".json");
    if (fs::exists(path, problem)) return path.string();
  }
  return "";
}

Result<ModelManifest> parse_manifest(const std::string& text, const std::string& place,
                                     const std::string& name) {
  const Result<nlohmann::json> json = parse_strict_json(text, {place, std::nullopt});
  ISOBIT_TRY(json);
  const ManifestReader reader(*json, place);
  if (auto ok = reader.keys(); !ok) return ok.error();
  if (auto ok = reader.required({"name", "kind"}); !ok) return ok.error();
  ModelManifest manifest;
  manifest.place = place;
  manifest.name = reader.text("name");
  manifest.kind = reader.text("kind");
  manifest.path = reader.text("path");
  manifest.version = reader.text("version");
  manifest.file = reader.text("file");
  manifest.size = json->value("size", std::int64_t{0});
  manifest.of = reader.text("of");
  manifest.transform = reader.text("transform");
  manifest.licence = reader.text("licence");
  manifest.source = reader.text("source");
  manifest.terms = reader.text("terms");
  if (manifest.name != name) {
    return reader.wrong("\"name\" is " + in_quotes(manifest.name) + ", the file is called " +
                        in_quotes(name));
  }
  if (auto ok = reader.digests(manifest); !ok) return ok.error();
  if (manifest.kind == "wheel-gguf") {
    if (auto ok = reader.wheels(manifest); !ok) return ok.error();
  } else if (json->contains("parts") || json->contains("terms")) {
    return reader.wrong("\"parts\" and \"terms\" belong to kind \"wheel-gguf\"");
  }
  if (auto ok = check_kind(manifest, reader); !ok) return ok.error();
  return manifest;
}

Result<std::vector<ModelManifest>> manifest_chain(const std::string& name,
                                                  const std::string& base) {
  std::vector<ModelManifest> chain;
  std::string next = name;
  for (;;) {
    auto manifest = read_manifest(next, base);
    ISOBIT_TRY(manifest);
    const bool last = manifest->kind != "transform";
    if (!last && chain.size() >= kMostTransforms) {
      return Error{"transforms of transforms go too deep", manifest->place};
    }
    next = manifest->of;
    chain.push_back(std::move(*manifest));
    if (last) return chain;
  }
}

}  // namespace models
}  // namespace isobit
