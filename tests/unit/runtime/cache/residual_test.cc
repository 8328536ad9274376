// The residual policy by its text, and what it cannot serve.
#include "runtime/cache/residual.h"

#include <gtest/gtest.h>

namespace isobit {
namespace {

std::string text_of(const std::string& checkpoints, const std::string& budget) {
  const auto spec = parse_residual(checkpoints, budget);
  return spec ? spec->text() : spec.error().text();
}

TEST(Residual, EqualMeaningsHaveEqualText) {
  EXPECT_EQ(text_of("every_layer", ""), "residual:every_layer");
  EXPECT_EQ(text_of("every_layer", "0"), "residual:every_layer");
  EXPECT_EQ(text_of("(every:1)", ""), "residual:every_layer");
  EXPECT_EQ(text_of("(every:2)", "16"), "residual:(every:2)+budget:16");
  EXPECT_EQ(text_of("embedding", "64"), "residual:embedding+budget:64");
}

TEST(Residual, ErrorsSayWhatIsWrong) {
  EXPECT_EQ(text_of("every", ""), "residual is every_layer, embedding or {every: k}");
  EXPECT_EQ(text_of("", ""), "residual is every_layer, embedding or {every: k}");
  EXPECT_EQ(text_of("(every:0)", ""), "every is a number of layers from 1 to 4096");
  EXPECT_EQ(text_of("embedding", "-1"), "budget is a number of positions from 0 to 1073741824");
  EXPECT_EQ(check_residual(*parse_residual("(every:31)", ""), 30).error().text(),
            "every 31 layers is more than the model's 30");
  EXPECT_TRUE(check_residual(*parse_residual("embedding", ""), 2));
  EXPECT_FALSE(check_residual(*parse_residual("embedding", ""), *parse_cache_mode("prefix")));
  EXPECT_TRUE(check_residual(*parse_residual("embedding", ""), *parse_cache_mode("paged:16")));
}

TEST(Residual, LayersWithACheckpoint) {
  EXPECT_EQ(parse_residual("every_layer", "")->checkpoints(30), 30);
  EXPECT_EQ(parse_residual("(every:4)", "")->checkpoints(30), 8);
  EXPECT_EQ(parse_residual("embedding", "")->checkpoints(30), 0);
  EXPECT_TRUE(parse_residual("(every:4)", "")->checkpoint(0));
  EXPECT_FALSE(parse_residual("(every:4)", "")->checkpoint(3));
  EXPECT_FALSE(parse_residual("embedding", "")->checkpoint(0));
}

}  // namespace
}  // namespace isobit
