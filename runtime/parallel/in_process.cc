// Ranks as threads of one process. A rank sees the others only through the bytes it receives: it
// posts a copy of what it sends into other ranks' mailboxes and waits for theirs.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "runtime/base/result.h"
#include "runtime/parallel/communicator.h"

namespace isobit {
namespace {

/// Bytes that left their rank: nobody changes them, and several receivers may hold them.
using Bytes = std::shared_ptr<const std::vector<std::byte>>;

struct Message {
  int from = 0;
  std::int64_t sequence = 0;  // of the collective
  int step = 0;               // within it
  Bytes bytes;
};

struct Mailbox {
  std::mutex mutex;
  std::condition_variable arrived;
  std::vector<Message> messages;
  bool aborted = false;
};

constexpr int kAnyone = -1;

class InProcessRank final : public Communicator {
 public:
  InProcessRank(int rank, std::shared_ptr<std::vector<Mailbox>> boxes, std::uint64_t seed,
                Topology topology)
      : rank_(rank), boxes_(std::move(boxes)), shuffle_(seed), topology_(topology) {}

  int rank() const override { return rank_; }
  int size() const override { return int(boxes_->size()); }
  bool is_virtual() const override { return true; }
  std::string transport() const override { return std::string("threads, ") + name_of(topology_); }
  Traffic traffic() const override { return traffic_; }
  double seconds() const override { return seconds_; }

  void all_gather(const void* mine, void* all, std::span<const std::size_t> sizes) override {
    ISOBIT_CHECK(int(sizes.size()) == size());
    const auto start = std::chrono::steady_clock::now();
    offsets_.assign(sizes.size() + 1, 0);
    for (std::size_t r = 0; r < sizes.size(); ++r) offsets_[r + 1] = offsets_[r] + sizes[r];
    all_ = static_cast<std::byte*>(all);
    std::byte* const place = all_ + offsets_[std::size_t(rank_)];
    const std::size_t own = sizes[std::size_t(rank_)];
    if (own > 0 && place != mine) std::memcpy(place, mine, own);
    switch (topology_) {
      case Topology::direct:
        direct();
        break;
      case Topology::ring:
        ring();
        break;
      case Topology::doubling:
        doubling();
        break;
      case Topology::tree:
        tree();
        break;
    }
    ++sequence_;
    ++traffic_.collectives;
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  void abort() override {
    for (Mailbox& box : *boxes_) {
      const std::lock_guard lock(box.mutex);
      box.aborted = true;
      box.arrived.notify_all();
    }
  }

 private:
  /// Everybody's block to everybody.
  void direct() {
    const Bytes own = copy_of(rank_, rank_ + 1);
    for (int to = 0; to < size(); ++to) {
      if (to != rank_) send(to, 0, own);
    }
    for (int left = size() - 1; left > 0; --left) {
      const Message message = take(kAnyone, 0);
      put(message, message.from, message.from + 1);
    }
  }

  /// In each step the block that came last goes on to the right neighbour.
  void ring() {
    const int n = size();
    for (int step = 0; step + 1 < n; ++step) {
      const int out = (rank_ - step + n) % n, in = (rank_ - step - 1 + n) % n;
      send((rank_ + 1) % n, step, copy_of(out, out + 1));
      put(take((rank_ - 1 + n) % n, step), in, in + 1);
    }
  }

  /// Pairs at distance 1, 2, 4 … exchange all that they have: runs of blocks of that length.
  void doubling() {
    for (int distance = 1, step = 0; distance < size(); distance *= 2, ++step) {
      const int other = rank_ ^ distance;
      const int mine = rank_ & ~(distance - 1), theirs = other & ~(distance - 1);
      send(other, step, copy_of(mine, mine + distance));
      put(take(other, step), theirs, theirs + distance);
    }
  }

  /// Up a binomial tree to rank 0, which then has all blocks, and down the same tree.
  void tree() {
    const int n = size();
    int distance = 1;
    for (; distance < n && rank_ % (2 * distance) == 0; distance *= 2) {
      const int child = rank_ + distance;
      if (child < n) put(take(child, 0), child, std::min(child + distance, n));
    }
    if (rank_ != 0) {
      send(rank_ - distance, 0, copy_of(rank_, std::min(rank_ + distance, n)));
      put(take(rank_ - distance, 1), 0, n);
    }
    Bytes whole;
    for (distance /= 2; distance >= 1; distance /= 2) {
      if (rank_ + distance >= n) continue;
      if (whole == nullptr) whole = copy_of(0, n);
      send(rank_ + distance, 1, whole);
    }
  }

  /// The blocks of ranks [first, last).
  Bytes copy_of(int first, int last) const {
    return std::make_shared<const std::vector<std::byte>>(all_ + offsets_[std::size_t(first)],
                                                          all_ + offsets_[std::size_t(last)]);
  }

  void send(int to, int step, const Bytes& bytes) {
    Message message{rank_, sequence_, step, bytes};
    traffic_.bytes_sent += std::int64_t(bytes->size());
    Mailbox& box = (*boxes_)[std::size_t(to)];
    const std::lock_guard lock(box.mutex);
    box.messages.push_back(std::move(message));
    box.arrived.notify_one();
  }

  void put(const Message& message, int first, int last) {
    const std::size_t begin = offsets_[std::size_t(first)], end = offsets_[std::size_t(last)];
    ISOBIT_CHECK(message.bytes->size() == end - begin);
    if (end > begin) std::memcpy(all_ + begin, message.bytes->data(), end - begin);
  }

  /// A message of the current collective and step, in arrival order or, with a seed, shuffled.
  Message take(int from, int step) {
    Mailbox& box = (*boxes_)[std::size_t(rank_)];
    std::unique_lock lock(box.mutex);
    for (;;) {
      if (box.aborted) throw RankFailure{};
      std::vector<std::size_t> ready;
      for (std::size_t i = 0; i < box.messages.size(); ++i) {
        const Message& m = box.messages[i];
        const bool wanted = from == kAnyone || m.from == from;
        if (wanted && m.sequence == sequence_ && m.step == step) ready.push_back(i);
      }
      if (!ready.empty()) {
        std::size_t pick = 0;
        if (shuffle_ != 0) {
          shuffle_ = shuffle_ * 6364136223846793005u + 1442695040888963407u;
          pick = std::size_t(shuffle_ >> 33) % ready.size();
        }
        const auto at = box.messages.begin() + std::ptrdiff_t(ready[pick]);
        Message message = std::move(*at);
        box.messages.erase(at);
        return message;
      }
      box.arrived.wait(lock);
    }
  }

  int rank_;
  std::shared_ptr<std::vector<Mailbox>> boxes_;
  std::uint64_t shuffle_;
  Topology topology_;
  std::int64_t sequence_ = 0;
  Traffic traffic_;
  double seconds_ = 0;
  // Of the current collective:
  std::vector<std::size_t> offsets_;  // (ranks + 1)
  std::byte* all_ = nullptr;
};

class SingleRank final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  bool is_virtual() const override { return false; }
  std::string transport() const override { return ""; }
  void all_gather(const void* mine, void* all, std::span<const std::size_t> sizes) override {
    if (mine != all) std::memcpy(all, mine, sizes[0]);
  }
  Traffic traffic() const override { return {}; }
  void abort() override {}
};

}  // namespace

const char* name_of(Topology topology) {
  constexpr const char* kNames[] = {"direct", "ring", "doubling", "tree"};
  return kNames[std::size_t(topology)];
}

std::unique_ptr<Communicator> make_single_rank() {
  return std::make_unique<SingleRank>();
}

std::vector<std::unique_ptr<Communicator>> make_in_process_ranks(int size,
                                                                 std::uint64_t arrival_seed,
                                                                 Topology topology) {
  const bool power_of_two = (size & (size - 1)) == 0;
  if (topology == Topology::doubling && !power_of_two) topology = Topology::tree;
  auto boxes = std::make_shared<std::vector<Mailbox>>(std::size_t(size));
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int r = 0; r < size; ++r) {
    const std::uint64_t seed = arrival_seed == 0 ? 0 : arrival_seed + std::uint64_t(r) * 977;
    ranks.push_back(std::make_unique<InProcessRank>(r, boxes, seed, topology));
  }
  return ranks;
}

}  // namespace isobit
