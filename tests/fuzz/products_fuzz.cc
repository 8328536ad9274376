// Fuzzes schedule books of libraries, captures and forecasts of them: no crash, an error has its
// place, and what is accepted is written again as the same.
#include <algorithm>

#include "harness/probe/capture.h"
#include "harness/probe/forecast.h"
#include "runtime/numerics/product_book.h"
#include "tests/fuzz/input.h"

namespace {

/// A line is that of its own calls, and what it plans has blocks.
void read_attention(const isobit::AttentionLine& line,
                    const std::vector<isobit::AttentionLine>& all) {
  using namespace isobit;
  const FusedShape shape{line.batch.to, line.heads,    line.kv_heads, line.queries.from,
                         line.keys.to,  line.head_dim, line.mask};
  const AttentionLine* found = find_attention(all, line.format, shape);
  ISOBIT_CHECK(found != nullptr && *found == line);
  FusedShape real = shape;  // as large as a call can be
  real.batch = std::min<std::int64_t>(shape.batch, 4096);
  real.heads = real.kv_heads = std::min<std::int64_t>(shape.heads, 4096);
  const FusedPlan plan = fused_plan(line.choice, real, kUsualMultiprocessors);
  ISOBIT_CHECK(plan.splits >= 1 && plan.splits <= kMostFusedSplits);
  ISOBIT_CHECK(plan.order.block >= 1 && plan.order.block <= kLargestFusedBlock);
  const FusedSpan last = fused_split(plan, shape.keys, plan.splits - 1);
  ISOBIT_CHECK(last.begin >= 0 && last.begin <= last.end && last.end == shape.keys);
}

void read_book(const std::string& text) {
  using namespace isobit;
  const auto book = parse_product_book(text, "book");
  if (!fuzz::accepted(book)) {
    ISOBIT_CHECK(book.error().place.starts_with("book"));
    return;
  }
  const auto again = parse_product_book(text_of(*book), "book");
  ISOBIT_CHECK(again.has_value() && again->lines == book->lines && again->keys == book->keys);
  ISOBIT_CHECK(again->attention == book->attention);
  for (const AttentionLine& line : book->attention) read_attention(line, book->attention);
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

/// Whatever a choice says, its forecast is a line that a book takes.
void read_forecast(const isobit::probe::MatrixCapture& matrix) {
  using namespace isobit;
  for (const TensorCore chip : {TensorCore::sm70, TensorCore::sm90}) {
    for (const ProductLine& line : probe::forecast_lines(matrix, chip)) {
      ProductBook book;
      book.lines = {line};
      const auto again = parse_product_book(text_of(book), "book");
      ISOBIT_CHECK(again.has_value() && again->lines == book.lines);
      const std::int64_t k = std::min<std::int64_t>(line.inputs, 20000);
      const ProductSteps steps = product_steps(line.order, k);
      ISOBIT_CHECK(steps.lanes >= 1 && !steps.steps.empty());
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
  for (const auto& matrix : capture->matrices) read_forecast(matrix);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text = isobit::fuzz::text_of(data, size);
  read_book(text);
  read_capture(text);
  return 0;
}
