// The process's one flag and its handler.
#include "runtime/base/interrupt.h"

#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

namespace isobit {

volatile std::sig_atomic_t interrupted = 0;

namespace {

constexpr std::time_t kPatienceSeconds = 1;
constexpr int kExitStatus = 130;
constexpr std::sig_atomic_t kSignalled = 1, kOutOfTime = 2;  // what `interrupted` holds
volatile std::sig_atomic_t pid_of_handler = 0;
std::time_t first_signal = 0;

std::time_t seconds_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

/// Only what POSIX allows in a handler.
void note_interrupt(int) {
  if (interrupted != kSignalled) {
    first_signal = seconds_now();
    interrupted = kSignalled;
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

Deadline::Deadline(double seconds) {
  struct sigaction action {};
  action.sa_handler = [](int) {
    if (interrupted == 0) interrupted = kOutOfTime;
  };
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  constexpr double kMostSeconds = 1e8;
  const double bounded = std::min(std::max(seconds, 1e-3), kMostSeconds);
  itimerval timer{};
  timer.it_value.tv_sec = std::time_t(bounded);
  timer.it_value.tv_usec = suseconds_t((bounded - double(timer.it_value.tv_sec)) * 1e6);
  ::setitimer(ITIMER_REAL, &timer, nullptr);
}

Deadline::~Deadline() {
  const itimerval none{};
  ::setitimer(ITIMER_REAL, &none, nullptr);
  if (interrupted == kOutOfTime) interrupted = 0;
}

bool Deadline::passed() {
  return interrupted == kOutOfTime;
}

}  // namespace isobit
