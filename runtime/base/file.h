// Files that appear whole or not at all, and folders that go away.
#pragma once

#include <string>
#include <utility>

#include "runtime/base/result.h"

namespace isobit {

/// Temporary file in the same folder, fsync, rename. Makes missing folders. A link is followed;
/// what is no regular file (a pipe, /dev/stdout) is written to as it is. On an error the old file
/// is untouched and no temporary file is left.
Result<void> write_file_atomically(const std::string& path, const std::string& bytes);

/// A new folder, removed with its contents when its owner goes.
class TemporaryFolder {
 public:
  /// Where nobody looks: in TMPDIR, or /tmp.
  static Result<TemporaryFolder> make(const std::string& prefix);
  /// In `parent`, which is made when it is missing: for what is renamed into place there.
  static Result<TemporaryFolder> make_in(const std::string& parent, const std::string& prefix);
  ~TemporaryFolder();
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::move(other.path_)) {
    other.path_.clear();
  }
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace isobit
