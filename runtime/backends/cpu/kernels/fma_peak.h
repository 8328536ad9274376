// The machine's fused multiply-adds a second, measured: what a kernel's speed is held against.
// Callers: `isobit bench`, benchmarks.
#pragma once

#include <string>

namespace isobit::cpu {

/// GFLOP/s (an FMA is two) of `threads` threads that do nothing else, in registers, with the
/// vectors of an instruction set ("scalar", "avx2", "avx512", "neon"); fp64 when `wide`.
/// 0 when this build or machine has no such instructions.
double fma_peak_gflops(const std::string& isa, int threads, bool wide);

namespace detail {
/// Runs `rounds` rounds of kFmaChains independent FMAs; gives lanes of a vector, 0: not built.
constexpr int kFmaChains = 12;
int fma_rounds_avx512(long rounds, bool wide);
}  // namespace detail

}  // namespace isobit::cpu
