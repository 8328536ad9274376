// Threads wait on a generation counter (a futex after a short spin) and count themselves out.

#include "runtime/backends/cpu/thread_pool.h"

#include <algorithm>

#include "runtime/numerics/probes.h"
#include "runtime/result.h"

namespace invar::cpu {

ThreadPool::ThreadPool(int threads) {
  INVAR_CHECK(threads >= 1);
  for (int member = 1; member < threads; ++member) {
    workers_.emplace_back([this, member](std::stop_token stop) { work(member, stop); });
  }
}

ThreadPool::~ThreadPool() {
  for (std::jthread& worker : workers_) worker.request_stop();
  generation_.fetch_add(1);
  generation_.notify_all();
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
  share(0, shares);
  for (int left = left_.load(); left != 0; left = left_.load()) left_.wait(left);
}

void ThreadPool::work(int member, std::stop_token stop) {
  INVAR_CHECK(check_floating_point_mode().has_value());
  std::uint32_t seen = 0;
  for (;;) {
    generation_.wait(seen);
    seen = generation_.load();
    if (stop.stop_requested()) return;
    if (member < shares_) (*share_)(member, shares_);
    if (left_.fetch_sub(1) == 1) left_.notify_one();
  }
}

}  // namespace invar::cpu
