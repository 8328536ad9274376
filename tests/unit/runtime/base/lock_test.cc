// A folder's lock: one holder at a time, across processes, and nothing is left behind.
#include "runtime/base/lock.h"

#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/fakes/folder.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;

TEST(FolderLock, ProcessesTakeTurns) {
  const fakes::Folder folder;
  const std::string counter = folder.file("n"), place = folder.file("locked");
  std::ofstream(counter) << 0;
  constexpr int kProcesses = 8, kTimes = 25;
  for (int i = 0; i < kProcesses; ++i) {
    if (::fork() != 0) continue;
    for (int k = 0; k < kTimes; ++k) {
      const auto lock = FolderLock::take(place);
      if (!lock) ::_exit(1);
      int n = 0;
      std::ifstream(counter) >> n;
      std::ofstream(counter) << n + 1;
    }
    ::_exit(0);
  }
  for (int i = 0, status = 0; i < kProcesses; ++i) {
    ASSERT_GT(::wait(&status), 0);
    EXPECT_EQ(status, 0);
  }
  int n = 0;
  std::ifstream(counter) >> n;
  EXPECT_EQ(n, kProcesses * kTimes);
  EXPECT_TRUE(fs::is_empty(place)) << "a lock leaves no file";
}

TEST(FolderLock, IsFreeWhenItsHolderDies) {
  const fakes::Folder folder;
  const std::string place = folder.file("locked");
  if (const pid_t child = ::fork(); child == 0) {
    const auto lock = FolderLock::take(place);
    ::_exit(lock ? 0 : 1);  // without a destructor
  } else {
    int status = 1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_TRUE(FolderLock::take(place));
}

TEST(FolderLock, AFileIsNoFolder) {
  const fakes::Folder folder;
  std::ofstream(folder.file("file")) << "x";
  EXPECT_FALSE(FolderLock::take(folder.file("file")));
}

}  // namespace
}  // namespace isobit
