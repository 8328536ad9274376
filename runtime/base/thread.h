// Starts threads. A system that has none left is an error of one line, never an exception that
// unwinds past threads which already run and wait for the missing one.
//
// Whoever starts several must end those that run before it waits for them. Callers: the CPU's team
// of threads, the ranks of one process.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "runtime/base/result.h"

namespace isobit {

/// Runs `body` on a thread of its own. Error: "WHAT could not be started: REASON",
/// with the reason that the system gives.
Result<std::jthread> start_thread(const std::string& what, std::function<void()> body);

/// For tests: of the starts of this process from now on, the `nth` and all later ones are refused
/// as a system without threads refuses them. 0: none is.
void refuse_thread_starts_from(int nth);

}  // namespace isobit
