// Memory that runs out in a cell, on the last rank's device: one line with what was asked for, and
// the next cell on the same weights has its bits.
#include <gtest/gtest.h>

#include "harness/selftest/wrap.h"
#include "runtime/run/generate.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

constexpr const char* kLine = "device cuda: out of memory: 64.0 MiB asked, 1.5 of 80.0 MiB free";

/// A device whose memory ends after some allocations.
class Short final : public selftest::ForwardingBackend {
 public:
  Short(std::unique_ptr<Backend> inner, int allocations)
      : ForwardingBackend(std::move(inner), {}), left_(allocations) {}
  void* allocate(std::size_t bytes) override {
    if (left_-- == 0) throw OutOfMemory(kLine);
    return ForwardingBackend::allocate(bytes);
  }

 private:
  int left_;
};

TEST(Memory, ThatRunsOutIsOneLineAndTheNextCellGoesOn) {
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  GenerateRequest request;
  request.prompts.emplace_back();
  request.prompts[0].tokens = fakes::prompt(9);
  request.max_new_tokens = 9;
  for (const int ranks : {1, 2}) {
    request.ranks = ranks;
    const auto whole = runtime.generate(request);
    ASSERT_TRUE(whole) << whole.error().text();
    ASSERT_EQ(whole->trace.status, CellStatus::ok) << whole->trace.reason;
    int failures = 0;
    for (int allocations = 0; allocations < 6; ++allocations) {
      GenerateRequest poor = request;
      int rank = 0;
      poor.wrap_backend = [&](std::unique_ptr<Backend> inner) -> std::unique_ptr<Backend> {
        if (++rank < ranks) return inner;
        return std::make_unique<Short>(std::move(inner), allocations);
      };
      const auto result = runtime.generate(poor);
      ASSERT_TRUE(result) << result.error().text();
      if (result->trace.status == CellStatus::ok) continue;
      ++failures;
      EXPECT_EQ(result->trace.status, CellStatus::failed);
      EXPECT_EQ(result->trace.reason, kLine) << ranks << " ranks, allocation " << allocations;
    }
    EXPECT_GT(failures, 1);
    const auto again = runtime.generate(request);
    ASSERT_TRUE(again) << again.error().text();
    EXPECT_EQ(cell_root(again->trace), cell_root(whole->trace)) << "the cell after it";
  }
}

}  // namespace
}  // namespace isobit
