// The text of a flash schedule, a value of axis attention:
// "flash:64+p:bf16+splits:2+stabilise:(beta:7)", options sorted, without those at their defaults;
// or "fused:fa2", a kernel of a library.
#pragma once

#include <string>

#include "runtime/base/result.h"
#include "runtime/numerics/schedule.h"

namespace isobit {

/// "reference" where nothing is emulated.
std::string text_of(const FlashSchedule& schedule);
/// The same in one split, and with the maximum as it is; their texts are left as they were.
FlashSchedule without_splits(FlashSchedule schedule);
FlashSchedule without_mitigation(FlashSchedule schedule);
/// What two that ran apart saw of one schedule, in one: splits and the mitigation where either did.
std::string joined_flash(const std::string& a, const std::string& b);
/// Options in any order; the text becomes canonical. Errors name the option and what it may be.
Result<FlashSchedule> parse_flash(const std::string& text);

}  // namespace isobit
