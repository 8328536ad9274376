// Every seeded defect is found on exactly its cells, and nothing is red without it.
#include "harness/selftest/selftest.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "harness/selftest/model.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += "\n    " + word;
  return out;
}

/// One test a defect, so that a report names what was missed.
class SeededDefect : public testing::TestWithParam<std::string> {};

TEST_P(SeededDefect, IsFoundWhereItIs) {
  SelftestOptions options;
  options.filter = GetParam();
  options.program = ISOBIT_PROGRAM;
  const std::vector<SelftestResult> results = selftest_results(options);
  ASSERT_EQ(results.size(), 1u);
  const SelftestResult& r = results.front();
  EXPECT_EQ(r.off, "PASS") << "switched off";
  if (r.untestable) GTEST_SKIP() << "this machine skips every cell of " << r.defect;
  EXPECT_TRUE(r.found) << r.note << "\n  expected " << r.expected << " in"
                       << joined(r.cells_expected) << "\n  red:" << joined(r.cells_red);
  EXPECT_EQ(std::set<std::string>(r.cells_red.begin(), r.cells_red.end()),
            std::set<std::string>(r.cells_expected.begin(), r.cells_expected.end()));
  EXPECT_FALSE(r.cells_expected.empty());
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, SeededDefect, testing::ValuesIn(selftest_names()), test_name);

TEST(Selftest, EveryAxisHasADefect) {
  const std::vector<std::string> names = selftest_names();
  EXPECT_GE(names.size(), 24u);
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
}

TEST(Selftest, UnknownNamesAreRefused) {
  SelftestOptions options;
  options.filter = "no such defect";
  EXPECT_EQ(run_selftest(options), 2);
  EXPECT_TRUE(selftest_results(options).empty());
}

TEST(Selftest, AFolderThatCannotBeMadeIsRefused) {
  SelftestOptions options;
  options.filter = "one-ulp";
  options.work_folder = "/dev/null/selftest";
  EXPECT_EQ(run_selftest(options), 2);
}

}  // namespace
}  // namespace isobit
