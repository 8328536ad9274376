// Fuzzes captures of fused attention: no crash, an error has its place, what is accepted is written
// again as the same, a plan is within the bounds that its literal text needs, and what a rule
// computes is no miss of it.
#include "harness/probe/attention_judge.h"
#include "tests/fuzz/input.h"

namespace {

using namespace isobit;

constexpr std::int64_t kMostWork = 1 << 14;  // products of a call that is computed

void judge(probe::AttentionCall call, const FusedPlan& plan) {
  std::vector<probe::AttentionMiss> misses;
  const probe::AttentionCount count = probe::judge_call(call, plan, misses);
  ISOBIT_CHECK(count.outputs == std::int64_t(call.rows.size()) * call.shape.head_dim);
  ISOBIT_CHECK(misses.size() <= probe::kListedMisses);
  if (count.misses() > std::int64_t(misses.size())) return;  // more than are listed
  for (const probe::AttentionMiss& miss : misses) {
    for (probe::AttentionRow& row : call.rows) {
      if (row.line == miss.line) row.bits[std::size_t(miss.output)] = miss.computed;
    }
  }
  misses.clear();
  ISOBIT_CHECK(probe::judge_call(call, plan, misses).misses() == 0 && misses.empty());
}

void read_call(const probe::AttentionCall& call, const probe::Facts& facts) {
  const probe::AttentionRule rule = probe::rule_of(call, facts);
  ISOBIT_CHECK(!rule.kernel.empty());
  if (!rule.plan) return;
  ISOBIT_CHECK(rule.plan->splits >= 1 && rule.plan->splits <= kMostFusedSplits);
  ISOBIT_CHECK(rule.plan->order.block >= 16 && rule.plan->order.block <= kLargestFusedBlock);
  const FusedSpan last = fused_split(*rule.plan, call.shape.keys, rule.plan->splits - 1);
  ISOBIT_CHECK(last.begin >= 0 && last.begin <= last.end && last.end == call.shape.keys);
  const std::int64_t rows = std::int64_t(call.rows.size());
  if (rows * call.shape.keys * call.shape.head_dim <= kMostWork) judge(call, *rule.plan);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text = fuzz::text_of(data, size);
  const auto capture = probe::parse_attention_capture(text, "capture");
  if (!fuzz::accepted(capture)) {
    ISOBIT_CHECK(capture.error().place.starts_with("capture"));
    return 0;
  }
  const std::string written = probe::text_of(*capture);
  const auto again = probe::parse_attention_capture(written, "capture");
  ISOBIT_CHECK(again.has_value() && probe::text_of(*again) == written);
  for (const probe::AttentionCall& call : capture->calls) read_call(call, capture->facts);
  return 0;
}
