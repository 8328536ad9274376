// Start-up probes: does this machine and build do arithmetic as NUMERICS.md says? And a guard of
// the floating-point environment around code that is not ours.
//
// Promise: a wrong rounding mode, flushing of subnormals, a contracted or an unfused fma, an
// inexact division or a wrong conversion is refused by name before anything is computed. Takes
// under a second. Callers: the program's start, every thread, vendor and plug-in engines.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/result.h"

namespace isobit {

/// Error: "numeric probe <name>: ..." of the first probe that fails.
Result<void> run_numeric_probes();

/// Error when this thread does not round to nearest even, flushes subnormals or treats them as
/// zero. Cheap; every worker thread asks once.
Result<void> check_floating_point_mode();

/// Saves the floating-point control word of this thread, and puts it back.
///
///   FloatingPointGuard guard;
///   library_gemm(...);
///   ISOBIT_TRY(guard.restore("library_gemm"));
class FloatingPointGuard {
 public:
  FloatingPointGuard();
  /// Restores silently when restore() was not called.
  ~FloatingPointGuard();
  FloatingPointGuard(const FloatingPointGuard&) = delete;
  FloatingPointGuard& operator=(const FloatingPointGuard&) = delete;

  /// Puts the control word back. Error when `callee` left another one (sticky flags do not count),
  /// or when the word was already wrong at the guard's construction.
  Result<void> restore(const std::string& callee);

 private:
  std::uint64_t saved_;
  bool restored_ = false;
};

}  // namespace isobit
