// Joins calls that are alike (attention_lines.h).
#include "harness/probe/attention_lines.h"

#include <algorithm>
#include <tuple>

namespace isobit::probe {
namespace {

void widen(BookRange& range, std::int64_t n) {
  range.from = std::min(range.from, n);
  range.to = std::max(range.to, n);
}

AttentionLine line_of(const JudgedCall& judged) {
  const AttentionCall& call = *judged.call;
  const FusedShape& shape = call.shape;
  AttentionLine line;
  line.format = call.format;
  line.heads = shape.heads;
  line.kv_heads = shape.kv_heads;
  line.head_dim = shape.head_dim;
  line.mask = shape.mask;
  line.batch = {shape.batch, shape.batch};
  line.queries = {shape.queries, shape.queries};
  line.keys = {shape.keys, shape.keys};
  line.choice = judged.choice;
  line.calls = judged.count.calls;
  line.outputs = judged.count.outputs;
  return line;
}

/// What two calls must share to be of one line, besides kernel and neighbouring keys: one query is
/// not several.
auto kind_of(const AttentionLine& line) {
  return std::tuple(line.format, line.heads, line.kv_heads, line.head_dim, line.mask,
                    line.queries.from > 1, line.batch);
}

}  // namespace

std::vector<AttentionLine> attention_lines(const std::vector<JudgedCall>& calls) {
  struct One {
    AttentionLine line;
    std::int64_t misses, wrong_splits;
  };
  std::vector<One> all;
  for (const JudgedCall& judged : calls) {
    if (judged.call->asked != "default") continue;
    all.push_back({line_of(judged), judged.count.misses(), judged.count.wrong_splits});
  }
  std::stable_sort(all.begin(), all.end(), [](const One& a, const One& b) {
    return std::tuple(kind_of(a.line), a.line.keys) < std::tuple(kind_of(b.line), b.line.keys);
  });
  std::vector<One> joined;
  for (const One& one : all) {
    const bool more = !joined.empty() && kind_of(joined.back().line) == kind_of(one.line) &&
                      joined.back().line.choice == one.line.choice;
    if (!more) {
      joined.push_back(one);
      continue;
    }
    AttentionLine& line = joined.back().line;
    widen(line.queries, one.line.queries.from);
    widen(line.keys, one.line.keys.from);
    line.calls += one.line.calls;
    line.outputs += one.line.outputs;
    joined.back().misses += one.misses;
    joined.back().wrong_splits += one.wrong_splits;
  }
  std::vector<AttentionLine> out;
  for (One& one : joined) {
    if (one.line.choice.kernel == FusedKernel::none) continue;
    if (one.misses + one.wrong_splits > 0) {
      one.line.evidence = BookEvidence::open;
      one.line.calls = one.line.outputs - one.misses;
    }
    out.push_back(one.line);
  }
  return out;
}

}  // namespace isobit::probe
