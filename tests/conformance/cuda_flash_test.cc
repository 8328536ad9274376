// Attention over key blocks on the GPU against the literal CPU text: blocks, splits, roundings and
// the mitigation, in every precision; and models of which steps are replayed as graphs.
#include "tests/conformance/cuda_pair.h"
#include "tests/conformance/flash_scene.h"
#include "tests/conformance/kv_cases.h"

namespace isobit::flash_test {
namespace {

class CudaFlashGpu : public cuda_test::CudaOps {
 protected:
  static void compare(Case c, std::uint64_t seed) {
    c.precision = precision();
    if (c.precision == Precision::fp64 && c.schedule.find("p:") != std::string::npos) return;
    const Scene scene(c, seed);
    const auto gpu = backend_of(c, "auto", 1, "cuda");
    ASSERT_NE(gpu, nullptr);
    const auto cpu = backend_of(c, "scalar");
    const std::vector<double> want = scene.run(*cpu);
    EXPECT_TRUE(cpu::testing::same(want, scene.run(*gpu))) << c;
    // 60 binades leave fp16's range: rows of infinities and NaN.
    const bool overflows = c.data == Data::wide && c.precision == Precision::fp16;
    EXPECT_TRUE(c.data == Data::special || overflows || cpu::testing::has_substance(want)) << c;
    EXPECT_EQ(cpu->describe().attention, gpu->describe().attention) << c;
    EXPECT_NE(gpu->describe().kernels.find("attention_flash"), std::string::npos);
  }
};
INSTANTIATE_TEST_SUITE_P(Precision, CudaFlashGpu, ::testing::Range(0, kPrecisions),
                         cuda_test::precision_name);

TEST_P(CudaFlashGpu, BlocksSplitsAndRoundings) {
  std::uint64_t seed = 1000;
  for (const char* block : {"flash:16", "flash:32", "flash:64", "flash:128", "flash:256"}) {
    for (const char* more : {"", "+p:bf16", "+p:fp16+splits:3", "+splits:64", "+splits:by_length",
                             "+stabilise:(beta:7)", "+stabilise:(beta:2+form:repository)"}) {
      for (const Data data : cpu::testing::kEveryData) {
        Case c;
        c.schedule = std::string(block) + more;
        c.lengths = {1, 15, 17, 64, 257, 520};
        c.d = 40;
        c.data = data;
        compare(c, seed += 10);
      }
    }
  }
}

TEST_P(CudaFlashGpu, MaximaThatStandTwice) {
  for (const char* form : {"(beta:7)", "(beta:2+form:repository)"}) {
    Case c;
    c.schedule = std::string("flash:64+stabilise:") + form;
    c.lengths = {300, 41};
    c.queries = 20;
    c.twins = true;
    compare(c, 9);
  }
}

TEST_P(CudaFlashGpu, HeadsWindowsMasksAndCaps) {
  std::uint64_t seed = 5000;
  for (const char* schedule : {"flash:64+p:bf16+splits:2", "flash:16+splits:by_length"}) {
    for (std::int64_t d = 8; d <= 256; d += 56) {
      for (const std::int64_t window : {0, 1, 100}) {
        for (const int evict : {0, 3, 100000}) {
          Case c;
          c.schedule = schedule;
          c.d = d;
          c.heads = 9, c.kv_heads = 3, c.queries = 5;
          c.lengths = {3, 300};
          c.window = window, c.evict = evict;
          c.page_size = 17;
          c.softcap = window == 1 ? 1.0 : 0;
          c.data = evict == 100000 ? Data::special : Data::plain;
          compare(c, seed += 10);
        }
      }
    }
  }
}

/// Whole generations: a fixed number of splits may be replayed as a graph, one by length may not.
TEST_P(CudaFlashGpu, ModelsOnBothDevices) {
  if (precision() == Precision::fp64) GTEST_SKIP() << "P is not rounded in fp64";
  Runtime runtime{kv_test::model()};
  for (const char* schedule : {"flash:16+p:bf16+splits:3", "flash:16+splits:by_length"}) {
    std::vector<std::string> bits;
    for (const char* device : {"cpu", "cuda"}) {
      kv_test::Cell cell;
      cell.device = device, cell.batch = 3;
      GenerateRequest r = kv_test::request(precision(), "exact", cell);
      r.backend.attention = *parse_flash(schedule);
      const auto result = runtime.generate(r);
      ASSERT_TRUE(result) << result.error().text();
      EXPECT_EQ(result->trace.observed.attention, schedule);
      bits.push_back(bits_of_trace(result->trace));
    }
    EXPECT_EQ(bits[0], bits[1]) << schedule;
  }
}

}  // namespace
}  // namespace isobit::flash_test
