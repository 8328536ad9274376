// What KV-Direct's three forms keep and cost at SmolLM2-135M's shape (30 layers, 9 heads, 3 KV
// heads of 64, hidden 576, inner 1536; a vocabulary of 4,096, which no kept byte depends on): bytes
// between two steps, and milliseconds of a decode step, beside the exact cache.
//
// Weights are synthetic. A step's time is the processor time of one thread from one logits row to
// the next, the best of the steps.
// Usage: profile_residual [CONTEXT]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <span>
#include <string>
#include <vector>

#include "runtime/run/generate.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

constexpr std::int64_t kDrawn = 6;  // tokens, the first by the prompt's step

LoadedModel synthetic() {
  ModelConfig c;
  c.architecture = "llama";
  c.vocab_size = 4096;
  c.hidden_size = 576;
  c.intermediate_size = 1536;
  c.layers = 30;
  c.heads = 9;
  c.kv_heads = 3;
  c.head_dim = 64;
  c.context = 8192;
  c.tied_embeddings = true;
  return fakes::toy_model(c);
}

struct Measured {
  double step_ms = 0;
  Observed observed;
  Sha256 root{};
};

Measured measure(Runtime& runtime, GenerateRequest request) {
  Measured out;
  std::vector<std::clock_t> rows;
  request.max_new_tokens = kDrawn;
  request.spill = [&](int, std::int64_t, std::span<const std::byte>) {
    rows.push_back(std::clock());
  };
  const auto result = runtime.generate(request);
  ISOBIT_CHECK(result.has_value() && rows.size() == std::size_t(kDrawn));
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const double ms = double(rows[i] - rows[i - 1]) * 1000 / CLOCKS_PER_SEC;
    out.step_ms = i == 1 ? ms : std::min(out.step_ms, ms);
  }
  out.observed = result->trace.observed;
  out.root = cell_root(result->trace);
  return out;
}

void table(std::int64_t context) {
  Runtime runtime(synthetic());
  GenerateRequest request;
  request.precision = Precision::bf16;
  PromptTokens prompt;
  for (std::int64_t i = 0; i < context; ++i) {
    prompt.tokens.push_back(std::int32_t((i * i * 31 + i * 17) % 4096));
  }
  request.prompts = {prompt};
  std::printf("context %lld, bf16\n", static_cast<long long>(context));
  std::printf("%-34s %14s %9s %12s %9s %s\n", "kv", "bytes kept", "of exact", "rebuilt/step",
              "ms/step", "bits");
  const Measured exact = measure(runtime, request);
  for (const char* text : {"exact", "residual:every_layer", "residual:every_layer+budget:256",
                           "residual:(every:2)", "residual:(every:5)", "residual:(every:30)",
                           "residual:embedding", "residual:embedding+budget:256"}) {
    request.kv = *parse_kv_policy(text);
    const Measured m = request.kv.exact() ? exact : measure(runtime, request);
    const Observed& o = m.observed;
    std::printf("%-34s %14lld %9.3f %12lld %9.2f %s\n", text, static_cast<long long>(o.kv_bytes),
                double(o.kv_bytes) / double(o.kv_exact_bytes),
                static_cast<long long>(o.kv_rebuilt / (kDrawn - 1)), m.step_ms,
                m.root == exact.root ? "equal" : "DIFFERENT");
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace isobit

int main(int argc, char** argv) {
  isobit::table(argc > 1 ? std::atoll(argv[1]) : 512);
}
