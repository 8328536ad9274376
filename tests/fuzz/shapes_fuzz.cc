// Fuzzes files of shapes, as each operation reads them: no crash, an error has its place, and every
// accepted shape has an id of its own and sizes that a backend can be asked for.
#include <set>

#include "harness/scenario/shapes.h"
#include "runtime/base/words.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isobit;
  const std::string text = fuzz::text_of(data, size);
  for (const OperationKind kind : {OperationKind::gemm, OperationKind::attention,
                                   OperationKind::rms_norm, OperationKind::softmax}) {
    const auto shapes = parse_shapes(text, "fuzz.jsonl", kind);
    if (!fuzz::accepted(shapes)) {
      ISOBIT_CHECK(!shapes.error().place.empty());
      continue;
    }
    std::set<std::string> ids;
    for (const PlacedShape& each : *shapes) {
      const OperationShape& s = each.shape;
      ISOBIT_CHECK(ids.insert(s.id).second && is_one_line(s.id) && !each.place.empty());
      ISOBIT_CHECK(s.n >= 0 && s.k >= 0 && s.width >= 0 && s.keys >= 0);
      ISOBIT_CHECK(kind != OperationKind::attention || s.heads % s.kv_heads == 0);
    }
  }
  return 0;
}
