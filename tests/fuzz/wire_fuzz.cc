// Fuzzes messages between a worker and its parent: no crash, and a message that is read to its end
// is written again as the same bytes. The first byte says what it is a message of.
#include "harness/execute/wire.h"
#include "tests/fuzz/input.h"

namespace {

template <class T>
void fuzz_message(const std::string& message) {
  T value{};
  isobit::wire::Reader reader(message);
  reader.get(value);
  ISOBIT_CHECK(!(reader.failed() && reader.done()));
  if (!reader.done()) return;
  isobit::wire::Writer writer;
  writer.put(value);
  ISOBIT_CHECK(writer.bytes() == message);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string message = isobit::fuzz::text_of(data + 1, size - 1);
  if (data[0] == 'R') fuzz_message<isobit::JobResult>(message);
  if (data[0] == 'J') fuzz_message<isobit::Job>(message);
  if (data[0] == 'O') fuzz_message<isobit::Observed>(message);
  if (data[0] == 'T') fuzz_message<isobit::CellTrace>(message);
  return 0;
}
