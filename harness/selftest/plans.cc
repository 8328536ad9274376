// The selftest's scenarios. Each has the base value of every axis in its first cell: the judge
// compares a group with its first cell, so that a defect of one value reddens that value.

#include <map>

#include "harness/selftest/defects.h"

namespace isobit::selftest {
namespace {

struct Plan {
  const char* decode;
  std::string body;
  const char* prompts = "prompts.jsonl";
  const char* model = "model";
};

constexpr const char* kGreedy = "{strategy: greedy, max_new_tokens: 8, ignore_eos: true}";
constexpr const char* kTaught = "{max_new_tokens: 8, teacher_forced: true, ignore_eos: true}";

/// One cell a value of what no policy may see.
std::string policy_star(const std::string& kv) {
  return "axes: {kv: [" + kv + R"(], batch: [1], gpus: [1], cache: [on], threads: [1]}
include:
  - {kv: )" +
         kv + R"(, batch: 3}
  - {kv: )" +
         kv + R"(, gpus: 2}
  - {kv: )" +
         kv + R"(, cache: [off, {chunked: 17}, {paged: 16}, recomputed]}
  - {kv: )" +
         kv + R"(, threads: 2}
expect: [{same_bits: {across: [batch, gpus, cache, threads]}}]
)";
}

/// One policy each, or one order of attention.
const std::map<std::string, Plan>& policy_plans() {
  static const std::map<std::string, Plan> all = {
      {"kivi", {kGreedy, policy_star("{kivi: 2}"), "prompts.jsonl", "wide"}},
      {"tova", {kGreedy, policy_star("{tova: 24}"), "prompts.jsonl", "wide"}},
      {"noise", {kGreedy, policy_star("{normal: [0, 0.25]}")}},
      {"bits", {kGreedy, policy_star("{bits: 3}")}},
      {"turned", {kGreedy, policy_star("{rtn: 4, group: 8, rotate: hadamard}")}},
      {"coded", {kGreedy, policy_star("{rtn: 4, group: 8}")}},
      {"h2o", {kGreedy, policy_star("{h2o: 24}")}},
      {"snapkv", {kGreedy, policy_star("{snapkv: 48}")}},
      {"streaming", {kGreedy, policy_star("{streaming: 24}")}},
      {"window", {kGreedy, policy_star("{window: 24}")}},
      {"flash",
       {kGreedy, R"(axes: {attention: [{flash: 16, p: bf16}], batch: [1, 3], threads: [1, 2]}
expect: [{same_bits: {across: [batch, threads]}}]
)"}},
      {"drafted",
       {kGreedy, R"(axes: {batch: [1, 3], cache: [on, {speculative: 4}]}
expect: [{same_bits: {across: [batch, cache]}}]
)",
        "every_token.jsonl"}},
      {"q8_0",
       {kGreedy, R"(axes: {kv: [q8_0], batch: [1, 3], cache: [on, prefix, {paged: 16}]}
expect: [{same_bits: {across: [batch, cache]}}]
)",
        "prompts.jsonl", "wide"}},
  };
  return all;
}

/// What is dealt, drawn or scheduled.
const std::map<std::string, Plan>& laboratory_plans() {
  static const std::map<std::string, Plan> all = {
      {"dealt", {kGreedy, R"(axes: {replicas: [1, 2], batch: [1, 3]}
expect: [{same_bits: {across: [replicas, batch]}}]
)"}},
      {"draws",
       {"{max_new_tokens: 8, ignore_eos: true}",
        R"(axes: {decode: [{top_k: 2, temperature: 0.7, seed: 3}], batch: [1, 3, 8], gpus: [1, 2]}
expect: [{same_bits: {across: [batch, gpus]}}]
)"}},
      {"drawn", {kGreedy, R"(axes: {weights: [{bsr: 4, seed: 1}], gpus: [1, 2], batch: [1, 3]}
expect: [{same_bits: {across: [gpus, batch]}}]
)"}},
      {"patched", {kTaught, R"(observe: ops
axes:
  patch: [{residual: 1, k: 2, at: [5, 30], from: {weights: {rtn: 4}}}]
  batch: [1, 3]
  threads: [1, 2]
expect: [{same_bits: {across: [batch, threads]}}]
)"}},
      {"patched-steps", {kTaught, R"(axes:
  patch: [{residual: layers, from: {weights: {rtn: 4}}}]
  batch: [1, 3]
  cache: [on, off, {chunked: 17}, recomputed]
expect: [{same_bits: {across: [batch, cache]}}]
)"}},
      {"scheduled",
       {kGreedy, R"(axes: {gemm: [{split_k: 3, out: bf16}], batch: [1, 8], threads: [1, 2]}
expect: [{same_bits: {across: [batch, threads]}}]
)"}},
  };
  return all;
}

/// The reference and the same in another process, whose engine the selftest adds.
const std::map<std::string, Plan>& served_plans() {
  static const std::map<std::string, Plan> all = {
      {"served", {kGreedy, R"(time_limit: 3
axes: {engine: [reference], batch: [1, 3]}
expect: [{same_bits: {across: [engine, batch]}}]
)"}},
      {"served-cache", {kGreedy, R"(axes: {engine: [reference], cache: [on, off]}
expect: [{same_bits: {across: [engine, cache]}}]
)"}},
      {"served-teacher",
       {kGreedy, R"(axes: {engine: [reference], batch: [1, 3], teacher_forced: [true]}
expect: [{same_bits: {across: [engine, batch]}}]
)"}},
      {"served-seed",
       {"{strategy: sample, temperature: 0.8, max_new_tokens: 8, ignore_eos: true}",
        R"(axes: {engine: [reference], seed: [1, 2]}
expect: [{same_bits: {across: [engine]}}]
)"}},
      {"served-logprobs", {kGreedy, R"(axes: {engine: [reference], batch: [1, 3]}
expect:
  - {same_bits: {across: [engine, batch], of: tokens}}
  - {same_bits: {where: engine=exec, across: [batch], of: logprobs}}
)"}},
  };
  return all;
}

/// One operation each: the key `model` with the axes and the rule.
const std::map<std::string, std::string>& operation_plans() {
  static const std::map<std::string, std::string> all = {
      {"product", R"(model: {op: gemm, shapes: products.jsonl}
axes: {rows: [1], place: [first], neighbours: [random], align: [0], stride: [0]}
include:
  - {rows: [16, 17]}
  - {rows: 40, place: [middle, last, scattered]}
  - {rows: 2, neighbours: [zeros, huge]}
  - {rows: 12, align: [1, 3]}
  - {rows: 12, align: 3, stride: 5}
expect: [{same_bits: {across: [rows, place, neighbours, align, stride]}}]
)"},
      {"norm", R"(model: {op: rms_norm, shapes: norms.jsonl}
axes: {rows: [1, 16, 17]}
expect: [{same_bits: {across: [rows]}}]
)"},
  };
  return all;
}

const std::map<std::string, Plan>& plans() {
  static const std::map<std::string, Plan> all = {
      {"star",  // one cell a value: the base, then every axis by itself
       {kGreedy, R"(axes: {isa: [auto], batch: [1], gpus: [1], cache: [on], threads: [1]}
include:
  - {isa: avx2}
  - {batch: [3, 8, {size: 3, order: reversed}, {size: 3, join: staggered}]}
  - {gpus: [2, 4, 8]}
  - {cache: [off, {chunked: 17}, {chunked: 256}, {paged: 16}, prefix, recomputed]}
  - {threads: 2}
expect: [{same_bits: {across: [isa, batch, gpus, cache, threads]}}]
)"}},
      {"isa",
       {kGreedy, R"(axes: {isa: [scalar, avx2, avx512], batch: [1, 3]}
expect: [{same_bits: {across: [isa, batch]}}]
)",
        "{file: prompts.jsonl, take: 2}"}},  // the scalar text is slow
      {"order", {kGreedy, R"(axes:
  batch: [3, {size: 3, order: reversed}, {size: 3, order: shuffled}]
  gpus: [1, 2]
expect: [{same_bits: {across: [batch, gpus]}}]
)"}},
      {"precision", {kGreedy, R"(axes: {precision: [fp32, bf16, fp16], batch: [1, 3]}
expect: [{same_bits: {across: [batch]}}]
)"}},
      {"measured", {kGreedy, R"(axes: {batch: [1, 3]}
observe: {level: layers, values: {sites: [h2, h1, k_seen]}}
expect: [{same_bits: {across: [batch]}}]
measure: [{across: [batch], metrics: [kl, layer_drift, k_error]}]
)"}},
      {"fp8", {kGreedy, R"(axes: {precision: [fp32, fp8-e4m3, fp8-e5m2], gpus: [1, 2, 4]}
expect: [{same_bits: {across: [gpus]}}]
)"}},
      {"ops", {kGreedy, R"(observe: ops
axes: {batch: [1, 3], gpus: [1, 2]}
expect: [{same_bits: {across: [batch, gpus]}}]
)"}},
      {"rebuild", {kGreedy, R"(observe: ops
axes: {cache: [on, {chunked: 100}, recomputed], threads: [1, 2]}
expect: [{same_bits: {across: [cache, threads]}}]
)"}},
      {"sample",
       {"{strategy: sample, temperature: 0.8, top_k: 50, top_p: 0.95, seed: 11, "
        "max_new_tokens: 8, ignore_eos: true}",
        R"(axes: {batch: [1, 3, 8], gpus: [1, 2]}
expect: [{same_bits: {across: [batch, gpus]}}]
)"}},
      {"teacher", {kGreedy, R"(axes: {teacher_forced: [false, true], batch: [1, 3]}
expect: [{same_bits: {across: [teacher_forced, batch]}}]
)"}},
      {"engine", {kGreedy, R"(axes: {engine: [reference, openblas], batch: [1, 3]}
expect:
  - {same_bits: {where: engine=reference, across: [batch]}}
  - {within: {across: [engine], max_abs: 0.1}}
)"}},
      {"limit", {kGreedy, R"(time_limit: 2
axes: {batch: [1, 2, 3]}
expect: [{same_bits: {across: [batch]}}]
)"}},
      {"pair", {kGreedy, R"(axes: {batch: [1, 3], threads: [1, 2]}
expect: [{same_bits: {across: [batch, threads]}}]
)"}},
      {"within", {kGreedy, R"(axes: {cache: [on, off], threads: [1, 2]}
expect: [{within: {across: [cache, threads], max_abs: 1e-9, token_match: 1.0}}]
)"}},
  };
  return all;
}

/// Of what scores read.
const std::map<std::string, Plan>& score_plans() {
  static const std::map<std::string, Plan> all = {
      {"scores",
       {"{max_new_tokens: 8, ignore_eos: true, teacher_forced: continuation}",
        R"(golden: none
axes: {batch: [1, 3]}
expect:
  - {score: {of: choice, across: [batch], drop: 0}}
  - {score: {of: likelihood, across: [batch], rise: 0}}
)",
        "choices.jsonl"}}};
  return all;
}

}  // namespace

std::string plan_text(const std::string& name) {
  const std::string head = "version: 1\nname: selftest-" + name +
                           "\nquestion: Is a seeded defect found where it is, and only there?\n";
  if (operation_plans().count(name) != 0) return head + operation_plans().at(name);
  const auto& all = policy_plans().count(name) != 0       ? policy_plans()
                    : laboratory_plans().count(name) != 0 ? laboratory_plans()
                    : served_plans().count(name) != 0     ? served_plans()
                    : score_plans().count(name) != 0      ? score_plans()
                                                          : plans();
  const Plan& plan = all.at(name);
  return head + "model: " + plan.model + "\nprompts: " + plan.prompts + "\ndecode: " + plan.decode +
         "\n" + plan.body;
}

}  // namespace isobit::selftest
