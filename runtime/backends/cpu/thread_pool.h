// A fixed team of threads for one backend. Work is cut into as many shares as the team has
// members, always in the same way; a share is a pure function of its index, so results do not
// depend on which thread runs it or when.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

namespace isobit::cpu {

class ThreadPool {
 public:
  /// `threads` members, the caller included. Throws BackendError when the system has not so many
  /// threads. REQUIRES: threads >= 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int size() const { return int(workers_.size()) + 1; }
  /// Most shares that one run() was cut into.
  [[nodiscard]] int used() const { return used_; }

  /// Calls share(index, shares) for index in [0, shares), shares = min(size(), limit), and returns
  /// when all are done. What a share throws is thrown here then, the first share's first.
  /// REQUIRES: limit >= 1.
  void run(std::int64_t limit, const std::function<void(int index, int shares)>& share);

 private:
  struct Alone {};
  explicit ThreadPool(Alone) {}
  void work(int member);
  void take_share(int member);

  std::vector<std::jthread> workers_;
  std::vector<std::exception_ptr> failures_;  // by member
  const std::function<void(int, int)>* share_ = nullptr;
  int shares_ = 0;
  int used_ = 1;
  int counted_ = 0;  // what it adds to the members of all pools
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<int> left_{0};
  std::atomic<bool> dismissed_{false};
};

/// [begin, end) of a share of n items; the first shares are not smaller than the last.
struct Range {
  std::int64_t begin, end;
};
inline Range share_of(std::int64_t n, int index, int shares) {
  return {n * index / shares, n * (index + 1) / shares};
}

}  // namespace isobit::cpu
