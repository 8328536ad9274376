// Attention under a cache policy: a step is cut, layer by layer, where a sequence's view changes.
//
// Rows of a sequence between two changes are one phase, and phases of different sequences run
// together. After a phase the policy acts: it selects what is kept, and the store codes what the
// next row sees coded. So a step of many rows shows each the view that it would have alone.

#include <algorithm>
#include <set>

#include "runtime/model/forward.h"

namespace isobit {
namespace {

/// What a row gave to positions [0, n), summed over all heads in global order. `all`: of each rank
/// in turn (rows, its heads, width).
template <class T>
std::vector<double> summed_weights(std::span<const std::byte> all, std::span<const Partition> ranks,
                                   std::int64_t rows, std::int64_t row, std::int64_t width,
                                   std::int64_t n) {
  const T* block = reinterpret_cast<const T*>(all.data());
  std::vector<T> sum(std::size_t(n), T(0));
  for (const Partition& rank : ranks) {
    const std::int64_t heads = rank.heads.size();
    for (std::int64_t h = 0; h < heads; ++h) {
      const T* weight = block + (row * heads + h) * width;
      for (std::size_t j = 0; j < sum.size(); ++j) sum[j] = sum[j] + weight[j];
    }
    block += rows * heads * width;
  }
  return {sum.begin(), sum.end()};
}

}  // namespace

/// REQUIRES: the rows of a sequence are neighbours, in ascending positions.
void Forward::plan_phases(std::span<const StepRow> rows) {
  phases_.clear();
  const CachePolicy* policy = cache_.policy();
  if (policy == nullptr) return;
  std::size_t at = 0;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (r > 0 && rows[r].sequence != rows[r - 1].sequence) at = 0;
    if (phases_.size() <= at) phases_.emplace_back();
    Phase& phase = phases_[at];
    phase.rows.push_back(std::int32_t(r));
    const std::int64_t n = cache_.prompt_length(rows[r].sequence), q = rows[r].position;
    if (!policy->selects(n, q) && policy->coded(n, q) == policy->coded(n, q + 1)) continue;
    phase.ends.push_back(std::int32_t(phase.rows.size()) - 1);
    ++at;
  }
}

void Forward::code_stored(int index, Rows k, Rows v, std::span<const StepRow> rows, bool again) {
  std::vector<int> sequences;
  std::vector<std::int64_t> positions;
  for (const StepRow& row : rows) {
    sequences.push_back(row.sequence);
    positions.push_back(row.position);
  }
  cache_.code_rows(index, k, v, sequences, positions, again);
  if (!again) return;
  for (const int sequence : std::set<int>(sequences.begin(), sequences.end())) {
    cache_.code_again(index, sequence);
  }
}

void Forward::attend_phase(int index, const Phase& phase, Rows q, std::span<const StepRow> rows,
                           Rows out) {
  AttentionRows args = attention_;
  std::vector<AttentionRows::Row> places;
  bool coded = false;
  for (const std::int32_t r : phase.rows) {
    const std::size_t row = std::size_t(r);
    places.push_back(cache_.view(index, rows[row].sequence, attention_.rows[row]));
    coded = coded || places.back().k_coded > 0 || places.back().v_coded > 0;
  }
  args.rows = places;
  const bool whole = phase.rows.size() == rows.size();
  const auto count = std::int64_t(phase.rows.size());
  Rows queries = q, given = out;
  if (!whole) {
    queries = scratch(kPhaseQ, count, q.cols);
    given = scratch(kPhaseAttn, count, out.cols);
    backend_.gather(q, phase.rows, queries);
  }
  if (coded) {
    backend_.attention_coded(queries, args, cache_.pools(index), given);
  } else {
    backend_.attention(queries, args, cache_.k_pool(index), cache_.v_pool(index), given);
  }
  const std::size_t real = backend_.real_size();
  for (std::int64_t begin = 0, end; !whole && begin < count; begin = end) {
    const std::int64_t first = phase.rows[std::size_t(begin)];
    for (end = begin + 1; end < count; ++end) {  // a stretch of neighbours goes back in one copy
      if (phase.rows[std::size_t(end)] != first + end - begin) break;
    }
    backend_.copy(some_rows(given, begin, end - begin, real),
                  some_rows(out, first, end - begin, real));
  }
  select_kept(index, phase, queries, args, rows);
  const CachePolicy& policy = *cache_.policy();
  for (const std::int32_t end : phase.ends) {
    const StepRow& row = rows[std::size_t(phase.rows[std::size_t(end)])];
    const std::int64_t n = cache_.prompt_length(row.sequence);
    cache_.code(index, row.sequence, policy.coded(n, row.position + 1));
  }
}

/// Weights of the rows after which the policy selects; every rank gets all heads' and selects the
/// same. `q` and `args` are the phase's.
void Forward::select_kept(int index, const Phase& phase, Rows q, const AttentionRows& args,
                          std::span<const StepRow> rows) {
  std::vector<std::int32_t> asked;  // places in the phase
  AttentionRows some = args;
  std::vector<AttentionRows::Row> places;
  std::int64_t width = 0;
  for (const std::int32_t end : phase.ends) {
    const StepRow& row = rows[std::size_t(phase.rows[std::size_t(end)])];
    if (!cache_.policy()->selects(cache_.prompt_length(row.sequence), row.position)) continue;
    asked.push_back(end);
    places.push_back(args.rows[std::size_t(end)]);
    width = std::max(width, row.position + 1);
  }
  if (asked.empty()) return;
  some.rows = places;
  const auto count = std::int64_t(asked.size());
  Rows queries = q;
  if (count < q.rows) {
    queries = scratch(kWeightQ, count, q.cols);
    backend_.gather(q, asked, queries);
  }
  const Rows mine = scratch(kWeights, count * args.heads, width);
  backend_.attention_weights(queries, some, cache_.pools(index), mine);
  Rows all = mine;
  if (comm_.size() > 1) {
    std::vector<std::size_t> sizes;
    for (const Partition& each : partitions_) {
      sizes.push_back(std::size_t(count * each.heads.size() * width) * backend_.real_size());
    }
    all = scratch(kParts, count * config_.heads, width);
    comm_.all_gather(mine.data, all.data, sizes);
  }
  std::vector<std::byte> bytes(std::size_t(all.rows * all.cols) * backend_.real_size());
  backend_.download(bytes.data(), all.data, bytes.size());
  const auto sum = [&](std::int64_t i, std::int64_t n) {
    return backend_.mode().wide() ? summed_weights<double>(bytes, partitions_, count, i, width, n)
                                  : summed_weights<float>(bytes, partitions_, count, i, width, n);
  };
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t end = asked[std::size_t(i)];
    const StepRow& row = rows[std::size_t(phase.rows[std::size_t(end)])];
    cache_.select(index, row.sequence, sum(i, row.position + 1));
  }
}

}  // namespace isobit
