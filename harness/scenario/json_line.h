// One line of a JSONL file, strictly: no duplicate key, bounded depth, the column of a syntax
// error. Private to harness/scenario.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "runtime/base/result.h"

namespace isobit {

/// `place`: file:line, to which a column is added.
Result<nlohmann::json> parse_json_line(const std::string& line, const std::string& place);

}  // namespace isobit
