// Files that appear whole or not at all. Anyone who writes for others to read may use this.
#pragma once

#include <string>

#include "runtime/result.h"

namespace isobit {

/// Temporary file in the same folder, fsync, rename. Makes missing folders. A link is followed;
/// what is no regular file (a pipe, /dev/stdout) is written to as it is. On an error the old file
/// is untouched and no temporary file is left.
Result<void> write_file_atomically(const std::string& path, const std::string& bytes);

}  // namespace isobit
