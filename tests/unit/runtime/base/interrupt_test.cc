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

}  // namespace
}  // namespace isobit
