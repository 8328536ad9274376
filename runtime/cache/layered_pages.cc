// Kept and shared pages of one slab.

#include "runtime/cache/layered_pages.h"

#include <algorithm>
#include <utility>

#include "runtime/base/result.h"

namespace isobit {
namespace {

constexpr std::int32_t kGone = PageTable::kGone;

std::int64_t pages_of(std::int64_t n, std::int64_t page_size) {
  return (n + page_size - 1) / page_size;
}

}  // namespace

LayeredPages::LayeredPages(std::int64_t layers, std::int32_t page_size, std::int64_t budget,
                           std::int64_t kept, std::int64_t shared, bool scattered)
    : layers_(layers),
      budget_(budget),
      kept_(page_size, kept, scattered),
      shared_(page_size, shared, scattered) {}

std::int64_t LayeredPages::slab_pages() const {
  return shared_.pages() + layers_ * kept_.pages();
}

/// In a step of many rows both those that are kept before it and those after it have pages.
std::int64_t LayeredPages::most_kept(std::int64_t n, std::int32_t page_size, std::int64_t budget) {
  if (budget == 0) return 0;
  return std::min(pages_of(n, page_size), 2 * (pages_of(std::min(n, budget), page_size) + 1));
}

void LayeredPages::reserve(Table& table, std::int64_t n) {
  const std::int64_t page = kept_.page_size(), count = pages_of(n, page);
  const std::int64_t stays = std::max(table.evicted, n - budget_);  // from here on, after the step
  table.positions = n;
  table.kept.resize(std::size_t(count), kGone);
  table.shared.resize(std::size_t(count), kGone);
  table.layers.resize(std::size_t(layers_));
  for (std::vector<std::int32_t>& layer : table.layers) layer.resize(std::size_t(count));
  for (std::size_t i = 0; i < std::size_t(count); ++i) {
    const std::int64_t end = std::min(std::int64_t(i + 1) * page, n);
    if (table.kept[i] == kGone) {
      (end > stays ? table.kept[i] : table.shared[i]) = (end > stays ? kept_ : shared_).take();
    }
    for (std::int64_t layer = 0; layer < layers_; ++layer) {
      const std::int64_t first = shared_.pages() + layer * kept_.pages();
      table.layers[std::size_t(layer)][i] =
          table.kept[i] == kGone ? table.shared[i] : std::int32_t(first + table.kept[i]);
    }
  }
}

std::int64_t LayeredPages::end_step(Table& table) {
  for (std::size_t i = 0; i < table.shared.size(); ++i) give_back(shared_, table.shared, i);
  const std::int64_t before = table.evicted;
  table.evicted = std::max(before, table.positions - budget_);
  const std::int64_t whole = table.evicted / kept_.page_size();  // pages without a kept position
  for (std::size_t i = 0; i < std::size_t(whole); ++i) give_back(kept_, table.kept, i);
  return table.evicted - before;
}

void LayeredPages::truncate(Table& table, std::int64_t n) {
  ISOBIT_CHECK(n <= table.positions);
  const auto count = std::size_t(pages_of(n, kept_.page_size()));
  for (std::size_t i = count; i < table.kept.size(); ++i) give_back(kept_, table.kept, i);
  table.kept.resize(count);
  table.shared.resize(count);
  table.positions = n;
  table.evicted = std::min(table.evicted, n);
}

void LayeredPages::clear(Table& table) {
  for (std::size_t i = 0; i < table.kept.size(); ++i) {
    give_back(kept_, table.kept, i);
    give_back(shared_, table.shared, i);
  }
  table = {};
}

std::int64_t LayeredPages::slot(const Table& table, std::int64_t layer,
                                std::int64_t position) const {
  const std::int64_t page = kept_.page_size();
  const auto i = std::size_t(position / page);
  ISOBIT_CHECK(table.kept[i] != kGone || table.shared[i] != kGone);
  return std::int64_t(table.layers[std::size_t(layer)][i]) * page + position % page;
}

void LayeredPages::give_back(PagePool& pool, std::vector<std::int32_t>& pages, std::size_t index) {
  const std::int32_t page = std::exchange(pages[index], kGone);
  if (page != kGone) pool.drop(page);
}

}  // namespace isobit
