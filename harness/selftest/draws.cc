// Defects of sampling. Those of `change_draw` sit behind the record of what was drawn with, as a
// faulty sampler does: only the tokens tell. In batches alone; each of these cells must differ from
// the one without, which is the proof that some draw was another.

#include "harness/selftest/defects.h"

namespace isobit::selftest {
namespace {

/// Changes every draw of the cells with a batch above 1.
std::function<void(const Cell&, GenerateRequest&)> in_batches(void (*change)(Draw&)) {
  return [change](const Cell&, GenerateRequest& request) {
    if (request.batch.size > 1) request.change_draw = change;
  };
}

/// Seeds of a batch are counted by its size.
void batch_seed(const Cell&, GenerateRequest& request) {
  request.sampler.seed += std::uint64_t(request.batch.size - 1);
}

void best_of_row(const Cell&, GenerateRequest& request) {
  if (request.batch.size > 1) request.sampler.temperature = 0;
}

}  // namespace

std::vector<Defect> draw_defects() {
  std::vector<Defect> all;
  constexpr Verdict kFail = Verdict::fail, kDiff = Verdict::diff;
  const auto add = [&](auto... words) -> Defect& { return add_defect(all, words...); };
  add("batch-seed", "batch", "sampler's seed", "sample", "batch>1", kFail,
      "decode seed:11+temperature:0.8+top_k:50+top_p:0.95 was asked, seed:1")
      .request = batch_seed;
  add("best-of-row", "decode", "sampler", "draws", "batch>1", kFail,
      "decode seed:3+temperature:0.7+top_k:2 was asked, greedy ran")
      .request = best_of_row;
  add("draws-by-slot", "decode", "hash of a draw", "draws", "batch>1", kDiff, "").request =
      in_batches([](Draw& draw) { draw.prompt = std::uint64_t(draw.slot); });
  add("temperature-ignored", "decode", "sampler's temperature", "sample", "batch>1", kDiff, "")
      .request = in_batches([](Draw& draw) { draw.options.temperature = 1; });
  add("top-k-off-by-one", "decode", "sampler's top_k", "draws", "batch>1", kDiff, "").request =
      in_batches([](Draw& draw) { ++draw.options.top_k; });
  return all;
}

}  // namespace isobit::selftest
