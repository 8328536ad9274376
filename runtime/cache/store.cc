// Pools of pages, exact and coded; what each layer of a sequence still shows.

#include "runtime/cache/store.h"

#include <algorithm>
#include <numeric>

#include "runtime/kv_layout.h"

namespace isobit {
namespace {

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
    const std::int64_t coded = std::min({seen.k, seen.v, q});
    most =
        std::max(most, pages(q + 1) - coded / page + pages(std::min(policy->coded_from(), coded)));
  }
  return most;
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
    : backend_(backend),
      shape_(shape),
      mode_(mode),
      policy_(kv.policy.get()),
      residual_spec_(mode.keeps ? kv.residual : std::nullopt),
      model_{shape.layers, shape.all_heads, shape.all_kv_heads, shape.head_dim,
             backend.mode().cache} {
  const std::int32_t page = mode.page_size;
  const std::int64_t width = shape.kv_heads * shape.head_dim;
  const std::size_t real = backend.real_size(), stored = backend.cache_size();
  if (kv.shipped != nullptr) shipped_ = kv.shipped->open(model_);
  std::int32_t code_page = page;
  if (policy_ != nullptr) {
    k_layout_.codec = policy_->key_codec(model_);
    v_layout_.codec = policy_->value_codec(model_);
    rotation_ = policy_->rotation(model_);
    for (std::int32_t layer = 0; layer < shape.layers && first_changed_.layer < 0; ++layer) {
      const bool keys = policy_->changes(layer, true);
      if (keys || policy_->changes(layer, false)) first_changed_ = {layer, 0, keys};
    }
    code_page =
        std::int32_t(rounded_up(page, std::max(k_layout_.codec.tokens, v_layout_.codec.tokens)));
    keeps_exact_ = policy_->coded(1, 0) != CodedView{kAll, kAll};
  }
  for (CodeLayout* layout : {&k_layout_, &v_layout_}) {
    layout->kv_heads = shape.kv_heads;
    layout->head_dim = shape.head_dim;
    layout->page_size = code_page;
  }
  if (keeps_exact_ && !by_layer()) {
    const std::int64_t pages =
        pages_for(demand, [&](const auto& length) { return exact_pages(policy_, mode, length); });
    exact_ = PagePool(page, pages, mode.shuffled_pages);
    exact_memory_.take(backend, shipped_ == nullptr ? shape.layers : 1,
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
  }
  if ((policy_ != nullptr || shipped_ != nullptr) && keeps_exact_) {
    staged_ = DeviceMemory(backend, std::size_t(kStagedRows * width) * real);
  }
  if (rebuilds()) take_residual_memory(demand);
}

/// Checkpoints, and pages by layer for K and V.
void KvCache::take_residual_memory(const KvDemand& demand) {
  const std::int32_t page = mode_.page_size;
  const std::size_t stored = backend_.cache_size();
  const std::int64_t pages =
      pages_for(demand, [page](const auto& length) { return (length.total + page - 1) / page; });
  residuals_ = PagePool(page, pages, mode_.shuffled_pages);
  residual_.resize(std::size_t(shape_.layers));
  for (std::int64_t layer = 0; layer < shape_.layers; ++layer) {
    if (!checkpoint(layer)) continue;
    residual_[std::size_t(layer)] =
        DeviceMemory(backend_, std::size_t(pages * page * shape_.hidden) * stored);
  }
  if (!by_layer()) return;
  const std::int64_t budget = residual_spec_->budget;
  const std::int64_t kept = pages_for(demand, [&](const auto& length) {
    return LayeredPages::most_kept(length.total, page, budget);
  });
  const std::int64_t shared = pages_for(demand, [&](const auto& length) {
    return length.total > budget ? (length.total + page - 1) / page : 0;
  });
  layered_ = LayeredPages(shape_.layers, page, budget, kept, shared, mode_.shuffled_pages);
  const std::int64_t slab = layered_.slab_pages(), width = shape_.kv_heads * shape_.head_dim;
  slab_k_ =
      DeviceMemory(backend_, std::size_t(slab * rounded_up(page, kKeyBlock) * width) * stored);
  slab_v_ = DeviceMemory(backend_, std::size_t(slab * page * width) * stored);
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
  layered_.clear(s.layered);
  s.positions = s.shared = s.hidden = 0;
  if (shipped_ != nullptr) shipped_->clear(sequence);
  Layer layer;
  if (policy_ != nullptr) {
    const CodedView first = policy_->coded(s.prompt, 0);
    layer.coded = {first.k == kAll ? kAll : 0, first.v == kAll ? kAll : 0};
    layer.turned = rotation_.turns() && policy_->turns_at_write();
    layer.scores.resize(std::size_t(shape_.heads));
    const auto state = std::size_t(policy_->query_state(model_));
    layer.queries.assign(std::size_t(shape_.heads), std::vector<double>(state, 0.0));
  }
  s.layers.assign(std::size_t(shape_.layers), layer);
}

void KvCache::truncate(int sequence, std::int64_t n) {
  Sequence& s = at(sequence);
  ISOBIT_CHECK(n <= s.positions);
  s.positions = n;
  s.exact.shrink(exact_, n);
  s.codes.shrink(codes_, n);
  s.residuals.shrink(residuals_, n);
  if (by_layer()) layered_.truncate(s.layered, n);
  for (Layer& layer : s.layers) {
    ISOBIT_CHECK(layer.coded.k == kAll || layer.coded.k <= n);
    ISOBIT_CHECK(layer.coded.v == kAll || layer.coded.v <= n);
    ISOBIT_CHECK(layer.keep.empty());
  }
}

void KvCache::close(int sequence) {
  if (closing_) closing_(sequence);
  clear(sequence);
  at(sequence).open = false;
}

std::int64_t KvCache::share_prefix(int sequence, int donor, std::int64_t positions) {
  Sequence& to = at(sequence);
  const Sequence& from = at(donor);
  const std::int64_t unit = std::lcm(exact_.page_size(), codes_.page_size());  // 1: no such pool
  to.shared = std::min(positions, from.positions) / unit * unit;
  to.exact.share(exact_, from.exact, to.shared / exact_.page_size());
  to.codes.share(codes_, from.codes, to.shared / codes_.page_size());
  for (Layer& layer : to.layers) {  // whole pages of codes are coded, and no other of them
    if (policy_ != nullptr) layer.coded = policy_->coded(to.prompt, to.shared);
  }
  return to.shared;
}

void KvCache::reserve(int sequence, std::int64_t n) {
  Sequence& s = at(sequence);
  if (by_layer()) {
    counters_.could_act |= s.positions >= s.prompt && s.positions > residual_spec_->budget;
    layered_.reserve(s.layered, n);
  } else if (keeps_exact_) {
    s.exact.grow(exact_, n);
  }
  s.positions = n;
  if (!residual_.empty()) s.residuals.grow(residuals_, n);
  if (policy_ == nullptr) return;
  const CodedView next = policy_->coded(s.prompt, n);
  s.codes.grow(codes_, std::min(n, std::max(next.k, next.v)));
}

std::int64_t KvCache::slot(int sequence, std::int64_t position, std::int64_t layer) const {
  if (by_layer()) return layered_.slot(at(sequence).layered, layer, position);
  return keeps_exact_ ? at(sequence).exact.slot(exact_, position) : -1;
}

const std::int32_t* KvCache::table(int sequence, std::int64_t layer) const {
  const Sequence& s = at(sequence);
  return by_layer() ? s.layered.layers[std::size_t(layer)].data() : s.exact.data();
}

void* KvCache::k_pool(std::int64_t layer) const {
  return by_layer() ? slab_k_.get() : exact_memory_.k(pool_of(layer));
}

void* KvCache::v_pool(std::int64_t layer) const {
  return by_layer() ? slab_v_.get() : exact_memory_.v(pool_of(layer));
}

std::int64_t KvCache::pages(int sequence) const {
  if (by_layer()) return std::int64_t(at(sequence).layered.kept.size());
  return keeps_exact_ ? at(sequence).exact.size() : at(sequence).codes.size();
}

KvPools KvCache::pools(std::int64_t layer) const {
  return {exact_memory_.k(pool_of(layer)), exact_memory_.v(pool_of(layer)), code_memory_.k(layer),
          code_memory_.v(layer)};
}

}  // namespace isobit
