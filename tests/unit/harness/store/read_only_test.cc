// A store that a reader may not write to: neither the file nor its folder.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "harness/store/store.h"
#include "tests/fakes/folder.h"

namespace isobit {
namespace {

/// What somebody who may write neither the file nor its folder gets of the store: an error, or "".
std::string read_as_another(const std::string& path, Store::Mode mode) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    // Root may write everywhere.
    const bool other = geteuid() != 0 || (setgid(65534) == 0 && setuid(65534) == 0);
    std::string said = other ? "" : "cannot become another user";
    auto store = Store::open(path, mode);
    if (!store) said = store.error().text();
    if (store && (*store)->runs()->size() != 1) said = "the run is not there";
    (void)!write(ends[1], said.data(), said.size());
    _exit(0);
  }
  close(ends[1]);
  std::string said(4096, '\0');
  const ssize_t size = read(ends[0], said.data(), said.size());
  close(ends[0]);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  said.resize(std::size_t(std::max<ssize_t>(size, 0)));
  return said;
}

TEST(StoreFile, IsReadWithoutWriteAccess) {
  namespace fs = std::filesystem;
  const fakes::Folder folder;
  const std::string inner = folder.file("a b%20?#"), path = inner + "/x.db";
  for (const bool log : {false, true}) {
    {
      auto store = Store::open(path, Store::Mode::read_write);
      ASSERT_TRUE(store) << store.error().text();
      ASSERT_TRUE(log || (*store)->begin_run(RunInfo{}));
    }
    if (log) std::ofstream(path + "-wal") << "what a killed writer left";
    fs::permissions(folder.path(), fs::perms(0755));
    fs::permissions(path, fs::perms(0444));
    fs::permissions(inner, fs::perms(0555));
    const std::string said = read_as_another(path, Store::Mode::read_only);
    const std::string writer = read_as_another(path, Store::Mode::read_write);
    fs::permissions(inner, fs::perms(0755));
    fs::permissions(path, fs::perms(0644));
    EXPECT_EQ(said.empty(), !log) << said;
    EXPECT_NE(writer, "");
    const char* const why = "x.db-wal holds results that are not in it yet";
    EXPECT_EQ(said.find(why) != said.npos, log) << said;
    EXPECT_EQ(writer.find(why) != writer.npos, log) << writer;
  }
}

}  // namespace
}  // namespace isobit
