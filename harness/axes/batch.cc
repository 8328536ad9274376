// Axis batch: how many sequences are live at once, in which order they join. Lossless.
#include <algorithm>

#include "harness/axes/parse.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

const axes::Words kOrders = {"given", "reversed", "shuffled"};
const axes::Words kJoins = {"together", "staggered"};

Result<void> option(const std::string& key, const std::string& text, BatchShape& shape) {
  if (key == "size") {
    auto size = axes::count_value("batch", {text, {}}, kLargestBatch);
    ISOBIT_TRY(size);
    shape.size = *size;
    return {};
  }
  if (key != "order" && key != "join") {
    return Error{"unknown option " + in_quotes(key) + " of batch" +
                     did_you_mean(key, {"size", "order", "join"}),
                 ""};
  }
  const axes::Words& words = key == "order" ? kOrders : kJoins;
  const auto found = std::find(words.begin(), words.end(), text);
  if (found == words.end()) {
    return axes::bad_value("batch, option " + key, text, did_you_mean(text, words));
  }
  if (key == "order") {
    shape.order = static_cast<BatchShape::Order>(found - words.begin());
  } else {
    shape.staggered = text == "staggered";
  }
  return {};
}

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  BatchShape shape;
  auto options = axes::options_of(
      "batch", raw, "size",
      [&](const std::string& key, const std::string& text) { return option(key, text, shape); });
  ISOBIT_TRY(options);
  std::map<std::string, std::string>& args = *options;
  if (!args.count("size")) {
    if (use == ValueUse::pattern && args.size() == 1) return axes::map_value(args, "", {});
    return Error{"a batch map needs size, e.g. {size: 3, order: reversed}", ""};
  }
  if (shape.order == BatchShape::Order::given) args.erase("order");
  if (!shape.staggered) args.erase("join");
  args["size"] = std::to_string(shape.size);
  const std::string size = args["size"];
  return args.size() == 1 ? axes::scalar_value(size, shape) : axes::map_value(args, size, shape);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.batch = std::get<BatchShape>(value.setting);
}

}  // namespace

Axis batch_axis() {
  return {"batch",
          "1",
          "n | {size: n, order: given|reversed|shuffled, join: together|staggered}",
          AxisKind::place,
          true,
          {},
          parse,
          axes::always,
          apply};
}

}  // namespace isobit
