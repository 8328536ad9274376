// Axis gemm: the order in which products are added (runtime/numerics/schedule.h). Each schedule is
// another function; only `reference`, the page's own order, gives the default's bits.
#include <algorithm>

#include "harness/axes/parse.h"
#include "runtime/base/option_text.h"
#include "runtime/base/words.h"
#include "runtime/numerics/schedule_text.h"

namespace isobit {
namespace {

const axes::Words kWords = {"reference", "split_k", "by_rows", "book"};

using Book = std::shared_ptr<const ScheduleBook>;

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  std::string text = raw.scalar;
  for (const auto& [key, value] : raw.pairs) text += (text.empty() ? "" : "+") + key + ":" + value;
  if (text == "reference") return axes::scalar_value(text, Book{});
  const auto pairs = option_pairs(text);
  const auto is_own = [](const auto& pair) {
    return pair.first == "split_k" || pair.first == "by_rows" || pair.first == "book";
  };
  const auto own = std::find_if(pairs.begin(), pairs.end(), is_own);
  if (own == pairs.end()) {
    return axes::bad_value("gemm", pairs[0].first, did_you_mean(pairs[0].first, kWords));
  }
  const bool names_a_book = own->first == "book";  // in a pattern its file is not there to read
  if (use == ValueUse::pattern && (text == own->first || names_a_book)) {
    return axes::scalar_value(text, {});
  }
  auto book = parse_schedules(text, raw.folder);
  ISOBIT_TRY(book);
  AxisValue value = axes::scalar_value((*book)->text, *book);
  value.head = own->first;
  if (names_a_book) {
    const std::string name = own->second.substr(own->second.rfind('/') + 1);
    value.args["book"] = name.substr(0, name.find('@'));
  }
  return value;
}

bool lossless(const AxisValue& value) {
  const auto* book = std::get_if<Book>(&value.setting);
  return book != nullptr && *book == nullptr;
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.backend.gemm = std::get<Book>(value.setting);
}

}  // namespace

Axis gemm_axis() {
  return {"gemm",
          "reference",
          "reference | {split_k: n, slice: m, combine: ascending|tree, out: fp32|bf16|fp16} | "
          "{by_rows: {1: {split_k: n, …}, M: …}} | {book: FILE}",
          AxisKind::computation,
          false,
          kWords,
          parse,
          lossless,
          apply,
          true};
}

}  // namespace isobit
