// An engine that is not ours: it computes nothing, says honestly that it did what was asked, and
// its rows depend on the prompt alone. For tests of the engine table, the executor and the judge.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <string>

#include "runtime/numerics/digest.h"
#include "runtime/run/engine.h"
#include "runtime/run/generate.h"

namespace isobit::fakes {

/// What an honest engine observes of a request: every axis was exercised as it was asked.
inline Observed observed_as_asked(const GenerateRequest& asked) {
  Observed o;
  const EngineChoice& engine = asked.backend.engine;
  o.engine = engine.observed.empty() ? engine.name : engine.observed;
  o.device = asked.backend.device;
  o.isa = asked.backend.isa == "auto" ? "scalar" : asked.backend.isa;
  o.precision = mode_of(asked.precision).name;
  o.threads = asked.backend.threads_asked();
  o.ranks = asked.ranks;
  o.replicas = asked.replicas;
  if (asked.ranks > 1) {
    o.virtual_ranks = true;
    o.collectives = o.bytes_moved = 1;
    o.transport = std::string("threads, ") + name_of(asked.topology);
  }
  o.live_rows = asked.batch.size;
  if (asked.batch.staggered) o.joined_late = o.left_early = 1;
  const auto prompts = std::int64_t(asked.prompts.size());
  for (std::int64_t r = 0; r < asked.replicas; ++r) {
    const std::int64_t share = prompts * (r + 1) / asked.replicas - prompts * r / asked.replicas;
    const std::int64_t sequences = std::max(share, asked.batch.size);
    if (asked.batch.order != BatchShape::Order::given) o.out_of_order += sequences - 1;
  }
  o.chunks = 1;
  for (const PromptTokens& prompt : asked.prompts) {
    const std::int64_t n = std::int64_t(prompt.tokens.size()), chunk = asked.cache.chunk;
    if (chunk > 0) o.chunks = std::max(o.chunks, (n + chunk - 1) / chunk);
  }
  o.page_size = asked.cache.page_size;
  o.pages = 2;
  o.cached_reads = asked.cache.keeps ? 1 : 0;
  o.prefix_hits = asked.cache.shares_prefix ? 1 : 0;
  o.recomputed = asked.cache.recomputes ? 1 : 0;
  o.drafted = asked.cache.drafts;
  o.decode = text_of(asked.sampler);
  o.weights = asked.weights.text;
  o.kv = asked.kv.text;
  o.kv_coded = asked.kv.policy == nullptr ? 0 : 1;
  o.kv_rebuilt = asked.kv.residual ? 1 : 0;
  return o;
}

/// A whole trace of the request; another `seed` gives other bits and tokens.
inline CellTrace made_up_trace(const GenerateRequest& asked, std::uint64_t seed = 1) {
  CellTrace trace;
  trace.level = asked.level;
  trace.observed = observed_as_asked(asked);
  for (const PromptTokens& prompt : asked.prompts) {
    PromptTrace& out = trace.prompts.emplace_back();
    out.tokens_digest = tokens_digest(prompt.tokens);
    out.prompt_tokens = std::int64_t(prompt.tokens.size());
    const std::uint64_t first = std::uint64_t(prompt.tokens.front());
    for (std::int64_t i = 0; i < asked.max_new_tokens; ++i) {
      const std::uint64_t row[] = {seed, first, std::uint64_t(i)};
      TokenRecord& token = out.tokens.emplace_back();
      token.position = out.prompt_tokens - 1 + i;
      token.id = token.fed = std::int32_t((seed * 31 + first + std::uint64_t(i)) % 200);
      token.digest = digest_bytes(std::as_bytes(std::span(row)));
      token.margin = 1;
      token.top_count = 2;
      token.top_ids = {token.id, token.id + 1};
      token.top_logits = {2, 1};
    }
  }
  return trace;
}

class Engine final : public isobit::Engine {
 public:
  explicit Engine(void (*spoil)(CellTrace&) = nullptr) : spoil_(spoil) {}
  Result<GenerateResult> generate(const GenerateRequest& request) override {
    GenerateResult result;
    result.trace = made_up_trace(request);
    if (spoil_ != nullptr) spoil_(result.trace);
    return result;
  }

 private:
  void (*spoil_)(CellTrace&);
};

}  // namespace isobit::fakes
