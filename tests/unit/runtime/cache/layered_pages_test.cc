// Pages of kept and of shared positions: who has which, and what goes back.
#include "runtime/cache/layered_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace isobit {
namespace {

using Table = LayeredPages::Table;

std::int64_t count_kept(const Table& table) {
  return std::count_if(table.kept.begin(), table.kept.end(), [](auto page) { return page >= 0; });
}

TEST(LayeredPages, ALayerHasItsOwnKeptPagesAndSharesTheOthers) {
  LayeredPages pages(3, 4, 6, 8, 8, false);
  EXPECT_EQ(pages.slab_pages(), 8 + 3 * 8);
  Table table;
  pages.reserve(table, 21);  // of pages 0 to 5, those from position 15 on are kept
  EXPECT_EQ(count_kept(table), 3);
  for (const std::int64_t p : {0, 11}) {
    EXPECT_EQ(pages.slot(table, 0, p), pages.slot(table, 2, p)) << p;
    EXPECT_LT(pages.slot(table, 0, p), 8 * 4);
  }
  std::set<std::int64_t> slots;
  for (std::int64_t layer = 0; layer < 3; ++layer) {
    for (std::int64_t p = 12; p < 21; ++p) slots.insert(pages.slot(table, layer, p));
  }
  EXPECT_EQ(slots.size(), 27u);
  EXPECT_GE(*slots.begin(), 8 * 4);
  EXPECT_EQ(pages.end_step(table), 15);
  EXPECT_EQ(table.evicted, 15);
  EXPECT_EQ(count_kept(table), 3) << "position 15 is in page 3";
  pages.reserve(table, 22);
  EXPECT_EQ(pages.end_step(table), 1);
  EXPECT_EQ(count_kept(table), 2);
}

TEST(LayeredPages, KeptPositionsStayWhereTheyAre) {
  for (const std::int64_t page : {1, 4, 7}) {
    for (const std::int64_t budget : {1, 3, 16}) {
      const std::int64_t kept = LayeredPages::most_kept(60, std::int32_t(page), budget);
      LayeredPages pages(2, std::int32_t(page), budget, kept, 60, true);
      Table table;
      std::vector<std::int64_t> at(60, -1);  // slots in layer 1
      for (std::int64_t n = 30, before = 0; n <= 60; before = n, n += n % 3 == 0 ? 5 : 1) {
        pages.reserve(table, std::min<std::int64_t>(n, 60));
        for (std::int64_t p = 0; p < n; ++p) {
          const std::int64_t slot = pages.slot(table, 1, p);
          if (p >= table.evicted && p < before) {
            ASSERT_EQ(slot, at[std::size_t(p)]) << p;
          }
          at[std::size_t(p)] = slot;
        }
        std::set<std::int64_t> different(at.begin(), at.begin() + n);
        ASSERT_EQ(std::int64_t(different.size()), n);
        pages.end_step(table);
        ASSERT_EQ(table.evicted, std::max<std::int64_t>(0, n - budget));
      }
    }
  }
}

TEST(LayeredPages, WithoutABudgetNothingIsKept) {
  LayeredPages pages(5, 16, 0, LayeredPages::most_kept(40, 16, 0), 3, false);
  EXPECT_EQ(pages.slab_pages(), 3);
  Table table;
  for (std::int64_t n = 20; n <= 40; ++n) {
    pages.reserve(table, n);
    EXPECT_EQ(pages.slot(table, 0, 19), pages.slot(table, 4, 19));
    pages.end_step(table);
    EXPECT_EQ(table.evicted, n);
  }
}

TEST(LayeredPages, ABudgetThatCoversEverythingEvictsNothing) {
  LayeredPages pages(2, 16, 64, LayeredPages::most_kept(40, 16, 64), 0, false);
  Table table;
  pages.reserve(table, 40);
  EXPECT_EQ(pages.end_step(table), 0);
  EXPECT_EQ(count_kept(table), 3);
}

TEST(LayeredPages, TruncatedPositionsAreForgotten) {
  LayeredPages pages(2, 4, 3, LayeredPages::most_kept(30, 4, 3), 8, false);
  Table table;
  pages.reserve(table, 20);
  pages.end_step(table);
  pages.reserve(table, 25);  // five rows, four of them drafted
  pages.end_step(table);
  EXPECT_EQ(table.evicted, 22);
  pages.truncate(table, 21);
  EXPECT_EQ(table.evicted, 21) << "none of those left is kept";
  pages.reserve(table, 22);
  pages.end_step(table);
  EXPECT_EQ(table.evicted, 21);
  pages.clear(table);
  pages.reserve(table, 30);
  EXPECT_EQ(count_kept(table), 2);
}

}  // namespace
}  // namespace isobit
