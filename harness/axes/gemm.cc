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
const axes::Words kOptions = {"slice", "combine", "out"};

using Book = std::shared_ptr<const ScheduleBook>;

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  const std::string text = axes::text_of(raw);
  if (text == "reference") return axes::scalar_value(text, Book{});
  const auto pairs = option_pairs(text);
  const auto own = std::find_if(pairs.begin(), pairs.end(), [](const auto& pair) {
    return axes::is_one_of(pair.first, kWords);
  });
  const bool option = pairs.size() == 1 && axes::is_one_of(pairs[0].first, kOptions);
  if (own == pairs.end() && !(option && use == ValueUse::pattern)) {
    return axes::bad_value("gemm", pairs[0].first, did_you_mean(pairs[0].first, kWords));
  }
  // A pattern is a word, one pair, or a whole text; the file of a book is not there to read.
  const bool is_book = own != pairs.end() && own->first == "book";
  if (use == ValueUse::pattern && (option || text == own->first || is_book)) {
    return axes::scalar_value(text, {});
  }
  auto book = parse_schedules(text, raw.folder);
  ISOBIT_TRY(book);
  AxisValue value = axes::scalar_value((*book)->text, *book);
  value.head = own->first;
  if (is_book) {
    const std::string name = own->second.substr(own->second.rfind('/') + 1);
    value.args["book"] = name.substr(0, name.find('@'));
  } else if (own->first == "split_k") {
    value.args = axes::args_of(value.text);
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
