// How much memory this process may still take. Linux; elsewhere: no limit is known.
#pragma once

#include <cstdint>

namespace isobit {

/// Bytes: what the machine has available, or less where a control group that holds this process or
/// its own limit of address space (ulimit -v) leaves less. INT64_MAX: nothing says.
std::int64_t available_memory();

/// Products and sums of counts that stop at INT64_MAX instead of wrapping. REQUIRES: not negative.
std::int64_t saturating_product(std::int64_t a, std::int64_t b);
std::int64_t saturating_sum(std::int64_t a, std::int64_t b);

}  // namespace isobit
