// What `isobit bench` measures, in the process that calls it. For harness/cli only.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/backends/registry.h"
#include "runtime/base/result.h"
#include "runtime/checkpoint/weights.h"

namespace isobit::commands {

struct BenchPlan {
  std::string model;
  Precision precision = Precision::fp32;
  BackendOptions backend;  // isa: of the row to measure
  std::int64_t prompt_tokens = 64, new_tokens = 32;
  std::int64_t batch = 1;    // sequences decoded at once
  std::int64_t context = 0;  // tokens before the first decoded one; 0: prompt_tokens
  std::int64_t layers = 0;   // of a synthetic model; 0: all

  /// Tokens that the decoding measurement is fed before it is timed.
  [[nodiscard]] std::int64_t before_decoding() const {
    return context > 0 ? context : prompt_tokens;
  }
};

constexpr std::int64_t kStepsNotTimed = 8;  // of decoding, after the prompt

/// Plain data: a measuring process sends it through a pipe.
struct BenchMeasured {
  double load_seconds = 0;     // from nothing to the first token of a short prompt
  double prefill_seconds = 0;  // of every sequence's prompt, with one row of logits each
  double decode_seconds = 0;   // of new_tokens steps
  double record_share = 0;     // of the time of a whole generation
  double gemm_gflops = 0;      // of the largest matrix of a layer
  double peak_gflops = 0;      // FMA in registers, same threads; 0: not known
  std::int64_t gemm_rows = 0;
  char kernels[160] = "";  // what ran
};

/// A shape that no shipped model has: "synthetic-8b".
bool is_synthetic(const std::string& name);
/// Its names, for messages.
std::string synthetic_names();
/// Pseudo-random weights that many tensors share, so that they cost nothing to make.
Result<LoadedModel> synthetic_model(const std::string& name, std::int64_t layers);

Result<LoadedModel> open_bench_model(const BenchPlan& plan);

/// Everything about one row. Long measurements say on standard error where they are.
Result<BenchMeasured> measure(const BenchPlan& plan);

}  // namespace isobit::commands
