// Ranks on threads of one process when one of the threads cannot be started: those that run
// already wait for it in a collective, and are woken.
#include "runtime/run/ranks.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

#include "runtime/base/thread.h"

namespace isobit {
namespace {

/// What ranks that gather once come to.
struct Outcome {
  std::atomic<int> finished{0}, woken{0};
};

void gather(Communicator& rank, Outcome& outcome) {
  const std::vector<std::size_t> sizes(std::size_t(rank.size()), 8);
  const std::vector<std::byte> mine(8);
  std::vector<std::byte> all(8 * sizes.size());
  try {
    rank.all_gather(mine.data(), all.data(), sizes);
    ++outcome.finished;
  } catch (const RankFailure&) {
    ++outcome.woken;
  }
}

TEST(RunOnThreads, EveryRankRuns) {
  const auto ranks = make_in_process_ranks(4);
  Outcome outcome;
  const auto done = run_on_threads(ranks, [&](std::size_t r) { gather(*ranks[r], outcome); });
  EXPECT_TRUE(done);
  EXPECT_EQ(outcome.finished, 4);
}

TEST(RunOnThreads, AThreadThatCannotBeStartedWakesTheOthers) {
  for (const Topology topology : {Topology::direct, Topology::ring, Topology::tree}) {
    for (const int nth : {1, 3, 7}) {
      const auto ranks = make_in_process_ranks(8, 0, topology);
      Outcome outcome;
      refuse_thread_starts_from(nth);
      const auto done = run_on_threads(ranks, [&](std::size_t r) { gather(*ranks[r], outcome); });
      refuse_thread_starts_from(0);
      ASSERT_FALSE(done);
      EXPECT_EQ(done.error().text(), "thread of rank " + std::to_string(nth) +
                                         " could not be started: Resource temporarily unavailable");
      EXPECT_EQ(outcome.finished, 0);
      EXPECT_EQ(outcome.woken, nth - 1);
    }
  }
}

TEST(RunOnThreads, WhatTheFirstRankThrowsWakesTheOthersToo) {
  const auto ranks = make_in_process_ranks(3);
  Outcome outcome;
  const auto body = [&](std::size_t r) {
    if (r == 0) throw std::runtime_error("not foreseen");
    gather(*ranks[r], outcome);
  };
  EXPECT_THROW((void)run_on_threads(ranks, body), std::runtime_error);
  EXPECT_EQ(outcome.woken, 2);
}

}  // namespace
}  // namespace isobit
