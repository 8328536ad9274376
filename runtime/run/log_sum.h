// The log-sum-exp of a logits row that lies on the host, and a logit of it. Callers: whoever makes
// a TokenRecord of a row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace isobit {

/// In fp64, whatever the row's type, in the order of NUMERICS.md, "Log-sum-exp" (order.h):
/// a probability of 0.5 is kept to 1e-15, where fp32 would lose the jitter that is measured. One
/// value for equal bits of a row, on every device. `wide`: the row holds doubles, else floats.
double row_log_sum(std::span<const std::byte> row, bool wide);

/// One logit of it, exactly; what is not recorded (trace.h) for an id that the row does not have.
double row_logit(std::span<const std::byte> row, bool wide, std::int32_t id);

}  // namespace isobit
