// How a cell's axes become what a backend is asked for.
#include "harness/execute/session.h"

#include <gtest/gtest.h>

namespace isobit {
namespace {

/// What the only cell of a scenario with these axes asks for.
BackendOptions asked(const std::string& axes) {
  const std::string text =
      "version: 1\nname: s\nmodel: nano-300k\nprompts: prompts/lengths.jsonl\naxes: " + axes +
      "\nexpect: [{same_bits: {across: [batch]}}]\n";
  const auto scenario = parse_scenario(text, ISOBIT_SOURCE_DIR "/scenarios/s.yaml", {});
  EXPECT_TRUE(scenario) << scenario.error().text();
  const auto matrix = expand(*scenario, false);
  EXPECT_TRUE(matrix) << matrix.error().text();
  EXPECT_EQ(matrix->cells.size(), 1U);
  return matrix->cells.front().requested().backend;
}

TEST(BackendOptionsOfACell, ThreadsOfOpenBlasAreNoPartOfItsCoreType) {
  const BackendOptions own = asked("{engine: [{openblas: haswell, threads: 2}]}");
  EXPECT_EQ(own.engine.name, "openblas");
  EXPECT_EQ(own.engine.observed, "openblas:Haswell");
  EXPECT_EQ(own.threads_asked(), 2);
  const BackendOptions axis = asked("{engine: [{openblas: Haswell}], threads: [3]}");
  EXPECT_EQ(axis.engine.observed, "openblas:Haswell");
  EXPECT_EQ(axis.threads_asked(), 3);
}

TEST(BackendOptionsOfACell, TheReferenceTakesTheAxes) {
  const BackendOptions options = asked("{isa: [avx2], threads: [2]}");
  EXPECT_EQ(options.engine.name, "reference");
  EXPECT_EQ(options.engine.observed, "");
  EXPECT_EQ(options.isa, "avx2");
  EXPECT_EQ(options.threads_asked(), 2);
}

}  // namespace
}  // namespace isobit
