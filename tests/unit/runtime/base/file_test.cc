// Reading files: whole, bounded, and never from what is no regular file.
#include "runtime/base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runtime/base/sha256.h"
#include "tests/fakes/folder.h"

namespace isobit {
namespace {

std::string error_of(const Result<std::string>& result) {
  return result ? "no error" : result.error().message;
}

TEST(File, IsReadWholeAndBounded) {
  const fakes::Folder folder;
  const std::string path = folder.path() + "/f";
  std::string bytes(200'000, 'a');
  bytes[100'000] = '\0';
  std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_EQ(*read_file(path, bytes.size(), "too large"), bytes);
  EXPECT_EQ(error_of(read_file(path, bytes.size() - 1, "too large")), "too large");
  EXPECT_EQ(error_of(read_file(folder.path() + "/none", 9, "")),
            "cannot read: No such file or directory");
  std::filesystem::create_symlink(path, folder.path() + "/link");
  EXPECT_TRUE(read_file(folder.path() + "/link", bytes.size(), ""));
  EXPECT_TRUE(check_regular(folder.path() + "/none"));
  EXPECT_TRUE(read_file("/proc/self/status", 1 << 20, ""));  // of length 0, as stat says
}

TEST(File, PipesDevicesAndFoldersEndAtOnce) {
  const fakes::Folder folder;
  const std::string pipe = folder.path() + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::string way_out = ", not a regular file; write what it gives into a file first";
  EXPECT_EQ(error_of(read_file(pipe, 9, "")), "is a pipe" + way_out);
  EXPECT_EQ(error_of(read_file("/dev/zero", 9, "")), "is a device" + way_out);
  EXPECT_EQ(error_of(read_file(folder.path(), 9, "")), "is a folder, not a regular file");
  EXPECT_FALSE(check_regular(pipe));
  Sha256 hash{};
  EXPECT_FALSE(sha256_file(pipe, hash));
  const auto written = write_file_atomically(pipe, "x");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().message, "is a pipe or a socket that nobody reads");
}

}  // namespace
}  // namespace isobit
