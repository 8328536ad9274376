// The first signal asks, a later one ends the process.
#include "runtime/base/interrupt.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace isobit {
namespace {

/// How a child ends that raises SIGTERM, and again after so many milliseconds.
int status_after(int milliseconds) {
  const pid_t child = ::fork();
  if (child == 0) {
    install_interrupt_handler();
    ::raise(SIGTERM);
    if (interrupted == 0) ::_exit(1);
    ::usleep(useconds_t(milliseconds) * 1000);
    ::raise(SIGINT);
    ::_exit(0);
  }
  int status = -1;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

TEST(Interrupt, ASecondSignalEndsTheProcessUnlessItFollowsAtOnce) {
  EXPECT_EQ(status_after(0), 0);  // Ctrl-C of a shell and of its wrapper arrive together
  EXPECT_EQ(status_after(2100), 130);
}

TEST(Interrupt, ADeadlineSetsTheFlagAndTakesItBack) {
  {
    const Deadline deadline(0.01);
    for (int i = 0; i < 500 && interrupted == 0; ++i) ::usleep(10'000);
    EXPECT_TRUE(Deadline::passed());
  }
  EXPECT_EQ(interrupted, 0);
  { const Deadline deadline(3600); }
  EXPECT_FALSE(Deadline::passed());
}

}  // namespace
}  // namespace isobit
