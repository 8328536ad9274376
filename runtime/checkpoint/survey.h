// What a model's files hold, whether the runtime can run it or not: for `isobit model info`.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "runtime/base/result.h"

namespace isobit {

struct ModelSurvey {
  std::string architecture;                     // as the file says it; empty when it does not
  std::string quantisation;                     // quant_method of config.json, or empty
  std::map<std::string, std::int64_t> tensors;  // how many of each type
  std::int64_t parameters = 0;                  // elements of all tensors
  std::int64_t bytes = 0;                       // of their data
};

/// Reads headers only: nothing is checked against an architecture. Errors: no file is there, or
/// one is no safetensors or GGUF.
Result<ModelSurvey> survey_model(const std::string& path);

}  // namespace isobit
