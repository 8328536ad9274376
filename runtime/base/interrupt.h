// The wish to stop: set once by a signal, looked at by everything that takes long.
#pragma once

#include <csignal>

namespace isobit {

/// Set by SIGINT, SIGTERM and SIGHUP after install_interrupt_handler(); by SIGHUP not when it was
/// ignored before, as nohup does.
extern volatile std::sig_atomic_t interrupted;
/// Also ignores SIGPIPE: a reader that went away shows as a failed write.
void install_interrupt_handler();

}  // namespace isobit
