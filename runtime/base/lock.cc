// flock on a folder's descriptor.
#include "runtime/base/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "runtime/base/interrupt.h"

namespace isobit {

Result<FolderLock> FolderLock::take(const std::string& folder) {
  const std::string name = folder.empty() ? "." : folder;
  std::error_code ignored;
  std::filesystem::create_directories(name, ignored);
  const int file = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return Error{std::string("cannot lock: ") + std::strerror(errno), name};
  while (::flock(file, LOCK_EX) != 0) {
    const int why = errno;
    if (why == EINTR && interrupted == 0) continue;
    ::close(file);
    return Error{std::string("cannot lock: ") + std::strerror(why), name};
  }
  return FolderLock(file);
}

FolderLock::~FolderLock() {
  if (folder_ >= 0) ::close(folder_);
}

}  // namespace isobit
