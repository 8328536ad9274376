// Values of axes: what each axis may hold and the one canonical text of each meaning.
//
// Used by the scenario reader, the filter language and the matrix; nobody else needs it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "harness/scenario/scenario.h"
#include "runtime/base/result.h"

namespace isobit {

/// A value as a person wrote it: a scalar ("bf16", "chunked:17") or the pairs of a map.
struct RawValue {
  std::string scalar;
  std::vector<std::pair<std::string, std::string>> pairs;  // empty: it is the scalar
};

/// A full value of an axis, or a pattern that selects values (filters, exclude): "chunked" for
/// every chunk size, "openblas" for every core type, "order:reversed" for a part of a map.
enum class ValueUse { exact, pattern };

/// The canonical value. Errors (without place): unknown axis, value or option, each with a
/// suggestion; a number out of range.
Result<AxisValue> canonical_value(const std::string& axis, const RawValue& raw, ValueUse use);

/// Whether a value is selected by a canonical pattern (filter.h says how).
bool value_matches(const AxisValue& value, const std::string& pattern);

/// The value's number for < and >: the scalar itself or a batch's size; false when there is none.
bool numeric_value(const AxisValue& value, std::int64_t& out);
/// Whether the axis has an order (batch, gpus, threads).
bool is_numeric_axis(const std::string& axis);

bool is_axis(const std::string& name);
std::vector<std::string> axis_names();
const std::string& default_of(const std::string& axis);
/// Heads of every closed value: "openblas", "chunked", "avx512", … (subjects of `requires`).
std::vector<std::string> value_heads();

/// Strict whole number in [low, high]: digits with an optional minus, nothing else.
bool parse_integer(const std::string& text, std::int64_t low, std::int64_t high, std::int64_t& out);
/// true, yes, on / false, no, off.
bool parse_boolean(const std::string& text, bool& out);

}  // namespace isobit
