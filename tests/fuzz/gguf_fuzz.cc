// Fuzzes the GGUF reader, the check of its tensors and its tokenizer: no input may crash them,
// every tensor that is accepted is readable, and an accepted tokenizer gives ids that it has.
// "S", the size of the first part in four bytes, then both parts: a model split in two.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "runtime/checkpoint/load_check.h"
#include "runtime/checkpoint/weights.h"
#include "runtime/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span<const std::uint8_t>(data, size));
  std::vector<isobit::GgufPart> parts = {{bytes, "fuzz"}};
  std::uint32_t first = 0;
  if (size >= 5 && data[0] == 'S') {
    std::memcpy(&first, data + 1, sizeof first);
    const auto both = bytes.subspan(5);
    const std::size_t cut = std::min<std::size_t>(first, both.size());
    parts = {{both.first(cut), "first"}, {both.subspan(cut), "second"}};
  }
  const auto file = isobit::read_gguf_parts(parts);
  if (!file) return 0;
  (void)isobit::check_tensors(file->config, isobit::Biases::stored, file->weights, "fuzz");
  for (const auto& [name, tensor] : file->weights.all()) {
    std::vector<float> row(static_cast<std::size_t>(tensor.cols));
    tensor.read_row(0, 0, tensor.cols, row);
    tensor.read_row(tensor.rows - 1, 0, tensor.cols, row);
  }
  const auto tokenizer = isobit::Tokenizer::from_gguf(file->tokenizer, "fuzz");
  if (!tokenizer) return 0;
  for (const std::int32_t id : tokenizer->encode("ab a 12 \xc3\xa9\xff", true)) {
    ISOBIT_CHECK(id >= 0 && id < tokenizer->size());
  }
  return 0;
}
