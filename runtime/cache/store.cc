// Pages with reference counts; a page goes back when the last sequence that reads it is closed.

#include "runtime/cache/kv_cache.h"

#include <algorithm>

namespace isobit {
namespace {

constexpr std::int64_t kKeyBlock = 16;  // keys are stored in transposed blocks of 16 positions

/// Page numbers in a fixed scattered order (modes that page), or ascending.
std::vector<std::int32_t> page_order(std::int64_t pages, bool shuffled) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(pages));
  for (std::size_t i = 0; i < order.size(); ++i)
    order[i] = std::int32_t(pages) - 1 - std::int32_t(i);
  if (!shuffled) return order;
  std::uint64_t state = 88172645463325252u;
  for (std::size_t i = order.size(); i > 1; --i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::swap(order[i - 1], order[state % i]);
  }
  return order;
}

}  // namespace

KvCache::KvCache(Backend& backend, const KvShape& shape, const CacheMode& mode,
                 const KvHooks* hooks)
    : backend_(backend), shape_(shape), mode_(mode), hooks_(hooks) {
  const std::int64_t page = mode.page_size;
  const std::int64_t pages = (shape.max_slots + page - 1) / page;
  const std::int64_t k_slots = pages * ((page + kKeyBlock - 1) / kKeyBlock) * kKeyBlock;
  const std::int64_t width = shape.kv_heads * shape.head_dim;
  k_bytes_ = std::size_t(k_slots * width) * backend.real_size();
  v_bytes_ = std::size_t(pages * page * width) * backend.real_size();
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    k_.emplace_back(backend, k_bytes_);
    v_.emplace_back(backend, v_bytes_);
    if (mode.recomputes) {
      residual_.emplace_back(backend,
                             std::size_t(pages * page * shape.hidden) * backend.real_size());
    }
  }
  free_ = page_order(pages, mode.shuffled_pages);
  references_.assign(std::size_t(pages), 0);
}

int KvCache::open() {
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    if (!sequences_[i].open) {
      sequences_[i] = Sequence{};
      sequences_[i].open = true;
      return int(i);
    }
  }
  sequences_.push_back(Sequence{});
  sequences_.back().open = true;
  return int(sequences_.size()) - 1;
}

void KvCache::unref(std::int32_t page) {
  int& count = references_[std::size_t(page)];
  ISOBIT_CHECK(count > 0);
  if (--count == 0) free_.push_back(page);
}

void KvCache::clear(int sequence) {
  Sequence& s = sequences_[std::size_t(sequence)];
  for (const std::int32_t page : s.pages) unref(page);
  s.pages.clear();
  s.keep.clear();
}

void KvCache::close(int sequence) {
  clear(sequence);
  sequences_[std::size_t(sequence)].open = false;
}

std::int64_t KvCache::share_prefix(int sequence, int donor, std::int64_t positions) {
  Sequence& to = sequences_[std::size_t(sequence)];
  const Sequence& from = sequences_[std::size_t(donor)];
  ISOBIT_CHECK(to.pages.empty());
  const auto whole = std::size_t(positions / mode_.page_size);
  for (std::size_t i = 0; i < std::min(whole, from.pages.size()); ++i) {
    to.pages.push_back(from.pages[i]);
    ++references_[std::size_t(from.pages[i])];
  }
  return std::int64_t(to.pages.size()) * mode_.page_size;
}

void KvCache::reserve(int sequence, std::int64_t n) {
  Sequence& s = sequences_[std::size_t(sequence)];
  while (std::int64_t(s.pages.size()) * mode_.page_size < n) {
    ISOBIT_CHECK(!free_.empty());
    s.pages.push_back(free_.back());
    free_.pop_back();
    references_[std::size_t(s.pages.back())] = 1;
  }
}

std::int64_t KvCache::slot(int sequence, std::int64_t position) const {
  const Sequence& s = sequences_[std::size_t(sequence)];
  const std::int64_t page = s.pages[std::size_t(position / mode_.page_size)];
  return page * mode_.page_size + position % mode_.page_size;
}

const std::int32_t* KvCache::table(int sequence) const {
  return sequences_[std::size_t(sequence)].pages.data();
}

std::int64_t KvCache::pages(int sequence) const {
  return std::int64_t(sequences_[std::size_t(sequence)].pages.size());
}

void* KvCache::residual(std::int64_t layer, std::int64_t slot) {
  return static_cast<char*>(residual_[std::size_t(layer)].get()) +
         std::size_t(slot * shape_.hidden) * backend_.real_size();
}

std::vector<std::uint8_t>* KvCache::keep(std::int64_t layer, int sequence, bool create) {
  Sequence& s = sequences_[std::size_t(sequence)];
  if (s.keep.empty()) {
    if (!create) return nullptr;
    s.keep.resize(std::size_t(shape_.layers));
  }
  return &s.keep[std::size_t(layer)];
}

}  // namespace isobit
