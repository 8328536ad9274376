// Fuzzes config.json and, behind a first line "index", model.safetensors.index.json: no crash; an
// accepted config is valid and gives the table of its tensors, an accepted index stays in its
// folder.
#include <algorithm>

#include "runtime/checkpoint/load_check.h"
#include "runtime/model/arch/architecture.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isobit;
  const std::string text = fuzz::text_of(data, size);
  if (text.rfind("index\n", 0) == 0) {
    const auto shards = parse_shard_index(text.substr(6), "fuzz.index.json");
    if (!fuzz::accepted(shards)) return 0;
    for (const auto& [tensor, file] : *shards) {
      ISOBIT_CHECK(!file.empty() && file != "." && file != "..");
      ISOBIT_CHECK(std::none_of(file.begin(), file.end(),
                                [](char c) { return c == '/' || c == '\\' || c == '\0'; }));
    }
    return 0;
  }
  const auto config = parse_hf_config(text, "config.json");
  if (!fuzz::accepted(config)) {
    ISOBIT_CHECK(!config.error().place.empty());
    return 0;
  }
  ISOBIT_CHECK(config->validate().has_value());
  constexpr std::int64_t kFew = 8;  // layers: a table of thousands each time would take long
  if (config->layers > kFew) return 0;
  for (const TableTensor& tensor : table_tensors(*config)) {
    for (const std::int64_t extent : tensor.shape) ISOBIT_CHECK(extent > 0);
  }
  ISOBIT_CHECK(!check_tensors(*config, Biases::flagged, Weights{}, "fuzz").has_value());
  return 0;
}
