// Programs are started by posix_spawn.
#include "runtime/base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <ctime>

#include "runtime/base/interrupt.h"

extern char** environ;

namespace isobit {
namespace {

struct Pipe {
  std::array<int, 2> ends{-1, -1};
  Pipe() = default;
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  bool open() { return pipe2(ends.data(), O_CLOEXEC) == 0; }
  void close_end(std::size_t end) {
    if (ends[end] >= 0) ::close(ends[end]);
    ends[end] = -1;
  }
};

/// Reads both pipes to their ends; neither can fill up and block the program.
void drain(Pipe& out, Pipe& err, ProgramOutput& output) {
  std::array<char, 16384> buffer{};
  while (out.ends[0] >= 0 || err.ends[0] >= 0) {
    std::array<pollfd, 2> waiting{{{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}}};
    if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return;
    for (std::size_t i = 0; i < waiting.size(); ++i) {
      if (waiting[i].fd < 0 || waiting[i].revents == 0) continue;
      const ssize_t got = ::read(waiting[i].fd, buffer.data(), buffer.size());
      if (got > 0) {
        (i == 0 ? output.out : output.err).append(buffer.data(), std::size_t(got));
      } else if (got == 0 || errno != EINTR) {
        (i == 0 ? out : err).close_end(0);
      }
    }
  }
}

/// What posix_spawn is told about files and signals.
class SpawnSettings {
 public:
  SpawnSettings() {
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    sigset_t usual;
    sigemptyset(&usual);
    for (const int signal : {SIGPIPE, SIGXFSZ, SIGINT, SIGTERM}) sigaddset(&usual, signal);
    posix_spawnattr_setsigdefault(&attributes, &usual);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnSettings() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
};

/// The status that waitpid gives. An interrupt is passed on to a shown program, once.
Result<int> wait_for(pid_t child, const std::string& name, bool captured,
                     const std::function<void()>& while_shown) {
  constexpr timespec kPause{0, 200'000'000};
  const bool waits = captured || !while_shown;
  bool told = false;
  int status = 0;
  while (true) {
    const pid_t ended = ::waitpid(child, &status, waits ? 0 : WNOHANG);
    if (ended == child) return status;
    if (ended < 0 && errno != EINTR) return Error{std::strerror(errno), name};
    if (!captured && interrupted != 0 && !told) told = ::kill(child, SIGTERM) == 0;
    if (waits) continue;
    while_shown();
    ::nanosleep(&kPause, nullptr);  // a signal ends it early
  }
}

}  // namespace

Result<ProgramOutput> run_program(const std::vector<std::string>& words, Output output,
                                  const std::function<void()>& while_shown) {
  ISOBIT_CHECK(!words.empty());
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);

  Pipe out, err;
  SpawnSettings settings;
  const bool captured = output == Output::captured;
  if (captured) {
    if (!out.open() || !err.open()) return Error{std::strerror(errno), words[0]};
    posix_spawn_file_actions_adddup2(&settings.files, out.ends[1], 1);
    posix_spawn_file_actions_adddup2(&settings.files, err.ends[1], 2);
  } else {
    posix_spawn_file_actions_adddup2(&settings.files, 2, 1);
  }
  pid_t child = 0;
  const int failed =
      posix_spawnp(&child, argv[0], &settings.files, &settings.attributes, argv.data(), environ);
  if (failed != 0) {
    return Error{std::string("cannot be started: ") + std::strerror(failed), words[0]};
  }

  ProgramOutput result;
  if (captured) {
    out.close_end(1);
    err.close_end(1);
    drain(out, err, result);
  }
  const auto status = wait_for(child, words[0], captured, while_shown);
  ISOBIT_TRY(status);
  result.status = WIFEXITED(*status) ? WEXITSTATUS(*status) : 128 + WTERMSIG(*status);
  return result;
}

namespace {

std::array<std::atomic<pid_t>, 16> groups{};

void replace_group(pid_t from, pid_t to) {
  for (std::atomic<pid_t>& group : groups) {
    pid_t expected = from;
    if (group.compare_exchange_strong(expected, to)) return;
  }
}

}  // namespace

void keep_group(pid_t group) {
  replace_group(0, group);
}

void forget_group(pid_t group) {
  if (group > 0) replace_group(group, 0);
}

void kill_groups() {
  for (const std::atomic<pid_t>& group : groups) {
    const pid_t leader = group.load();
    if (leader > 0) ::kill(-leader, SIGKILL);
  }
}

void end_with_parent(pid_t parent) {
#if defined(__linux__)
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
  if (::getppid() != parent) ::_exit(1);  // it ended before the line above
}

namespace {

/// In the child: the answer or the error, told apart by the first byte, through the pipe.
[[noreturn]] void answer(const std::function<Result<std::string>()>& ask, int pipe) {
  const Result<std::string> result = ask();
  const std::string text = result ? "+" + *result : "-" + result.error().text();
  std::size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t n = ::write(pipe, text.data() + sent, text.size() - sent);
    if (n <= 0 && errno != EINTR) break;
    if (n > 0) sent += std::size_t(n);
  }
  ::_exit(0);
}

/// All that comes out of the pipe; false: not done in time, or interrupted.
bool read_until(int pipe, std::chrono::steady_clock::time_point end, std::string& text) {
  std::array<char, 4096> part{};
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    pollfd waiting{pipe, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, int(std::max<std::int64_t>(left.count(), 0)));
    if (interrupted != 0 || ready == 0) return false;
    const ssize_t n = ready < 0 ? -1 : ::read(pipe, part.data(), part.size());
    if (n == 0) return true;
    if (n < 0 && errno != EINTR) return true;
    if (n > 0) text.append(part.data(), std::size_t(n));
  }
}

}  // namespace

Result<std::string> ask_in_child(const std::function<Result<std::string>()>& ask, int seconds) {
  Pipe pipe;
  if (!pipe.open()) return Error{std::strerror(errno), ""};
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0)
    return Error{std::string("no process can be started: ") + std::strerror(errno), ""};
  if (child == 0) {
    end_with_parent(parent);
    answer(ask, pipe.ends[1]);
  }
  pipe.close_end(1);
  std::string text;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  const bool in_time = read_until(pipe.ends[0], end, text);
  if (!in_time) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (interrupted != 0 && !in_time) return Error{"interrupted", ""};
  if (!in_time) return Error{"no answer within " + std::to_string(seconds) + " s", ""};
  if (!WIFEXITED(status) || text.empty()) return Error{"it ends the process", ""};
  const std::string said = text.substr(1);
  if (text.front() == '+') return said;
  return Error{said, ""};
}

Result<ProgramOutput> run_git(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "git");
  return run_program(arguments, Output::captured);
}

}  // namespace isobit
