// Whether a sequence's bits depend on the others. Callers: generate.cc, trace_recorder.cc, matrix.
#pragma once

#include "runtime/run/generate.h"

namespace isobit {

/// Whether a row depends on what else its step computes: a cache as shipped, which is one tensor, a
/// schedule of products by their rows, splits of attention by length. Then a row that is computed
/// again, or in another batch, may differ.
inline bool depends_on_steps(const GenerateRequest& request) {
  const BackendOptions& backend = request.backend;
  return request.kv.shipped != nullptr || backend.attention.by_length ||
         backend.attention.is_fused() || computes_whole_batches(backend.engine) ||
         (backend.gemm != nullptr && backend.gemm->by_rows());
}

}  // namespace isobit
