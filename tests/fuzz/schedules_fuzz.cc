// Fuzzes schedule books: no crash, an error has its place, and what is accepted can be written
// again and asked for every product.
#include "runtime/numerics/schedule_text.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isobit;
  const auto lines = parse_schedule_lines(fuzz::text_of(data, size), "book");
  if (!fuzz::accepted(lines)) {
    ISOBIT_CHECK(lines.error().place.starts_with("book"));
    return 0;
  }
  const ScheduleBook book{"book", *lines};
  for (const ScheduleLine& line : *lines) {
    const auto again = parse_schedule(text_of(line.schedule));
    ISOBIT_CHECK(again.has_value() && *again == line.schedule);
    ISOBIT_CHECK(book.find(line.outputs, line.inputs, line.from_rows) != nullptr ||
                 line.outputs == 0 || line.inputs == 0);
    for (const std::int64_t k : {std::int64_t(1), std::int64_t(577), line.inputs}) {
      const std::int64_t slices = line.schedule.slices(k);
      ISOBIT_CHECK(slices >= (k > 0 ? 1 : 0) && slices <= kMostSlices);
    }
  }
  return 0;
}
