// One scenario through the whole recipe, for tests of what a report says.
#pragma once

#include <gtest/gtest.h>

#include "harness/run.h"

namespace isobit::fakes {

/// The report of a run that keeps quiet and leaves no pending goldens. An error fails the test.
inline Report report_of(const std::string& scenario, RunOptions options) {
  options.update = "none";
  options.progress = false;
  auto report = run_scenario(scenario, options);
  EXPECT_TRUE(report) << report.error().text();
  return report ? *report : Report{};
}

inline std::int64_t count(const Report& report, Verdict verdict) {
  return report.counts[std::size_t(verdict)];
}

}  // namespace isobit::fakes
