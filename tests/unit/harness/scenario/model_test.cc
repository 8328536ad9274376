// The key `model` of a scenario: a word or a map, and where what is wrong with it stands.
#include <gtest/gtest.h>

#include "harness/matrix/matrix.h"
#include "harness/scenario/scenario.h"

namespace isobit {
namespace {

Result<Scenario> with(const std::string& model, const std::vector<std::string>& overrides = {}) {
  return parse_scenario("version: 1\nname: s\nprompts: p.jsonl\nmodel: " + model + "\n", "s.yaml",
                        overrides);
}

std::string model_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const auto scenario = with(text, overrides);
  return scenario ? scenario->model : scenario.error().text();
}

const std::string kWhole =
    "{base: m, tasks: [f/a, b.tasks:c], merge: {arithmetic: 0.5}, store: {tvq: 4}}";

TEST(ScenarioModel, IsAWordOrAMap) {
  EXPECT_EQ(model_of("m"), "m");
  EXPECT_EQ(model_of(kWhole), R"({"base":"m","merge":{"arithmetic":0.5},"store":{"tvq":4},)"
                              R"("tasks":["f/a","b.tasks:c"]})");
  EXPECT_EQ(model_of("{base: m, tasks: []}"), R"({"base":"m","tasks":[]})");
  EXPECT_EQ(model_of("{base: m, tasks: [], merge: none, store: none}"),
            R"({"base":"m","tasks":[]})");
  EXPECT_EQ(model_of(R"('{"base": "m", "tasks": []}')"), R"({"base":"m","tasks":[]})");
}

TEST(ScenarioModel, TakesOverrides) {
  EXPECT_EQ(model_of(kWhole, {"model.store={rtvq: [3, 2]}", "model.merge.arithmetic=1"}),
            R"({"base":"m","merge":{"arithmetic":1.0},"store":{"rtvq":[3,2]},)"
            R"("tasks":["f/a","b.tasks:c"]})");
  EXPECT_EQ(model_of(kWhole, {"model.store=none"}),
            R"({"base":"m","merge":{"arithmetic":0.5},"tasks":["f/a","b.tasks:c"]})");
  EXPECT_EQ(model_of(kWhole, {"model=other"}), "other");
}

TEST(ScenarioModel, SaysWhereWhatIsWrongStands) {
  EXPECT_EQ(model_of("{base: m, tasks: [a], merge: {arithmetic: 1}, stroe: {tvq: 4}}"),
            "s.yaml:4:54: unknown key \"stroe\" in model; did you mean \"store\"?");
  EXPECT_EQ(model_of("{base: m, tasks: [a], merge: {arithmetic: .inf}}").substr(0, 12),
            "s.yaml:4:50:");
  EXPECT_EQ(model_of("{base: m, tasks: [a], merge: {arithmetic: 1e-999}}").substr(0, 12),
            "s.yaml:4:50:");
  EXPECT_EQ(model_of("{base: m, tasks: [a], merge: {arithmetic: 0}}").substr(0, 25),
            "s.yaml:4:37: model: merge");
  EXPECT_EQ(model_of("{base: m, tasks: [a], merge: {ties: 1}}").substr(0, 12), "s.yaml:4:38:");
  EXPECT_NE(model_of("{base: m, tasks: [a], merge: 1}").find("none or a map of one key"),
            std::string::npos);
  EXPECT_NE(model_of("{base: m, tasks: [a], merge: {arithmetic: 1}, store: {tvq: 0}}")
                .find("s.yaml:4:67: tvq must be a whole number from 1 to 8"),
            std::string::npos);
  EXPECT_NE(model_of("{base: m, tasks: [a], merge: {arithmetic: 1}, store: {rtvq: [3]}}")
                .find("rtvq must be [bits of the base, of an offset]"),
            std::string::npos);
  EXPECT_NE(model_of("{base: m, tasks: [a], merge: {arithmetic: 1}, store: {tvq: 4, rtn: 4}}")
                .find("one of them"),
            std::string::npos);
  EXPECT_NE(model_of("{tasks: []}").find("model: base is missing"), std::string::npos);
  EXPECT_NE(model_of("[a]").find("s.yaml:4:8: model must be"), std::string::npos);
}

// A cell's name is the same wherever its files are, and another for another store.
TEST(ScenarioModel, IsPartOfWhatACellMeans) {
  const auto hash = [](const std::string& model) {
    const auto scenario = with(model);
    ISOBIT_CHECK(scenario.has_value());
    const auto matrix = expand(*scenario, false);
    ISOBIT_CHECK(matrix.has_value());
    return matrix->cells.front().hash;
  };
  const std::string same =
      "{base: x/m, tasks: [a, y/b.tasks:c], merge: {arithmetic: 0.5}, "
      "store: {tvq: 4}}";
  EXPECT_EQ(hash(kWhole), hash(same));
  EXPECT_NE(hash(kWhole), hash("{base: m, tasks: [f/a, b.tasks:c], merge: {arithmetic: 0.5}, "
                               "store: {tvq: 3}}"));
  EXPECT_NE(hash(kWhole), hash("m"));
}

}  // namespace
}  // namespace isobit
