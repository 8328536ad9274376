// Fuzzes schedule books of libraries and captures: no crash, an error has its place, and what is
// accepted is written again as the same.
#include "harness/probe/capture.h"
#include "runtime/numerics/product_book.h"
#include "tests/fuzz/input.h"

namespace {

void read_book(const std::string& text) {
  using namespace isobit;
  const auto book = parse_product_book(text, "book");
  if (!fuzz::accepted(book)) {
    ISOBIT_CHECK(book.error().place.starts_with("book"));
    return;
  }
  const auto again = parse_product_book(text_of(*book), "book");
  ISOBIT_CHECK(again.has_value() && again->lines == book->lines && again->keys == book->keys);
  for (const ProductLine& line : book->lines) {
    const ProductLine* found = book->find(line.operand, line.outputs, line.inputs, line.to_rows);
    ISOBIT_CHECK(found != nullptr && *found == line);
    for (const std::int64_t k : {std::int64_t(1), std::int64_t(577)}) {
      const ProductSteps steps = product_steps(line.order, k);
      for (const ProductStep& step : steps.steps) {
        ISOBIT_CHECK(step.to >= 0 && step.to < steps.lanes && step.end <= k);
        ISOBIT_CHECK(step.from >= 0 && step.from < steps.lanes);
      }
    }
  }
}

void read_capture(const std::string& text) {
  using namespace isobit;
  const auto capture = probe::parse_capture(text, "capture");
  if (!fuzz::accepted(capture)) {
    ISOBIT_CHECK(capture.error().place.starts_with("capture"));
    return;
  }
  std::string written = probe::facts_text(capture->facts);
  for (const auto& matrix : capture->matrices) written += probe::text_of(matrix);
  ISOBIT_CHECK(probe::parse_capture(written, "capture").has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text = isobit::fuzz::text_of(data, size);
  read_book(text);
  read_capture(text);
  return 0;
}
