// Fuzzes the golden reader: no crash, whatever it accepts prints back to the same bytes, and its
// blocks can be looked up, checked against the ledger and asked whether they are stale.
#include <cstdint>
#include <string>

#include "golden/golden.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto file = isobit::parse_golden(text, "fuzz.golden");
  if (!file) {
    ISOBIT_CHECK(!file.error().message.empty());
    return 0;
  }
  ISOBIT_CHECK(isobit::print_golden(*file) == text);
  const auto ledger = isobit::check_ledger(*file, "fuzz.golden");
  ISOBIT_CHECK(ledger || !ledger.error().message.empty());
  const isobit::Predecessors older(*file);
  for (const auto& [key, block] : file->blocks) {
    ISOBIT_CHECK(file->find(key) == &block);
    if (ledger) ISOBIT_CHECK(file->last_entry(key)->block_hash == block.block_hash());
    isobit::GoldenBlock wanted = block;
    wanted.key = {};
    wanted.class_recipe += "numerics=F999\n";
    const auto old = older.of(wanted);
    ISOBIT_CHECK(old && old->block != nullptr && old->block->prompt_id == block.prompt_id);
  }
  return 0;
}
