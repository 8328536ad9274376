// Plugins on a GPU: operations in the page's order have the CPU's bits, the example's other order
// has not, and what a kernel writes where it should not is one line. The plugins lie beside this
// program.
#include <filesystem>

#include "runtime/run/generate.h"
#include "tests/conformance/cuda_pair.h"
#include "tests/conformance/trace_bits.h"
#include "tests/fakes/model.h"

namespace isobit::cuda_test {
namespace {

class PluginGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    need_gpu();
    allow_external(true);
  }
  void TearDown() override { allow_external(false); }

  static GenerateRequest request(Precision precision) {
    GenerateRequest r;
    r.precision = precision;
    r.batch.size = 2;
    r.prompts = {{fakes::prompt(9), {}}, {fakes::prompt(5), {}}, {fakes::prompt(270), {}}};
    r.max_new_tokens = 3;
    r.level = TraceLevel::ops;
    return r;
  }
  CellTrace run(GenerateRequest r, const std::string& file, EnginePairs options = {}) {
    const auto here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
    options.emplace_back("plugin", (here / file).string());
    r.backend.engine = *parse_engine(options);
    r.backend.device = "cuda";
    const auto result = runtime_.generate(r);
    if (result) return result->trace;
    CellTrace failed;
    failed.status = CellStatus::failed;
    failed.reason = result.error().text();
    return failed;
  }
  std::string on_cpu(const GenerateRequest& r) {
    const auto result = runtime_.generate(r);
    return result ? bits_of_trace(result->trace) : result.error().text();
  }

  Runtime runtime_{fakes::toy_model(fakes::worked_example())};
};

TEST_F(PluginGpu, EveryOperationInThePagesOrderHasTheCpusBits) {
  for (int p = 0; p < kPrecisions; ++p) {
    SCOPED_TRACE(mode_of(Precision(p)).name);
    const GenerateRequest r = request(Precision(p));
    const CellTrace trace = run(r, "libisobit_gpu_plugin.so");
    EXPECT_EQ(trace.status, CellStatus::ok) << trace.reason;
    EXPECT_EQ(trace.observed.engine, "plugin:gpu_plugin");
    EXPECT_TRUE(trace.observed.kernels.starts_with(
        "plugin: gemm, attention, rms_norm, rope, gated, add; reference: "))
        << trace.observed.kernels;
    EXPECT_EQ(bits_of_trace(trace), on_cpu(r));
  }
}

TEST_F(PluginGpu, TheExamplesOrders) {
  for (const Precision p : {Precision::fp32, Precision::bf16}) {
    const GenerateRequest r = request(p);
    const CellTrace same = run(r, "gemm_orders.so");
    EXPECT_EQ(same.status, CellStatus::ok) << same.reason;
    EXPECT_EQ(bits_of_trace(same), on_cpu(r));
    const CellTrace other = run(r, "gemm_orders.so", {{"order", "ascending"}});
    EXPECT_EQ(other.status, CellStatus::ok) << other.reason;
    EXPECT_NE(bits_of_trace(other), on_cpu(r));
  }
}

TEST_F(PluginGpu, WhatAKernelBreaksIsOneLine) {
  const std::string place =
      "plugin libisobit_gpu_plugin.so: gemm of model.layers.0.self_attn.q_proj.weight ";
  const GenerateRequest r = request(Precision::fp32);
  EXPECT_EQ(run(r, "libisobit_gpu_plugin.so", {{"fault", "behind"}}).reason,
            place + "wrote outside its output: 1 byte behind its end");
  EXPECT_TRUE(run(r, "libisobit_gpu_plugin.so", {{"fault", "nan"}})
                  .reason.starts_with(place + "gave NaN from finite inputs: 1 of "));
}

}  // namespace
}  // namespace isobit::cuda_test
