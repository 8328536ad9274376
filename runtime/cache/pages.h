// Pages of one kind of memory: who holds which, counted, in an ascending or a scattered order.
//
// Bookkeeping only; the memory belongs to the store. A page goes back when the last sequence that
// reads it lets go of it. Callers: store.cc.
#pragma once

#include <cstdint>
#include <vector>

namespace isobit {

class PagePool {
 public:
  PagePool() = default;
  /// `pages` of `page_size` positions each; `scattered`: handed out in a fixed mixed order.
  PagePool(std::int32_t page_size, std::int64_t pages, bool scattered);

  [[nodiscard]] std::int32_t page_size() const { return page_size_; }
  [[nodiscard]] std::int64_t pages() const { return std::int64_t(references_.size()); }
  [[nodiscard]] std::int64_t free_pages() const { return std::int64_t(free_.size()); }
  /// REQUIRES: a page is free.
  std::int32_t take();
  void share(std::int32_t page) { ++references_[std::size_t(page)]; }
  void drop(std::int32_t page);

 private:
  std::int32_t page_size_ = 1;
  std::vector<std::int32_t> free_;  // taken from the back
  std::vector<int> references_;     // by page
};

/// The pages of a sequence, by position; kGone where a page went back before the others.
class PageTable {
 public:
  static constexpr std::int32_t kGone = -1;

  [[nodiscard]] const std::int32_t* data() const { return pages_.data(); }
  [[nodiscard]] std::int64_t size() const { return std::int64_t(pages_.size()); }
  [[nodiscard]] bool holds(std::int64_t index) const { return pages_[std::size_t(index)] != kGone; }
  /// Slot of a position: page * page_size + offset. REQUIRES: its page is held.
  [[nodiscard]] std::int64_t slot(const PagePool& pool, std::int64_t position) const;
  /// Takes pages until positions [0, n) have one.
  void grow(PagePool& pool, std::int64_t n);
  /// Gives pages back until none is left that holds only positions from n on.
  void shrink(PagePool& pool, std::int64_t n);
  /// Takes over the first `count` pages of another table. REQUIRES: this one is empty.
  void share(PagePool& pool, const PageTable& from, std::int64_t count);
  /// Gives one page back before the others.
  void release(PagePool& pool, std::int64_t index);
  void clear(PagePool& pool);

 private:
  std::vector<std::int32_t> pages_;
};

}  // namespace isobit
