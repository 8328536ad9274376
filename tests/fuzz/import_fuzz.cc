// Fuzzes what `isobit import` reads: bytes that begin as .npy does are one, others are a trace.
//
// No crash, and an error has its place. The rows of an accepted array can all be read; an accepted
// trace has prompts with ids of their own, positions without gaps, and the evidence that it says.
#include <set>
#include <span>
#include <vector>

#include "harness/import/rows.h"
#include "harness/import/trace_file.h"
#include "runtime/base/words.h"
#include "tests/fuzz/input.h"

namespace {

void check_array(std::span<const std::byte> bytes) {
  const auto table = isobit::read_npy(bytes, "fuzz.npy");
  if (!isobit::fuzz::accepted(table)) {
    ISOBIT_CHECK(table.error().place.starts_with("fuzz.npy: byte "));
    return;
  }
  if (table->rows == 0) return;
  for (const std::int64_t row : {std::int64_t{0}, table->rows - 1}) {
    std::vector<float> narrow;
    std::vector<double> wide;
    const bool f64 = table->type == isobit::RowType::f64;
    if (table->bytes.empty()) continue;
    f64 ? read_row(*table, row, wide) : read_row(*table, row, narrow);
    ISOBIT_CHECK(std::int64_t(f64 ? wide.size() : narrow.size()) == table->cols);
  }
}

void check_row(const isobit::TraceFile& file, const isobit::TracePrompt& prompt,
               const isobit::TraceRow& row) {
  ISOBIT_CHECK(row.token >= 0 && row.position >= 0 && !row.place.empty());
  ISOBIT_CHECK(row.logprob.has_value() == (file.evidence == "logprobs"));
  if (file.evidence == "logits") ISOBIT_CHECK(row.digest || !prompt.rows_file.empty());
  if (file.evidence == "tokens") ISOBIT_CHECK(row.top.empty());
}

void check_trace(const std::string& text) {
  const auto file = isobit::parse_trace(text, "fuzz.jsonl");
  if (!isobit::fuzz::accepted(file)) {
    ISOBIT_CHECK(file.error().place.starts_with("fuzz.jsonl:"));
    return;
  }
  std::set<std::string> ids;
  for (const isobit::TracePrompt& prompt : file->prompts) {
    ISOBIT_CHECK(ids.insert(prompt.id).second && isobit::is_one_line(prompt.id));
    ISOBIT_CHECK(!prompt.tokens.empty() && !prompt.rows.empty());
    for (std::size_t i = 0; i < prompt.rows.size(); ++i) {
      check_row(*file, prompt, prompt.rows[i]);
      ISOBIT_CHECK(prompt.rows[i].position == prompt.rows[0].position + std::int64_t(i));
    }
  }
  ISOBIT_CHECK(!ids.empty() && !file->engine.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 0 && data[0] == 0x93) {
    check_array(std::as_bytes(std::span<const std::uint8_t>(data, size)));
  } else {
    check_trace(isobit::fuzz::text_of(data, size));
  }
  return 0;
}
