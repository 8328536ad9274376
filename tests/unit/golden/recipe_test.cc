// Recipes line by line: what changed, in which order, and what a scenario asks for.
#include "golden/recipe.h"

#include <gtest/gtest.h>

#include "golden/golden.h"

namespace isobit {
namespace {

TEST(Recipe, ChangesComeGravestFirst) {
  const auto changes = recipe_changes(
      "batch=3\ndecode.seed=1\nlibrary.b.so=1\nmodel=m1\nnumerics=F0\ntokenizer=t\nvariant=Zen\n",
      "decode.seed=2\nlibrary.b.so=2\nmodel=m2\nnumerics=F1\ntokenizer=u\nvariable.X=1\nvariant="
      "A\n");
  EXPECT_EQ(text_of(changes),
            "model m1 -> m2; tokenizer t -> u; seed 1 -> 2; batch 3 -> (none); numerics F0 -> F1; "
            "library b.so 1 -> 2; variable X (none) -> 1; variant Zen -> A");
}

TEST(Recipe, EqualOnesHaveNoChange) {
  EXPECT_TRUE(recipe_changes("a=1\nb=2\n", "b=2\na=1\n").empty());
}

TEST(Recipe, DigestsAreShortened) {
  const std::string digest(64, 'a');
  EXPECT_EQ(short_value(digest), std::string(12, 'a'));
  EXPECT_EQ(short_value(digest + "a"), digest + "a");
  EXPECT_EQ(short_value("F1"), "F1");
}

TEST(Recipe, AScenarioAsksWhateverTheMachine) {
  const std::string common = "engine=openblas\nmodel=m\n";
  const std::string here = "engine=openblas\nlibrary.l=1\nmodel=m\nvariable.X=2\nvariant=Zen\n";
  EXPECT_EQ(asked_class(here), asked_class(common));
  EXPECT_NE(asked_class(here), asked_class("engine=openblas\nmodel=n\n"));
  EXPECT_EQ(asked_class(common), to_hex(sha256(common.data(), common.size())));
  GoldenBlock block;
  block.key = {std::string(64, '1'), std::string(64, '2')};
  block.class_recipe = common;
  EXPECT_EQ(block.asked_key(), block.key);
  block.class_recipe = here;
  EXPECT_EQ(block.asked_key(), (GoldenKey{asked_class(common), std::string(64, '2')}));
}

TEST(Recipe, OnlySomeKeysLeaveAGoldenComparable) {
  for (const char* key : {"model", "tokenizer", "numerics", "segments", "variant", "library.a.so",
                          "variable.CUBLAS_WORKSPACE_CONFIG"}) {
    EXPECT_TRUE(may_go_stale(key)) << key;
  }
  for (const char* key : {"engine", "precision", "batch", "decode.seed", "kv", "librarian"}) {
    EXPECT_FALSE(may_go_stale(key)) << key;
  }
}

}  // namespace
}  // namespace isobit
