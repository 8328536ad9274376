// Spilled rows of two cells: which are aligned, what is added up, and that values which are not the
// recorded rows are told.
#include "harness/execute/pairs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "harness/execute/spill.h"
#include "tests/fakes/folder.h"

namespace isobit {
namespace {

using Row = std::vector<float>;

/// A cell of one prompt of three tokens, four rows of logits and one layer with h2 and k_seen.
struct Made {
  CellTrace trace;
  std::vector<Row> logits;
  std::map<ValueKey, Row> inner;

  explicit Made(float shift, std::vector<std::int32_t> fed) {
    PromptTrace& prompt = trace.prompts.emplace_back();
    prompt.id = "p";
    prompt.prompt_tokens = 3;
    for (int t = 0; t < 4; ++t) {
      logits.push_back({1.0F, 2.0F + shift * float(t), -3.0F, 0.5F});
      TokenRecord& token = prompt.tokens.emplace_back();
      token.position = 2 + t;
      token.fed = fed[std::size_t(t)];
      token.digest = digest_row(logits.back());
    }
    for (int p = 0; p < 6; ++p) {
      const Row h2 = {float(p), 1.0F + shift}, k = {1, 2 + shift, 3, p == 1 ? NAN : 4.0F};
      inner[{0, p, 0, Site::h2}] = h2;
      inner[{0, p, 0, Site::k_seen}] = k;
      prompt.observations.push_back({p, 0, Site::h2, digest_row(h2)});
    }
  }
};

class PairsTest : public testing::Test {
 protected:
  std::string write(const std::string& name, const Made& made) {
    SpillWriter writer(folder_.file(name));
    for (std::size_t t = 0; t < made.logits.size(); ++t) {
      writer.add(0, 2 + std::int64_t(t), std::as_bytes(std::span(made.logits[t])));
    }
    for (const auto& [key, row] : made.inner) writer.add(key, std::as_bytes(std::span(row)));
    EXPECT_TRUE(writer.finish());
    return folder_.file(name);
  }
  PairValues measure(const Made& a, const Made& b) {
    const auto got = measure_rows({"A", a.trace, write("a", a)}, {"B", b.trace, write("b", b)}, 2);
    EXPECT_TRUE(got) << got.error().text();
    return *got;
  }
  fakes::Folder folder_;
};

const LayerSum& sum_of(const PairValues& values, const std::string& site) {
  const auto at = std::find_if(values.layers.begin(), values.layers.end(),
                               [&](const LayerSum& sum) { return sum.site == site; });
  EXPECT_NE(at, values.layers.end()) << site;
  return *at;
}

TEST_F(PairsTest, EqualCellsAreZeroApart) {
  const Made a(0, {7, 7, 7, -1});
  const PairValues got = measure(a, a);
  EXPECT_EQ(got.wrong + got.problem, "");
  ASSERT_EQ(got.rows.size(), 4U);
  for (const PairRow& row : got.rows) EXPECT_EQ(row.kl + row.js + row.max_abs, 0);
  EXPECT_EQ(sum_of(got, "h2").rows, 6);
  EXPECT_EQ(sum_of(got, "h2").distance, 0);
  EXPECT_EQ(sum_of(got, "k_seen").rows, 11);  // two heads of two channels, one of them evicted
  EXPECT_EQ(sum_of(got, "k_seen").evicted, 1);
}

TEST_F(PairsTest, ARowThatIsGivenAgainCountsOnce) {
  const Made a(0, {7, 7, 7, -1});
  SpillWriter twice(folder_.file("twice"));
  for (int again = 0; again < 2; ++again) {
    for (std::size_t t = 0; t < 4; ++t) {
      Row row = a.logits[t];
      row[0] += float(again);
      twice.add(0, 2 + std::int64_t(t), std::as_bytes(std::span(row)));
    }
  }
  ASSERT_TRUE(twice.finish());
  const SpilledCell cell{"A", a.trace, folder_.file("twice")};
  const auto got = measure_rows(cell, cell, 2);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->wrong, "");
  EXPECT_EQ(got->rows.size(), 4U);
}

TEST_F(PairsTest, RowsEndBehindTheFirstOtherToken) {
  const Made a(0, {7, 7, 7, -1}), b(0.25F, {7, 8, 7, -1});
  const PairValues got = measure(a, b);
  ASSERT_EQ(got.rows.size(), 2U);  // the row from which the other token was drawn is the last
  EXPECT_EQ(got.rows[1].position, 3);
  EXPECT_EQ(got.rows[1].max_abs, 0.25);
  EXPECT_EQ(got.rows[0].max_abs, 0);
  EXPECT_EQ(sum_of(got, "h2").rows, 4);  // positions 0 to 3
  EXPECT_EQ(sum_of(got, "h2").distance, 1);
  const Made forced(0.25F, {7, 7, 7, -1});
  EXPECT_EQ(measure(a, forced).rows.size(), 4U);
}

TEST_F(PairsTest, AnotherRowThanTheRecordedOneIsAnErrorOfItsCell) {
  const Made a(0, {7, 7, 7, -1});
  Made b = a;
  std::swap(b.inner[{0, 2, 0, Site::h2}], b.inner[{0, 3, 0, Site::h2}]);
  PairValues got = measure(a, b);
  EXPECT_EQ(got.wrong,
            "values of B are not the row that was recorded: prompt p, position 2, layer 0, h2");
  EXPECT_FALSE(got.wrong_reference);
  got = measure(b, a);
  EXPECT_TRUE(got.wrong_reference);
  b = a;
  b.logits[1][3] = std::nextafter(b.logits[1][3], 1.0F);
  EXPECT_NE(measure(a, b).wrong.find("position 3, layer 0, logits"), std::string::npos);
  b = a;
  b.inner[{0, 2, 0, Site::k_seen}][0] = 9;  // it has no digest
  EXPECT_EQ(measure(a, b).wrong, "");
}

TEST_F(PairsTest, WhatIsNotThereIsSaid) {
  const Made a(0, {7, 7, 7, -1});
  Made b = a;
  b.logits.clear();
  EXPECT_EQ(measure(a, b).problem, "no aligned row of logits");
  b = a;
  b.inner[{0, 2, 0, Site::k_seen}].pop_back();
  b.inner[{0, 2, 0, Site::k_seen}].pop_back();
  EXPECT_NE(measure(a, b).problem.find("rows of k_seen have other lengths"), std::string::npos);
  b = a;
  b.trace.prompts[0].tokens_digest[0] ^= 1;
  EXPECT_EQ(measure(a, b).problem, "no aligned row of logits");
  folder_.write("b.index", "0 2 0 13 0 999999\n");
  EXPECT_FALSE(
      measure_rows({"A", a.trace, folder_.file("a")}, {"B", a.trace, folder_.file("b")}, 2));
}

}  // namespace
}  // namespace isobit
