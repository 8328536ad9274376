// A program at the other end of two pipes: what it says, how it ends, and that neither side blocks.
#include "runtime/backends/exec/child.h"

#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <string>

namespace isobit::exec {
namespace {

using Clock = std::chrono::steady_clock;

std::string first_line(const std::vector<std::string>& words, const std::string& folder = "") {
  Child child;
  if (auto ok = child.start(words, folder); !ok) return ok.error().text();
  const auto line = child.line(Child::kNoLimit);
  return line ? *line : line.error().text();
}

TEST(Child, GivesLinesAndBytes) {
  Child child;
  ASSERT_TRUE(child.start({"sh", "-c", "printf 'one\\n\\001\\000\\002two\\n'"}, ""));
  EXPECT_EQ(*child.line(Child::kNoLimit), "one");
  std::array<std::byte, 3> bytes{};
  ASSERT_TRUE(child.bytes(bytes, Child::kNoLimit));
  EXPECT_EQ(bytes[0], std::byte{1});
  EXPECT_EQ(bytes[1], std::byte{0});
  EXPECT_EQ(*child.line(Child::kNoLimit), "two");
  EXPECT_EQ(child.unread(), 0u);
}

TEST(Child, NeitherSideBlocksTheOther) {
  Child child;  // cat gives back far more than a pipe holds, while it is still being written to
  ASSERT_TRUE(child.start({"cat"}, ""));
  const std::string line(1 << 20, 'x');
  for (int i = 0; i < 4; ++i) child.send(line + "\n");
  for (int i = 0; i < 4; ++i) EXPECT_EQ(*child.line(Child::kNoLimit), line);
}

TEST(Child, StandardErrorDoesNotBlockIt) {
  EXPECT_EQ(first_line({"sh", "-c", "head -c 3000000 /dev/zero >&2; echo done"}), "done");
}

TEST(Child, SaysHowItEnded) {
  EXPECT_EQ(first_line({"sh", "-c", "echo no memory left >&2; exit 3"}),
            "sh: ended with status 3; it last said: no memory left");
  EXPECT_EQ(first_line({"sh", "-c", "kill -SEGV $$"}), "sh: was killed: Segmentation fault");
  EXPECT_EQ(first_line({"sh", "-c", "printf half"}), "sh: ended with status 0");
}

TEST(Child, OneThatDoesNotListenIsNoSignal) {
  Child child;
  ASSERT_TRUE(child.start({"sh", "-c", "exec <&-; echo ready; sleep 1; echo gone >&2"}, ""));
  EXPECT_EQ(*child.line(Child::kNoLimit), "ready");
  child.send(std::string(1 << 20, 'x'));
  const auto line = child.line(Child::kNoLimit);
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().text(), "sh: ended with status 0; it last said: gone");
}

TEST(Child, AProgramThatIsNotThere) {
  EXPECT_EQ(first_line({"no-such-program-here"}),
            "no-such-program-here: cannot be started: No such file or directory");
  EXPECT_EQ(first_line({"sh"}, "/no/such/folder"),
            "sh: cannot be started: No such file or directory");
}

TEST(Child, StartsInItsFolder) {
  EXPECT_EQ(first_line({"pwd"}, "/"), "/");
}

TEST(Child, ALimitPasses) {
  Child child;
  ASSERT_TRUE(child.start({"sleep", "60"}, ""));
  const auto line = child.line(Clock::now() + std::chrono::milliseconds(50));
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().text(), "sleep: no answer in time");
}

TEST(Child, WhatItStartedEndsWithIt) {
  Child child;
  ASSERT_TRUE(child.start({"sh", "-c", "sleep 60 & echo $!; wait"}, ""));
  const int grandchild = std::stoi(*child.line(Child::kNoLimit));
  EXPECT_EQ(::kill(grandchild, 0), 0);
  child.kill();
  for (int i = 0; i < 100 && ::kill(grandchild, 0) == 0; ++i) {
    std::array<char, 64> path{};
    std::snprintf(path.data(), path.size(), "/proc/%d/stat", grandchild);
    std::FILE* const file = std::fopen(path.data(), "r");
    if (file == nullptr) break;
    int pid = 0;
    std::array<char, 64> name{};
    char state = 0;
    const int read = std::fscanf(file, "%d %63s %c", &pid, name.data(), &state);
    std::fclose(file);
    if (read == 3 && state == 'Z') return;  // dead, and nobody has waited for it yet
    const timespec pause{0, 10'000'000};
    ::nanosleep(&pause, nullptr);
  }
  EXPECT_NE(::kill(grandchild, 0), 0);
}

TEST(Child, EndsWhenItsInputEnds) {
  Child child;
  ASSERT_TRUE(child.start({"cat"}, ""));
  const Clock::time_point start = Clock::now();
  child.end();
  EXPECT_FALSE(child.runs());
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(4));
}

}  // namespace
}  // namespace isobit::exec
