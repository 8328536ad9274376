// Atomic writing: temporary file in the same folder, fsync, rename.
#include "runtime/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

namespace isobit {
namespace {

Error io_error(const char* action, const std::string& path) {
  return Error{std::string("cannot ") + action + ": " + std::strerror(errno), path};
}

Result<void> write_all(int file, const std::string& bytes, const std::string& path) {
  std::size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t count = ::write(file, bytes.data() + written, bytes.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return io_error("write", path);
    written += std::size_t(count);
  }
  if (::fsync(file) != 0 && errno != EINVAL) return io_error("flush", path);
  return {};
}

// Makes the rename itself durable. A file system that cannot is no error: the file is whole.
void sync_folder(const std::string& folder) {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;
  ::fsync(file);
  ::close(file);
}

}  // namespace

Result<void> write_file_atomically(const std::string& path, const std::string& bytes) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return Error{"cannot write: it is a folder", path};
  }
  // A link is followed, so that the file behind it is replaced and not the link.
  std::string target = path;
  if (std::filesystem::is_symlink(path, ignored)) {
    const auto resolved = std::filesystem::weakly_canonical(path, ignored);
    if (!ignored) target = resolved.string();
  }
  // /dev/stdout, a pipe: nothing to rename there.
  if (std::filesystem::exists(target, ignored) &&
      !std::filesystem::is_regular_file(target, ignored)) {
    const int file = ::open(target.c_str(), O_WRONLY | O_CLOEXEC);
    if (file < 0) return io_error("open", path);
    Result<void> result = write_all(file, bytes, path);
    ::close(file);
    return result;
  }
  const std::string folder = std::filesystem::path(target).parent_path().string();
  std::filesystem::create_directories(folder.empty() ? "." : folder, ignored);

  std::string temporary = target + ".XXXXXX";
  const int file = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (file < 0) return io_error("create a file", path);
  const mode_t mask = ::umask(0);
  ::umask(mask);
  Result<void> result = write_all(file, bytes, path);
  if (result && ::fchmod(file, 0666 & ~mask) != 0) result = io_error("set the mode", path);
  if (::close(file) != 0 && result) result = io_error("close", path);
  if (result && ::rename(temporary.c_str(), target.c_str()) != 0) {
    result = io_error("rename to", path);
  }
  if (!result) {
    ::unlink(temporary.c_str());
    return result;
  }
  sync_folder(folder.empty() ? "." : folder);
  return {};
}

Result<TemporaryFolder> TemporaryFolder::make(const std::string& prefix) {
  std::error_code problem;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(problem);
  if (problem) return Error{"no folder for temporary files: " + problem.message(), "TMPDIR"};
  return make_in(folder.string(), prefix);
}

Result<TemporaryFolder> TemporaryFolder::make_in(const std::string& parent,
                                                 const std::string& prefix) {
  std::error_code ignored;
  std::filesystem::create_directories(parent, ignored);
  std::string path = (std::filesystem::path(parent) / (prefix + "XXXXXX")).string();
  if (::mkdtemp(path.data()) == nullptr) return io_error("make a folder", parent);
  return TemporaryFolder(path);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace isobit
