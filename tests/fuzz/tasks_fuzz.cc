// Fuzzes files of task vectors and the text of a merged model.
//
// Bytes that begin with '{' are a text: what is accepted has one form. Others are a file without
// the digest at its end, which no mutation would hit; it is added here. The codes of an accepted
// file give finite numbers, and writing them again gives a file that reads the same.
#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include "harness/merged.h"
#include "harness/models/task_file.h"
#include "runtime/base/sha256.h"
#include "tests/fuzz/input.h"

namespace {

using isobit::models::StoredTensor;

constexpr std::size_t kMostValues = 1
                                    << 16;  // of all tensors and tasks: thousands of runs a second

void check_text(const std::string& text) {
  const auto merged = isobit::parse_merged(text);
  if (!isobit::fuzz::accepted(merged)) return;
  const std::string one = isobit::text_of(*merged);
  const auto again = isobit::parse_merged(one);
  ISOBIT_CHECK(again.has_value() && isobit::text_of(*again) == one);
  ISOBIT_CHECK(!isobit::meaning_of(*merged).empty());
}

void check_tensor(const StoredTensor& tensor, std::size_t values) {
  for (std::size_t t = 0; t < tensor.tasks.size(); ++t) {
    ISOBIT_CHECK(tensor.tasks[t].codes.size() == values);
    for (std::size_t i = 0; i < values; ++i) ISOBIT_CHECK(std::isfinite(tensor.tasks[t].value(i)));
  }
}

void check_file(std::string bytes) {
  const isobit::Sha256 digest = isobit::sha256(bytes.data(), bytes.size());
  bytes.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  const auto span = std::as_bytes(std::span(bytes.data(), bytes.size()));
  const auto file = isobit::models::read_task_file(span, "fuzz");
  if (!isobit::fuzz::accepted(file)) return;
  std::size_t all = 0;
  for (const auto& [name, tensor] : file->tensors) all += tensor.values * file->tasks.size();
  if (all > kMostValues) return;
  std::map<std::string, StoredTensor> stored;
  for (const auto& [name, tensor] : file->tensors) {
    stored[name] = isobit::models::read_tensor(*file, tensor);
    check_tensor(stored[name], tensor.values);
  }
  const std::string again = isobit::models::task_file_bytes(*file, stored);
  const auto same =
      isobit::models::read_task_file(std::as_bytes(std::span(again.data(), again.size())), "again");
  ISOBIT_CHECK(same.has_value());
  ISOBIT_CHECK(isobit::models::task_file_bytes(*same, stored) == again);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string text = isobit::fuzz::text_of(data, size);
  if (isobit::is_merged(text)) {
    check_text(text);
  } else {
    check_file(std::move(text));
  }
  return 0;
}
