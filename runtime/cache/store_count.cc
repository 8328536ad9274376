// What is still needed after a step, and what was kept.

#include <algorithm>

#include "runtime/cache/store.h"

namespace isobit {

/// Whether a query sees a position for any KV head, `pattern` being what it may see.
bool KvCache::keeps(const KvPattern& pattern, const Layer& layer, std::int64_t position) {
  if (!pattern.sees(position)) return false;
  for (std::int64_t h = 0; !layer.keep.empty() && h < layer.keep.heads; ++h) {
    if (layer.keep.keeps(h, position)) return true;
  }
  return layer.keep.empty();
}

/// Groups of `unit` positions of [begin, end) of which one KV head keeps any.
std::int64_t KvCache::kept_groups(const KvPattern& pattern, const Layer& layer, std::int64_t head,
                                  std::int64_t begin, std::int64_t end, std::int64_t unit) {
  if (begin >= end) return 0;
  if (layer.keep.empty() && pattern.first == 0) return (end - begin + unit - 1) / unit;
  const auto kept = [&](std::int64_t p) {
    return pattern.sees(p) && (layer.keep.empty() || layer.keep.keeps(head, p));
  };
  std::int64_t count = 0;
  for (std::int64_t at = begin; at < end; at += unit) {
    std::int64_t p = at;
    while (p < std::min(at + unit, end) && !kept(p)) ++p;
    count += p < std::min(at + unit, end) ? 1 : 0;
  }
  return count;
}

void KvCache::end_step() {
  for (Sequence& s : sequences_) {
    if (!by_layer() || !s.open) continue;
    counters_.evicted += layered_.end_step(s.layered) * shape_.layers * shape_.all_kv_heads;
  }
  count();
  patterns_.clear();
  if (policy_ == nullptr || !keeps_exact_ || !mode_.keeps || mode_.recomputes) return;
  for (Sequence& s : sequences_) {
    if (s.open) release(s);
  }
}

/// A page goes back when no query to come can read anything of it in any layer, and nothing of it
/// is still to be coded.
void KvCache::release(Sequence& s) {
  const std::int64_t page = mode_.page_size;
  const bool codes = k_layout_.codec.codes() || v_layout_.codec.codes();
  const KvPattern pattern = policy_->pattern(s.positions);
  const auto dead = [&](std::int64_t position) {
    return std::all_of(s.layers.begin(), s.layers.end(), [&](const Layer& layer) {
      const std::int64_t coded = std::min(layer.coded.k, layer.coded.v);
      const bool is_coded = codes && position >= policy_->coded_from() && position < coded;
      return is_coded || (!codes && !keeps(pattern, layer, position));
    });
  };
  for (std::int64_t i = 0; (i + 1) * page <= s.positions; ++i) {
    std::int64_t p = i * page;
    while (s.exact.holds(i) && p < (i + 1) * page && dead(p)) ++p;
    if (p == (i + 1) * page) s.exact.release(exact_, i);
  }
}

void KvCache::count() {
  std::int64_t bytes = 0, exact = 0;
  const std::int64_t each = 2 * shape_.all_kv_heads * shape_.head_dim;
  for (Sequence& s : sequences_) {
    if (!s.open) continue;
    exact += (s.positions - s.shared) * shape_.layers * each * std::int64_t(backend_.cache_size());
    if (by_layer()) bytes += residual_bytes(s);
    if (policy_ == nullptr || s.positions == 0) continue;
    count_hidden(s);
    for (const Layer& layer : s.layers) bytes += kept_bytes(s, layer);
    counters_.could_act |= policy_->acts(model_, s.prompt, s.positions - 1);
  }
  if (policy_ == nullptr && !by_layer()) bytes = exact;
  if (shipped_ != nullptr) {
    bytes = shipped_->bytes();
    counters_.coded = shipped_->coded();
    counters_.could_act = shipped_->seen_coded();
  }
  if (bytes < counters_.bytes) return;
  if (bytes == counters_.bytes && exact <= counters_.exact_bytes) return;
  counters_.bytes = bytes;
  counters_.exact_bytes = exact;
}

/// Counts what the pattern has hidden since the last step.
void KvCache::count_hidden(Sequence& s) {
  const KvPattern pattern = policy_->pattern(s.positions - 1);
  const std::int64_t hidden = std::max<std::int64_t>(0, pattern.first - pattern.sinks);
  counters_.evicted += (hidden - s.hidden) * shape_.layers * shape_.all_kv_heads;
  s.hidden = hidden;
}

/// K and V of the latest positions, and checkpoints of all.
std::int64_t KvCache::residual_bytes(const Sequence& s) const {
  const std::int64_t each = 2 * shape_.layers * shape_.all_kv_heads * shape_.head_dim;
  const std::int64_t rows = residual_spec_->checkpoints(shape_.layers) * shape_.hidden;
  const std::int64_t stored = std::int64_t(backend_.cache_size());
  const std::int64_t checkpoint = residual_spec_->every == 0 ? kTokenBytes : rows * stored;
  return (s.positions - s.layered.evicted) * each * stored + s.positions * checkpoint;
}

/// Of every KV head of the model.
std::int64_t KvCache::kept_bytes(const Sequence& s, const Layer& layer) const {
  std::int64_t bytes = 0;
  const KvPattern pattern = policy_->pattern(s.positions);
  const std::int64_t from = std::min(policy_->coded_from(), s.positions);
  const std::int64_t heads = layer.keep.empty() ? 1 : layer.keep.heads;
  for (const CodeLayout* layout : {&k_layout_, &v_layout_}) {
    const std::int64_t coded = layout == &k_layout_ ? layer.coded.k : layer.coded.v;
    const std::int64_t end = std::max(from, std::min(coded, s.positions));  // of what is coded
    for (std::int64_t h = 0; h < heads; ++h) {
      const auto kept = [&](std::int64_t begin, std::int64_t stop, std::int64_t unit) {
        return kept_groups(pattern, layer, h, std::max(begin, s.shared), stop, unit);
      };
      const std::int64_t tiles = kept(from, end, layout->codec.tokens);
      const std::int64_t rows = kept(0, from, 1) + kept(end, s.positions, 1);
      bytes += (tiles * layout->tiles_across() * layout->codec.bytes +
                rows * shape_.head_dim * std::int64_t(backend_.cache_size())) *
               (shape_.all_kv_heads / heads);
    }
  }
  return bytes;
}

}  // namespace isobit
