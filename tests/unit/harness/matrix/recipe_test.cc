// Recipes: exact text, what makes them differ, and what must not.
#include "harness/matrix/recipe.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "runtime/base/words.h"

namespace isobit {
namespace {

const RecipeInputs kInputs = {"aa", "bb", "cc", "ee", "F1", 8, ""};

struct OneCell {
  Scenario scenario;
  Cell cell;
};

OneCell cell_of(const std::string& more) {
  auto scenario =
      parse_scenario("version: 1\nname: t\nmodel: m\nprompts: p\n" + more, "t.yaml", {});
  EXPECT_TRUE(scenario) << scenario.error().text();
  auto matrix = expand(*scenario, false);
  EXPECT_TRUE(matrix);
  return {*scenario, matrix->cells[0]};
}

std::string class_of(const std::string& more, const RecipeInputs& inputs = kInputs) {
  const OneCell one = cell_of(more);
  return class_recipe(one.scenario, one.cell, inputs);
}

std::string recipe_of(const std::string& more, const RecipeInputs& inputs = kInputs) {
  const OneCell one = cell_of(more);
  return cell_recipe(one.scenario, one.cell, inputs);
}

TEST(Recipe, ClassRecipeIsSortedLines) {
  EXPECT_EQ(class_of("axes: {batch: [8], cache: [off], precision: [bf16]}\n"),
            "decode.ignore_eos=false\ndecode.max_new_tokens=16\ndecode.strategy=greedy\n"
            "engine=reference\nmodel=aa\nnumerics=F1\nprecision=bf16\nsegments=8\ntokenizer=bb\n");
  EXPECT_EQ(class_of("decode: {strategy: sample, temperature: 0.5, top_k: 4, seed: 9}\n"),
            "decode.ignore_eos=false\ndecode.max_new_tokens=16\ndecode.seed=9\n"
            "decode.strategy=sample\ndecode.temperature=0x1p-1\ndecode.top_k=4\n"
            "decode.top_p=0x1p+0\nengine=reference\nmodel=aa\nnumerics=F1\nprecision=fp32\n"
            "segments=8\ntokenizer=bb\n");
}

/// Where a row depends on its company, the other prompts are part of the class: those of a batch,
/// and those that share a prefix in one step.
TEST(Recipe, TheCompanyOfAStepIsPartOfTheClass) {
  RecipeInputs other = kInputs;
  other.prompts_digest = "dd";
  const std::string rows = "axes: {gemm: [{by_rows: {1: {split_k: 4}, 9: {split_k: 1}}}]";
  EXPECT_EQ(class_of(rows + "}\n"), class_of(rows + "}\n", other));
  for (const char* more : {", batch: [3]}\n", ", cache: [prefix]}\n"}) {
    EXPECT_NE(class_of(rows + more), class_of(rows + more, other)) << more;
  }
}

TEST(Recipe, OneClassOverLosslessAxesPromptsAndTraceLevels) {
  const std::string base = class_of("");
  EXPECT_EQ(class_of("axes: {isa: [scalar], threads: [2], batch: [3], gpus: [8],\n"
                     "       cache: [{paged: 16}], device: [cuda]}\nobserve: ops\n"),
            base);
  RecipeInputs prompts = kInputs;
  prompts.prompts_digest = "dd";
  EXPECT_EQ(class_of("", prompts), base);
  EXPECT_NE(class_of("axes: {precision: [bf16]}\n"), base);
  EXPECT_NE(class_of("axes: {teacher_forced: [true]}\n"), base);
  RecipeInputs answers = kInputs;  // other targets are other rows, where cells are fed them
  answers.answers_digest = "ff";
  EXPECT_EQ(class_of("axes: {teacher_forced: [true]}\n", answers),
            class_of("axes: {teacher_forced: [true]}\n"));
  EXPECT_NE(class_of("axes: {teacher_forced: [answer]}\n", answers),
            class_of("axes: {teacher_forced: [answer]}\n"));
  EXPECT_NE(class_of("axes: {weights: [{bsr: 5}]}\n"), base);
  EXPECT_NE(class_of("axes: {engine: [openblas]}\n"),
            class_of("axes: {engine: [openblas], batch: [3]}\n"));
}

TEST(Recipe, CachesAsShippedHaveAClassForEachSchedule) {
  const std::string kv = "kv: [{hqq: 4}]";
  const std::string one = class_of("axes: {" + kv + "}\n");
  EXPECT_EQ(class_of("axes: {" + kv + ", threads: [2], isa: [scalar], device: [cuda]}\n"), one);
  EXPECT_NE(class_of("axes: {" + kv + ", batch: [3]}\n"), one);
  EXPECT_NE(class_of("axes: {" + kv + ", cache: [{chunked: 17}]}\n"), one);
  RecipeInputs prompts = kInputs;
  prompts.prompts_digest = "dd";
  EXPECT_EQ(class_of("axes: {" + kv + "}\n", prompts), one);
  EXPECT_NE(class_of("axes: {" + kv + ", batch: [3]}\n", prompts),
            class_of("axes: {" + kv + ", batch: [3]}\n"))
      << "the prompts of a batch decide together";
}

TEST(Recipe, EveryPartOfTheCellRecipeMatters) {
  std::set<std::string> recipes = {recipe_of("")};
  for (const char* change :
       {"axes: {batch: [2]}\n", "axes: {cache: [off]}\n", "axes: {isa: [avx2]}\n",
        "axes: {threads: [2]}\n", "axes: {gpus: [2]}\n", "axes: {precision: [bf16]}\n",
        "observe: layers\n", "observe: ops\n", "decode: {max_new_tokens: 3}\n"})
    EXPECT_TRUE(recipes.insert(recipe_of(change)).second) << change;
  RecipeInputs inputs = kInputs;
  for (std::string* part : {&inputs.model_digest, &inputs.tokenizer_digest, &inputs.prompts_digest,
                            &inputs.numerics_version}) {
    *part += "x";
    EXPECT_TRUE(recipes.insert(recipe_of("", inputs)).second);
  }
  inputs.segments = 16;
  EXPECT_TRUE(recipes.insert(recipe_of("", inputs)).second);
}

TEST(Recipe, APatchIsInTheClassWithItsDonor) {
  const std::string taught = "decode: {teacher_forced: true}\n";
  const auto patched = [&](const std::string& text) {
    return class_of(taught + "axes: {patch: [" + text + "]}\n");
  };
  const std::string off = patched("{kv: all, from: {cache: off}}");
  EXPECT_NE(off.find("\npatch=kv:all+from:(cache:off)\n"), std::string::npos) << off;
  EXPECT_NE(off, patched("{kv: all, from: {cache: recomputed}}"));
  EXPECT_EQ(class_of(taught), class_of(taught + "axes: {patch: [none]}\n"));
  // Lossless values stay out, but where the donor follows its steps.
  const std::string batch = "axes: {batch: [3], patch: [{kv: all, from: {";
  EXPECT_EQ(class_of(taught + batch + "cache: off}}]}\n"), off);
  const std::string by_rows =
      class_of(taught + batch + "gemm: {by_rows: {1: {split_k: 4}, 2: {split_k: 1}}}}}]}\n");
  EXPECT_NE(by_rows.find("batch=3\n"), std::string::npos) << by_rows;
  EXPECT_NE(by_rows.find("batch.prompts=cc\n"), std::string::npos) << by_rows;
  EXPECT_NE(patched("{kv: all, from: {engine: openblas, batch: 1}}"), off);
}

TEST(Recipe, ADonorPromptIsInTheClassByItsTokens) {
  const std::string from = "axes: {patch: [{residual: 1, from: {prompt: a}}]}\n";
  RecipeInputs inputs = kInputs;
  inputs.prompt_digests = {{"a", "11"}, {"b", "22"}};
  const std::string recipe = class_of(from, inputs);
  EXPECT_NE(recipe.find("patch.donor=11\n"), std::string::npos) << recipe;
  inputs.prompt_digests["a"] = "33";
  EXPECT_NE(class_of(from, inputs), recipe);
  EXPECT_EQ(class_of("", inputs), class_of(""));
}

TEST(Recipe, ExecutionKeyIgnoresOrderAndKeepsBoundaries) {
  const Sha256 key = execution_key("r", {"exe=1", "lib=2"});
  EXPECT_EQ(key, execution_key("r", {"lib=2", "exe=1"}));
  EXPECT_NE(key, execution_key("r", {"exe=1", "lib=3"}));
  EXPECT_NE(key, execution_key("r", {"exe=1"}));
  EXPECT_NE(key, execution_key("q", {"exe=1", "lib=2"}));
  EXPECT_NE(execution_key("r", {"ab", "c"}), execution_key("r", {"a", "bc"}));
  EXPECT_NE(execution_key("r5:x", {}), execution_key("r", {"5:x"}));
}

TEST(Suggest, NearestWord) {
  EXPECT_EQ(nearest("bf61", {"fp32", "bf16", "fp16"}), "bf16");
  EXPECT_EQ(nearest("BATCH", {"batch", "cache"}), "batch");
  EXPECT_EQ(nearest("xyzzy", {"batch", "cache"}), "");
  EXPECT_EQ(nearest("", {"batch"}), "");
  EXPECT_EQ(nearest(std::string(1000, 'a'), {"batch"}), "");
  EXPECT_EQ(did_you_mean("xyzzy", {"batch", "cache"}), "; known: batch, cache");
  EXPECT_EQ(did_you_mean("bach", {"batch", "cache"}), "; did you mean \"batch\"?");
  EXPECT_EQ(in_quotes("a\nb"), "\"a\\nb\"");
  EXPECT_EQ(in_quotes(std::string(100, 'x')).size(), 64u);
}

}  // namespace
}  // namespace isobit
