// Files that appear whole or not at all, files read whole, and folders that go away.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "runtime/base/result.h"

namespace isobit {

/// Temporary file in the same folder, fsync, rename. Makes missing folders. A link is followed;
/// what is no regular file (a pipe, /dev/stdout) is written to as it is. On an error the old file
/// is untouched and no temporary file is left.
Result<void> write_file_atomically(const std::string& path, const std::string& bytes);

/// The bytes of a regular file; a link is followed. Never waits: a pipe, a device, a socket or a
/// folder is an error that says so, and so is a file of more than `most` bytes, in which
/// `too_large` says what a file of that size is not.
Result<std::string> read_file(const std::string& path, std::size_t most,
                              const std::string& too_large);
/// Opens a regular file for reading, under the same conditions; the caller closes the descriptor.
Result<int> open_regular(const std::string& path);
/// Whether `path` may be a file for a reader that opens it itself, as a database is opened: what is
/// there must be a regular file, and what is not there is fine.
Result<void> check_regular(const std::string& path);

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
