// Names of instruction sets -> tables of kernels.
#include <new>

#include "runtime/backends/cpu/kernels/kernels.h"

namespace isobit::cpu {

const Kernels* kernels_named(const std::string& isa) {
  if (isa == "auto") return &best_kernels();
  if (isa == "scalar") return &scalar_kernels();
  if (isa == "avx2") return avx2_kernels();
  if (isa == "avx512") return avx512_kernels();
  if (isa == "neon") return neon_kernels();
  return nullptr;
}

const Kernels& best_kernels() {
  for (const Kernels* table : {avx512_kernels(), avx2_kernels(), neon_kernels()}) {
    if (table != nullptr) return *table;
  }
  return scalar_kernels();
}

void out_of_memory() {
  throw std::bad_alloc();
}

}  // namespace isobit::cpu
