// A folder of its own for a test, removed with what is in it.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "runtime/base/file.h"

namespace isobit::fakes {

class Folder {
 public:
  Folder() : folder_(make()) {}
  [[nodiscard]] const std::string& path() const { return folder_.path(); }
  /// Where a file of this name is, or would be.
  [[nodiscard]] std::string file(const std::string& name) const { return path() + "/" + name; }
  /// Writes a file, with the folders it is in; gives its path.
  std::string write(const std::string& name, const std::string& content) const {
    const std::string where = file(name);
    std::filesystem::create_directories(std::filesystem::path(where).parent_path());
    std::ofstream(where, std::ios::binary) << content;
    return where;
  }
  /// Entries directly in it.
  [[nodiscard]] std::size_t entries() const {
    namespace fs = std::filesystem;
    return std::size_t(std::distance(fs::directory_iterator(path()), fs::directory_iterator()));
  }

 private:
  static TemporaryFolder make() {
    auto made = TemporaryFolder::make("isobit-test-");
    ISOBIT_CHECK(made.has_value());
    return std::move(*made);
  }
  TemporaryFolder folder_;
};

}  // namespace isobit::fakes
