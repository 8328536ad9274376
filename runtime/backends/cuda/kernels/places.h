// The host's half of attention: page tables and keep masks as arrays for the kernels.
// Callers: cuda/attention.cc, cuda/step.cc.
#pragma once

#include <vector>

#include "runtime/backend.h"
#include "runtime/backends/cuda/kernels/kernels.h"

namespace isobit::cuda {

/// Everything the kernels read besides Real arrays. A table or mask that several rows share is
/// there once.
struct Places {
  std::vector<QueryRow> rows;
  std::vector<std::int32_t> tables;
  std::vector<std::uint8_t> keeps;
  std::vector<std::int32_t> head_begin;
  std::int32_t max_splits = 1;
};
Places places_of(const AttentionRows& args);

/// The same on the GPU.
struct PlacesView {
  const QueryRow* rows = nullptr;
  const std::int32_t* tables = nullptr;
  const std::uint8_t* keeps = nullptr;
  const std::int32_t* head_begin = nullptr;
  std::int32_t max_splits = 1;
};

}  // namespace isobit::cuda
