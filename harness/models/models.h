// From a scenario's `model:` to files on disk: manifests, the cache, fetching, transforms.
//
// A model is a directory, a .gguf file, the name of a manifest (NAME.json in a folder of
// models_folders()) or a merged model (merged.h). Fetching uses the package client by package name
// and checks digests before use. `base` is the scenario's folder, empty: the working folder.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/weights.h"
#include "runtime/tokenizer/tokenizer.h"

namespace isobit {

/// A wheel and the member of it that holds a model's file, or the next piece of it.
struct WheelPart {
  std::string package, version, wheel_sha256, file;
  std::int64_t size = 0;  // of the member, bytes
};

struct ModelManifest {
  std::string name, kind;     // kind: directory | wheel-gguf | transform
  std::string path;           // directory: relative to the manifest
  std::string version, file;  // wheel-gguf: `file` is the only part's member, or the whole's name
  std::int64_t size = 0;
  std::vector<WheelPart> parts;               // wheel-gguf: in the order of the file, one or more
  std::string terms;                          // not empty: fetched by the user's own command alone
  std::map<std::string, std::string> sha256;  // file -> hex
  std::string of, transform;                  // kind transform
  std::string licence, source;
  std::string place;  // the manifest's own path
};

/// Folders in which a manifest is looked for, the first that has it wins: ISOBIT_MODELS; models/
/// beside the scenario, and above it as far as the repository goes (without one, one folder up);
/// the data installed with the program, or the checkout that it was built in, both found from where
/// the executable is; models/ of the cache. They need not exist.
std::vector<std::string> models_folders(const std::string& base);
/// Cache folder: ISOBIT_CACHE, else XDG_CACHE_HOME/isobit, else ~/.cache/isobit; an error that
/// names the three when none is set.
Result<std::string> cache_folder();
/// An unknown name is an error that lists where it was looked for.
Result<ModelManifest> read_manifest(const std::string& name, const std::string& base);
/// Of all folders, sorted.
std::vector<std::string> manifest_names(const std::string& base);

/// Files of a model, present and (for manifests) named with their expected digest. A model that is
/// not there is an error naming `isobit model fetch` and the digest it needs. A path beside the
/// scenario comes before a manifest's name, the working folder's after it. The weights of a wheel
/// may be handed over instead: a file of their name beside the manifest or in ISOBIT_MODELS.
Result<LoadedModel> open_model(const std::string& model, const std::string& base);
/// Downloads, checks, unpacks into the cache, and keeps the manifest there too; says on stderr what
/// comes, how large it is, and how far it is. No-op when it is there and right; an error for a file
/// that was handed over and is another. Of several parts those that came whole are kept.
Result<std::string> fetch_model(const std::string& name, const std::string& base, bool offline);
/// Hex SHA-256 over the names and SHA-256 of all files of a model (and its transform); also checks
/// a manifest's digests.
Result<std::string> model_digest(const LoadedModel& model, const std::string& name,
                                 const std::string& base);

}  // namespace isobit
