// Atomic writing: temporary file in the same folder, fsync, rename. Reading that cannot wait.
#include "runtime/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
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

/// What is wrong with a file of this type; empty: it is a regular file.
std::string why_not_regular(mode_t mode) {
  if (S_ISREG(mode)) return "";
  const char* const what = S_ISDIR(mode)    ? "a folder"
                           : S_ISFIFO(mode) ? "a pipe"
                           : S_ISSOCK(mode) ? "a socket"
                                            : "a device";
  const bool stream = !S_ISDIR(mode);
  return std::string("is ") + what + ", not a regular file" +
         (stream ? "; write what it gives into a file first" : "");
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
    // A pipe that nobody reads is an error at once; afterwards writing waits for the reader.
    const int file = ::open(target.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0 && errno == ENXIO) return Error{"is a pipe or a socket that nobody reads", path};
    if (file < 0) return io_error("open", path);
    ::fcntl(file, F_SETFL, ::fcntl(file, F_GETFL) & ~O_NONBLOCK);
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

Result<int> open_regular(const std::string& path) {
  // O_NONBLOCK: opening a pipe that nobody writes to would wait for a writer.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  struct stat status {};
  if (file < 0 && errno == ENXIO) return Error{why_not_regular(S_IFSOCK), path};
  if (file < 0) return io_error("read", path);
  const bool known = ::fstat(file, &status) == 0;
  const std::string why = known ? why_not_regular(status.st_mode) : "";
  if (known && why.empty()) return file;
  const Error error = known ? Error{why, path} : io_error("read", path);
  ::close(file);
  return error;
}

Result<std::string> read_file(const std::string& path, std::size_t most,
                              const std::string& too_large) {
  const auto file = open_regular(path);
  ISOBIT_TRY(file);
  std::string bytes;
  std::string block(std::size_t{1} << 16, '\0');
  Result<void> result;
  struct stat status {};  // a size that is known makes reading needless
  if (::fstat(*file, &status) == 0 && std::uintmax_t(status.st_size) > most) {
    result = Error{too_large, path};
  }
  while (result) {
    const ssize_t count = ::read(*file, block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) result = io_error("read", path);
    if (count <= 0) break;
    bytes.append(block, 0, std::size_t(count));
    if (bytes.size() > most) result = Error{too_large, path};
  }
  ::close(*file);
  ISOBIT_TRY(result);
  return bytes;
}

Result<void> check_regular(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  if (std::string why = why_not_regular(status.st_mode); !why.empty()) return Error{why, path};
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
