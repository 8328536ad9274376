// A team of threads that cannot be complete: one line, at once, and those that run already end.
#include "runtime/backends/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <memory>

#include "runtime/backend.h"
#include "runtime/base/thread.h"

namespace isobit {
namespace {

std::string refusal_of(int threads) {
  try {
    const cpu::ThreadPool pool(threads);
    return "made";
  } catch (const BackendError& error) {
    return error.what();
  }
}

TEST(ThreadPoolStart, AThreadThatCannotBeStartedIsOneLine) {
  for (const int nth : {1, 2, 6}) {
    refuse_thread_starts_from(nth);
    const std::string said = refusal_of(7);
    refuse_thread_starts_from(0);
    EXPECT_EQ(said, "thread " + std::to_string(nth + 1) +
                        " of 7 could not be started: Resource temporarily unavailable");
  }
}

TEST(ThreadPoolStart, TheNextTeamIsComplete) {
  refuse_thread_starts_from(3);
  EXPECT_NE(refusal_of(4), "made");
  refuse_thread_starts_from(0);
  cpu::ThreadPool pool(4);
  std::atomic<int> done{0};
  pool.run(4, [&](int, int) { ++done; });
  EXPECT_EQ(done, 4);
}

}  // namespace
}  // namespace isobit
