// What the tests of ranks share: prompts, requests, and everything of a trace that a class must
// share as one text.
#pragma once

#include <string>
#include <vector>

#include "runtime/run/generate.h"
#include "tests/conformance/kernel_data.h"
#include "tests/conformance/trace_bits.h"

namespace isobit::ranks_test {

/// Eight prompts of different lengths.
inline std::vector<PromptTokens> prompts(std::int64_t vocabulary) {
  std::vector<PromptTokens> out;
  cpu::testing::Random random(5);
  for (const std::int64_t length : {5, 17, 60, 33, 1, 9, 24, 40}) {
    PromptTokens prompt;
    for (std::int64_t i = 0; i < length; ++i) {
      prompt.tokens.push_back(std::int32_t(random.below(vocabulary)));
    }
    out.push_back(prompt);
  }
  return out;
}

constexpr std::int64_t kNewTokens = 8;

inline GenerateRequest request(const Runtime& runtime, Precision precision, int ranks, int batch,
                               const std::string& cache) {
  GenerateRequest r;
  r.precision = precision;
  r.ranks = ranks;
  r.batch.size = batch;
  r.cache = *parse_cache_mode(cache);
  r.prompts = prompts(runtime.model().config.vocab_size);
  r.max_new_tokens = kNewTokens;
  return r;
}

inline std::string precision_name(const ::testing::TestParamInfo<int>& info) {
  std::string name = mode_of(Precision(info.param)).name;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
}

}  // namespace isobit::ranks_test
