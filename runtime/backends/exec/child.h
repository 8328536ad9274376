// A program of somebody else's at the other end of two pipes. Callers: engine.cc, conversation.cc.
//
// It is started without a shell, in a process group of its own, so that an interrupt of ours is not
// one of its; it is killed with its group when the object goes, and by the system when the thread
// that started it ends. Its standard error is read along and kept for messages.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"

namespace isobit::exec {

class Child {
 public:
  using Time = std::chrono::steady_clock::time_point;
  /// Waits for ever, but for an interrupt.
  static constexpr Time kNoLimit = Time::max();

  Child() = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  /// words[0] is found on PATH, or from `folder`, where the program starts (empty: the current
  /// one). Errors: it cannot be started. REQUIRES: words is not empty, nothing runs.
  Result<void> start(const std::vector<std::string>& words, const std::string& folder);
  [[nodiscard]] bool runs() const { return pid_ > 0; }

  /// Queues bytes for its standard input; they are written while something is read.
  void send(std::string_view bytes) { to_send_.append(bytes); }
  /// The next line of its standard output, without its end. Errors: the program ended (how, and
  /// the last line of its standard error), the limit passed, an interrupt, a line above 64 MiB.
  Result<std::string> line(Time limit);
  /// The next bytes of its standard output. Errors as of line().
  Result<void> bytes(std::span<std::byte> out, Time limit);
  /// Bytes of its standard output that nobody has read yet: 0 between two messages.
  [[nodiscard]] std::size_t unread() const { return received_.size() - read_; }

  /// Ends its input, waits a few seconds for its end, then kills it.
  void end();
  void kill();

 private:
  Result<void> pump(Time limit);
  bool take(int& descriptor, std::string& into);
  void close_all();
  std::string ended();

  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, err_ = -1;
  std::string name_;
  std::string to_send_;
  std::size_t sent_ = 0;
  std::string received_;
  std::size_t read_ = 0;
  std::string complaints_;  // the end of its standard error
};

}  // namespace isobit::exec
