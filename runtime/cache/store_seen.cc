// What a later query would see, by value: exact rows, codes and gaps of one layer put together.

#include <algorithm>
#include <limits>

#include "runtime/cache/store.h"
#include "runtime/numerics/kv/hadamard.h"

namespace isobit {

bool KvCache::shows(bool keys) const {
  const bool in_cache = policy_ != nullptr && policy_->positions_in_cache();
  return shipped_ == nullptr && !by_layer() && !(keys && in_cache);
}

std::vector<double> KvCache::seen(std::int64_t layer, int sequence, std::int64_t n, bool keys) {
  const Sequence& s = at(sequence);
  const std::int64_t d = shape_.head_dim, width = shape_.kv_heads * d;
  std::vector<double> out(std::size_t(n * width), std::numeric_limits<double>::quiet_NaN());
  if (width == 0) return out;
  const Layer* shown = policy_ == nullptr ? nullptr : &s.layers[std::size_t(layer)];
  const KvPattern pattern = policy_ == nullptr ? KvPattern{} : policy_->pattern(n);
  std::int64_t coded_from = 0, coded_to = 0;
  if (shown != nullptr && (keys ? k_layout_ : v_layout_).codec.codes()) {
    coded_to = std::min(n, keys ? shown->coded.k : shown->coded.v);
    coded_from = std::min(policy_->coded_from(), coded_to);
    if (coded_to > coded_from) read_codes(keys, layer, s, coded_to, out);
  }
  std::vector<std::int64_t> exact;
  for (std::int64_t p = 0; p < n && keeps_exact_; ++p) {
    const bool held = s.exact.holds(p / mode_.page_size);
    if (held && (p < coded_from || p >= coded_to)) exact.push_back(p);
  }
  read_exact_seen(layer, s, shown != nullptr && shown->turned, keys, exact, out);
  for (std::int64_t p = 0; p < n && shown != nullptr; ++p) {
    for (std::int64_t h = 0; h < shape_.kv_heads; ++h) {
      const Mask& keep = shown->keep;
      const std::int64_t head = keep.heads == 1 ? 0 : shape_.first_kv_head + h;
      if (pattern.sees(p) && (keep.empty() || keep.keeps(head, p))) continue;
      std::fill_n(out.begin() + p * width + h * d, d, std::numeric_limits<double>::quiet_NaN());
    }
  }
  return out;
}

/// Exact rows of some positions into their places of `out`, a share at a time, turned back.
void KvCache::read_exact_seen(std::int64_t layer, const Sequence& s, bool turned, bool keys,
                              std::span<const std::int64_t> positions, std::vector<double>& out) {
  const std::int64_t width = shape_.kv_heads * shape_.head_dim;
  const std::int32_t block = !turned ? 0 : keys ? rotation_.k : rotation_.v;
  if (staged_.get() == nullptr) {
    staged_ = DeviceMemory(backend_, std::size_t(kStagedRows * width) * backend_.real_size());
  }
  for (std::size_t begin = 0; begin < positions.size(); begin += std::size_t(kStagedRows)) {
    const auto some =
        positions.subspan(begin, std::min(positions.size() - begin, std::size_t(kStagedRows)));
    std::vector<std::int64_t> slots;
    for (const std::int64_t p : some) slots.push_back(s.exact.slot(exact_, p));
    const Rows rows{staged_.get(), std::int64_t(slots.size()), width, width};
    backend_.read_kv(slots, shape_.kv_heads, mode_.page_size, exact_memory_.k(layer),
                     exact_memory_.v(layer), keys ? rows : Rows{}, keys ? Rows{} : rows);
    if (block > 0) backend_.hadamard(rows, block);
    const std::vector<double> values = backend_.reals(rows);
    for (std::size_t i = 0; i < some.size(); ++i) {
      std::copy_n(values.begin() + std::int64_t(i) * width, width, out.begin() + some[i] * width);
    }
  }
}

}  // namespace isobit
