// Processes as ranks over MPI. It moves bytes between pairs and adds nothing.
//
// In every round a rank sends each other one a header, with its bytes or with the news that it has
// failed. A rank that fails takes part in the round that the others are in, or will come to; so all
// stay in step, no message is left over, and the same lane serves the next cell.

#include "runtime/parallel/mpi_world.h"

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <set>
#include <thread>

#include "runtime/backend.h"
#include "runtime/base/result.h"
#include "runtime/parallel/world.h"

namespace isobit {
namespace {

/// Waiting that leaves the core to others: yields at first, then sleeps longer and longer.
class Patience {
 public:
  void wait() {
    constexpr int kYields = 2000;
    if (++turns_ < kYields) return std::this_thread::yield();
    sleep_us_ = std::min(sleep_us_ + sleep_us_ / 4 + 1, 2000);
    std::this_thread::sleep_for(std::chrono::microseconds(sleep_us_));
  }

 private:
  int turns_ = 0, sleep_us_ = 0;
};

void wait_for(MPI_Request* requests, int count) {
  Patience patience;
  for (int done = 0;;) {
    MPI_Testall(count, requests, &done, MPI_STATUSES_IGNORE);
    if (done != 0) return;
    patience.wait();
  }
}

struct Header {
  std::uint64_t round = 0;
  std::uint64_t failed = 0;
};

/// A duplicate of all processes' communicator, and rounds of messages on it.
class Lane {
 public:
  Lane() {
    MPI_Comm_dup(MPI_COMM_WORLD, &comm_);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
  }
  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }

  /// One round. `sizes`: what each rank sends, bytes; empty: nothing. Throws RankFailure when
  /// another rank has failed. REQUIRES: all ranks that have not failed give the same sizes.
  void round(const void* mine, std::byte* all, std::span<const std::size_t> sizes) {
    const std::size_t own = sizes.empty() ? 0 : sizes[std::size_t(rank_)];
    if (own > std::size_t(INT_MAX) - sizeof(Header)) {
      throw BackendError("a message of " + std::to_string(own) + " bytes is too long for MPI");
    }
    send(false, mine, own);
    bool failed = false;
    for (const auto& [from, message] : receive()) {
      Header header;
      std::memcpy(&header, message.data(), sizeof header);
      ISOBIT_CHECK(header.round == round_);
      if (header.failed != 0) {
        failed = true;
        continue;
      }
      const std::size_t bytes = message.size() - sizeof header;
      ISOBIT_CHECK(bytes == (sizes.empty() ? 0 : sizes[std::size_t(from)]));
      std::size_t place = 0;
      for (int r = 0; r < from; ++r) place += sizes.empty() ? 0 : sizes[std::size_t(r)];
      if (bytes > 0) std::memcpy(all + place, message.data() + sizeof header, bytes);
    }
    end_round();
    if (failed) throw RankFailure{};
  }

  /// This rank's last round of the run: it has failed. What the others send is read and dropped.
  void fail() {
    send(true, nullptr, 0);
    receive();
    end_round();
  }

 private:
  void send(bool failed, const void* mine, std::size_t own) {
    const Header header{round_, failed ? 1u : 0u};
    out_.resize(sizeof header + own);
    std::memcpy(out_.data(), &header, sizeof header);
    if (own > 0) std::memcpy(out_.data() + sizeof header, mine, own);
    sends_.clear();
    for (int to = 0; to < size_; ++to) {
      if (to == rank_) continue;
      sends_.emplace_back();
      MPI_Isend(out_.data(), int(out_.size()), MPI_BYTE, to, tag(), comm_, &sends_.back());
    }
  }

  /// One message of every other rank, in order of arrival.
  std::vector<std::pair<int, std::vector<std::byte>>> receive() {
    std::vector<std::pair<int, std::vector<std::byte>>> messages;
    Patience patience;
    while (int(messages.size()) + 1 < size_) {
      int there = 0;
      MPI_Message handle;
      MPI_Status status;
      MPI_Improbe(MPI_ANY_SOURCE, tag(), comm_, &there, &handle, &status);
      if (there == 0) {
        patience.wait();
        continue;
      }
      int bytes = 0;
      MPI_Get_count(&status, MPI_BYTE, &bytes);
      std::vector<std::byte> message(std::size_t(std::max(bytes, 0)));
      MPI_Mrecv(message.data(), bytes, MPI_BYTE, &handle, MPI_STATUS_IGNORE);
      ISOBIT_CHECK(message.size() >= sizeof(Header));
      messages.emplace_back(status.MPI_SOURCE, std::move(message));
    }
    return messages;
  }

  void end_round() {
    wait_for(sends_.data(), int(sends_.size()));
    ++round_;
  }
  /// A fast rank's next message must not be taken for one of this round.
  [[nodiscard]] int tag() const { return int(round_ % 1024); }

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1;
  std::uint64_t round_ = 0;
  std::vector<std::byte> out_;
  std::vector<MPI_Request> sends_;
};

class MpiRank final : public Communicator {
 public:
  MpiRank(Lane& lane, std::string transport, bool shares)
      : lane_(lane), transport_(std::move(transport)), shares_(shares) {}
  int rank() const override { return lane_.rank(); }
  int size() const override { return lane_.size(); }
  bool is_virtual() const override { return shares_; }
  std::string transport() const override { return transport_; }
  Traffic traffic() const override { return traffic_; }

  void all_gather(const void* mine, void* all, std::span<const std::size_t> sizes) override {
    ISOBIT_CHECK(int(sizes.size()) == size());
    auto* out = static_cast<std::byte*>(all);
    std::byte* place = out;
    for (int r = 0; r < rank(); ++r) place += sizes[std::size_t(r)];
    const std::size_t own = sizes[std::size_t(rank())];
    if (own > 0 && place != mine) std::memcpy(place, mine, own);
    lane_.round(place, out, sizes);
    ++traffic_.collectives;
    traffic_.bytes_sent += std::int64_t(own) * (size() - 1);
  }
  void abort() override { lane_.fail(); }
  void finish() override { lane_.round(nullptr, nullptr, {}); }

 private:
  Lane& lane_;
  std::string transport_;
  bool shares_;
  Traffic traffic_;
};

/// Of processes: none goes into a collective before all have come to it.
class MpiRendezvous final : public Rendezvous {
 public:
  explicit MpiRendezvous(Lane& lane) : lane_(lane) {}
  void arrive(int) override { lane_.round(nullptr, nullptr, {}); }
  void depart(int) override {}
  void fail(int) override { lane_.fail(); }

 private:
  Lane& lane_;
};

class MpiWorld final : public World {
 public:
  MpiWorld() {
    MPI_Comm_dup(MPI_COMM_WORLD, &control_);
    MPI_Comm here = MPI_COMM_NULL;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &here);
    MPI_Comm_rank(here, &local_rank_);
    MPI_Comm_size(here, &local_size_);
    MPI_Comm_free(&here);
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(text, &length);
    // "Open MPI v4.1.4, package: …"
    library_ = std::string(text, std::size_t(length));
    library_ = library_.substr(0, library_.find_first_of(",\n"));
    char name[MPI_MAX_PROCESSOR_NAME] = "";
    MPI_Get_processor_name(name, &length);
    host_ = std::string(name, std::size_t(length));
    const std::vector<std::string> all = exchange(host_);
    const std::set<std::string> hosts(all.begin(), all.end());
    place_ = std::to_string(size()) + " processes on " + std::to_string(hosts.size()) +
             (hosts.size() == 1 ? " host" : " hosts");
  }

  int rank() const override { return lane_.rank(); }
  int size() const override { return lane_.size(); }
  int local_rank() const override { return local_rank_; }
  int local_size() const override { return local_size_; }
  std::string host() const override { return host_; }
  std::string library() const override { return library_; }

  std::vector<std::string> exchange(const std::string& mine) override {
    const int n = size();
    const int own = int(mine.size());
    std::vector<int> sizes(std::size_t(n), 0), places(std::size_t(n), 0);
    MPI_Request request;
    MPI_Iallgather(&own, 1, MPI_INT, sizes.data(), 1, MPI_INT, control_, &request);
    wait_for(&request, 1);
    for (int r = 1; r < n; ++r) {
      places[std::size_t(r)] = places[std::size_t(r - 1)] + sizes[std::size_t(r - 1)];
    }
    std::string all(std::size_t(places.back() + sizes.back()), '\0');
    MPI_Iallgatherv(mine.data(), own, MPI_BYTE, all.data(), sizes.data(), places.data(), MPI_BYTE,
                    control_, &request);
    wait_for(&request, 1);
    std::vector<std::string> out;
    for (int r = 0; r < n; ++r) {
      out.push_back(
          all.substr(std::size_t(places[std::size_t(r)]), std::size_t(sizes[std::size_t(r)])));
    }
    return out;
  }

  std::unique_ptr<Communicator> communicator(bool shares) override {
    return std::make_unique<MpiRank>(lane_, "mpi, " + library_ + ", " + place_, shares);
  }
  std::shared_ptr<Rendezvous> rendezvous() override {
    return std::make_shared<MpiRendezvous>(lane_);
  }

 private:
  Lane lane_;
  MPI_Comm control_ = MPI_COMM_NULL;
  int local_rank_ = 0, local_size_ = 1;
  std::string host_, library_, place_;
};

}  // namespace

void start_mpi(int* argc, char*** argv) {
  MPI_Init(argc, argv);
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size > 1) set_world(new MpiWorld());  // lives as long as the process
}

void end_mpi() {
  set_world(nullptr);
  MPI_Finalize();
}

}  // namespace isobit
