// The NCCL communicator against a stand-in library on host memory: what is called, with what; who
// wakes whom when a rank fails. The real library is tested by tests/conformance/cuda_ranks_test.cc.
#include "runtime/parallel/nccl.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "runtime/backend.h"

namespace isobit {
namespace {

const std::string kLibrary = ISOBIT_FAKE_NCCL;

/// Sets a variable for one scope.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

Result<std::shared_ptr<NcclGroup>> make_group(int ranks, std::vector<int>* entered = nullptr) {
  auto id = make_nccl_id(kLibrary);
  ISOBIT_TRY(id);
  std::vector<NcclGroup::Place> places;
  for (int r = 0; r < ranks; ++r) {
    places.push_back({r, [r, entered] {
                        if (entered != nullptr) entered->push_back(r);
                      }});
  }
  return NcclGroup::make(kLibrary, ranks, *id, places, make_thread_rendezvous(ranks));
}

/// Runs f(rank's communicator) on a thread a rank; what it throws is counted.
struct Outcome {
  std::atomic<int> done{0}, heard{0}, failed{0};
};
template <class F>
void run(NcclGroup& group, Outcome& outcome, F&& f) {
  // All of them before the first rank begins: a group that has failed gives no more.
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int r = 0; r < group.size(); ++r) ranks.push_back(group.communicator(r, nullptr, "here"));
  std::vector<std::jthread> threads;
  for (const auto& comm : ranks) {
    threads.emplace_back([&outcome, &f, &comm] {
      try {
        f(*comm);
        comm->finish();
        ++outcome.done;
      } catch (const RankFailure&) {
        ++outcome.heard;
      } catch (const BackendError&) {
        ++outcome.failed;
        comm->abort();
      }
    });
  }
}

TEST(Nccl, VersionText) {
  EXPECT_EQ(nccl_version_text(22809), "2.28.9");
  EXPECT_EQ(nccl_version_text(21805), "2.18.5");
}

TEST(Nccl, GathersEqualAndUnevenBlocks) {
  for (const int n : {2, 4, 8}) {
    std::vector<int> entered;
    auto group = make_group(n, &entered);
    ASSERT_TRUE(group) << group.error().text();
    EXPECT_EQ(int(entered.size()), n);
    for (int cell = 0; cell < 3; ++cell) {  // one group serves many cells
      Outcome outcome;
      std::atomic<int> wrong{0};
      run(**group, outcome, [&](Communicator& comm) {
        for (int round = 0; round < 40; ++round) {
          std::vector<std::size_t> sizes;
          std::string want;
          for (int r = 0; r < n; ++r) {
            const auto size = std::size_t(round % 4 == 0 ? 24 : (r * 3 + round) % 5);
            sizes.push_back(round == 17 ? 0 : size);
            want.append(sizes.back(), char('a' + r + round % 16));
          }
          const std::string mine(sizes[std::size_t(comm.rank())],
                                 char('a' + comm.rank() + round % 16));
          std::string all(want.size(), '?');
          comm.all_gather(mine.data(), all.data(), sizes);
          if (all != want) ++wrong;
        }
        EXPECT_EQ(comm.traffic().collectives, 40);
        EXPECT_GT(comm.traffic().bytes_sent, 0);
        EXPECT_FALSE(comm.is_virtual());
        EXPECT_EQ(comm.transport().rfind("nccl 2.28.9, NVLS off", 0), 0u) << comm.transport();
      });
      EXPECT_EQ(outcome.done, n);
      EXPECT_EQ(wrong, 0);
    }
    EXPECT_FALSE((*group)->broken());
  }
}

TEST(Nccl, AFailingRankWakesAllOthers) {
  for (const int n : {2, 4, 8}) {
    for (const int at : {0, 5}) {
      auto group = make_group(n);
      ASSERT_TRUE(group) << group.error().text();
      Outcome outcome;
      run(**group, outcome, [&](Communicator& comm) {
        const std::vector<std::size_t> sizes(std::size_t(n), 8);
        std::vector<char> mine(8), all(std::size_t(n) * 8);
        for (int round = 0; round < 1000; ++round) {
          if (comm.rank() == n - 1 && round == at) throw BackendError("device lost");
          comm.all_gather(mine.data(), all.data(), sizes);
        }
      });
      EXPECT_EQ(outcome.failed, 1);
      EXPECT_EQ(outcome.heard, n - 1);
      EXPECT_TRUE((*group)->broken());
    }
  }
}

/// The last collective is behind them, and then one fails: nobody may call the cell whole.
TEST(Nccl, AFailureAfterTheLastCollectiveIsHeardOf) {
  auto group = make_group(4);
  ASSERT_TRUE(group) << group.error().text();
  Outcome outcome;
  run(**group, outcome, [&](Communicator& comm) {
    const std::vector<std::size_t> sizes(4, 8);
    std::vector<char> mine(8), all(32);
    comm.all_gather(mine.data(), all.data(), sizes);
    if (comm.rank() == 2) throw BackendError("device lost");
  });
  EXPECT_EQ(outcome.failed, 1);
  EXPECT_EQ(outcome.heard, 3);
}

/// One rank's call fails while the others are inside the library, waiting for it there.
TEST(Nccl, AFailingCallFreesThoseInsideTheLibrary) {
  for (const char* call : {"all_gather", "broadcast"}) {
    auto group = make_group(4);
    ASSERT_TRUE(group) << group.error().text();
    const Variable fail("FAKE_NCCL_FAIL", call);
    const bool equal = std::string(call) == "all_gather";
    Outcome outcome;
    const auto start = std::chrono::steady_clock::now();
    run(**group, outcome, [&](Communicator& comm) {
      const std::vector<std::size_t> sizes{8, 8, 8, std::size_t(equal ? 8 : 4)};
      std::vector<char> mine(8), all(32);
      comm.all_gather(mine.data(), all.data(), sizes);
    });
    const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start);
    EXPECT_EQ(outcome.done, 0);
    EXPECT_EQ(outcome.failed, 1) << call;
    EXPECT_EQ(outcome.heard, 3) << call;
    EXPECT_LT(seconds.count(), 20) << "they hung";
  }
}

TEST(Nccl, AnErrorOfThePastIsSeenAtTheNextCollective) {
  auto group = make_group(2);
  ASSERT_TRUE(group) << group.error().text();
  const Variable fail("FAKE_NCCL_FAIL", "async");
  Outcome outcome;
  run(**group, outcome, [&](Communicator& comm) {
    const std::vector<std::size_t> sizes{8, 8};
    std::vector<char> mine(8), all(16);
    comm.all_gather(mine.data(), all.data(), sizes);
  });
  EXPECT_EQ(outcome.done, 0);
  EXPECT_GE(outcome.failed, 1);
}

TEST(Nccl, WhatCannotBeMadeIsOneLine) {
  const auto none = make_nccl_id("libno-such-library.so");
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().text().find("NCCL cannot be loaded"), std::string::npos);
  const Variable fail("FAKE_NCCL_FAIL", "init");
  const auto group = make_group(2);
  ASSERT_FALSE(group);
  EXPECT_NE(group.error().text().find("ncclCommInitRank of 2 ranks: internal error"),
            std::string::npos);
}

}  // namespace
}  // namespace isobit
