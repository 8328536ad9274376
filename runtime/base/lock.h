// One writer at a time, across processes.
#pragma once

#include <string>

#include "runtime/base/result.h"

namespace isobit {

/// Held until it goes out of scope, or its process ends in any way. It leaves no file behind: the
/// folder itself is locked (flock). A file system that cannot lock is an error.
class FolderLock {
 public:
  /// Makes the folder when it is missing, and waits while another process holds it.
  static Result<FolderLock> take(const std::string& folder);
  ~FolderLock();
  FolderLock(FolderLock&& other) noexcept : folder_(other.folder_) { other.folder_ = -1; }
  FolderLock& operator=(FolderLock&&) = delete;

 private:
  explicit FolderLock(int folder) : folder_(folder) {}
  int folder_;  // descriptor
};

}  // namespace isobit
