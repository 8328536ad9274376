// Read-only mapping of a whole file (MappedFile of runtime/checkpoint/weights.h), on POSIX mmap.
//
// A file that somebody truncates while it is mapped raises SIGBUS on access; the harness isolates
// cells in worker processes for such cases.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/checkpoint/weights.h"

namespace isobit {
namespace {

/// Closes the descriptor on every way out; the mapping does not need it.
struct Descriptor {
  int value = -1;
  explicit Descriptor(int descriptor) : value(descriptor) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

Error system_error(const char* action, const std::string& path) {
  return Error{std::string("cannot ") + action + ": " + std::strerror(errno), path};
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.value < 0) return system_error("open the file", path);
  struct stat status {};
  if (::fstat(file.value, &status) != 0) return system_error("stat the file", path);
  if (!S_ISREG(status.st_mode)) return Error{"not a regular file", path};
  std::shared_ptr<MappedFile> mapped(new MappedFile());
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return std::shared_ptr<const MappedFile>(mapped);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
  if (data == MAP_FAILED) return system_error("map the file", path);
  mapped->bytes_ = {static_cast<const std::byte*>(data), size};
  return std::shared_ptr<const MappedFile>(mapped);
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
}

}  // namespace isobit
