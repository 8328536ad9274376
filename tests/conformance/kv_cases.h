// What the tests of cache policies share: a model whose heads do not divide among ranks, prompts
// across every group and budget, and the cells of a class as requests.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runtime/run/generate.h"
#include "tests/conformance/kernel_data.h"
#include "tests/conformance/trace_bits.h"
#include "tests/fakes/model.h"

namespace isobit::kv_test {

/// Six query heads of 32 channels over two KV heads: on four ranks one KV head serves two ranks.
inline LoadedModel model(std::int64_t window = 0) {
  ModelConfig c;
  c.architecture = "llama";
  c.vocab_size = 163;
  c.hidden_size = 48;
  c.intermediate_size = 72;
  c.layers = 2;
  c.heads = 6;
  c.kv_heads = 2;
  c.head_dim = 32;
  c.context = 1024;
  c.sliding_window = window;
  return fakes::toy_model(c);
}

inline PromptTokens prompt(std::int64_t length) {
  PromptTokens out;
  cpu::testing::Random random{std::uint64_t(length)};
  for (std::int64_t i = 0; i < length; ++i) {
    out.tokens.push_back(std::int32_t(random.below(163)));
  }
  return out;
}

struct Cell {
  std::string isa = "auto", cache = "on", device = "cpu";
  int ranks = 1, threads = 1;
  std::int64_t batch = 1;
  bool staggered = false;
};

inline std::ostream& operator<<(std::ostream& out, const Cell& c) {
  return out << c.device << " " << c.isa << " cache " << c.cache << " batch " << c.batch
             << (c.staggered ? " staggered" : "") << " ranks " << c.ranks << " threads "
             << c.threads;
}

inline GenerateRequest request(Precision precision, const std::string& kv, const Cell& cell) {
  GenerateRequest r;
  r.precision = precision;
  r.backend.device = cell.device;
  r.backend.isa = cell.isa;
  r.backend.threads = cell.threads;
  r.ranks = cell.ranks;
  r.cache = *parse_cache_mode(cell.cache);
  r.kv = *parse_kv_policy(kv);
  r.batch.size = cell.batch;
  r.batch.staggered = cell.staggered;
  for (const std::int64_t length : {100, 31, 250}) r.prompts.push_back(prompt(length));
  r.max_new_tokens = 38;  // across the ends of groups of 32, and of splits of 256
  return r;
}

/// Every way to run a policy that must not show; CPU cells, the scalar text first.
inline std::vector<Cell> cells(bool shares_prefix) {
  const std::vector<std::string> caches = {"on",      "off",      "chunked:1", "chunked:17",
                                           "paged:1", "paged:16", "recomputed"};
  std::vector<Cell> out;
  const auto add = [&](const Cell& cell) { out.push_back(cell); };
  for (const char* isa : {"scalar", "avx2", "avx512", "neon"}) {
    for (const char* cache : {"on", "chunked:17", "paged:16", "recomputed"}) {
      Cell cell;
      cell.isa = isa, cell.cache = cache;
      const bool slow = std::string(isa) == "scalar" && cell.cache != "on";
      if (!slow || cell.cache == "recomputed") add(cell);
    }
  }
  for (const std::string& cache : caches) {
    for (const std::int64_t batch : {1, 3}) {
      Cell cell;
      cell.cache = cache, cell.batch = batch;
      add(cell);
      cell.staggered = true;
      if (batch > 1) add(cell);
      cell.staggered = false, cell.threads = 2;
      if (cache != "off" && cache != "chunked:1") add(cell);
    }
  }
  for (const int ranks : {2, 4, 8}) {
    for (const char* cache : {"on", "chunked:17", "paged:16", "recomputed"}) {
      Cell cell;
      cell.ranks = ranks, cell.cache = cache, cell.batch = cache == std::string("on") ? 1 : 3;
      add(cell);
    }
  }
  for (int batch = 1; shares_prefix && batch <= 3; batch += 2) {
    Cell cell;
    cell.cache = "prefix", cell.batch = batch;
    add(cell);
  }
  return out;
}

}  // namespace isobit::kv_test
