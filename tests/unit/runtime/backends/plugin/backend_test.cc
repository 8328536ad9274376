// The engine plugin: every operation of a plugin in the page's order has the reference's bits, a
// missing one is the reference's, and what a plugin breaks is one line.
#include <gtest/gtest.h>

#include <cfenv>
#include <chrono>

#include "runtime/backends/plugin/engine.h"
#include "runtime/numerics/probes.h"
#include "runtime/run/generate.h"
#include "tests/conformance/trace_bits.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

/// Allows external engines for one scope.
struct Allowed {
  Allowed() { allow_external(true); }
  ~Allowed() { allow_external(false); }
};

class Plugin : public ::testing::Test {
 protected:
  using Options = EnginePairs;

  static EngineChoice fake(Options options) {
    options.emplace_back("plugin", ISOBIT_FAKE_PLUGIN);
    auto choice = parse_engine(options);
    ISOBIT_CHECK(choice.has_value());
    return *choice;
  }
  static GenerateRequest request(Precision precision, int ranks = 1) {
    GenerateRequest r;
    r.precision = precision;
    r.ranks = ranks;
    r.batch.size = 2;
    r.prompts = {{fakes::prompt(9), {}}, {fakes::prompt(5), {}}, {fakes::prompt(14), {}}};
    r.max_new_tokens = 3;
    r.level = TraceLevel::ops;
    return r;
  }
  static CellTrace run(Runtime& runtime, GenerateRequest r, const Options& options) {
    r.backend.engine = fake(options);
    const auto result = runtime.generate(r);
    if (result) return result->trace;
    CellTrace failed;
    failed.reason = result.error().text();
    return failed;
  }
  /// The plugin's trace has the bits of the reference's.
  static void same(Runtime& runtime, const GenerateRequest& r, const Options& options) {
    const auto reference = runtime.generate(r);
    ASSERT_TRUE(reference) << reference.error().text();
    const CellTrace trace = run(runtime, r, options);
    EXPECT_EQ(trace.status, CellStatus::ok) << trace.reason;
    EXPECT_EQ(bits_of_trace(trace), bits_of_trace(reference->trace));
    EXPECT_EQ(trace.observed.engine, "plugin:fake 1.2");
  }
  /// What a fault of one operation says, without "plugin libisobit_fake_plugin.so: ".
  std::string said(const std::string& fault, const std::string& in = "gemm") {
    const std::string begin = "plugin libisobit_fake_plugin.so: ";
    const CellTrace trace = run(llama_, request(Precision::fp32), {{"fault", fault}, {"in", in}});
    EXPECT_TRUE(trace.reason.starts_with(begin)) << trace.reason;
    EXPECT_TRUE(check_floating_point_mode()) << fault;
    return trace.reason.substr(std::min(begin.size(), trace.reason.size()));
  }

  Allowed allowed_;
  Runtime llama_{fakes::toy_model(fakes::worked_example())};
};

TEST_F(Plugin, EveryOperationInThePagesOrderHasItsBits) {
  for (int p = 0; p < kPrecisions; ++p) {
    SCOPED_TRACE(mode_of(Precision(p)).name);
    same(llama_, request(Precision(p)), {});
  }
}

TEST_F(Plugin, SixteenBitOperandsAreTheSameNumbers) {
  for (const Precision p : {Precision::bf16, Precision::fp16, Precision::fp8_e4m3,
                            Precision::layercast_bf16, Precision::fp32, Precision::fp64}) {
    SCOPED_TRACE(mode_of(p).name);
    same(llama_, request(p), {{"elements", "stored"}});
  }
}

TEST_F(Plugin, RanksAndCachesKeepTheBits) {
  for (const int ranks : {2, 4}) same(llama_, request(Precision::bf16, ranks), {});
  for (const char* cache : {"off", "chunked:3", "paged:4", "prefix", "recomputed"}) {
    SCOPED_TRACE(cache);
    GenerateRequest r = request(Precision::fp8_e4m3, 2);
    r.cache = *parse_cache_mode(cache);
    same(llama_, r, {});
  }
}

/// LayerNorm, GELU and biases; windows, soft caps and norms of heads.
TEST_F(Plugin, WhatOtherFamiliesDoIsReplacedToo) {
  for (const char* family : {"gpt2", "gemma2", "gemma3_text", "qwen3", "olmo2", "mixtral"}) {
    SCOPED_TRACE(family);
    Runtime runtime(fakes::toy_model(fakes::odd_config(family)));
    GenerateRequest r = request(Precision::bf16);
    r.prompts.push_back({fakes::prompt(45), {}});  // longer than the window
    same(runtime, r, {{"offset", "0"}});           // what the header promises of a forward pass
    const std::string kernels = run(runtime, r, {}).observed.kernels;
    const bool gpt2 = std::string(family) == "gpt2";
    EXPECT_EQ(kernels.substr(0, kernels.find(";")),
              gpt2 ? "plugin: gemm, attention, layer_norm, activate, add"
                   : "plugin: gemm, attention, rms_norm, rope, gated, add");
  }
}

TEST_F(Plugin, AMissingOperationIsTheReferences) {
  const GenerateRequest r = request(Precision::bf16);
  for (const char* has : {"gemm", "attention", "rms_norm", "rope", "gated", "add"}) {
    SCOPED_TRACE(has);
    same(llama_, r, {{"has", has}});
    const std::string kernels = run(llama_, r, {{"has", has}}).observed.kernels;
    EXPECT_TRUE(kernels.starts_with(std::string("plugin: ") + has + "; reference: ")) << kernels;
  }
}

TEST_F(Plugin, WhatRanIsObserved) {
  const CellTrace trace = run(llama_, request(Precision::fp32), {});
  EXPECT_TRUE(trace.observed.kernels.starts_with(
      "plugin: gemm, attention, rms_norm, rope, gated, add; plugin, not called: layer_norm, "
      "activate; reference: and the rest (cpu/"))
      << trace.observed.kernels;
  EXPECT_EQ(trace.observed.library, ISOBIT_FAKE_PLUGIN);
  EXPECT_EQ(trace.observed.library_sha256.size(), 64u);
  EXPECT_EQ(trace.observed.threads, 1);
  EXPECT_EQ(run(llama_, request(Precision::fp32), {{"threads", "9"}}).observed.threads, 9);
  // A plugin of which nothing ran is not what was asked for.
  EXPECT_EQ(run(llama_, request(Precision::fp32), {{"has", "layer_norm"}}).observed.engine,
            "reference");
}

/// The joint operations of a backend must not go round a replaced one.
TEST_F(Plugin, AFaultIsFoundInWhateverOperation) {
  for (const char* in : {"attention", "rope", "gated", "add"}) {
    SCOPED_TRACE(in);
    const std::string line = said("behind", in);
    EXPECT_TRUE(line.starts_with(std::string(in) + " after ")) << line;
    EXPECT_TRUE(line.ends_with(" wrote outside its output: 1 byte behind its end")) << line;
  }
  EXPECT_EQ(said("behind", "rms_norm"), "rms_norm wrote outside its output: 1 byte behind its end");
}

TEST_F(Plugin, WritesOutOfBounds) {
  const std::string place = "gemm of model.layers.0.self_attn.q_proj.weight ";
  EXPECT_EQ(said("before"), place + "wrote outside its output: 3 bytes before its begin");
  EXPECT_EQ(said("behind"), place + "wrote outside its output: 1 byte behind its end");
  EXPECT_EQ(said("between_rows"),
            place + "wrote outside its output: 3 bytes behind the end of row 0");
  EXPECT_EQ(said("scratch"), place + "wrote outside scratch block 2: 1 byte behind its end");
  EXPECT_EQ(said("input"), place + "wrote into its input");
  EXPECT_EQ(run(llama_, request(Precision::fp32), {{"fault", "good_scratch"}}).reason, "");
}

TEST_F(Plugin, ValuesThatAreNone) {
  const std::string place = "gemm of model.layers.0.self_attn.q_proj.weight ";
  EXPECT_EQ(said("nan"), place +
                             "gave NaN from finite inputs: 1 of 896 values, the first in row 13, "
                             "column 63");
  EXPECT_EQ(said("unwritten"), place +
                                   "left output unwritten: 1 of 896 values, the first in row 13, "
                                   "column 63");
}

TEST_F(Plugin, TheFloatingPointMode) {
  const std::string line = said("rounding");
  EXPECT_TRUE(
      line.starts_with("gemm of model.layers.0.self_attn.q_proj.weight changed the "
                       "floating-point control word from 0x"))
      << line;
  EXPECT_TRUE(line.find("rounding is not to nearest even") != std::string::npos) << line;
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);  // which glibc reads from x87
#if defined(__x86_64__)
  EXPECT_TRUE(said("flush").ends_with(": subnormal results are flushed to zero"));
#endif
}

TEST_F(Plugin, WhatAPluginSaysOfItsFailure) {
  const std::string place = "gemm of model.layers.0.self_attn.q_proj.weight ";
  EXPECT_EQ(said("error"), place + "failed: the tile\\x1b of 7 rows is too wide");
  EXPECT_EQ(said("silent"), place + "failed: it gave 7 and no reason");
  EXPECT_EQ(said("no_memory"), place + "failed: no scratch\\nmemory");
  EXPECT_EQ(said("throw"), place + "threw an exception");
}

TEST_F(Plugin, APluginThatDoesNotOpen) {
  EXPECT_EQ(said("open_silent"), "it does not open: it gave 5 and no reason");
  EXPECT_EQ(said("open_throw"), "isobit_plugin_open threw an exception");
  EXPECT_EQ(said("no_name"), "it has no name");
  EXPECT_TRUE(said("open_rounding").starts_with("isobit_plugin_open changed the floating-point"));
  const CellTrace trace = run(llama_, request(Precision::fp32), {{"tile", "64"}});
  EXPECT_EQ(trace.reason,
            "plugin libisobit_fake_plugin.so: it does not open: the fake has no option tile");
}

/// A NaN that was in the inputs is not the plugin's.
TEST_F(Plugin, ANanOfTheInputsIsHandedOn) {
  BackendOptions options;
  options.engine = fake({});
  const auto backend = make_backend(options, mode_of(Precision::fp32));
  ASSERT_TRUE(backend);
  const DeviceMemory memory(**backend, 6 * sizeof(float));
  const Rows x{memory.get(), 2, 3, 3};
  (*backend)->set_reals(std::vector<double>{1, 2, 3, 4, double(NAN), 6}, x);
  (*backend)->add(x, x);
  EXPECT_EQ((*backend)->reals(x).front(), 2);
  EXPECT_TRUE(std::isnan((*backend)->reals(x)[4]));
}

/// Policies that evict or code keys are not for a plugin's attention, and are for its products.
TEST_F(Plugin, CachePolicies) {
  const auto policy = [](const char* text) { return *parse_kv_policy(text); };
  GenerateRequest r = request(Precision::fp32);
  for (const char* text : {"tova:6", "kivi:2"}) {
    r.kv = policy(text);
    Runtime runtime(fakes::toy_model(fakes::worked_example_of_policies()));
    r.prompts.push_back({fakes::prompt(70), {}});
    same(runtime, r, {{"has", "gemm"}});
    const std::string why = run(runtime, r, {{"has", "attention"}}).reason;
    EXPECT_NE(why.find(": a plugin's attention sees every key, and sees it exact"),
              std::string::npos)
        << text << ": " << why;
  }
  r.kv = policy("bits:8+round:nearest");
  same(llama_, r, {});
}

}  // namespace
}  // namespace isobit
