// Axis teacher_forced: whether every step is fed the reference's own choice, or the tokens of the
// prompt's answer or of its continuation, instead of the cell's (execute/teachers.h). The tokens
// come with the request, so there is nothing to apply.
#include "harness/axes/parse.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  if (raw.pairs.empty() && (raw.scalar == "answer" || raw.scalar == "continuation")) {
    return axes::scalar_value(raw.scalar, raw.scalar);
  }
  bool flag = false;
  if (!raw.pairs.empty() || !parse_boolean(raw.scalar, flag)) {
    return axes::bad_value("teacher_forced", raw.scalar,
                           did_you_mean(raw.scalar, {"true", "false", "answer", "continuation"}));
  }
  return axes::scalar_value(flag ? "true" : "false", flag);
}

void apply(const AxisValue&, GenerateRequest&) {}

}  // namespace

Axis teacher_forced_axis() {
  return {"teacher_forced",
          "false",
          "true | false | answer | continuation",
          AxisKind::decoding,
          false,
          {},
          parse,
          axes::never,
          apply};
}

}  // namespace isobit
