// Fuzzes the golden reader: no crash, and whatever it accepts prints back to the same bytes.
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
  return 0;
}
