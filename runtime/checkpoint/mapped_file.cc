// Read-only mapping of a whole file (MappedFile of runtime/checkpoint/weights.h), on POSIX mmap.
//
// A file that somebody truncates while it is mapped raises SIGBUS on access; the harness isolates
// cells in worker processes for such cases.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/base/file.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {
namespace {

FileState state_of(const struct stat& status) {
  return {std::uint64_t(status.st_dev), std::uint64_t(status.st_ino), std::int64_t(status.st_size),
          std::int64_t(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec};
}

Error system_error(const char* action, const std::string& path) {
  return Error{std::string("cannot ") + action + ": " + std::strerror(errno), path};
}

}  // namespace

std::optional<FileState> file_state(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return state_of(status);
}

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  std::shared_ptr<MappedFile> mapped(new MappedFile());  // closes and unmaps on every way out
  mapped->path_ = path;
  const auto descriptor = open_regular(path);
  ISOBIT_TRY(descriptor);
  mapped->descriptor_ = *descriptor;
  struct stat status {};
  if (::fstat(mapped->descriptor_, &status) != 0) return system_error("stat the file", path);
  mapped->state_ = state_of(status);
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return std::shared_ptr<const MappedFile>(mapped);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, mapped->descriptor_, 0);
  if (data == MAP_FAILED) return system_error("map the file", path);
  mapped->bytes_ = {static_cast<const std::byte*>(data), size};
  return std::shared_ptr<const MappedFile>(mapped);
}

bool MappedFile::changed() const {
  struct stat status {};
  return ::fstat(descriptor_, &status) != 0 || state_of(status) != state_;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace isobit
