// Attention over a cache as a package ships it: the backend's over the pool that the cache filled,
// or the cache's own where its original has a path of its own.

#include "runtime/model/forward.h"

namespace isobit {

/// REQUIRES: the rows of a sequence are neighbours.
void Forward::attend_shipped(int index, Rows q, std::span<const StepRow> rows, Rows out) {
  const std::size_t real = backend_.real_size();
  const ShippedAttention how{attention_.scale, attention_.softcap};
  for (std::size_t begin = 0, end; begin < rows.size(); begin = end) {
    end = begin + 1;
    while (end < rows.size() && rows[end].sequence == rows[begin].sequence) ++end;
    const auto count = std::int64_t(end - begin);
    const Rows queries = some_rows(q, std::int64_t(begin), count, real);
    const Rows given = some_rows(out, std::int64_t(begin), count, real);
    if (!cache_.shipped()->attends(rows[begin].position)) {
      AttentionRows args = attention_;
      args.rows = attention_.rows.subspan(begin, end - begin);
      backend_.attention(queries, args, cache_.k_pool(index), cache_.v_pool(index), given);
      continue;
    }
    const std::vector<double> asked = backend_.reals(queries);
    std::vector<double> answers(asked.size());
    cache_.shipped()->attend(index, how, {rows[begin].sequence, asked, answers});
    backend_.set_reals(answers, given);
  }
}

std::vector<int> Forward::sequences_of(std::span<const StepRow> rows) {
  std::vector<int> sequences;
  for (const StepRow& row : rows) sequences.push_back(row.sequence);
  return sequences;
}

}  // namespace isobit
