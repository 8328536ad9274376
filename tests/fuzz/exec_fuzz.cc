// Fuzzes what an engine in another process says: no crash, an error is one sentence, and what is
// accepted keeps its promises.
#include "runtime/backends/exec/messages.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isobit;
  using namespace isobit::exec;
  const std::string line = fuzz::text_of(data, size);
  const auto hello = parse_hello(line);
  if (fuzz::accepted(hello) && hello->kind == Hello::Kind::ready) {
    ISOBIT_CHECK(!hello->engine.empty());
    for (const auto& [axis, values] : hello->axes) {
      for (const std::string& value : values.values) ISOBIT_CHECK(values.takes(value));
    }
  }
  const auto reply = parse_reply(line);
  if (!fuzz::accepted(reply)) return 0;
  if (reply->kind == Reply::Kind::row) {
    ISOBIT_CHECK(reply->row.token >= 0 && reply->row.position >= 0 && reply->row.sequence >= 0);
    ISOBIT_CHECK(!reply->row.bytes || *reply->row.bytes >= 0);
  }
  ISOBIT_CHECK(reply->kind != Reply::Kind::done || (reply->id >= 0 && reply->ran.live_rows >= -1));
  return 0;
}
