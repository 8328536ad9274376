// Tensor parallel on GPUs: ranks with a GPU each and NCCL between them, and ranks that share GPUs,
// against one GPU and against the CPU's ranks: all precisions, cache on and off, batch 1, 3, 8.
//
// RealRanksGpu skips a number of ranks that the machine has not enough GPUs for, and says how many
// it has; with enough of them NCCL must be there. VirtualRanksGpu runs on any GPU.
#include <cstdio>

#include "runtime/run/ranks.h"
#include "tests/conformance/cuda_pair.h"
#include "tests/conformance/ranks_cases.h"

namespace isobit::cuda_test {
namespace {

using ranks_test::request;

struct Model {
  Runtime runtime;
  std::map<int, std::string> on_cpu;  // by precision: batch 3, cache on, four ranks

  explicit Model(LoadedModel model) : runtime(std::move(model)) {}
};

/// The shipped models, kept with their NCCL groups for the whole program (and never torn down:
/// CUDA may be gone by then).
Model& model(const std::string& name) {
  static std::map<std::string, Model*> all;
  Model*& out = all[name];
  if (out == nullptr) {
    auto loaded = load_model("scenarios/models/" + name);
    ISOBIT_CHECK(loaded.has_value());
    out = new Model(std::move(*loaded));
  }
  return *out;
}

/// GPUs of the machine, whether or not they can be used.
int gpus_there() {
  int count = 0;
  while (std::filesystem::exists("/dev/nvidia" + std::to_string(count))) ++count;
  return count;
}

struct Times {
  double seconds = 0;
  std::int64_t steps = 0;
};

class RanksGpu : public CudaOps {
 protected:
  static constexpr const char* kModels[] = {"nano-300k", "default-7m"};

  /// `arrival_seed` other than 0: messages go through the host, so ranks may share a GPU.
  std::string run(Model& m, GenerateRequest r, const std::string& transport, bool real) {
    r.backend.device = "cuda";
    auto result = m.runtime.generate(r);
    if (!result) return result.error().text();
    const CellTrace& trace = result->trace;
    EXPECT_EQ(trace.status, CellStatus::ok) << trace.reason;
    EXPECT_EQ(trace.observed.device, "cuda");
    EXPECT_EQ(trace.observed.ranks, r.ranks);
    EXPECT_EQ(trace.observed.virtual_ranks, !real && r.ranks > 1);
    EXPECT_EQ(trace.observed.transport.rfind(transport, 0), 0u) << trace.observed.transport;
    if (r.ranks > 1) {
      EXPECT_GT(trace.observed.collectives, 100);
      EXPECT_GT(trace.observed.bytes_moved, 10000);
    }
    last_ = {trace.seconds, trace.observed.steps};
    transport_ = trace.observed.transport;
    return bits_of_trace(trace);
  }

  /// The CPU's in-process ranks, batch 3, cache on; computed once a precision.
  const std::string& cpu(Model& m) {
    std::string& kept = m.on_cpu[GetParam()];
    if (kept.empty()) {
      auto result = m.runtime.generate(request(m.runtime, precision(), 4, 3, "on"));
      ISOBIT_CHECK(result.has_value() && result->trace.status == CellStatus::ok);
      kept = bits_of_trace(result->trace);
      EXPECT_GT(kept.size(), 5000u);
    }
    return kept;
  }

  void check(int ranks, bool real) {
    for (const char* name : kModels) {
      Model& m = model(name);
      const std::string want = cpu(m);
      EXPECT_EQ(want, run(m, request(m.runtime, precision(), 1, 3, "on"), "", false)) << name;
      for (const char* cache : {"on", "off"}) {
        for (const int batch : {1, 3, 8}) {
          GenerateRequest r = request(m.runtime, precision(), ranks, batch, cache);
          if (!real) r.arrival_seed = 11;
          EXPECT_EQ(want, run(m, r, real ? "nccl " : "threads, ", real))
              << name << ", " << ranks << " ranks, batch " << batch << ", cache " << cache;
          std::printf("%s %s: %d ranks, batch %d, cache %s: %.3f s, %.2f ms a step\n", name,
                      mode_of(precision()).name, ranks, batch, cache, last_.seconds,
                      1000 * last_.seconds / double(std::max<std::int64_t>(last_.steps, 1)));
        }
      }
    }
    std::printf("between %d ranks: %s\n", ranks, transport_.c_str());
  }

  void check_real(int ranks) {
    if (gpus_there() < ranks) {
      GTEST_SKIP() << ranks << " real ranks: this machine has " << gpus_there() << " GPUs";
    }
    BackendOptions options;
    options.device = "cuda";
    ASSERT_EQ(why_virtual(options, ranks), "") << "enough GPUs are there";
    check(ranks, true);
  }

  Times last_;
  std::string transport_;
};

class RealRanksGpu : public RanksGpu {};
class VirtualRanksGpu : public RanksGpu {};
INSTANTIATE_TEST_SUITE_P(Precision, RealRanksGpu, ::testing::Range(0, kPrecisions), precision_name);
INSTANTIATE_TEST_SUITE_P(Precision, VirtualRanksGpu, ::testing::Range(0, kPrecisions),
                         precision_name);

TEST_P(RealRanksGpu, Two) {
  check_real(2);
}
TEST_P(RealRanksGpu, Four) {
  check_real(4);
}
TEST_P(RealRanksGpu, Eight) {
  check_real(8);
}

TEST_P(VirtualRanksGpu, Two) {
  check(2, false);
}
TEST_P(VirtualRanksGpu, Four) {
  check(4, false);
}
TEST_P(VirtualRanksGpu, Eight) {
  check(8, false);
}

/// Every operation's rows, not the logits alone.
TEST_P(RealRanksGpu, EverySite) {
  if (gpus_there() < 2) GTEST_SKIP() << "2 real ranks: this machine has " << gpus_there();
  Model& m = model("nano-300k");
  GenerateRequest r = request(m.runtime, precision(), 2, 3, "on");
  r.level = TraceLevel::ops;
  auto want = m.runtime.generate(r);
  ASSERT_TRUE(want) << want.error().text();
  EXPECT_EQ(bits_of_trace(want->trace), run(m, r, "nccl ", true));
}

}  // namespace
}  // namespace isobit::cuda_test
