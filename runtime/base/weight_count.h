// How many bytes of weights a thread has taken: what packs a model asks before and after.
//
// Every load_matrix() adds what its matrix holds, on the thread that calls it. A count of what was
// really taken, whatever layout a backend keeps.
#pragma once

#include <cstddef>
#include <cstdint>

namespace isobit {

/// Adds memory that a weight matrix now holds.
void count_weight_bytes(std::size_t bytes);
/// All that this thread has added since it began.
std::int64_t counted_weight_bytes();

}  // namespace isobit
