// Defects after the computation: in digests, in the trace, in what is compared with what.

#include <algorithm>

#include "harness/selftest/defects.h"
#include "runtime/numerics/order.h"

namespace isobit::selftest {
namespace {

/// A digest over seven of a row's eight segments.
class SevenSegments final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void digests(Rows x, std::span<Digest> out) override {
    Rows part = x;
    part.cols = segment_begin(x.cols, 7, 8);
    ForwardingBackend::digests(part, out);
  }
};

std::function<void(const Cell&, CellTrace&)> spoiled(
    const std::string& cache, const std::function<void(PromptTrace&)>& spoil) {
  return [=](const Cell& cell, CellTrace& trace) {
    if (cell.value("cache") == cache && trace.prompts.size() > 1) spoil(trace.prompts[1]);
  };
}

}  // namespace

std::vector<Defect> trace_defects() {
  std::vector<Defect> all;
  const auto add = [&](auto... words) -> Defect& { return add_defect(all, words...); };
  add("seven-segments", "golden", "digest", "pair", "", Verdict::diff, "differs from the golden")
      .backend = backend_of<SevenSegments>();
  all.back().against_golden = true;
  add("truncated-trace", "cache", "trace", "star", "cache=off", Verdict::fail, "truncated").trace =
      spoiled("off", [](PromptTrace& prompt) { prompt.tokens.pop_back(); });
  add("hole-in-trace", "cache", "trace", "star", "cache=prefix", Verdict::fail, "is missing")
      .trace = spoiled("prefix",
                       [](PromptTrace& prompt) { prompt.tokens.erase(prompt.tokens.begin() + 3); });
  add("lost-prompt", "cache", "trace", "star", "cache=recomputed", Verdict::diff, "prompt").trace =
      [](const Cell& cell, CellTrace& trace) {
        if (cell.value("cache") == "recomputed") trace.prompts.pop_back();
      };
  add("empty-trace", "cache", "trace", "star", "cache=off", Verdict::diff, "").trace =
      [](const Cell& cell, CellTrace& trace) {
        if (cell.value("cache") == "off") trace.prompts.clear();
      };
  add("one-cell-left", "all", "filter", "pair", "", Verdict::mistrusted, "vacuous").run =
      [](RunOptions& options) { options.filter = "batch=1 and threads=1"; };
  add("values-beyond-bound", "cache", "residual hook, layer 2", "within", "cache=off",
      Verdict::diff, "exceeds")
      .request = [](const Cell& cell, GenerateRequest& request) {
    if (cell.value("cache") != "off") return;
    request.residual = [](int layer, int, std::int64_t, std::span<double> residual) {
      if (layer == 2) residual[0] += 1e-3;
    };
  };
  return all;
}

}  // namespace isobit::selftest
