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

}  // namespace isobit
