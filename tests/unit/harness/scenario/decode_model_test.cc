// The axes decode and model in a file: beside the keys of these names, and in cell names and
// hashes.
#include <gtest/gtest.h>

#include "harness/matrix/matrix.h"
#include "harness/matrix/recipe.h"

namespace isobit {
namespace {

const char* const kHead = "version: 1\nname: draws\nprompts: {file: p.jsonl, take: 1}\n";
const char* const kModel = "model: nano-300k\n";

std::string error_of(const std::string& more) {
  const auto scenario = parse_scenario(kHead + more, "t.yaml", {});
  if (!scenario) return scenario.error().text();
  const auto matrix = expand(*scenario, false);
  return matrix ? "valid" : matrix.error().text();
}

Matrix matrix_of(const std::string& more, Scenario* read = nullptr) {
  const auto scenario = parse_scenario(kHead + more, "t.yaml", {});
  EXPECT_TRUE(scenario) << scenario.error().text();
  if (!scenario) return {};
  auto matrix = expand(*scenario, false);
  EXPECT_TRUE(matrix) << matrix.error().text();
  if (read != nullptr) *read = *scenario;
  return matrix ? *matrix : Matrix{};
}

using Names = std::vector<std::string>;

Names names_of(const Matrix& matrix) {
  Names names;
  for (const Cell& cell : matrix.cells) names.push_back(cell.name());
  return names;
}

/// As they were before decode and model were axes.
TEST(DecodeAndModel, ScenariosWithoutTheAxesKeepNamesAndHashes) {
  const std::string axes = "axes: {batch: [1, 3], precision: [fp32, bf16]}\n";
  EXPECT_EQ(
      names_of(matrix_of(kModel + axes)),
      (Names{"draws%batch=1,precision=fp32 /f212aecf", "draws%batch=1,precision=bf16 /5db4822e",
             "draws%batch=3,precision=fp32 /5796484a", "draws%batch=3,precision=bf16 /c9ba73f9"}));
  EXPECT_EQ(
      names_of(matrix_of(kModel + axes +
                         "decode: {strategy: sample, temperature: 0.8, top_k: 50, top_p: "
                         "0.9, seed: 3, max_new_tokens: 4}\n")),
      (Names{"draws%batch=1,precision=fp32 /1bcfd893", "draws%batch=1,precision=bf16 /7e945dfa",
             "draws%batch=3,precision=fp32 /77d58575", "draws%batch=3,precision=bf16 /87d2099c"}));
  EXPECT_EQ(names_of(matrix_of(kModel + axes + "decode: {strategy: sample, temperature: 0}\n"))[0],
            "draws%batch=1,precision=fp32 /c7e8060b");
  EXPECT_EQ(
      names_of(matrix_of(std::string(kModel) + "decode: {strategy: sample}\n" +
                         "axes: {precision: [fp32, bf16], seed: [0, 2]}\n")),
      (Names{"draws%precision=fp32,seed=0 /43077860", "draws%precision=fp32,seed=2 /73659b5d",
             "draws%precision=bf16,seed=0 /d469aa08", "draws%precision=bf16,seed=2 /8d04483d"}));
}

/// The key is short for the axis with one value: the same hashes, classes and requests.
TEST(DecodeAndModel, AValueMeansWhatTheKeySays) {
  Scenario by_key, by_axis;
  const Matrix key = matrix_of(std::string(kModel) +
                                   "decode: {strategy: sample, top_k: 50, temperature: 0.8, "
                                   "seed: 3, max_new_tokens: 4}\n",
                               &by_key);
  const Matrix axis = matrix_of(
      "decode: {max_new_tokens: 4}\naxes: {model: [nano-300k], decode: [greedy, {top_k: 50, "
      "temperature: 0.8, seed: 3}]}\n",
      &by_axis);
  EXPECT_EQ(axis.cells[1].name(), "draws%decode=seed:3+temperature:0.8+top_k:50,model=nano-300k /" +
                                      key.cells[0].hash.substr(0, 8));
  EXPECT_EQ(key.cells[0].value("decode"), axis.cells[1].value("decode"));
  const RecipeInputs inputs = {"aa", "bb", "cc", "ee", "F1", 8};
  EXPECT_EQ(class_recipe(by_key, key.cells[0], inputs),
            class_recipe(by_axis, axis.cells[1], inputs));
  EXPECT_EQ(cell_recipe(by_key, key.cells[0], inputs), cell_recipe(by_axis, axis.cells[1], inputs));
  EXPECT_NE(class_recipe(by_axis, axis.cells[0], inputs),
            class_recipe(by_axis, axis.cells[1], inputs));
  EXPECT_EQ(text_of(key.cells[0].requested().sampler), text_of(axis.cells[1].requested().sampler));
  EXPECT_EQ(matrix_of(std::string(kModel) + "decode: {max_new_tokens: 4}\n").cells[0].hash,
            axis.cells[0].hash);
}

TEST(DecodeAndModel, AreSelectedByTheirValues) {
  const Matrix matrix = matrix_of(
      "axes: {model: [a/one, two], decode: [greedy, {top_k: 50}, {top_p: 0.9}]}\n"
      "exclude: [{model: two, decode: top_p}]\n");
  EXPECT_EQ(matrix.cells.size(), 5u);
  const auto count = [&](const char* expression) {
    const auto filter = Filter::parse(expression, "-k");
    EXPECT_TRUE(filter) << filter.error().text();
    return std::count_if(matrix.cells.begin(), matrix.cells.end(),
                         [&](const Cell& cell) { return filter->matches(cell.subject()); });
  };
  EXPECT_EQ(count("model=one"), 3);
  EXPECT_EQ(count("decode=top_k"), 2);
  EXPECT_EQ(count("decode=\"top_p:0.9\" and model in (one, two)"), 1);
  EXPECT_EQ(count("decode!=greedy"), 3);
}

TEST(DecodeAndModel, OneOfKeyAndAxis) {
  EXPECT_EQ(error_of(std::string(kModel) + "axes: {model: [a, b]}\n"),
            "t.yaml:4:8: model is an axis already; give it in one place");
  EXPECT_EQ(
      error_of(std::string(kModel) + "decode: {max_new_tokens: 2, top_k: 5, strategy: sample}\n"
                                     "axes: {decode: [greedy]}\n"),
      "t.yaml:5:29: decode is an axis already; its values say \"top_k\", under the key decode "
      "stand max_new_tokens and ignore_eos");
  EXPECT_EQ(error_of("axes: {batch: [1]}\n"), "t.yaml:1:1: the key \"model\" is missing");
  EXPECT_EQ(
      error_of(std::string(kModel) + "decode: {strategy: sample, seed: 3}\ninclude: [{decode: "
                                     "sample}]\n"),
      "t.yaml:5:10: decode is an axis already; its values say \"strategy\", under the key "
      "decode stand max_new_tokens and ignore_eos");
}

TEST(DecodeAndModel, OneSeed) {
  const std::string head = kModel;
  EXPECT_EQ(
      error_of(head + "axes: {decode: [sample, {top_k: 5, seed: 3}], seed: [1, 2]}\n"),
      "t.yaml:5:25: decode \"seed:3+top_k:5\" has a seed, and seed is an axis already; give it "
      "in one place");
  EXPECT_EQ(error_of(head + "axes: {decode: [greedy], seed: [1]}\n"),
            "t.yaml:5:33: axis seed has no meaning with strategy greedy; add decode: {strategy: "
            "sample}");
  const std::string mixed = "axes: {decode: [greedy, sample], seed: [0, 1]}\n";
  EXPECT_NE(
      error_of(head + mixed)
          .find(
              ": seed 1 has no meaning with decode greedy; exclude: [{decode: greedy, seed: [1]}]"),
      std::string::npos)
      << error_of(head + mixed);
  EXPECT_EQ(error_of(head + mixed + "exclude: [{decode: greedy, seed: 1}]\n"), "valid");
}

TEST(DecodeAndModel, ModelsHaveNamesOfTheirOwn) {
  EXPECT_EQ(error_of("axes: {model: [a/x, b/x]}\n"),
            "t.yaml:4:21: value \"x\" is twice in axis model; a model's name is the last component "
            "of its path");
  EXPECT_EQ(
      error_of("zip: [{model: [a/x, b/x], batch: [1, 2]}]\n"),
      "t.yaml:4:21: two models are named \"x\": \"a/x\" and \"b/x\"; a model's name is the last "
      "component of its path");
  EXPECT_EQ(error_of("axes: {model: [x, y]}\ninclude: [{batch: 3, model: z}, {batch: 2}]\n"),
            "valid");
  EXPECT_NE(error_of("axes: {model: [x, y], batch: [1]}\ninclude: [{batch: 3}]\n").find("no model"),
            std::string::npos);
}

TEST(DecodeAndModel, MergedModelsAreValues) {
  const Matrix matrix = matrix_of(
      "axes:\n  model:\n    - nano-300k\n"
      "    - {base: m/a, tasks: [t/b], merge: {arithmetic: 0.5}, store: {tvq: 4}}\n");
  EXPECT_EQ(matrix.cells[1].value("model"), "base:a+merge:(arithmetic:0.5)+store:(tvq:4)+tasks:/b");
  EXPECT_EQ(model_of(matrix.cells[1]),
            R"({"base":"m/a","merge":{"arithmetic":0.5},"store":{"tvq":4},"tasks":["t/b"]})");
  EXPECT_EQ(error_of("axes: {model: [{base: a, taks: [b]}]}\n"),
            "t.yaml:4:26: unknown key \"taks\" in model; did you mean \"tasks\"?");
  EXPECT_EQ(
      error_of("axes: {model: [{op: gemm, shapes: s}]}\n"),
      "t.yaml:4:16: one operation is no value of axis model; it is a scenario of its own, with "
      "the key model: {op: …, shapes: FILE}");
}

TEST(DecodeAndModel, CellsOfTwoModelsAreNotCompared) {
  const std::string axes = "axes: {model: [a, b], batch: [1, 3]}\n";
  EXPECT_EQ(
      error_of(axes + "expect: [{differ: {across: [model]}}]\n"),
      "t.yaml:5:29: axis model cannot be in across: another model is another function of other "
      "tokens. Each model has groups of its own; where: model=NAME chooses one");
  EXPECT_NE(error_of(axes + "measure: [{metrics: [div_index], across: [model, batch]}]\n"),
            "valid");
  const std::string measure =
      "measure: [{metrics: [div_index], across: [batch], where: model=a}]\n";
  Scenario scenario;
  const Matrix matrix =
      matrix_of(axes + measure + "expect: [{same_bits: {across: [batch]}}]\n", &scenario);
  const std::vector<Group> groups = groups_of(scenario, matrix);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].key, "model=a");
  EXPECT_EQ(groups[1].key, "model=b");
  EXPECT_EQ(measured_groups(scenario, matrix).size(), 1u);
}

}  // namespace
}  // namespace isobit
