// Time per decode step on 1, 2, 4 and 8 ranks of a GPU machine, and the share of communication.
//
// Usage: bench_ranks [MODEL_FOLDER|8b [PRECISION…]]   8b: two layers of an 8B model, made here
// Each row is the best of three runs of 64 steps. Communication is the time of the collectives on
// the first rank's stream (events), waiting for the other ranks included; ranks that share a GPU go
// through the host, and their time includes the wait for their own device. Every run's digests must
// be those of one rank.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/model/arch/architecture.h"
#include "runtime/numerics/bits.h"
#include "runtime/run/generate.h"
#include "runtime/run/ranks.h"

namespace {

using namespace isobit;

/// Two layers of an 8B model. Values of a linear congruence, bf16; enough for time, and different
/// bits for every element.
LoadedModel make_8b_layers() {
  LoadedModel model;
  ModelConfig& c = model.config;
  c.architecture = "llama";
  c.vocab_size = 32768;
  c.hidden_size = 4096;
  c.intermediate_size = 14336;
  c.layers = 2;
  c.heads = 32;
  c.kv_heads = 8;
  c.head_dim = 128;
  c.context = 4096;
  c.tied_embeddings = true;
  for (const TableTensor& each : needed_tensors(c)) {
    Tensor t = tensor_of(each, TensorType::bf16);
    auto values = std::make_shared<std::vector<std::uint16_t>>(std::size_t(t.rows * t.cols));
    std::uint32_t state = std::uint32_t(t.rows * 31 + t.cols) | 1u;
    for (std::uint16_t& v : *values) {
      state = state * 1664525u + 1013904223u;
      v = std::uint16_t((state >> 31 << 15) | 0x3c00u |
                        ((state >> 16) & 0x7fu));  // ± 2^-7 · [1, 2)
    }
    t.bytes = std::as_bytes(std::span(*values));
    model.weights.add(std::move(t));
    model.weights.keep(values);
  }
  return model;
}

struct Measured {
  double step_ms = 0, share = 0;
  std::string digests, transport;
  bool is_virtual = false;
};

bool measure(Runtime& runtime, Precision precision, int ranks, int batch, Measured& out) {
  GenerateRequest r;
  r.precision = precision;
  r.backend.device = "cuda";
  r.ranks = ranks;
  r.batch.size = batch;
  r.max_new_tokens = 64;
  r.time_communication = true;
  for (int p = 0; p < batch; ++p) {
    PromptTokens prompt;
    for (int i = 0; i < 8; ++i) prompt.tokens.push_back(3 + (p * 17 + i * 5) % 200);
    r.prompts.push_back(prompt);
  }
  for (int attempt = 0; attempt < 3; ++attempt) {
    auto result = runtime.generate(r);
    if (!result || result->trace.status != CellStatus::ok) {
      std::printf("%d ranks: %s\n", ranks,
                  result ? result->trace.reason.c_str() : result.error().text().c_str());
      return false;
    }
    const CellTrace& trace = result->trace;
    const double ms = 1000 * trace.seconds / double(trace.observed.steps);
    if (attempt > 0 && ms >= out.step_ms) continue;
    out.step_ms = ms;
    out.share = trace.communication_seconds / trace.seconds;
    out.transport = trace.observed.transport;
    out.is_virtual = trace.observed.virtual_ranks;
    out.digests.clear();
    for (const PromptTrace& prompt : trace.prompts) {
      for (const TokenRecord& token : prompt.tokens) out.digests += to_hex(token.digest);
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const char* const name = argc < 2 ? "scenarios/models/default-7m" : argv[1];
  const bool synthetic = std::strcmp(name, "8b") == 0;
  auto loaded = synthetic ? Result<LoadedModel>(make_8b_layers()) : load_model(name);
  if (!loaded) return std::fprintf(stderr, "%s\n", loaded.error().text().c_str()), 2;
  Runtime runtime(std::move(*loaded));
  std::vector<std::string> precisions(argv + std::min(argc, 2), argv + argc);
  if (precisions.empty()) precisions = {"bf16", "fp32"};
  std::printf("%s: %s\n", name, rank_status().c_str());
  std::printf("%-6s %6s %6s %12s %16s  %s\n", "", "batch", "ranks", "ms a step", "communication",
              "digests, between ranks");
  bool all_equal = true;
  for (const Mode& mode : kModes) {
    bool wanted = false;
    for (const std::string& each : precisions) wanted |= each == mode.name;
    std::string want[2];
    for (const int ranks : {1, 2, 4, 8}) {
      for (const int batch : {1, 8}) {
        Measured m;
        if (!wanted || !measure(runtime, mode.precision, ranks, batch, m)) continue;
        std::string& first = want[batch == 1 ? 0 : 1];
        if (ranks == 1) first = m.digests;
        all_equal &= m.digests == first;
        std::printf("%-6s %6d %6d %12.3f %15.1f%%  %s%s%s\n", mode.name, batch, ranks, m.step_ms,
                    100 * m.share, m.digests == first ? "equal" : "DIFFER",
                    m.is_virtual ? ", virtual, " : ", ", m.transport.c_str());
        std::fflush(stdout);
      }
    }
  }
  std::printf("%s\n", all_equal ? "all digests equal" : "DIGESTS DIFFER");
  std::fflush(stdout);
  // CUDA's and NCCL's own threads need no orderly end.
  std::_Exit(all_equal ? 0 : 1);
}
