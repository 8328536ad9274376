#include "runtime/base/peak_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "tests/fakes/folder.h"

namespace isobit {
namespace {

std::string status_of(int kibibytes) {
  return "Name:\tisobit\nVmPeak:\t  999999 kB\nVmHWM:\t  " + std::to_string(kibibytes) +
         " kB\nVmRSS:\t     100 kB\n";
}

TEST(PeakMemory, IsTheHighWaterMarkSinceItWasSetBack) {
  const fakes::Folder folder;
  folder.write("status", status_of(2000));
  folder.write("clear_refs", "");
  const PeakMemory peak(folder.path());
  std::ifstream file(folder.file("clear_refs"));
  std::string written;
  file >> written;
  EXPECT_EQ(written, "5");
  folder.write("status", status_of(1500));
  EXPECT_EQ(peak.bytes(), 1500 * 1024);
}

TEST(PeakMemory, WithoutAMarkOnlyARiseIsKnown) {
  const fakes::Folder folder;
  folder.write("status", status_of(2000));
  std::filesystem::create_directory(folder.file("clear_refs"));  // cannot be written to
  const PeakMemory peak(folder.path());
  EXPECT_EQ(peak.bytes(), 0);
  folder.write("status", status_of(2001));
  EXPECT_EQ(peak.bytes(), 2001 * 1024);
}

TEST(PeakMemory, SeesMemoryOfThisProcessThatIsGoneAgain) {
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  const PeakMemory before;
  const std::int64_t little = before.bytes();
  if (little == 0) GTEST_SKIP() << "this system does not let a process set its peak back";
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::memset(memory, 1, kBytes);
  munmap(memory, kBytes);
  const std::int64_t much = before.bytes();
  EXPECT_GE(much, little + std::int64_t(kBytes) * 9 / 10);
  const PeakMemory after;
  EXPECT_LT(after.bytes(), much - std::int64_t(kBytes) / 2) << "it was not set back";
}

}  // namespace
}  // namespace isobit
