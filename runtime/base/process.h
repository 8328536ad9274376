// Runs another program without a shell and waits for it; ends a fork with its parent.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace isobit {

struct ProgramOutput {
  int status = 0;  // exit status; 128 + signal when killed
  std::string out, err;
};

/// captured: what it prints is given back. shown: it prints on our standard error, and an interrupt
/// is passed on to it as SIGTERM.
enum class Output { captured, shown };

/// The program words[0], found on PATH, with standard input empty and the usual signal handling.
/// `while_shown` is called about five times a second while a shown program runs.
/// Error: it cannot be started. REQUIRES: words is not empty.
Result<ProgramOutput> run_program(const std::vector<std::string>& words, Output output,
                                  const std::function<void()>& while_shown = nullptr);

/// In a child that fork() has just made: ends it, whatever it does then, when the thread of
/// `parent` that forked ends; at once when that has ended already.
void end_with_parent(pid_t parent);

/// Process groups of programs that this process has started and that must not outlive it, at most
/// 16. forget: 0 was never kept. kill_groups() may be called by a signal handler.
void keep_group(pid_t group);
void forget_group(pid_t group);
void kill_groups();

/// What `ask` gives in a child process: a library or a driver that must not be touched before a
/// fork is touched there. Errors: its own, no child to be had, one that dies, is not done in so
/// many seconds (then it is killed), an interrupt.
Result<std::string> ask_in_child(const std::function<Result<std::string>()>& ask, int seconds = 30);

/// `git ARGUMENTS…`, captured.
Result<ProgramOutput> run_git(std::vector<std::string> arguments);

}  // namespace isobit
