// Axis attention: the order in which attention goes over its keys (runtime/numerics/flash.h). Each
// schedule is another function; only `reference`, the page's own order, gives the default's bits.
#include "harness/axes/parse.h"
#include "runtime/base/option_text.h"
#include "runtime/numerics/flash_text.h"

namespace isobit {
namespace {

const axes::Words kWords = {"reference", "flash", "fused"};
const axes::Words kOptions = {"splits", "p", "stabilise"};

Result<AxisValue> word_value(const RawValue& raw, ValueUse use) {
  const bool pattern = use == ValueUse::pattern;
  if (pattern && axes::is_one_of(raw.scalar, kOptions)) {
    return axes::scalar_value(raw.scalar, {});
  }
  auto word = axes::closed_value("attention", raw, kWords);
  ISOBIT_TRY(word);
  if (*word == "reference") return axes::scalar_value(*word, FlashSchedule{});
  if (pattern) return axes::scalar_value(*word, {});
  if (*word == "fused") return Error{"attention fused needs a kernel, e.g. {fused: fa2}", ""};
  return Error{"attention flash needs the keys of a block, e.g. {flash: 64}", ""};
}

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  if (!axes::is_map(raw)) return word_value(raw, use);
  const std::string text = axes::text_of(raw);
  // An option alone is a pattern: every schedule that has it.
  const auto pairs = option_pairs(text);
  const bool one = use == ValueUse::pattern && pairs.size() == 1 && pairs[0].first != "flash" &&
                   pairs[0].first != "fused";
  auto schedule = parse_flash(one ? "flash:64+" + text : text);
  ISOBIT_TRY(schedule);
  if (one) return axes::map_value(axes::args_of(text), "", {});
  AxisValue value = axes::scalar_value(schedule->text, *schedule);
  value.head = schedule->is_fused() ? "fused" : "flash";
  value.args = axes::args_of(schedule->text);
  return value;
}

bool lossless(const AxisValue& value) {
  const auto* schedule = std::get_if<FlashSchedule>(&value.setting);
  return schedule != nullptr && schedule->usual();
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.backend.attention = std::get<FlashSchedule>(value.setting);
}

}  // namespace

Axis attention_axis() {
  return {"attention",
          "reference",
          "reference | {flash: block, splits: n|by_length, p: fp32|bf16|fp16, "
          "stabilise: {beta: x, form: paper|repository}} | {fused: fa2|cudnn:sm90|cudnn:sm80:32|"
          "cudnn:sm80:64|efficient}",
          AxisKind::computation,
          false,
          kWords,
          parse,
          lossless,
          apply,
          true};
}

}  // namespace isobit
