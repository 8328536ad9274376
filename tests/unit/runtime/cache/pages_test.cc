// Pages: order, counts, tables that grow, share and give back.
#include "runtime/cache/pages.h"

#include <gtest/gtest.h>

#include <set>

namespace isobit {
namespace {

TEST(Pages, AscendOrAreScattered) {
  PagePool plain(16, 40, false), mixed(16, 40, true);
  std::vector<std::int32_t> first, second;
  for (int i = 0; i < 40; ++i) first.push_back(plain.take()), second.push_back(mixed.take());
  EXPECT_TRUE(std::is_sorted(first.begin(), first.end()));
  EXPECT_FALSE(std::is_sorted(second.begin(), second.end()));
  EXPECT_EQ(std::set<std::int32_t>(second.begin(), second.end()).size(), 40u);
  EXPECT_EQ(plain.free_pages(), 0);
  EXPECT_EQ(plain.pages(), 40);
}

TEST(Pages, ATableGrowsByWholePages) {
  PagePool pool(16, 10, false);
  PageTable table;
  table.grow(pool, 1);
  EXPECT_EQ(table.size(), 1);
  table.grow(pool, 16);
  EXPECT_EQ(table.size(), 1);
  table.grow(pool, 33);
  EXPECT_EQ(table.size(), 3);
  EXPECT_EQ(table.slot(pool, 0), std::int64_t(table.data()[0]) * 16);
  EXPECT_EQ(table.slot(pool, 35), std::int64_t(table.data()[2]) * 16 + 3);
  table.clear(pool);
  EXPECT_EQ(pool.free_pages(), 10);
}

TEST(Pages, SharedPagesGoBackWithTheirLastReader) {
  PagePool pool(8, 6, true);
  PageTable donor, reader;
  donor.grow(pool, 24);
  reader.share(pool, donor, 2);
  EXPECT_EQ(reader.size(), 2);
  EXPECT_EQ(reader.data()[1], donor.data()[1]);
  reader.grow(pool, 32);
  EXPECT_EQ(pool.free_pages(), 1);
  donor.clear(pool);
  EXPECT_EQ(pool.free_pages(), 2);
  reader.clear(pool);
  EXPECT_EQ(pool.free_pages(), 6);
}

TEST(Pages, ATableShrinksByWholePages) {
  PagePool pool(8, 4, false);
  PageTable table;
  table.grow(pool, 32);
  table.release(pool, 2);
  table.shrink(pool, 25);
  EXPECT_EQ(table.size(), 4) << "position 24 is in the last page";
  table.shrink(pool, 24);
  EXPECT_EQ(table.size(), 3);
  EXPECT_EQ(pool.free_pages(), 2);
  table.shrink(pool, 9);
  EXPECT_EQ(table.size(), 2) << "a page that went before is not given back twice";
  EXPECT_EQ(pool.free_pages(), 2);
  table.shrink(pool, 0);
  EXPECT_EQ(table.size(), 0);
  EXPECT_EQ(pool.free_pages(), 4);
}

TEST(Pages, OnePageMayGoBeforeTheOthers) {
  PagePool pool(8, 4, false);
  PageTable table;
  table.grow(pool, 32);
  table.release(pool, 1);
  EXPECT_FALSE(table.holds(1));
  EXPECT_TRUE(table.holds(2));
  EXPECT_EQ(table.data()[1], PageTable::kGone);
  EXPECT_EQ(pool.free_pages(), 1);
  EXPECT_EQ(pool.take(), 1);
  table.clear(pool);
  EXPECT_EQ(pool.free_pages(), 3) << "a page that had gone was not given back twice";
}

}  // namespace
}  // namespace isobit
