// What the tests of families share: each family of the table as a toy model, in each precision.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "harness/selftest/wrap.h"
#include "tests/conformance/ranks_cases.h"
#include "tests/fakes/model.h"

namespace isobit::architecture_test {

using FamilyAndPrecision = std::tuple<int, int>;

/// Of the nine precisions of a family three run in every test run, of every third family one under
/// sanitizers too; the rest by hand.
enum class Share { own, two, rest };

inline std::vector<FamilyAndPrecision> families(Share share) {
  std::vector<FamilyAndPrecision> out;
  for (int family = 0; family < int(architectures().size()); ++family) {
    const int own = (2 * family + 1) % kPrecisions;
    for (int precision = 0; precision < kPrecisions; ++precision) {
      const int apart = (precision - own + kPrecisions) % kPrecisions;
      const bool instrumented = apart == 0 && family % 3 == 0;  // runs under sanitizers too
      const Share each = instrumented ? Share::own : apart % 3 == 0 ? Share::two : Share::rest;
      if (each == share) out.emplace_back(family, precision);
    }
  }
  return out;
}

inline std::string case_name(const ::testing::TestParamInfo<FamilyAndPrecision>& info) {
  std::string name = std::string(architectures()[std::size_t(std::get<0>(info.param))]->name) +
                     "_" + mode_of(Precision(std::get<1>(info.param))).name;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
}

/// Hands every plain operation on and none of the joint ones: these become what backend.h says
/// they are, one plain operation after the other.
inline void compose(GenerateRequest& request) {
  request.wrap_backend = [](std::unique_ptr<Backend> inner) -> std::unique_ptr<Backend> {
    return std::make_unique<selftest::ForwardingBackend>(std::move(inner), selftest::Setup{});
  };
}

class Families : public ::testing::TestWithParam<FamilyAndPrecision> {
 protected:
  static ModelConfig config() {
    return fakes::odd_config(architectures()[std::size_t(std::get<0>(GetParam()))]->name);
  }
  /// Prompts on both sides of the window, one of them beyond a split of attention.
  [[nodiscard]] GenerateRequest request(int batch, const std::string& cache = "on") const {
    GenerateRequest r =
        ranks_test::request(runtime_, Precision(std::get<1>(GetParam())), 1, batch, cache);
    r.prompts.resize(3);
    r.prompts.push_back({fakes::prompt(259), {}});
    return r;
  }
  static std::string run(Runtime& runtime, const GenerateRequest& r) {
    auto result = runtime.generate(r);
    if (!result) return result.error().text();
    const CellTrace& trace = result->trace;
    EXPECT_EQ(trace.status, CellStatus::ok) << trace.reason;
    EXPECT_EQ(trace.observed.device, r.backend.device);
    EXPECT_TRUE(r.backend.isa == "auto" || trace.observed.isa == r.backend.isa);
    EXPECT_EQ(trace.observed.ranks, r.ranks);
    return bits_of_trace(trace);
  }
  std::string run(const GenerateRequest& r) { return run(runtime_, r); }

  Runtime runtime_{fakes::toy_model(config())};
};

}  // namespace isobit::architecture_test
