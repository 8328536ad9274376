// Threads wait on a generation counter and count themselves out.
//
// A decode step has some hundred regions of tens of microseconds; waking a thread through the
// kernel costs about as much as one of them. So a waiter first looks at the counter itself for
// about as long as the gap between two regions, and sleeps after that: an idle pool uses no time.
// Where this process has more members than cores (ranks with threads), looking would only keep the
// one that is waited for from its core.

#include "runtime/backends/cpu/thread_pool.h"

#include <algorithm>
#include <string>
#include <utility>

#include "runtime/backend.h"
#include "runtime/base/result.h"
#include "runtime/base/thread.h"
#include "runtime/numerics/probes.h"

namespace isobit::cpu {
namespace {

constexpr int kLooks = 2000;  // some tens of microseconds, the processor told to take it easy

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/// Members of all pools of this process that have more than one.
std::atomic<int> members{0};

/// Returns a value other than `old`.
template <class T>
T changed(const std::atomic<T>& value, T old) {
  static const int cores = int(std::max(1u, std::thread::hardware_concurrency()));
  const int looks = members.load(std::memory_order_relaxed) > cores ? 0 : kLooks;
  for (int look = 0; look < looks; ++look) {
    const T now = value.load(std::memory_order_acquire);
    if (now != old) return now;
    relax();
  }
  for (;;) {
    value.wait(old);
    const T now = value.load();
    if (now != old) return now;
  }
}

}  // namespace

/// Delegates, so that the destructor ends the members that run already when one cannot be started:
/// they wait for a generation that would never come.
ThreadPool::ThreadPool(int threads) : ThreadPool(Alone{}) {
  ISOBIT_CHECK(threads >= 1);
  failures_.resize(std::size_t(threads));
  workers_.reserve(std::size_t(threads) - 1);
  for (int member = 1; member < threads; ++member) {
    auto worker =
        start_thread("thread " + std::to_string(member + 1) + " of " + std::to_string(threads),
                     [this, member] { work(member); });
    if (!worker) throw BackendError(worker.error().text());
    workers_.push_back(std::move(*worker));
  }
  if (threads > 1) members += counted_ = threads;
}

ThreadPool::~ThreadPool() {
  members -= counted_;
  dismissed_ = true;
  generation_.fetch_add(1);
  generation_.notify_all();
  workers_.clear();
}

void ThreadPool::run(std::int64_t limit, const std::function<void(int, int)>& share) {
  const int shares = int(std::clamp<std::int64_t>(limit, 1, size()));
  used_ = std::max(used_, shares);
  if (shares == 1) return share(0, 1);
  share_ = &share;
  shares_ = shares;
  left_.store(int(workers_.size()));
  generation_.fetch_add(1);
  generation_.notify_all();
  take_share(0);
  for (int left = left_.load(); left != 0;) left = changed(left_, left);
  for (std::exception_ptr& failure : failures_) {
    if (failure == nullptr) continue;
    const std::exception_ptr first = failure;
    std::fill(failures_.begin(), failures_.end(), nullptr);
    std::rethrow_exception(first);
  }
}

/// Memory may run out in one share; the others go on, and run() waits for them.
void ThreadPool::take_share(int member) {
  try {
    (*share_)(member, shares_);
  } catch (...) {
    failures_[std::size_t(member)] = std::current_exception();
  }
}

void ThreadPool::work(int member) {
  ISOBIT_CHECK(check_floating_point_mode().has_value());
  std::uint32_t seen = 0;
  for (;;) {
    seen = changed(generation_, seen);
    if (dismissed_) return;
    if (member < shares_) take_share(member);
    if (left_.fetch_sub(1) == 1) left_.notify_one();
  }
}

}  // namespace isobit::cpu
