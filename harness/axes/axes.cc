// The rows, and what is the same for every axis.
#include "harness/axes/axes.h"

#include <algorithm>

#include "runtime/base/words.h"

namespace isobit {

namespace {

Axis of_model(Axis axis) {
  axis.scope = AxisScope::model;
  return axis;
}
Axis of_operation(Axis axis) {
  axis.scope = AxisScope::operation;
  return axis;
}

}  // namespace

const std::vector<Axis>& all_axes() {
  static const std::vector<Axis> table = {of_model(model_axis()),
                                          engine_axis(),
                                          device_axis(),
                                          isa_axis(),
                                          precision_axis(),
                                          of_model(batch_axis()),
                                          of_model(gpus_axis()),
                                          of_model(replicas_axis()),
                                          of_model(cache_axis()),
                                          of_model(kv_axis()),
                                          gemm_axis(),
                                          attention_axis(),
                                          of_model(weights_axis()),
                                          of_model(patch_axis()),
                                          threads_axis(),
                                          of_model(decode_axis()),
                                          of_model(teacher_forced_axis()),
                                          seed_axis(),
                                          of_operation(rows_axis()),
                                          of_operation(place_axis()),
                                          of_operation(neighbours_axis()),
                                          of_operation(data_axis()),
                                          of_operation(align_axis()),
                                          of_operation(stride_axis())};
  return table;
}

const Axis* find_axis(const std::string& name) {
  const auto found = std::find_if(all_axes().begin(), all_axes().end(),
                                  [&](const Axis& axis) { return axis.name == name; });
  return found == all_axes().end() ? nullptr : &*found;
}

std::vector<std::string> axis_names() {
  std::vector<std::string> names;
  for (const Axis& axis : all_axes()) names.push_back(axis.name);
  return names;
}

const AxisValue& usual_value(const std::string& axis) {
  static const AxisPoint usual = [] {
    AxisPoint values;
    for (const Axis& each : all_axes()) {
      auto value = each.parse({each.usual, {}}, ValueUse::exact);
      ISOBIT_CHECK(value.has_value() && value->text == each.usual);
      values.emplace(each.name, std::move(*value));
    }
    return values;
  }();
  return usual.at(axis);
}

bool is_usual(const std::string& axis, const AxisValue& value) {
  return value == usual_value(axis);
}

Result<AxisValue> axis_value(const std::string& axis, const RawValue& raw, ValueUse use) {
  if (const Axis* known = find_axis(axis)) {
    auto value = known->parse(raw, use);
    if (value) return value;
    std::string hint = number_hint(raw.scalar.substr(raw.scalar.rfind(':') + 1));
    for (const auto& pair : raw.pairs) hint += number_hint(pair.second);
    const std::string& message = value.error().message;
    return Error{message.ends_with(hint) ? message : message + hint, value.error().place};
  }
  return Error{"unknown axis " + in_quotes(axis) + did_you_mean(axis, axis_names()), ""};
}

Result<AxisValue> axis_value(const std::string& axis, const std::string& text) {
  return axis_value(axis, {text, {}}, ValueUse::exact);
}

bool value_matches(const AxisValue& value, const std::string& pattern) {
  if (value.text == pattern || value.head == pattern) return true;
  return std::any_of(value.args.begin(), value.args.end(), [&](const auto& pair) {
    return pair.first == pattern || pair.first + ":" + pair.second == pattern;
  });
}

bool numeric_value(const AxisValue& value, std::int64_t& out) {
  return parse_integer(value.head, INT64_MIN, INT64_MAX, out);
}

GenerateRequest requested(const AxisPoint& values) {
  GenerateRequest request;
  for (const Axis& axis : all_axes()) {
    const auto found = values.find(axis.name);
    axis.apply(found == values.end() ? usual_value(axis.name) : found->second, request);
  }
  return request;
}

std::vector<std::string> value_words() {
  std::vector<std::string> words;
  for (const Axis& axis : all_axes())
    words.insert(words.end(), axis.words.begin(), axis.words.end());
  return words;
}

}  // namespace isobit
