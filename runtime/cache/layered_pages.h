// Pages of a cache that keeps only the latest positions: each layer has pages of its own for these,
// and all layers share the pages of older ones, which hold a layer's K and V while it is computed.
//
// Bookkeeping only; the memory, one slab of pages, belongs to the store: the shared pages come
// first, then the kept pages of layer 0, 1, … Callers: store.cc.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/cache/pages.h"

namespace isobit {

class LayeredPages {
 public:
  /// A sequence's pages, by index of the page in the sequence; PageTable::kGone: it has none.
  struct Table {
    std::int64_t positions = 0;
    std::int64_t evicted = 0;  // positions below hold no K and V between two steps
    std::vector<std::int32_t> kept, shared;
    std::vector<std::vector<std::int32_t>> layers;  // places in the slab, by layer
  };

  LayeredPages() = default;
  /// `kept`: pages of each layer; `shared`: of all together.
  LayeredPages(std::int64_t layers, std::int32_t page_size, std::int64_t budget, std::int64_t kept,
               std::int64_t shared, bool scattered);

  [[nodiscard]] std::int64_t slab_pages() const;
  /// Most kept pages of a sequence of n positions at once.
  static std::int64_t most_kept(std::int64_t n, std::int32_t page_size, std::int64_t budget);

  /// Every position of [0, n) gets a page for the coming step, which completes them.
  void reserve(Table& table, std::int64_t n);
  /// After a step: old positions are evicted, shared pages go back. Gives how many were evicted.
  std::int64_t end_step(Table& table);
  /// Forgets the positions from n on.
  void truncate(Table& table, std::int64_t n);
  void clear(Table& table);
  /// Slot of a position in the slab. REQUIRES: between reserve() and end_step().
  [[nodiscard]] std::int64_t slot(const Table& table, std::int64_t layer,
                                  std::int64_t position) const;

 private:
  static void give_back(PagePool& pool, std::vector<std::int32_t>& pages, std::size_t index);

  std::int64_t layers_ = 0, budget_ = 0;
  PagePool kept_, shared_;
};

}  // namespace isobit
