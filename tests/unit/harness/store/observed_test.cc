// What a cell observed of its cache policy, in the database and on its way from a worker.
#include <gtest/gtest.h>

#include "harness/execute/wire.h"
#include "harness/store/impl.h"

namespace isobit {
namespace {

void expect_same(const Observed& a, const Observed& b) {
  EXPECT_EQ(a.kv, b.kv);
  EXPECT_EQ(a.kv_bytes, b.kv_bytes);
  EXPECT_EQ(a.kv_exact_bytes, b.kv_exact_bytes);
  EXPECT_EQ(a.kv_evicted, b.kv_evicted);
  EXPECT_EQ(a.kv_coded, b.kv_coded);
  EXPECT_EQ(a.kv_rebuilt, b.kv_rebuilt);
  EXPECT_EQ(a.drafted, b.drafted);
  EXPECT_EQ(a.draft_hits, b.draft_hits);
  EXPECT_EQ(a.rolled_back, b.rolled_back);
  EXPECT_EQ(a.kv_identity, b.kv_identity);
  EXPECT_EQ(a.patch, b.patch);
  EXPECT_EQ(a.patch_rows, b.patch_rows);
  EXPECT_EQ(a.patch_changed, b.patch_changed);
  EXPECT_EQ(a.patch_sites, b.patch_sites);
  EXPECT_EQ(a.patch_identity, b.patch_identity);
  EXPECT_EQ(a.patch_doubt, b.patch_doubt);
}

Observed sample() {
  Observed o;
  o.kv = "kivi:2";
  o.kv_bytes = 3'000'000'000;
  o.kv_exact_bytes = 16'000'000'000;
  o.kv_evicted = 5, o.kv_coded = 6, o.kv_rebuilt = 7;
  o.drafted = 9, o.draft_hits = 4, o.rolled_back = 3;
  o.kv_identity = true;
  o.patch = "k:1+from:(cache:off)", o.patch_rows = 12, o.patch_changed = 3;
  o.patch_sites = "k: 12 rows, 3 changed", o.patch_identity = true;
  o.patch_doubt = "the cache was never hit";
  return o;
}

TEST(ObservedPolicy, ComesBackFromTheDatabase) {
  expect_same(parse_observed(print_observed(sample())), sample());
}

TEST(ObservedPolicy, AbsentIsExact) {
  const Observed old = parse_observed(R"({"engine": "reference", "max_position": 9})");
  EXPECT_EQ(old.max_position, 9);
  EXPECT_EQ(old.kv, "exact");
  EXPECT_EQ(old.kv_bytes, 0);
  EXPECT_FALSE(old.kv_identity);
  EXPECT_EQ(old.patch, "none");
}

TEST(ObservedPolicy, TravelsFromTheWorker) {
  wire::Writer writer;
  writer.put(sample());
  Observed got;
  wire::Reader reader(writer.bytes());
  reader.get(got);
  EXPECT_FALSE(reader.failed());
  expect_same(got, sample());
}

}  // namespace
}  // namespace isobit
