// Scenarios of one operation: what they say, what they cannot say, and what their cells are.
#include <gtest/gtest.h>

#include "harness/execute/session.h"
#include "harness/matrix/recipe.h"

namespace isobit {
namespace {

const std::string kModel = "model: {op: gemm, shapes: shapes/gemm-ci.jsonl}\n";

Result<Scenario> read(const std::string& body, const std::string& model = kModel) {
  return parse_scenario("version: 1\nname: t\n" + model + body,
                        ISOBIT_SOURCE_DIR "/scenarios/t.yaml", {});
}

/// Error without the folder that the file is in.
std::string error_of(const std::string& body, const std::string& model = kModel) {
  const auto scenario = read(body, model);
  if (scenario) return "";
  const std::string text = scenario.error().text();
  return text.substr(text.find("t.yaml"));
}

TEST(OperationScenario, HasNoModelAndNoPrompts) {
  const auto scenario = read(
      "axes: {rows: [1, 17], place: [first, last]}\nexpect: [{same_bits: {across: [rows]}}]\n");
  ASSERT_TRUE(scenario) << scenario.error().text();
  EXPECT_EQ(scenario->operation.kind, OperationKind::gemm);
  EXPECT_EQ(scenario->operation.shapes, "shapes/gemm-ci.jsonl");
  EXPECT_EQ(scenario->model, "operation gemm");
  const auto matrix = expand(*scenario, false);
  ASSERT_TRUE(matrix) << matrix.error().text();
  ASSERT_EQ(matrix->cells.size(), 4U);
  const OperationRequest asked = matrix->cells[3].requested().operation;
  EXPECT_EQ(asked.rows, 17);
  EXPECT_EQ(asked.place, RowPlace::last);
  EXPECT_EQ(asked.neighbours, Neighbours::random);
}

TEST(OperationScenario, APluginHasNoSoftmax) {
  const std::string body = "include: [{rows: 3, engine: {plugin: my.so}}]\n";
  const std::string why =
      ": engine \"plugin:my.so\" has no softmax: a plugin's table has attention, and not the "
      "weights inside it";
  const std::string said =
      error_of(body, "model: {op: softmax, shapes: shapes/softmax-ci.jsonl}\n");
  EXPECT_EQ(said, "t.yaml:4:29" + why);
  EXPECT_EQ(error_of(body), "");
}

TEST(OperationScenario, RefusesWhatIsOfAModel) {
  EXPECT_EQ(error_of("prompts: p.jsonl\n"),
            "t.yaml:4:1: \"prompts\" has no meaning in a scenario of one operation");
  EXPECT_EQ(error_of("decode: {max_new_tokens: 3}\n"),
            "t.yaml:4:1: \"decode\" has no meaning in a scenario of one operation");
  EXPECT_EQ(error_of("axes: {rows: [1], cache: [on]}\n"),
            "t.yaml:4:19: axis cache is one of a model; this scenario is one operation");
  EXPECT_EQ(error_of("exclude: [{batch: 3}]\n"),
            "t.yaml:4:12: axis batch is one of a model; this scenario is one operation");
  EXPECT_EQ(error_of("expect: [{same_bits: {where: batch=3, across: [rows]}}]\n"),
            "t.yaml:4:30: axis batch is one of a model; this scenario is one operation");
  EXPECT_EQ(error_of("expect: [{same_bits: {across: [kv]}}]\n"),
            "t.yaml:4:32: axis kv is one of a model; this scenario is one operation");
  EXPECT_EQ(error_of("requires: {gpus: real}\n"),
            "t.yaml:4:12: axis gpus is one of a model; this scenario is one operation");
  EXPECT_EQ(error_of("axes: {rows: [1, 2]}\nexpect: [{within: {across: [rows], max_kl: 1}}]\n"),
            "t.yaml:5:11: within max_kl 1 across rows: rows with op gemm are no distributions over "
            "tokens; bounds are max_abs and max_ulp");
}

TEST(OperationScenario, AModelHasNoneOfItsAxes) {
  const std::string model = "model: nano-300k\nprompts: p.jsonl\n";
  const std::string wrong =
      ": axis rows is one of a single operation, of a scenario with model: {op: …, shapes: FILE}";
  EXPECT_EQ(error_of("axes: {rows: [1]}\n", model), "t.yaml:5:8" + wrong);
  EXPECT_EQ(error_of("expect: [{same_bits: {across: [rows]}}]\n", model), "t.yaml:5:32" + wrong);
  EXPECT_EQ(error_of("expect: [{same_bits: {where: rows>1, across: [batch]}}]\n", model),
            "t.yaml:5:30" + wrong);
}

TEST(OperationScenario, AnOperationHasTheAxesThatItKnows) {
  const auto model = [](const std::string& op) {
    return "model: {op: " + op + ", shapes: f.jsonl}\n";
  };
  EXPECT_EQ(error_of("axes: {gemm: [reference]}\n", model("softmax")),
            "t.yaml:4:8: axis gemm has no meaning with op softmax: it orders products");
  EXPECT_EQ(error_of("axes: {attention: [reference]}\n", model("gemm")),
            "t.yaml:4:8: axis attention has no meaning with op gemm: it orders the keys of "
            "attention");
  EXPECT_EQ(
      error_of("axes: {stride: [3]}\n", model("rms_norm")),
      "t.yaml:4:8: axis stride has no meaning with op rms_norm: a backend's takes dense rows");
  EXPECT_EQ(error_of("axes: {stride: [3]}\n", model("attention")), "");
}

TEST(OperationScenario, TheMapIsReadStrictly) {
  EXPECT_EQ(error_of("", "model: {op: gem, shapes: f}\n"),
            "t.yaml:3:13: unknown op \"gem\"; did you mean \"gemm\"?");
  EXPECT_EQ(error_of("", "model: {op: gemm}\n"),
            "t.yaml:3:8: model: op needs shapes: a file of shapes, one a line");
  EXPECT_EQ(error_of("", "model: {shapes: f}\n"),
            "t.yaml:3:8: model: shapes without op: which operation?");
  EXPECT_EQ(error_of("", "model: {op: gemm, shapes: f, base: m}\n"),
            "t.yaml:3:30: unknown key \"base\" in model; known: op, shapes");
  EXPECT_EQ(error_of("axes: {rows: [0]}\n"),
            "t.yaml:4:15: unknown value \"0\" for axis rows; a whole number from 1 to 65535");
  EXPECT_EQ(error_of("axes: {align: [-1]}\n"),
            "t.yaml:4:16: unknown value \"-1\" for axis align; a whole number from 0 to 1024");
  EXPECT_EQ(error_of("axes: {place: [end]}\n").substr(0, 45),
            "t.yaml:4:16: unknown value \"end\" for axis pla");
}

TEST(OperationScenario, GoldenClassesDropTheLaunchAndKeepTheNumbers) {
  const auto scenario = read(
      "axes: {rows: [1, 40], data: [random, wide]}\ninclude:\n"
      "  - {rows: 40, place: last, neighbours: nan, align: 3, stride: 5}\n"
      "  - {rows: 1, seed: 3}\n");
  ASSERT_TRUE(scenario) << scenario.error().text();
  const auto matrix = expand(*scenario, false);
  ASSERT_TRUE(matrix) << matrix.error().text();
  const auto session = open_session(*scenario);
  ASSERT_TRUE(session) << session.error().text();
  EXPECT_EQ(session->shapes.size(), 4U);
  std::set<std::string> classes;
  for (const Cell& cell : matrix->cells) {
    const std::string recipe = class_recipe(*scenario, cell, session->models.front().inputs);
    const std::string data = cell.value("data") == "wide" ? "data=wide\n" : "";
    const std::string seed = cell.value("seed") == "3" ? "seed=3\n" : "";
    EXPECT_EQ(recipe, data + "engine=reference\nmodel=operation gemm\nnumerics=" +
                          kNumericsVersion + "\nprecision=fp32\n" + (seed.empty() ? "" : seed) +
                          "segments=8\ntokenizer=none\n");
    classes.insert(recipe);
  }
  EXPECT_GE(classes.size(), 2U);
}

/// A schedule that follows the rows of a product makes rows a part of what is computed.
TEST(OperationScenario, ASchedulesRowsAreInItsClass) {
  const auto scenario =
      read("axes: {rows: [1, 40], gemm: [{by_rows: {1: {split_k: 4}, 2: {split_k: 2}}}]}\n");
  ASSERT_TRUE(scenario) << scenario.error().text();
  const auto matrix = expand(*scenario, false);
  ASSERT_TRUE(matrix) << matrix.error().text();
  EXPECT_NE(class_axes(matrix->cells[0]), class_axes(matrix->cells[1]));
}

}  // namespace
}  // namespace isobit
