// The process's one flag and its handler.
#include "runtime/base/interrupt.h"

#include <unistd.h>

#include <ctime>

namespace isobit {

volatile std::sig_atomic_t interrupted = 0;

namespace {

constexpr std::time_t kPatienceSeconds = 1;
constexpr int kExitStatus = 130;
volatile std::sig_atomic_t pid_of_handler = 0;
std::time_t first_signal = 0;

std::time_t seconds_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

/// Only what POSIX allows in a handler.
void note_interrupt(int) {
  if (interrupted == 0) {
    first_signal = seconds_now();
    interrupted = 1;
  } else if (seconds_now() - first_signal > kPatienceSeconds && ::getpid() == pid_of_handler) {
    ::_exit(kExitStatus);
  }
}

}  // namespace

void install_interrupt_handler() {
  pid_of_handler = ::getpid();
  struct sigaction action {};
  action.sa_handler = note_interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  struct sigaction before {};
  sigaction(SIGHUP, nullptr, &before);
  if (before.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

}  // namespace isobit
