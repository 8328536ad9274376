// The wish to stop: set once by a signal, looked at by everything that takes long.
#pragma once

#include <csignal>

namespace isobit {

/// Set by SIGINT, SIGTERM and SIGHUP after install_interrupt_handler(); by SIGHUP not when it was
/// ignored before, as nohup does.
extern volatile std::sig_atomic_t interrupted;
/// A second signal, more than a second after the first, ends the process at once with status 130:
/// what does not look at the flag is not waited for. Nothing that was recorded is lost by it.
/// Also ignores SIGPIPE and SIGXFSZ: a reader that went away, and a limit on the size of files,
/// show as failed writes.
void install_interrupt_handler();

/// While it lives, a deadline sets the flag as a signal would, so that what looks at the flag obeys
/// it too; when it goes, the flag is as it was without it. One at a time.
class Deadline {
 public:
  explicit Deadline(double seconds);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
  /// Whether the deadline, and no signal, set the flag.
  [[nodiscard]] static bool passed();
};

}  // namespace isobit
