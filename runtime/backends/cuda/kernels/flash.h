// Attention over key blocks, as kernels.h is for the reference's order. Callers: cuda/attention.cc.
#pragma once

#include "runtime/backends/cuda/kernels/kernels.h"
#include "runtime/numerics/flash.h"

namespace isobit::cuda {

/// attention() in the order of numerics/flash.h. REQUIRES: max_splits is the rule's splits.
void attention_flash(const AttentionCall& call, const FlashRule& rule);

}  // namespace isobit::cuda
