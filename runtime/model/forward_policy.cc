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

constexpr std::int64_t kWeightsAtOnce = std::int64_t(1) << 22;  // elements on their way to the host

/// n Reals as doubles, in `out`.
std::span<const double> widened(const std::byte* from, std::size_t n, bool wide,
                                std::vector<double>& out) {
  if (wide) return {reinterpret_cast<const double*>(from), n};
  const auto* reals = reinterpret_cast<const float*>(from);
  out.assign(reals, reals + n);
  return out;
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
    const std::int64_t n = cache_.prompt_length(rows[r].sequence), q = rows[r].position;
    const bool turned = cache_.turns(rows[r].sequence, q);
    if (phases_.size() < 2 * at + 2) phases_.resize(2 * at + 2);
    Phase& phase = phases_[2 * at + (turned ? 1 : 0)];
    phase.turned = turned;
    phase.rows.push_back(std::int32_t(r));
    if (!policy->selects(n, q) && policy->coded(n, q) == policy->coded(n, q + 1)) continue;
    phase.ends.push_back(std::int32_t(phase.rows.size()) - 1);
    ++at;
  }
  std::erase_if(phases_, [](const Phase& phase) { return phase.rows.empty(); });
}

void Forward::code_stored(int index, Rows k, Rows v, std::span<const StepRow> rows, bool again) {
  const std::vector<int> sequences = sequences_of(rows);
  cache_.code_rows(index, k, v, sequences, positions_of(rows), again);
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
  const KvRotation turn = phase.turned ? cache_.rotation() : KvRotation{};
  if (turn.k > 0) backend_.hadamard(queries, turn.k);
  if (coded) {
    backend_.attention_coded(queries, args, cache_.pools(index), given);
  } else {
    backend_.attention(queries, args, cache_.k_pool(index), cache_.v_pool(index), given);
  }
  if (turn.v > 0) {
    backend_.hadamard(given, turn.v);
    backend_.quantize(given, nullptr, backend_.mode().stored, given);
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
  observe(index, phase, queries, args, rows);
  const CachePolicy& policy = *cache_.policy();
  for (const std::int32_t end : phase.ends) {
    const StepRow& row = rows[std::size_t(phase.rows[std::size_t(end)])];
    const std::int64_t n = cache_.prompt_length(row.sequence);
    if (policy.selects(n, row.position)) select_kept(index, row);
    cache_.code(index, row.sequence, policy.coded(n, row.position + 1));
  }
}

/// Shows the policy the weights of the rows that it asks for, a share at a time. `q` and `args` are
/// the phase's.
void Forward::observe(int index, const Phase& phase, Rows q, const AttentionRows& args,
                      std::span<const StepRow> rows) {
  const CachePolicy& policy = *cache_.policy();
  std::vector<std::int32_t> asked;  // places in the phase
  std::int64_t width = 0;
  for (std::size_t i = 0; i < phase.rows.size(); ++i) {
    const StepRow& row = rows[std::size_t(phase.rows[i])];
    if (!policy.observes(cache_.prompt_length(row.sequence), row.position)) continue;
    asked.push_back(std::int32_t(i));
    width = std::max(width, row.position + 1);
  }
  if (asked.empty() || args.heads == 0) return;
  const std::int64_t share = std::max<std::int64_t>(kWeightsAtOnce / (args.heads * width), 1);
  for (std::size_t begin = 0; begin < asked.size(); begin += std::size_t(share)) {
    const auto some =
        std::span(asked).subspan(begin, std::min(std::size_t(share), asked.size() - begin));
    AttentionRows part = args;
    std::vector<AttentionRows::Row> places;
    for (const std::int32_t i : some) places.push_back(args.rows[std::size_t(i)]);
    part.rows = places;
    const auto count = std::int64_t(some.size());
    Rows queries = q;
    if (count < q.rows) {
      queries = scratch(kWeightQ, count, q.cols);
      backend_.gather(q, some, queries);
    }
    const Rows weights = scratch(kWeights, count * args.heads, width);
    backend_.attention_weights(queries, part, cache_.pools(index), weights);
    const std::size_t size = std::size_t(weights.rows * width) * backend_.real_size();
    if (seen_weights_.size() < size) seen_weights_.resize(size);
    backend_.download(seen_weights_.data(), weights.data, size);
    for (std::int64_t i = 0; i < count * args.heads; ++i) {
      const std::size_t place = std::size_t(some[std::size_t(i / args.heads)]);
      const StepRow& row = rows[std::size_t(phase.rows[place])];
      const auto seen = std::size_t(row.position) + 1;
      std::vector<double>& scores = cache_.scores(index, row.sequence, i % args.heads);
      if (scores.size() < seen) scores.resize(seen, 0.0);
      policy.observe(cache_.prompt_length(row.sequence), row.position,
                     widened(seen_weights_.data() + std::size_t(i * width) * backend_.real_size(),
                             seen, backend_.mode().wide(), wide_row_),
                     std::span(scores).first(seen));
    }
  }
}

/// What each head of this rank makes of positions [0, n) after a row: (heads, n).
std::vector<double> Forward::head_scores(int index, const StepRow& row) {
  const CachePolicy& policy = *cache_.policy();
  const std::int64_t n = row.position + 1, d = config_.head_dim;
  const std::int64_t width = attention_.kv_heads * d;
  std::vector<double> all(std::size_t(attention_.heads * n), 0.0), keys, values;
  if (policy.reads_cache()) cache_.read(index, row.sequence, n, keys, values);
  const int rope = model_.layers[std::size_t(index)].plan.rope;
  RopeTables future;
  if (policy.future_positions() > 0 && rope >= 0) {
    future =
        make_rope_tables(config_, config_.ropes[std::size_t(rope)], n, policy.future_positions());
  }
  const auto head_of = [&](const std::vector<double>& rows, std::int64_t kv) {
    std::vector<double> out;
    for (std::int64_t p = 0; p < n && !rows.empty(); ++p) {
      const auto from = rows.begin() + p * width + kv * d;
      out.insert(out.end(), from, from + d);
    }
    return out;
  };
  for (std::int64_t h = 0; h < attention_.heads; ++h) {
    const std::vector<double>& kept = cache_.scores(index, row.sequence, h);
    const auto mine = std::span(all).subspan(std::size_t(h * n), std::size_t(n));
    std::copy_n(kept.begin(), std::min(kept.size(), mine.size()), mine.begin());
    const std::int64_t kv = attention_.kv_of_head[std::size_t(h)];
    const std::vector<double> k = head_of(keys, kv), v = head_of(values, kv);
    policy.score({cache_.prompt_length(row.sequence), row.position, index, d, k, v,
                  cache_.query_state(index, row.sequence, h), future.cosine, future.sine},
                 mine);
  }
  return all;
}

/// Every rank gets the scores of all heads, in their order, and selects the same.
void Forward::select_kept(int index, const StepRow& row) {
  const std::int64_t n = row.position + 1;
  std::vector<double> scores = head_scores(index, row);
  if (comm_.size() > 1) {
    std::vector<std::size_t> sizes;
    for (const Partition& each : partitions_) {
      sizes.push_back(std::size_t(each.heads.size() * n) * sizeof(double));
    }
    const std::int64_t reals = std::int64_t(sizeof(double) / backend_.real_size());
    const Rows mine = scratch(kScores, attention_.heads, n * reals);
    const Rows all = scratch(kAllScores, config_.heads, n * reals);
    backend_.upload(mine.data, scores.data(), scores.size() * sizeof(double));
    comm_.all_gather(mine.data, all.data, sizes);
    scores.resize(std::size_t(config_.heads * n));
    backend_.download(scores.data(), all.data, scores.size() * sizeof(double));
  }
  cache_.select(index, row.sequence,
                {cache_.prompt_length(row.sequence), row.position, config_.heads, config_.kv_heads,
                 n, backend_.mode().wide(), scores});
}

/// Keys that the policy changes before they turn with their position, and queries that it wants to
/// see then: what finish_qkv() left unrotated. `q` may be null.
void Forward::finish_rotation(int index, const Rows* q, Rows k, std::span<const StepRow> rows,
                              std::span<const std::int64_t> positions) {
  const CachePolicy& policy = *cache_.policy();
  const Rotation rotation = rotation_of(index);
  if (q != nullptr) observe_queries(index, *q, rows);
  if (policy.changes_before_rope() && policy.changes(index, true)) {
    cache_.change(index, true, k, positions_of(rows));
  }
  if (policy.positions_in_cache()) return turn_in_cache(q, k, rows, rotation);
  if (rotation.dims == 0) return;
  if (q != nullptr) backend_.rope(*q, attention_.heads, positions, rotation);
  backend_.rope(k, attention_.kv_heads, positions, rotation);
}

/// Whether anything of a step has to be seen or changed before RoPE.
bool Forward::stops_before_rope(std::span<const StepRow> rows) const {
  const CachePolicy* policy = cache_.policy();
  if (policy == nullptr) return false;
  return policy->changes_before_rope() || policy->positions_in_cache() ||
         std::any_of(rows.begin(), rows.end(), [&](const StepRow& row) {
           return policy->observes_query(cache_.prompt_length(row.sequence), row.position);
         });
}

void Forward::observe_queries(int index, Rows q, std::span<const StepRow> rows) {
  const CachePolicy& policy = *cache_.policy();
  const auto d = std::size_t(config_.head_dim);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const std::int64_t n = cache_.prompt_length(rows[r].sequence), at = rows[r].position;
    if (!policy.observes_query(n, at)) continue;
    const std::vector<double> row =
        backend_.reals(some_rows(q, std::int64_t(r), 1, backend_.real_size()));
    for (std::int64_t h = 0; h < attention_.heads; ++h) {
      policy.observe_query(n, at, std::span(row).subspan(std::size_t(h) * d, d),
                           cache_.query_state(index, rows[r].sequence, h));
    }
  }
}

std::vector<std::int64_t> Forward::positions_of(std::span<const StepRow> rows) {
  std::vector<std::int64_t> positions;
  for (const StepRow& row : rows) positions.push_back(row.position);
  return positions;
}

}  // namespace isobit
