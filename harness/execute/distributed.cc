// Orders from process 0 are texts: open a scenario, run a job, go home.

#include "harness/execute/distributed.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "harness/execute/wire.h"
#include "harness/execute/worker.h"
#include "harness/verdict.h"
#include "runtime/base/interrupt.h"
#include "runtime/model/rank_model.h"
#include "runtime/numerics/probes.h"

namespace isobit {
namespace {

enum class Order : std::uint8_t { open, job, go_home };

}  // namespace

template <>
inline constexpr int wire::kEnumerators<Order> = 3;

namespace {

/// What all processes must have alike before they may compute together.
struct Brief {
  std::string path;
  std::vector<std::string> overrides;
  std::string digest;  // of the scenario's text, the model, the tokenizer and the prompts
};

/// The texts of schedules, which hold the digests of their books' files.
std::string books_of(const Scenario& scenario) {
  std::string out;
  for (const std::string& text : value_texts(scenario, "gemm")) out += "\n" + text;
  return out;
}

std::string digest_of(const Scenario& scenario, const Session& session) {
  std::string text = scenario.text;
  for (const ModelSession& model : session.models) {
    text += "\n" + model.inputs.model_digest + "\n" + model.inputs.tokenizer_digest + "\n" +
            model.inputs.prompts_digest;
  }
  text += books_of(scenario);
  return to_hex(sha256(text.data(), text.size()));
}

/// One process's end of a job, told to all.
struct Account {
  CellStatus status = CellStatus::ok;
  std::string reason, host;
  std::int64_t collectives = 0, bytes_moved = 0;
};

std::string to_text(const Account& account) {
  wire::Writer writer;
  writer.put(account.status), writer.put(account.reason), writer.put(account.host);
  writer.put(account.collectives), writer.put(account.bytes_moved);
  return writer.bytes();
}

Account account_of(const std::string& text) {
  Account account;
  wire::Reader reader(text);
  reader.get(account.status), reader.get(account.reason), reader.get(account.host);
  reader.get(account.collectives), reader.get(account.bytes_moved);
  return account;
}

/// Ends the process when a job takes too long: nothing else frees one that waits on its GPU.
class Watchdog {
 public:
  Watchdog(double seconds, std::function<void()> bark)
      : thread_([this, seconds, bark = std::move(bark)](const std::stop_token& stop) {
          std::unique_lock lock(mutex_);
          const auto limit = std::chrono::duration<double>(seconds);
          if (!ended_.wait_for(lock, stop, limit, [&] { return stop.stop_requested(); })) bark();
        }) {}

 private:
  std::mutex mutex_;
  std::condition_variable_any ended_;
  std::jthread thread_;  // the last member: the others outlive it
};

/// One job as a rank of all processes, or alone; `across` has all processes here.
JobResult run_watched(World& world, CellRunner& runner, double seconds, const Job& job, bool across,
                      const std::function<void()>& bark) {
  const Watchdog watchdog(seconds, bark);
  JobResult result = runner.run(job, across ? &world : nullptr);
  if (!across) return result;
  CellTrace& trace = result.trace;
  const Account mine{trace.status, trace.reason, world.host(), trace.observed.collectives,
                     trace.observed.bytes_moved};
  const std::vector<std::string> all = world.exchange(to_text(mine));
  for (int r = 0; r < int(all.size()); ++r) {
    const Account other = account_of(all[std::size_t(r)]);
    trace.observed.collectives = std::min(trace.observed.collectives, other.collectives);
    trace.observed.bytes_moved = std::min(trace.observed.bytes_moved, other.bytes_moved);
    const bool knows = other.status == CellStatus::failed && other.reason != kOtherRankFailed;
    if (!knows || r == 0 || trace.reason == other.reason) continue;
    if (trace.status == CellStatus::failed && trace.reason != kOtherRankFailed) continue;
    trace.status = CellStatus::failed;
    trace.reason = "rank " + std::to_string(r) + " on " + other.host + ": " + other.reason;
  }
  return result;
}

/// Process 0's side of one execute().
class Leader {
 public:
  Leader(World& world, const Scenario& scenario, const Session& session,
         const ExecutorOptions& options, const std::function<bool(JobResult&&)>& done)
      : world_(world),
        scenario_(scenario),
        session_(session),
        options_(options),
        done_(done),
        runner_(scenario, session, runtime_, options.hooks) {}

  Result<bool> run(const std::vector<Job>& jobs) {
    std::vector<const Job*> order;
    for (const Job& job : jobs) order.push_back(&job);
    std::stable_sort(order.begin(), order.end(), [](const Job* a, const Job* b) {
      const auto key = [](const Cell& c) {
        return c.value("model") + "/" + c.value("engine") + "/" + c.value("precision") + "/" +
               c.value("gpus") + "/" + c.value("weights");
      };
      return key(*a->cell) < key(*b->cell);
    });
    if (std::none_of(jobs.begin(), jobs.end(), [this](const Job& job) { return across(job); })) {
      say_alone();
    }
    for (const Job* job : order) {
      if (interrupted) return false;
      if (across(*job)) {
        if (auto ok = open(); !ok) return ok.error();
        send(*job);
      }
      JobResult result = run_watched(world_, runner_, options_.cell_seconds, *job, across(*job),
                                     [&] { give_up(*job); });
      if (!done_(std::move(result))) return false;
    }
    return true;
  }

 private:
  /// A cell of selftest is not what the others would compute.
  [[nodiscard]] bool across(const Job& job) const {
    return job.cell->requested().ranks == world_.size() && options_.hooks == nullptr;
  }

  void say_alone() const {
    std::string why;
    for (const ModelSession& each : session_.models) {
      if (why.empty()) why = refuse_ranks(each.model.config, world_.size());
    }
    std::fprintf(stderr, "isobit: none of these cells has gpus: %d, all run in process 0%s%s\n",
                 world_.size(), why.empty() ? "" : ": ", why.c_str());
  }

  /// Once: the others load the same scenario, or all hear why not.
  Result<void> open() {
    if (opened_) return {};
    wire::Writer writer;
    writer.put(Order::open), writer.put(scenario_.path), writer.put(scenario_.overrides);
    std::vector<std::string> models;
    for (const ModelSession& model : session_.models) models.push_back(model.name);
    writer.put(models), writer.put(digest_of(scenario_, session_));
    world_.exchange(writer.bytes());
    for (const std::string& fault : world_.exchange("")) {
      if (!fault.empty()) return Error{fault, scenario_.path};
    }
    opened_ = true;
    return {};
  }

  void send(const Job& job) {
    wire::Writer writer;
    writer.put(Order::job), writer.put(job.cell->scenario), writer.put(job.cell->hash);
    writer.put(std::uint64_t(job.cell->axes.size()));
    for (const auto& [axis, value] : job.cell->axes) writer.put(axis), writer.put(value.text);
    writer.put(job);
    world_.exchange(writer.bytes());
  }

  /// In the watchdog's thread: the computing thread cannot be had back, so the run ends here.
  void give_up(const Job& job) {
    JobResult late;
    late.id = job.id;
    late.attempt = job.attempt;
    late.trace.status = CellStatus::timed_out;
    late.trace.reason = "no result within " + std::to_string(int(options_.cell_seconds)) + " s";
    std::fprintf(stderr, "isobit: %s: %s; under MPI this ends the run\n", job.cell->name().c_str(),
                 late.trace.reason.c_str());
    done_(std::move(late));
    _exit(kExitDifferent);
  }

  World& world_;
  const Scenario& scenario_;
  const Session& session_;
  const ExecutorOptions& options_;
  const std::function<bool(JobResult&&)>& done_;
  ModelRuntime runtime_;
  CellRunner runner_;
  bool opened_ = false;
};

/// What another process has open.
struct Follower {
  Scenario scenario;
  std::optional<Session> session;
  std::unique_ptr<ModelRuntime> runtime;

  /// Why this process cannot take part, or empty.
  std::string open(wire::Reader& order) {
    std::string path, digest;
    std::vector<std::string> overrides, models;
    order.get(path), order.get(overrides), order.get(models), order.get(digest);
    runtime.reset();  // it points into the session
    session.reset();
    if (auto ok = run_numeric_probes(); !ok) return ok.error().text();
    auto read = load_scenario(path, overrides);
    if (!read) return read.error().text();
    scenario = std::move(*read);
    const std::set<std::string> wanted(models.begin(), models.end());
    auto opened = open_session(scenario, &wanted);
    if (!opened) return opened.error().text();
    session.emplace(std::move(*opened));
    if (digest_of(scenario, *session) != digest) {
      return "its scenario, model or prompts are not those of process 0";
    }
    runtime = std::make_unique<ModelRuntime>();
    return "";
  }

  void run(World& world, wire::Reader& order) {
    Cell cell;
    std::uint64_t axes = 0;
    order.get(cell.scenario), order.get(cell.hash), order.get(axes);
    for (std::uint64_t i = 0; i < axes && !order.failed(); ++i) {
      std::string axis, text;
      order.get(axis), order.get(text);
      auto value = axis_value(axis, text);
      ISOBIT_CHECK(value.has_value());  // process 0 has read it, by the same program
      cell.axes[axis] = std::move(*value);
    }
    Job job;
    order.get(job);
    ISOBIT_CHECK(!order.failed());
    job.cell = &cell;
    job.spill.clear();             // process 0 keeps the rows
    constexpr double kGrace = 30;  // process 0 says it first
    CellRunner runner(scenario, *session, *runtime, nullptr);
    run_watched(world, runner, scenario.cell_seconds + kGrace, job, true, [&world] {
      std::fprintf(stderr, "isobit: rank %d on %s: no end of the cell; giving up\n", world.rank(),
                   world.host().c_str());
      _exit(kExitDifferent);
    });
  }
};

}  // namespace

Result<bool> execute_distributed(World& world, const Scenario& scenario, const Session& session,
                                 const std::vector<Job>& jobs, const ExecutorOptions& options,
                                 const std::function<bool(JobResult&&)>& done) {
  Leader leader(world, scenario, session, options, done);
  return leader.run(jobs);
}

void follow(World& world) {
  // Process 0 decides: an interrupt reaches it too.
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGTERM, SIG_IGN);
  Follower follower;
  for (;;) {
    const std::string text = world.exchange("").front();
    wire::Reader order(text);
    Order kind = Order::go_home;
    order.get(kind);
    if (kind == Order::go_home) return;
    if (kind == Order::job) {
      follower.run(world, order);
      continue;
    }
    const std::string fault = follower.open(order);
    world.exchange(fault.empty() ? ""
                                 : "rank " + std::to_string(world.rank()) + " on " + world.host() +
                                       ": " + fault);
  }
}

void dismiss(World& world) {
  wire::Writer writer;
  writer.put(Order::go_home);
  world.exchange(writer.bytes());
}

}  // namespace isobit
