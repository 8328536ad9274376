// Ranks as threads of one process. A rank sees the others only through the bytes it receives:
// a collective posts a copy of its message into every other rank's mailbox and waits for theirs.

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>

#include "runtime/parallel/communicator.h"
#include "runtime/result.h"

namespace invar {
namespace {

struct Message {
  int from = 0;
  std::int64_t sequence = 0;
  std::vector<std::byte> bytes;
};

struct Mailbox {
  std::mutex mutex;
  std::condition_variable arrived;
  std::vector<Message> messages;
  bool aborted = false;
};

class InProcessRank final : public Communicator {
 public:
  InProcessRank(int rank, std::shared_ptr<std::vector<Mailbox>> boxes, std::uint64_t seed)
      : rank_(rank), boxes_(std::move(boxes)), shuffle_(seed) {}

  int rank() const override { return rank_; }
  int size() const override { return int(boxes_->size()); }
  bool is_virtual() const override { return true; }
  Traffic traffic() const override { return traffic_; }

  void all_gather(const void* mine, void* all, std::span<const std::size_t> sizes) override {
    INVAR_CHECK(int(sizes.size()) == size());
    std::vector<std::size_t> offsets(sizes.size());
    for (std::size_t r = 1; r < sizes.size(); ++r) offsets[r] = offsets[r - 1] + sizes[r - 1];
    auto* out = static_cast<std::byte*>(all);
    const auto* bytes = static_cast<const std::byte*>(mine);
    const std::size_t own = sizes[std::size_t(rank_)];
    for (int to = 0; to < size(); ++to) {
      if (to != rank_) post(to, bytes, own);
    }
    if (own > 0 && out + offsets[std::size_t(rank_)] != bytes) {
      std::memcpy(out + offsets[std::size_t(rank_)], bytes, own);
    }
    for (int left = size() - 1; left > 0; --left) {
      const Message message = take();
      const auto from = std::size_t(message.from);
      INVAR_CHECK(message.bytes.size() == sizes[from]);
      if (!message.bytes.empty()) {
        std::memcpy(out + offsets[from], message.bytes.data(), message.bytes.size());
      }
    }
    ++sequence_;
    ++traffic_.collectives;
    traffic_.bytes_sent += std::int64_t(own) * (size() - 1);
  }

  void abort() override {
    for (Mailbox& box : *boxes_) {
      const std::lock_guard lock(box.mutex);
      box.aborted = true;
      box.arrived.notify_all();
    }
  }

 private:
  void post(int to, const std::byte* bytes, std::size_t size) {
    Mailbox& box = (*boxes_)[std::size_t(to)];
    Message message{rank_, sequence_, {bytes, bytes + size}};
    const std::lock_guard lock(box.mutex);
    box.messages.push_back(std::move(message));
    box.arrived.notify_one();
  }

  /// One message of the current collective, in arrival order or, with a seed, in a shuffled one.
  Message take() {
    Mailbox& box = (*boxes_)[std::size_t(rank_)];
    std::unique_lock lock(box.mutex);
    for (;;) {
      if (box.aborted) throw RankFailure{};
      std::vector<std::size_t> ready;
      for (std::size_t i = 0; i < box.messages.size(); ++i) {
        if (box.messages[i].sequence == sequence_) ready.push_back(i);
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
  std::int64_t sequence_ = 0;
  Traffic traffic_;
};

class SingleRank final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  bool is_virtual() const override { return false; }
  void all_gather(const void* mine, void* all, std::span<const std::size_t> sizes) override {
    if (mine != all) std::memcpy(all, mine, sizes[0]);
  }
  Traffic traffic() const override { return {}; }
  void abort() override {}
};

}  // namespace

std::unique_ptr<Communicator> make_single_rank() {
  return std::make_unique<SingleRank>();
}

std::vector<std::unique_ptr<Communicator>> make_in_process_ranks(int size,
                                                                 std::uint64_t arrival_seed) {
  auto boxes = std::make_shared<std::vector<Mailbox>>(std::size_t(size));
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int r = 0; r < size; ++r) {
    const std::uint64_t seed = arrival_seed == 0 ? 0 : arrival_seed + std::uint64_t(r) * 977;
    ranks.push_back(std::make_unique<InProcessRank>(r, boxes, seed));
  }
  return ranks;
}

}  // namespace invar
