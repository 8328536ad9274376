// The table of axes: what a scenario may vary. A new axis is one file of this folder and one row.
//
// Every cell has a value on every axis. Used by whoever reads values that a person wrote, and by
// the matrix, the executor and the judge for what these values mean. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "harness/axes/axis.h"

namespace isobit {

/// A point of the matrix: its value on every axis, by the axis's name.
using AxisPoint = std::map<std::string, AxisValue>;

/// In the order of messages and of SCHEMA.md.
const std::vector<Axis>& all_axes();
/// nullptr when there is none of this name.
const Axis* find_axis(const std::string& name);
std::vector<std::string> axis_names();
/// Its default. REQUIRES: a known axis.
const AxisValue& usual_value(const std::string& axis);
/// The values of the axes `model` and `decode` that stand for what the keys of a scenario say: any
/// model's word, any options that a sampler takes.
AxisValue model_value(const std::string& word);
AxisValue decode_value(const SamplerOptions& options);
bool is_usual(const std::string& axis, const AxisValue& value);

/// The value of a known axis. Errors (without place): unknown axis, value or option, each with a
/// suggestion; a number out of range.
Result<AxisValue> axis_value(const std::string& axis, const RawValue& raw, ValueUse use);
/// From canonical text, as names and the database hold it.
Result<AxisValue> axis_value(const std::string& axis, const std::string& text);

/// Whether a value is selected by a canonical pattern (filter.h says how).
bool value_matches(const AxisValue& value, const std::string& pattern);
/// The value's number for < and >: the scalar itself or a map's size; false when there is none.
bool numeric_value(const AxisValue& value, std::int64_t& out);

/// What the values ask of the runtime: a request without prompts.
GenerateRequest requested(const AxisPoint& values);

/// First words of every value: "openblas", "chunked", "avx512", … (subjects of `requires`).
std::vector<std::string> value_words();

}  // namespace isobit
