// Pools of pages, exact and coded; what each layer of a sequence still shows.

#include "runtime/cache/store.h"

#include <algorithm>
#include <numeric>

#include "runtime/kv_layout.h"
#include "runtime/numerics/kv/codecs.h"

namespace isobit {
namespace {

constexpr std::int64_t kStagedRows = 256;  // exact rows that are coded at a time
constexpr std::int64_t kAll = CodedView::kAll;

std::int64_t rounded_up(std::int64_t n, std::int64_t unit) {
  return (n + unit - 1) / unit * unit;
}

/// Pages that the sequences need together, each as many as `need` says, and one to spare.
template <class F>
std::int64_t pages_for(const KvDemand& demand, const F& need) {
  std::vector<std::int64_t> live;
  for (const KvDemand::Length& each : demand.passing) live.push_back(need(each));
  std::sort(live.rbegin(), live.rend());
  live.resize(std::min(live.size(), std::size_t(demand.at_once)));
  std::int64_t pages = std::accumulate(live.begin(), live.end(), std::int64_t(1));
  for (const KvDemand::Length& each : demand.staying) pages += need(each);
  return pages;
}

/// Most exact pages of one sequence at once, where a step after the prompt has one row.
std::int64_t exact_pages(const CachePolicy* policy, const CacheMode& mode,
                         const KvDemand::Length& length) {
  const std::int64_t page = mode.page_size;
  const auto pages = [page](std::int64_t n) { return (n + page - 1) / page; };
  if (policy == nullptr || !mode.keeps || mode.recomputes) return pages(length.total);
  std::int64_t most = pages(length.prompt);
  for (std::int64_t q = length.prompt; q < length.total; ++q) {
    const CodedView seen = policy->coded(length.prompt, q);
    most = std::max(most, pages(q + 1) - std::min({seen.k, seen.v, q}) / page);
  }
  return most;
}

/// Whether a mask keeps a position; those past its end were never chosen from.
bool keeps(const std::vector<std::uint8_t>& mask, std::int64_t position) {
  return position >= std::int64_t(mask.size()) || mask[std::size_t(position)] != 0;
}

/// Groups of `unit` positions of [begin, end) of which a mask keeps any.
std::int64_t kept_groups(const std::vector<std::uint8_t>& mask, std::int64_t begin,
                         std::int64_t end, std::int64_t unit) {
  if (begin >= end) return 0;
  if (mask.empty()) return (end - begin + unit - 1) / unit;
  std::int64_t count = 0;
  for (std::int64_t at = begin; at < end; at += unit) {
    std::int64_t p = at;
    while (p < std::min(at + unit, end) && !keeps(mask, p)) ++p;
    count += p < std::min(at + unit, end) ? 1 : 0;
  }
  return count;
}

}  // namespace

void KvCache::Memory::take(Backend& backend, std::int64_t layers, std::size_t k_bytes,
                           std::size_t v_bytes) {
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    k_.emplace_back(backend, k_bytes);
    v_.emplace_back(backend, v_bytes);
  }
}

KvCache::KvCache(Backend& backend, const KvShape& shape, const CacheMode& mode,
                 const KvPolicySpec& kv, const KvDemand& demand)
    : backend_(backend), shape_(shape), mode_(mode), policy_(kv.policy.get()) {
  const std::int32_t page = mode.page_size;
  const std::int64_t width = shape.kv_heads * shape.head_dim;
  const std::size_t real = backend.real_size(), stored = backend.cache_size();
  std::int32_t code_page = page;
  if (policy_ != nullptr) {
    const Format format = backend.mode().cache;
    k_layout_.codec = make_codec(policy_->key_codec(), format);
    v_layout_.codec = make_codec(policy_->value_codec(), format);
    code_page =
        std::int32_t(rounded_up(page, std::max(k_layout_.codec.tokens, v_layout_.codec.tokens)));
    keeps_exact_ = policy_->coded(1, 0) != CodedView{kAll, kAll};
  }
  for (CodeLayout* layout : {&k_layout_, &v_layout_}) {
    layout->kv_heads = shape.kv_heads;
    layout->head_dim = shape.head_dim;
    layout->page_size = code_page;
  }
  if (keeps_exact_) {
    const std::int64_t pages =
        pages_for(demand, [&](const auto& length) { return exact_pages(policy_, mode, length); });
    exact_ = PagePool(page, pages, mode.shuffled_pages);
    exact_memory_.take(backend, shape.layers,
                       std::size_t(pages * rounded_up(page, kKeyBlock) * width) * stored,
                       std::size_t(pages * page * width) * stored);
  }
  if (k_layout_.codec.codes() || v_layout_.codec.codes()) {
    const std::int64_t pages = pages_for(demand, [code_page](const auto& length) {
      return (length.total + code_page - 1) / code_page;
    });
    codes_ = PagePool(code_page, pages, mode.shuffled_pages);
    code_memory_.take(backend, shape.layers, std::size_t(pages * k_layout_.page_bytes()),
                      std::size_t(pages * v_layout_.page_bytes()));
    if (keeps_exact_) staged_ = DeviceMemory(backend, std::size_t(kStagedRows * width) * real);
  }
  if (mode.recomputes) {
    const std::int64_t pages =
        pages_for(demand, [page](const auto& length) { return (length.total + page - 1) / page; });
    residuals_ = PagePool(page, pages, mode.shuffled_pages);
    for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
      residual_.emplace_back(backend, std::size_t(pages * page * shape.hidden) * real);
    }
  }
}

int KvCache::open(std::int64_t n) {
  auto free = std::find_if(sequences_.begin(), sequences_.end(),
                           [](const Sequence& each) { return !each.open; });
  if (free == sequences_.end()) free = sequences_.emplace(sequences_.end());
  *free = Sequence{};
  free->open = true;
  free->prompt = n;
  const int sequence = int(free - sequences_.begin());
  clear(sequence);
  return sequence;
}

void KvCache::clear(int sequence) {
  Sequence& s = at(sequence);
  s.exact.clear(exact_);
  s.codes.clear(codes_);
  s.residuals.clear(residuals_);
  s.positions = s.shared = 0;
  Layer layer;
  if (policy_ != nullptr) {
    const CodedView first = policy_->coded(s.prompt, 0);
    layer.coded = {first.k == kAll ? kAll : 0, first.v == kAll ? kAll : 0};
  }
  s.layers.assign(std::size_t(shape_.layers), layer);
}

void KvCache::close(int sequence) {
  clear(sequence);
  at(sequence).open = false;
}

std::int64_t KvCache::share_prefix(int sequence, int donor, std::int64_t positions) {
  Sequence& to = at(sequence);
  const Sequence& from = at(donor);
  const std::int64_t whole = positions / mode_.page_size;
  to.exact.share(exact_, from.exact, whole);
  to.codes.share(codes_, from.codes, whole);
  to.shared = std::max(to.exact.size(), to.codes.size()) * mode_.page_size;
  return to.shared;
}

void KvCache::reserve(int sequence, std::int64_t n) {
  Sequence& s = at(sequence);
  s.positions = n;
  if (keeps_exact_) s.exact.grow(exact_, n);
  if (mode_.recomputes) s.residuals.grow(residuals_, n);
  if (policy_ == nullptr) return;
  const CodedView next = policy_->coded(s.prompt, n);
  s.codes.grow(codes_, std::min(n, std::max(next.k, next.v)));
}

std::int64_t KvCache::slot(int sequence, std::int64_t position) const {
  return keeps_exact_ ? at(sequence).exact.slot(exact_, position) : -1;
}

std::int64_t KvCache::pages(int sequence) const {
  return keeps_exact_ ? at(sequence).exact.size() : at(sequence).codes.size();
}

void* KvCache::residual(std::int64_t layer, int sequence, std::int64_t position) const {
  const std::int64_t row = at(sequence).residuals.slot(residuals_, position);
  return static_cast<char*>(residual_[std::size_t(layer)].get()) +
         std::size_t(row * shape_.hidden) * backend_.real_size();
}

KvPools KvCache::pools(std::int64_t layer) const {
  return {exact_memory_.k(layer), exact_memory_.v(layer), code_memory_.k(layer),
          code_memory_.v(layer)};
}

void KvCache::code_rows(std::int64_t layer, Rows k, Rows v, std::span<const int> sequences,
                        std::span<const std::int64_t> positions, bool again) {
  const CodedView first = policy_ == nullptr ? CodedView{} : policy_->coded(1, 0);
  if (first.k != kAll && first.v != kAll) return;
  std::vector<std::int64_t> slots;
  for (std::size_t r = 0; r < positions.size(); ++r) {
    slots.push_back(at(sequences[r]).codes.slot(codes_, positions[r]));
  }
  if (first.k == kAll) backend_.encode_kv(k, slots, k_layout_, code_memory_.k(layer));
  if (first.v == kAll) backend_.encode_kv(v, slots, v_layout_, code_memory_.v(layer));
  if (layer == 0) (again ? counters_.rebuilt : counters_.coded) += std::int64_t(slots.size());
}

void KvCache::code(std::int64_t layer, int sequence, const CodedView& view) {
  Sequence& s = at(sequence);
  CodedView& done = s.layers[std::size_t(layer)].coded;
  if (done == view) return;
  const std::int64_t before = std::max(done.k, done.v);
  if (done.k != kAll) code_side(true, layer, s, done.k, view.k);
  if (done.v != kAll) code_side(false, layer, s, done.v, view.v);
  done = view;
  if (layer == 0) counters_.coded += std::max(done.k, done.v) - before;
}

void KvCache::code_again(std::int64_t layer, int sequence) {
  const Sequence& s = at(sequence);
  const CodedView& done = s.layers[std::size_t(layer)].coded;
  if (done.k != kAll) code_side(true, layer, s, 0, done.k);
  if (done.v != kAll) code_side(false, layer, s, 0, done.v);
  if (layer == 0 && done.k != kAll && done.v != kAll) {
    counters_.rebuilt += std::max(done.k, done.v);
  }
}

/// Codes K or V of positions [begin, end), a share at a time, from their exact values.
void KvCache::code_side(bool keys, std::int64_t layer, const Sequence& s, std::int64_t begin,
                        std::int64_t end) {
  const CodeLayout& layout = keys ? k_layout_ : v_layout_;
  void* const codes = keys ? code_memory_.k(layer) : code_memory_.v(layer);
  const std::int64_t width = shape_.kv_heads * shape_.head_dim;
  for (; begin < end; begin = std::min(begin + kStagedRows, end)) {
    const std::int64_t count = std::min(kStagedRows, end - begin);
    const Rows rows{staged_.get(), count, width, width};
    std::vector<std::int64_t> from, to;
    for (std::int64_t p = begin; p < begin + count; ++p) {
      from.push_back(s.exact.slot(exact_, p));
      if (p % layout.codec.tokens == 0) to.push_back(s.codes.slot(codes_, p));
    }
    backend_.read_kv(from, shape_.kv_heads, mode_.page_size, exact_memory_.k(layer),
                     exact_memory_.v(layer), keys ? rows : Rows{}, keys ? Rows{} : rows);
    backend_.encode_kv(rows, to, layout, codes);
  }
}

void KvCache::select(std::int64_t layer, int sequence, std::span<const double> weights) {
  std::vector<std::uint8_t>& keep = at(sequence).layers[std::size_t(layer)].keep;
  keep.resize(std::max(keep.size(), weights.size()), 1);
  const std::span<std::uint8_t> seen = std::span(keep).first(weights.size());
  const auto kept = [&] { return std::count(seen.begin(), seen.end(), std::uint8_t(1)); };
  const std::int64_t before = kept();
  policy_->select(weights, seen);
  counters_.evicted += before - kept();
  if (kept() == std::int64_t(seen.size())) keep.clear();
}

AttentionRows::Row KvCache::view(std::int64_t layer, int sequence, AttentionRows::Row row) {
  Sequence& s = at(sequence);
  Layer& shown = s.layers[std::size_t(layer)];
  // To the step's last position at once: a mask must not move while rows point to it.
  if (!shown.keep.empty()) shown.keep.resize(std::size_t(s.positions), 1);
  row.keep = shown.keep.empty() ? nullptr : shown.keep.data();
  row.code_table = s.codes.data();
  row.k_coded = shown.coded.k;
  row.v_coded = shown.coded.v;
  return row;
}

void KvCache::end_step() {
  count();
  if (policy_ == nullptr || !keeps_exact_ || !mode_.keeps || mode_.recomputes) return;
  for (Sequence& s : sequences_) {
    if (s.open) release(s);
  }
}

/// A page goes back when no query to come can read anything of it in any layer.
void KvCache::release(Sequence& s) {
  const std::int64_t page = mode_.page_size;
  const auto dead = [&](std::int64_t position) {
    return std::all_of(s.layers.begin(), s.layers.end(), [&](const Layer& layer) {
      return position < std::min(layer.coded.k, layer.coded.v) || !keeps(layer.keep, position);
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
  for (const Sequence& s : sequences_) {
    if (!s.open) continue;
    exact += (s.positions - s.shared) * shape_.layers * each * std::int64_t(backend_.cache_size());
    if (policy_ == nullptr || s.positions == 0) continue;
    for (const Layer& layer : s.layers) bytes += kept_bytes(s, layer);
    counters_.could_act |= policy_->acts(s.prompt, s.positions - 1);
  }
  if (policy_ == nullptr) bytes = exact;
  if (bytes <= counters_.bytes) return;
  counters_.bytes = bytes;
  counters_.exact_bytes = exact;
}

std::int64_t KvCache::kept_bytes(const Sequence& s, const Layer& layer) const {
  std::int64_t bytes = 0;
  for (const CodeLayout* layout : {&k_layout_, &v_layout_}) {
    const std::int64_t coded = layout == &k_layout_ ? layer.coded.k : layer.coded.v;
    const std::int64_t end = std::min(coded, s.positions);
    const std::int64_t tiles = kept_groups(layer.keep, s.shared, end, layout->codec.tokens);
    const std::int64_t rows = kept_groups(layer.keep, std::max(end, s.shared), s.positions, 1);
    bytes += tiles * layout->tiles_across() * layout->codec.bytes +
             rows * shape_.head_dim * std::int64_t(backend_.cache_size());
  }
  return bytes * shape_.all_kv_heads;
}

}  // namespace isobit
