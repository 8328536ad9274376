// A barrier by a count of arrivals and a phase that the last arrival moves on.

#include "runtime/parallel/rendezvous.h"

#include <atomic>
#include <cstdint>

namespace isobit {
namespace {

constexpr int kSpins = 4000;  // some ten microseconds; ranks in step need far less

class ThreadRendezvous final : public Rendezvous {
 public:
  explicit ThreadRendezvous(int ranks) : ranks_(ranks) {}

  void arrive(int) override { meet(); }
  void depart(int) override { meet(); }
  void fail(int) override {
    failed_ = true;
    ++phase_;
    phase_.notify_all();
  }

 private:
  void meet() {
    const std::uint32_t phase = phase_;  // before arriving: it cannot move on without this rank
    if (failed_) throw RankFailure{};
    if (++arrived_ == ranks_) {
      arrived_ = 0;
      ++phase_;
      phase_.notify_all();
    }
    for (int spin = 0; phase_ == phase; ++spin) {
      if (spin >= kSpins) phase_.wait(phase);
    }
    if (failed_) throw RankFailure{};
  }

  const int ranks_;
  std::atomic<int> arrived_{0};
  std::atomic<std::uint32_t> phase_{0};
  std::atomic<bool> failed_{false};
};

}  // namespace

std::shared_ptr<Rendezvous> make_thread_rendezvous(int ranks) {
  return std::make_shared<ThreadRendezvous>(ranks);
}

}  // namespace isobit
