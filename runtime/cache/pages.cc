// Pages with reference counts.

#include "runtime/cache/pages.h"

#include <algorithm>
#include <utility>

#include "runtime/base/result.h"

namespace isobit {

PagePool::PagePool(std::int32_t page_size, std::int64_t pages, bool scattered)
    : page_size_(page_size), free_(std::size_t(pages)), references_(std::size_t(pages), 0) {
  for (std::size_t i = 0; i < free_.size(); ++i) {
    free_[i] = std::int32_t(pages) - 1 - std::int32_t(i);
  }
  if (!scattered) return;
  std::uint64_t state = 88172645463325252u;
  for (std::size_t i = free_.size(); i > 1; --i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::swap(free_[i - 1], free_[state % i]);
  }
}

std::int32_t PagePool::take() {
  ISOBIT_CHECK(!free_.empty());
  const std::int32_t page = free_.back();
  free_.pop_back();
  references_[std::size_t(page)] = 1;
  return page;
}

void PagePool::drop(std::int32_t page) {
  int& count = references_[std::size_t(page)];
  ISOBIT_CHECK(count > 0);
  if (--count == 0) free_.push_back(page);
}

std::int64_t PageTable::slot(const PagePool& pool, std::int64_t position) const {
  const std::int64_t size = pool.page_size();
  const std::int32_t page = pages_[std::size_t(position / size)];
  ISOBIT_CHECK(page != kGone);
  return page * size + position % size;
}

void PageTable::grow(PagePool& pool, std::int64_t n) {
  while (size() * pool.page_size() < n) pages_.push_back(pool.take());
}

void PageTable::shrink(PagePool& pool, std::int64_t n) {
  while (!pages_.empty() && (size() - 1) * pool.page_size() >= n) {
    if (holds(size() - 1)) pool.drop(pages_.back());
    pages_.pop_back();
  }
}

void PageTable::share(PagePool& pool, const PageTable& from, std::int64_t count) {
  ISOBIT_CHECK(pages_.empty());
  for (std::int64_t i = 0; i < std::min(count, from.size()); ++i) {
    pages_.push_back(from.pages_[std::size_t(i)]);
    if (holds(i)) pool.share(pages_.back());
  }
}

void PageTable::release(PagePool& pool, std::int64_t index) {
  pool.drop(std::exchange(pages_[std::size_t(index)], kGone));
}

void PageTable::clear(PagePool& pool) {
  for (const std::int32_t page : pages_) {
    if (page != kGone) pool.drop(page);
  }
  pages_.clear();
}

}  // namespace isobit
