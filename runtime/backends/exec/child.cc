// fork and exec, and one poll loop over the three pipes: neither side can block the other.
#include "runtime/backends/exec/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <utility>

#include "runtime/base/interrupt.h"
#include "runtime/base/process.h"
#include "runtime/base/text.h"

namespace isobit::exec {
namespace {

constexpr std::size_t kLongestLine = std::size_t{64} << 20;
constexpr std::size_t kKeptComplaints = 4096;
constexpr auto kPatience = std::chrono::seconds(5);

/// Every descriptor of one start; what is left open is closed.
struct Pipes {
  std::array<int, 8> ends;
  Pipes() { ends.fill(-1); }
  Pipes(const Pipes&) = delete;
  Pipes& operator=(const Pipes&) = delete;
  ~Pipes() {
    for (const int end : ends) {
      if (end >= 0) ::close(end);
    }
  }
  bool open() {
    for (std::size_t i = 0; i < ends.size(); i += 2) {
      if (pipe2(ends.data() + i, O_CLOEXEC) != 0) return false;
    }
    return true;
  }
  int take(std::size_t end) { return std::exchange(ends[end], -1); }
};

enum PipeEnd : std::size_t {
  in_read,
  in_write,
  out_read,
  out_write,
  err_read,
  err_write,
  failed_read,
  failed_write
};

/// In the child: becomes the program, or says through the last pipe why it cannot.
[[noreturn]] void become(char* const* words, const char* folder, const Pipes& pipes, pid_t parent) {
  end_with_parent(parent);
  ::setpgid(0, 0);
  for (const int signal : {SIGPIPE, SIGXFSZ, SIGINT, SIGTERM, SIGHUP}) {
    ::signal(signal, SIG_DFL);
  }
  ::dup2(pipes.ends[in_read], 0);
  ::dup2(pipes.ends[out_write], 1);
  ::dup2(pipes.ends[err_write], 2);
  if (*folder == '\0' || ::chdir(folder) == 0) ::execvp(words[0], words);
  const int why = errno;
  (void)!::write(pipes.ends[failed_write], &why, sizeof why);
  ::_exit(127);
}

/// write() to a pipe whose reader may be gone, which is an error and no signal.
ssize_t write_without_signal(int end, std::string_view bytes) {
  sigset_t pipe_signal, before;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const ssize_t n = ::write(end, bytes.data(), bytes.size());
  const int why = errno;
  constexpr timespec kAtOnce{0, 0};
  if (n < 0 && why == EPIPE) sigtimedwait(&pipe_signal, nullptr, &kAtOnce);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = why;
  return n;
}

std::string last_line(const std::string& text) {
  const std::size_t end = text.find_last_not_of(" \r\n\t");
  if (end == std::string::npos) return "";
  const std::size_t begin = text.rfind('\n', end);
  constexpr std::size_t kShown = 200;
  return text::printable(text.substr(begin == std::string::npos ? 0 : begin + 1,
                                     end - (begin == std::string::npos ? 0 : begin + 1) + 1),
                         kShown);
}

}  // namespace

Child::~Child() {
  kill();
}

Result<void> Child::start(const std::vector<std::string>& words, const std::string& folder) {
  ISOBIT_CHECK(!words.empty() && !runs());
  Pipes pipes;
  if (!pipes.open()) return Error{std::string("no pipe can be made: ") + std::strerror(errno), ""};
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) {
    return Error{std::string("no process can be started: ") + std::strerror(errno), words[0]};
  }
  if (pid == 0) become(argv.data(), folder.c_str(), pipes, parent);
  pid_ = pid;
  name_ = words[0];
  ::setpgid(pid, pid);  // as the child does: whoever comes first
  keep_group(pid);
  ::close(pipes.take(failed_write));
  int why = 0;
  ssize_t got = 0;
  while ((got = ::read(pipes.ends[failed_read], &why, sizeof why)) < 0 && errno == EINTR) {
  }
  if (got == ssize_t(sizeof why)) {
    kill();
    return Error{std::string("cannot be started: ") + std::strerror(why), words[0]};
  }
  in_ = pipes.take(in_write), out_ = pipes.take(out_read), err_ = pipes.take(err_read);
  for (const int end : {in_, out_, err_}) ::fcntl(end, F_SETFL, O_NONBLOCK);
  to_send_.clear(), received_.clear(), complaints_.clear();
  sent_ = read_ = 0;
  return {};
}

/// Reads what is there; false: nothing will come any more.
bool Child::take(int& descriptor, std::string& into) {
  constexpr std::size_t kPiece = std::size_t{1} << 18;
  const std::size_t have = into.size();
  into.resize(have + kPiece);
  const ssize_t got = ::read(descriptor, into.data() + have, kPiece);
  into.resize(have + std::size_t(std::max<ssize_t>(got, 0)));
  if (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN))) return true;
  ::close(std::exchange(descriptor, -1));
  return false;
}

Result<void> Child::pump(Time limit) {
  constexpr int kLook = 200;  // milliseconds between two looks at the interrupt
  if (interrupted != 0) return Error{"interrupted", ""};
  if (std::chrono::steady_clock::now() >= limit) return Error{"no answer in time", name_};
  if (out_ < 0) return Error{ended(), name_};
  const bool sends = sent_ < to_send_.size() && in_ >= 0;
  std::array<pollfd, 3> waiting{
      {{out_, POLLIN, 0}, {err_, POLLIN, 0}, {sends ? in_ : -1, POLLOUT, 0}}};
  if (::poll(waiting.data(), waiting.size(), kLook) < 0) return {};
  if (waiting[2].revents != 0) {
    const ssize_t n = write_without_signal(in_, std::string_view(to_send_).substr(sent_));
    if (n > 0) sent_ += std::size_t(n);
    if (n < 0 && errno != EINTR && errno != EAGAIN) ::close(std::exchange(in_, -1));
    if (sent_ == to_send_.size()) to_send_.clear(), sent_ = 0;
  }
  if (waiting[1].revents != 0) {
    (void)take(err_, complaints_);
    if (complaints_.size() > 2 * kKeptComplaints) {
      complaints_.erase(0, complaints_.size() - kKeptComplaints);
    }
  }
  if (waiting[0].revents != 0 && !take(out_, received_)) return Error{ended(), name_};
  return {};
}

Result<std::string> Child::line(Time limit) {
  std::size_t looked = read_;
  for (;;) {
    const std::size_t end = received_.find('\n', looked);
    if (end != std::string::npos) {
      std::string out = received_.substr(read_, end - read_);
      read_ = end + 1;
      if (read_ == received_.size()) received_.clear(), read_ = 0;
      return out;
    }
    if (received_.size() - read_ > kLongestLine) {
      return Error{"a line of its output has more than 64 MiB", name_};
    }
    received_.erase(0, std::exchange(read_, 0));
    looked = received_.size();
    if (auto ok = pump(limit); !ok) return ok.error();
  }
}

Result<void> Child::bytes(std::span<std::byte> out, Time limit) {
  while (received_.size() - read_ < out.size()) {
    if (auto ok = pump(limit); !ok) return ok.error();
  }
  std::memcpy(out.data(), received_.data() + read_, out.size());
  read_ += out.size();
  if (read_ == received_.size()) received_.clear(), read_ = 0;
  return {};
}

/// How it ended, once it has closed its output.
std::string Child::ended() {
  if (!runs()) return "has ended";
  const auto limit = std::chrono::steady_clock::now() + kPatience;
  int status = 0;
  constexpr timespec kPause{0, 10'000'000};
  pid_t gone = 0;
  while ((gone = ::waitpid(pid_, &status, WNOHANG)) == 0 &&
         std::chrono::steady_clock::now() < limit) {
    ::nanosleep(&kPause, nullptr);
  }
  ::kill(-pid_, SIGKILL);  // what it started and left behind, too
  while (err_ >= 0 && complaints_.size() <= 2 * kKeptComplaints) {
    pollfd waiting{err_, POLLIN, 0};
    if (::poll(&waiting, 1, 0) <= 0 || !take(err_, complaints_)) break;
  }
  std::string how = "closed its output";
  if (gone == pid_) {
    forget_group(std::exchange(pid_, -1));
    how = WIFSIGNALED(status) ? std::string("was killed: ") + strsignal(WTERMSIG(status))
                              : "ended with status " + std::to_string(WEXITSTATUS(status));
  }
  const std::string last = last_line(complaints_);
  return how + (last.empty() ? "" : "; it last said: " + last);
}

void Child::close_all() {
  for (int* const end : {&in_, &out_, &err_}) {
    if (*end >= 0) ::close(std::exchange(*end, -1));
  }
}

void Child::end() {
  if (!runs()) return;
  const auto limit = std::chrono::steady_clock::now() + kPatience;
  const auto pump_and_forget = [&] {  // nobody reads what it still says
    received_.clear(), read_ = 0;
    return pump(limit).has_value();
  };
  while (sent_ < to_send_.size() && in_ >= 0 && pump_and_forget()) {
  }
  if (in_ >= 0) ::close(std::exchange(in_, -1));
  while (out_ >= 0 && pump_and_forget()) {
  }
  kill();
}

void Child::kill() {
  close_all();
  if (!runs()) return;
  ::kill(-pid_, SIGKILL);  // its group: what it started goes with it
  ::kill(pid_, SIGKILL);   // it may not have made the group yet
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  forget_group(std::exchange(pid_, -1));
}

}  // namespace isobit::exec
