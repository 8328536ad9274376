// Q, K and V of a real model as rows of the study: its prompts are prefilled, and a backend that
// forwards everything looks at each attention call. Callers: verbs/study.cc.
#pragma once

#include <string>
#include <vector>

#include "harness/cli/study/flash_bias.h"

namespace isobit::study {

/// Every 16th position of every prompt, layer and query head. Scores are fp32 as attention makes
/// them, and once more rounded to bf16, as the authors' own code has them under autocast. A
/// channel's class is the sign of its V at the row's greatest scores; d_out is the output itself.
/// `precision`: of the model, by name. Errors name the model, the file or the precision.
Result<std::vector<BiasLine>> recorded_bias(const std::string& model, const std::string& prompts,
                                            const std::string& precision);

}  // namespace isobit::study
