// Names of tensor cores: "sm70", "sm75", "sm80", "sm89", "sm90", "sm100".
#pragma once

#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/numerics/tensorcore.h"

namespace isobit {

std::string text_of(TensorCore chip);
/// The error names what may be.
Result<TensorCore> parse_tensor_core(const std::string& text);
/// Every chip, oldest first.
const std::vector<TensorCore>& tensor_cores();

}  // namespace isobit
