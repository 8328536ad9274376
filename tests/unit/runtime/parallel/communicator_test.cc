// In-process ranks: every topology brings every block to its place, whatever its size, in any
// order of arrival, and a rank that fails wakes all others.
#include "runtime/parallel/communicator.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

namespace isobit {
namespace {

constexpr Topology kTopologies[] = {Topology::direct, Topology::ring, Topology::doubling,
                                    Topology::tree};

std::vector<std::byte> block(int rank, int round, std::size_t size) {
  std::vector<std::byte> out(size);
  for (std::size_t i = 0; i < size; ++i) {
    out[i] = std::byte((std::size_t(rank) * 31 + std::size_t(round) * 7 + i * 3 + 1) & 0xff);
  }
  return out;
}

/// Sizes of one round: uneven, some empty, now and then all empty or all equal.
std::vector<std::size_t> sizes_of(int ranks, int round) {
  std::vector<std::size_t> sizes;
  for (int r = 0; r < ranks; ++r) {
    const int kind = round % 5;
    if (kind == 3) {
      sizes.push_back(0);
    } else if (kind == 4) {
      sizes.push_back(64);
    } else {
      sizes.push_back(std::size_t((r * 5 + round * 3) % 7) * 9);
    }
  }
  return sizes;
}

std::vector<std::byte> expected(int ranks, int round) {
  std::vector<std::byte> all;
  const std::vector<std::size_t> sizes = sizes_of(ranks, round);
  for (int r = 0; r < ranks; ++r) {
    const auto one = block(r, round, sizes[std::size_t(r)]);
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

/// Runs f(communicator) on a thread a rank.
template <class F>
void on_every_rank(std::vector<std::unique_ptr<Communicator>>& ranks, F&& f) {
  std::vector<std::jthread> threads;
  for (auto& rank : ranks) threads.emplace_back([&f, &rank] { f(*rank); });
}

TEST(InProcessRanks, EveryTopologyGathersTheSameBytes) {
  constexpr int kRounds = 30;
  for (const Topology topology : kTopologies) {
    for (const int n : {1, 2, 3, 4, 5, 8}) {
      for (const std::uint64_t seed : {0u, 11u}) {
        auto ranks = make_in_process_ranks(n, seed, topology);
        std::atomic<int> wrong{0};
        on_every_rank(ranks, [&](Communicator& comm) {
          for (int round = 0; round < kRounds; ++round) {
            const auto sizes = sizes_of(n, round);
            const auto mine = block(comm.rank(), round, sizes[std::size_t(comm.rank())]);
            const auto want = expected(n, round);
            std::vector<std::byte> all(want.size() + 1, std::byte{0xee});
            comm.all_gather(mine.data(), all.data(), sizes);
            const bool beyond = all.back() != std::byte{0xee};
            all.pop_back();
            if (all != want || beyond) ++wrong;
          }
        });
        EXPECT_EQ(wrong, 0) << name_of(topology) << ", " << n << " ranks, seed " << seed;
        for (const auto& rank : ranks) {
          EXPECT_EQ(rank->traffic().collectives, kRounds);
          EXPECT_EQ(rank->traffic().bytes_sent > 0, n > 1) << name_of(topology);
        }
      }
    }
  }
}

TEST(InProcessRanks, InPlace) {
  for (const Topology topology : kTopologies) {
    auto ranks = make_in_process_ranks(4, 0, topology);
    std::atomic<int> wrong{0};
    on_every_rank(ranks, [&](Communicator& comm) {
      const std::vector<std::size_t> sizes(4, 64);
      std::vector<std::byte> all(256);
      const auto mine = block(comm.rank(), 4, 64);
      std::byte* place = all.data() + comm.rank() * 64;
      std::memcpy(place, mine.data(), mine.size());
      comm.all_gather(place, all.data(), sizes);
      if (all != expected(4, 4)) ++wrong;
    });
    EXPECT_EQ(wrong, 0) << name_of(topology);
  }
}

TEST(InProcessRanks, EachTopologySendsItsOwnWay) {
  const std::vector<std::size_t> sizes(8, 10);
  const auto sent = [&](Topology topology, int rank) {
    auto ranks = make_in_process_ranks(8, 0, topology);
    on_every_rank(ranks, [&](Communicator& comm) {
      std::vector<std::byte> mine(10), all(80);
      comm.all_gather(mine.data(), all.data(), sizes);
    });
    EXPECT_EQ(ranks.front()->transport(), std::string("threads, ") + name_of(topology));
    return ranks[std::size_t(rank)]->traffic().bytes_sent;
  };
  EXPECT_EQ(sent(Topology::direct, 3), 7 * 10);
  EXPECT_EQ(sent(Topology::ring, 3), 7 * 10);
  EXPECT_EQ(sent(Topology::doubling, 3), (1 + 2 + 4) * 10);
  EXPECT_EQ(sent(Topology::tree, 0), 3 * 80);       // down to 4, 2 and 1
  EXPECT_EQ(sent(Topology::tree, 4), 40 + 2 * 80);  // up with four blocks; down to 6 and 5
  EXPECT_EQ(sent(Topology::tree, 7), 10);
}

/// Whoever fails, and whenever: everybody else's next collective ends with RankFailure.
TEST(InProcessRanks, AFailingRankWakesAllOthers) {
  for (const Topology topology : kTopologies) {
    for (const int n : {2, 4, 8}) {
      for (const int failing : {0, 1, n - 1}) {
        auto ranks = make_in_process_ranks(n, 5, topology);
        std::atomic<int> woken{0};
        on_every_rank(ranks, [&](Communicator& comm) {
          const std::vector<std::size_t> sizes(std::size_t(n), 32);
          std::vector<std::byte> mine(32), all(std::size_t(n) * 32);
          try {
            for (int round = 0; round < 1000; ++round) {
              if (comm.rank() == failing && round == 3) return comm.abort();
              comm.all_gather(mine.data(), all.data(), sizes);
            }
          } catch (const RankFailure&) {
            ++woken;
          }
        });
        EXPECT_EQ(woken, n - 1) << name_of(topology) << ", rank " << failing << " of " << n;
      }
    }
  }
}

}  // namespace
}  // namespace isobit
