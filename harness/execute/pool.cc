// Worker processes over pipes. The parent polls; a worker answers one message a job.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <deque>
#include <memory>
#include <numeric>
#include <set>

#include "harness/execute/distributed.h"
#include "harness/execute/wire.h"
#include "harness/execute/worker.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/process.h"
#include "runtime/numerics/probes.h"

namespace isobit {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kExitWorkerProtocol = 70;  // a worker that was sent nonsense

bool write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data += n;
    size -= std::size_t(n);
  }
  return true;
}

bool read_all(int fd, char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::read(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data += n;
    size -= std::size_t(n);
  }
  return true;
}

bool send_message(int fd, const std::string& bytes) {
  const std::uint64_t size = bytes.size();
  return write_all(fd, reinterpret_cast<const char*>(&size), sizeof(size)) &&
         write_all(fd, bytes.data(), bytes.size());
}

bool receive_message(int fd, std::string& bytes) {
  std::uint64_t size = 0;
  bytes.clear();
  if (!read_all(fd, reinterpret_cast<char*>(&size), sizeof(size))) return false;
  // Memory follows what has come: a broken worker's length may be any number.
  constexpr std::uint64_t kPiece = std::uint64_t{1} << 24;
  while (bytes.size() < size) {
    const std::size_t have = bytes.size();
    bytes.resize(have + std::min(kPiece, size - have));
    if (!read_all(fd, bytes.data() + have, bytes.size() - have)) return false;
  }
  return true;
}

/// What the parent sends a worker that must end at once: the engines that it started end first.
constexpr int kEndNow = SIGUSR1;
void end_now(int) {
  kill_groups();
  _exit(0);
}

/// The worker's life: receive a job, answer, until the pipe closes.
void serve_jobs(const Scenario& scenario, const Session& session, ModelRuntime& runtime,
                const ExecutorOptions& options, const std::vector<Job>& jobs, int in, int out) {
  CellRunner runner(scenario, session, runtime, options.hooks);
  std::string message;
  while (receive_message(in, message)) {
    wire::Reader reader(message);
    std::uint64_t index = 0;
    reader.get(index);
    if (!reader.done() || index >= jobs.size()) _exit(kExitWorkerProtocol);
    const JobResult result = runner.run(jobs[index], nullptr);
    wire::Writer writer;
    writer.put(result);
    if (!send_message(out, writer.bytes())) return;  // the parent is gone
  }
}

/// Never returns. An engine in another process is ended in good order before.
[[noreturn]] void work(const Scenario& scenario, const Session& session, ModelRuntime& runtime,
                       const ExecutorOptions& options, const std::vector<Job>& jobs, int in,
                       int out) {
  // The parent decides: a signal to the whole group must not look like a crashed cell.
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  signal(kEndNow, end_now);
  serve_jobs(scenario, session, runtime, options, jobs, in, out);
  _exit(0);
}

struct Worker {
  pid_t pid = -1;
  int to = -1, from = -1;
  std::string key;
  std::string set;  // of the last job: the weights it has at hand
  int job = -1;     // index into jobs, -1: idle
  Clock::time_point started;
};

/// What a worker process is for: cells with the same key share its packed weights.
std::string worker_key(const Cell& cell) {
  return cell.value("model") + "/" + cell.value("engine") + "/" + cell.value("precision") + "/" +
         cell.value("device");
}

/// One set of packed weights: the ranks cut it, replicas have one each, and it may be changed.
std::string set_key(const Cell& cell) {
  return worker_key(cell) + "/" + cell.value("gpus") + "/" + cell.value("replicas") + "/" +
         cell.value("weights");
}

class Pool {
 public:
  Pool(const Scenario& scenario, const Session& session, const std::vector<Job>& jobs,
       const ExecutorOptions& options, const std::function<bool(JobResult&&)>& done)
      : scenario_(scenario), session_(session), jobs_(jobs), options_(options), done_(done) {}
  ~Pool() {
    for (Worker& worker : workers_) stop(worker, worker.job >= 0);
  }

  Result<bool> run() {
    std::vector<int> order(jobs_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [this](int a, int b) {
      const Cell& x = *jobs_[std::size_t(a)].cell;
      const Cell& y = *jobs_[std::size_t(b)].cell;
      return std::pair(worker_key(x), set_key(x)) < std::pair(worker_key(y), set_key(y));
    });
    waiting_.assign(order.begin(), order.end());
    workers_.resize(std::size_t(std::max(1, options_.jobs)));
    while (!waiting_.empty() || busy() > 0) {
      if (interrupted || stopped_) return false;
      for (Worker& worker : workers_) {
        if (worker.job < 0 && !waiting_.empty()) {
          if (auto ok = give_job(worker); !ok) return ok.error();
        }
      }
      wait();
    }
    return !stopped_;
  }

 private:
  [[nodiscard]] int busy() const {
    return int(std::count_if(workers_.begin(), workers_.end(),
                             [](const Worker& w) { return w.job >= 0; }));
  }

  [[nodiscard]] const Cell& cell_of(int job) const { return *jobs_[std::size_t(job)].cell; }

  /// What a job costs a worker: nothing when its weights are at hand, less when they are in no
  /// other worker yet, most when a new process is needed.
  [[nodiscard]] int cost(const Worker& worker, int job) const {
    const std::string set = set_key(cell_of(job));
    if (set == worker.set) return 0;
    const bool elsewhere = std::any_of(workers_.begin(), workers_.end(), [&](const Worker& other) {
      return other.job >= 0 && other.set == set;
    });
    return (worker_key(cell_of(job)) == worker.key ? 1 : 3) + (elsewhere ? 1 : 0);
  }

  Result<void> give_job(Worker& worker) {
    const auto at = std::min_element(waiting_.begin(), waiting_.end(), [&](int a, int b) {
      return cost(worker, a) < cost(worker, b);
    });
    const int index = *at;
    const std::string key = worker_key(cell_of(index));
    if (worker.pid > 0 && (worker.key != key || options_.isolate)) stop(worker, false);
    if (worker.pid < 0) {
      pack_for_several(index);
      if (auto ok = start(worker, key); !ok) return ok;
    }
    waiting_.erase(at);
    wire::Writer writer;
    writer.put(std::uint64_t(index));
    worker.job = index;
    worker.set = set_key(cell_of(index));
    worker.started = Clock::now();
    if (!send_message(worker.to, writer.bytes())) lose(worker);
    return {};
  }

  /// Packs in this process, before workers are forked, the weights that several of them are about
  /// to use: they share the pages instead of packing each its own. Only the CPU's own engine: a
  /// GPU or a vendor library must not be touched before a fork. What goes wrong here goes wrong
  /// again in the worker, which says so.
  void pack_for_several(int index) {
    const Cell& cell = cell_of(index);
    if (options_.isolate || options_.hooks != nullptr || cell.value("device") != "cpu" ||
        !cell.deterministic() || scenario_.operation.kind != OperationKind::none) {
      return;
    }
    std::set<std::string> sets;
    std::size_t jobs = 0;
    for (const int job : waiting_) {
      if (worker_key(cell_of(job)) != worker_key(cell)) continue;
      sets.insert(set_key(cell_of(job)));
      ++jobs;
    }
    // With a set for each worker, every one packs its own meanwhile.
    if (sets.size() >= workers_.size() || jobs < 2) return;
    GenerateRequest request = request_for(scenario_, session_, cell, {});
    request.backend.threads = int(workers_.size()) - busy();
    (void)runtime_.of(session_.of(cell)).prepare(request);
  }

  Result<void> start(Worker& worker, const std::string& key) {
    int down[2], up[2];
    if (pipe2(down, O_CLOEXEC) != 0) return Error{"cannot make a pipe for a worker", ""};
    if (pipe2(up, O_CLOEXEC) != 0) {
      close(down[0]), close(down[1]);
      return Error{"cannot make a pipe for a worker", ""};
    }
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid < 0) return Error{"cannot start a worker process", ""};
    if (pid == 0) {
      end_with_parent(parent);  // nobody else could end it: it hears no signal, and has no limit
      close(down[1]), close(up[0]);
      for (const Worker& other : workers_) {
        if (other.pid > 0) close(other.to), close(other.from);
      }
      // The child owns its copy of the parent's memory, packed weights included.
      work(scenario_, session_, runtime_, options_, jobs_, down[0], up[1]);
    }
    close(down[0]), close(up[1]);
    worker = Worker{};
    worker.pid = pid;
    worker.to = down[1];
    worker.from = up[0];
    worker.key = key;
    return {};
  }

  void stop(Worker& worker, bool kill_it) {
    if (worker.pid < 0) return;
    close(worker.to), close(worker.from);
    if (kill_it) end_at_once(worker.pid);
    int status = 0;
    while (waitpid(worker.pid, &status, 0) < 0 && errno == EINTR) {
    }
    worker = Worker{};
  }

  /// With the engines that it started; one that hangs in a driver is killed alone.
  static void end_at_once(pid_t pid) {
    constexpr int kLooks = 50;
    constexpr timespec kPause{0, 10'000'000};
    kill(pid, kEndNow);
    siginfo_t ended{};
    for (int i = 0; i < kLooks && ended.si_pid == 0; ++i) {
      waitid(P_PID, id_t(pid), &ended, WEXITED | WNOHANG | WNOWAIT);
      if (ended.si_pid == 0) nanosleep(&kPause, nullptr);
    }
    kill(pid, SIGKILL);
  }

  void wait() {
    std::vector<pollfd> fds;
    std::vector<Worker*> owners;
    double left = 0.5;
    for (Worker& worker : workers_) {
      if (worker.job < 0) continue;
      fds.push_back({worker.from, POLLIN, 0});
      owners.push_back(&worker);
      left = std::min(left, std::max(0.0, options_.cell_seconds - seconds(worker)));
    }
    if (fds.empty()) return;
    poll(fds.data(), fds.size(), int(left * 1000) + 1);
    for (std::size_t i = 0; i < fds.size(); ++i) {
      if (fds[i].revents != 0) {
        receive(*owners[i]);
      } else if (seconds(*owners[i]) > options_.cell_seconds) {
        end_job(*owners[i], CellStatus::timed_out,
                "no result within " + std::to_string(int(options_.cell_seconds)) + " s");
      }
    }
  }

  static double seconds(const Worker& worker) {
    return std::chrono::duration<double>(Clock::now() - worker.started).count();
  }

  void receive(Worker& worker) {
    std::string message;
    JobResult result;
    if (!receive_message(worker.from, message)) return lose(worker);
    wire::Reader reader(message);
    reader.get(result);
    const Job& job = jobs_[std::size_t(worker.job)];
    const bool answers = result.id == job.id && result.attempt == job.attempt;
    if (!reader.done() || !answers) return lose(worker);
    worker.job = -1;
    if (!done_(std::move(result))) stopped_ = true;
  }

  /// The worker died in the middle of a job: says how.
  void lose(Worker& worker) {
    int status = 0;
    kill(worker.pid, SIGKILL);  // it may have closed its pipe without ending
    while (waitpid(worker.pid, &status, 0) < 0 && errno == EINTR) {
    }
    std::string how = "worker process ended";
    if (WIFSIGNALED(status)) {
      how = std::string("worker process killed by ") + strsignal(WTERMSIG(status));
    } else if (WIFEXITED(status)) {
      how = "worker process exited with " + std::to_string(WEXITSTATUS(status));
    }
    close(worker.to), close(worker.from);
    const int job = worker.job;
    worker = Worker{};
    report_failure(job, CellStatus::crashed, how);
  }

  void end_job(Worker& worker, CellStatus status, const std::string& reason) {
    const int job = worker.job;
    stop(worker, true);
    report_failure(job, status, reason);
  }

  void report_failure(int job, CellStatus status, const std::string& reason) {
    JobResult result;
    result.id = jobs_[std::size_t(job)].id;
    result.attempt = jobs_[std::size_t(job)].attempt;
    result.trace.status = status;
    result.trace.reason = reason;
    if (!done_(std::move(result))) stopped_ = true;
  }

  const Scenario& scenario_;
  const Session& session_;
  const std::vector<Job>& jobs_;
  const ExecutorOptions& options_;
  const std::function<bool(JobResult&&)>& done_;
  ModelRuntime runtime_;  // of this process: packs, never computes; of a worker: its own
  std::vector<Worker> workers_;
  std::deque<int> waiting_;
  bool stopped_ = false;
};

}  // namespace

Result<bool> execute(const Scenario& scenario, const Session& session, const std::vector<Job>& jobs,
                     const ExecutorOptions& options, const std::function<bool(JobResult&&)>& done) {
  if (auto ok = run_numeric_probes(); !ok) return ok.error();
  if (World* const all = world(); all != nullptr) {
    return execute_distributed(*all, scenario, session, jobs, options, done);
  }
  Pool pool(scenario, session, jobs, options, done);
  return pool.run();
}

}  // namespace isobit
