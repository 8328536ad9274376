// Captures of fused attention: what an H200 returned is computed again bit for bit, a changed bit
// or another plan is found, and what is wrong with a file is said with its place.
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "harness/probe/attention_judge.h"
#include "harness/probe/draw.h"
#include "runtime/base/file.h"

namespace isobit::probe {
namespace {

/// Rows of an H200 (PyTorch 2.11, cuDNN 9.19): 23 calls of kernels that have a rule, one of
/// another.
std::string recorded_text() {
  const auto bytes =
      read_file(ISOBIT_SOURCE_DIR "/tests/unit/harness/probe/attention.txt", 1 << 20, "a capture");
  EXPECT_TRUE(bytes) << (bytes ? "" : bytes.error().text());
  return *bytes;
}
AttentionCapture recorded() {
  auto capture = parse_attention_capture(recorded_text(), "a.txt");
  EXPECT_TRUE(capture) << (capture ? "" : capture.error().text());
  return std::move(*capture);
}
AttentionCall& call_of(AttentionCapture& capture, const std::string& kernel) {
  const auto found = std::find_if(
      capture.calls.begin(), capture.calls.end(),
      [&](const AttentionCall& call) { return rule_of(call, capture.facts).kernel == kernel; });
  EXPECT_NE(found, capture.calls.end()) << kernel;
  return *found;
}

TEST(AttentionJudge, WhatAnH200ReturnedIsComputedAgain) {
  const AttentionJudgement judgement = judge_attention({recorded()}, {1, {}});
  std::vector<std::string> ruled, unknown;
  for (const auto& [kind, count] : judgement.kinds) {
    EXPECT_EQ(count.misses(), 0) << kind.kernel << " " << kind.precision << " " << kind.mask;
    std::vector<std::string>& names = kind.ruled ? ruled : unknown;
    if (names.empty() || names.back() != kind.kernel) names.push_back(kind.kernel);
  }
  EXPECT_EQ(ruled, (std::vector<std::string>{"cudnn:sm80:32", "cudnn:sm80:64", "cudnn:sm90",
                                             "efficient", "fa2", "fa2 split"}));
  EXPECT_EQ(unknown,
            (std::vector<std::string>{"cudnn sm80_flash_fprop_wmma_f16_knob_35_16x128x64_1x4x1 + "
                                      "lean_reduction_kernel"}));
  EXPECT_EQ(judgement.total(true), (AttentionCount{.calls = 23, .outputs = 4864}));
  EXPECT_EQ(judgement.total(false).outputs, 128);
  EXPECT_TRUE(judgement.misses.empty());
}

TEST(AttentionJudge, AChangedBitIsFoundAtItsPlace) {
  AttentionCapture capture = recorded();
  AttentionRow& row = call_of(capture, "cudnn:sm80:64").rows[1];
  row.bits[7] ^= 1;  // whatever the value: a neighbour
  row.bits[9] ^= 0x8000;
  row.bits[63] = 0x7fc0;
  const AttentionJudgement judgement = judge_attention({recorded(), capture}, {3, {}});
  ASSERT_EQ(judgement.misses.size(), 3U);
  const auto& [first, second, third] =
      std::tie(judgement.misses[0], judgement.misses[1], judgement.misses[2]);
  EXPECT_EQ(first.capture, 1U);
  EXPECT_EQ(first.line, row.line);
  EXPECT_EQ(std::tie(first.sequence, first.head, first.query, first.output),
            std::make_tuple(row.sequence, row.head, row.query, std::int64_t(7)));
  EXPECT_EQ(first.computed ^ first.returned, 1);
  EXPECT_EQ(first.kind, Miss::neighbour);
  EXPECT_EQ(second.kind, Miss::other);
  EXPECT_EQ(third.kind, Miss::other);
  EXPECT_EQ(judgement.total(true),
            (AttentionCount{.calls = 46, .outputs = 9728, .neighbours = 1, .others = 2}));
}

TEST(AttentionJudge, MissesAreClassified) {
  struct Line {
    Format format;
    std::uint16_t a, b;
    Miss kind;
  };
  for (const Line& line : {Line{Format::fp16, 0x3c00, 0x3c01, Miss::neighbour},
                           {Format::fp16, 0x3c00, 0x3c02, Miss::other},
                           {Format::fp16, 0xbbff, 0xbc00, Miss::neighbour},  // another exponent
                           {Format::fp16, 0x0000, 0x8000, Miss::zero},
                           {Format::bf16, 0x8000, 0x0000, Miss::zero},
                           {Format::bf16, 0x8000, 0x0001, Miss::neighbour},
                           {Format::bf16, 0x8001, 0x0001, Miss::other},
                           {Format::fp16, 0x7bff, 0x7c00, Miss::neighbour},  // infinity
                           {Format::fp16, 0x7c00, 0x7c01, Miss::other},      // NaN
                           {Format::bf16, 0x7c00, 0x7c01, Miss::neighbour},
                           {Format::bf16, 0x7fc0, 0x7fc1, Miss::other}}) {
    EXPECT_EQ(miss_of(line.format, line.a, line.b), line.kind) << line.a << " " << line.b;
    EXPECT_EQ(miss_of(line.format, line.b, line.a), line.kind) << line.a << " " << line.b;
  }
}

TEST(AttentionJudge, AnotherPlanGivesMisses) {
  const AttentionCapture capture = recorded();
  // Over all calls of a kernel: what one rounding changes is seen in few outputs.
  const auto misses_with = [&](const std::string& kernel, const auto& change) {
    std::int64_t out = 0;
    for (const AttentionCall& call : capture.calls) {
      AttentionRule rule = rule_of(call, capture.facts);
      if (rule.kernel != kernel) continue;
      change(*rule.plan);
      std::vector<AttentionMiss> misses;
      out += judge_call(call, *rule.plan, misses).misses();
    }
    return out;
  };
  const auto block = [](int size) { return [size](FusedPlan& plan) { plan.order.block = size; }; };
  const auto scores = [](FusedOrder::Scores kind) {
    return [kind](FusedPlan& plan) { plan.order.scores = kind; };
  };
  EXPECT_EQ(misses_with("cudnn:sm80:64", block(64)), 0);
  EXPECT_GT(misses_with("cudnn:sm80:64", block(32)), 0);
  EXPECT_GT(misses_with("cudnn:sm80:32", block(16)), 0);
  EXPECT_GT(misses_with("cudnn:sm90", block(64)), 0);
  EXPECT_GT(misses_with("fa2", block(64)), 0);
  EXPECT_GT(misses_with("fa2 split", [](FusedPlan& plan) { plan.splits = 1; }), 0);
  EXPECT_GT(misses_with("fa2", [](FusedPlan& plan) { plan.order.last_first = false; }), 0);
  EXPECT_GT(misses_with("fa2", [](FusedPlan& plan) { plan.order.crossed = false; }), 0);
  EXPECT_GT(misses_with("fa2 split", [](FusedPlan& plan) { plan.order.crossed = false; }), 0);
  EXPECT_GT(misses_with("cudnn:sm90",
                        [](FusedPlan& plan) { plan.order.sums = FusedOrder::Sums::running; }),
            0);
  EXPECT_GT(misses_with("cudnn:sm90", scores(FusedOrder::Scores::twice)), 0);
  EXPECT_GT(misses_with("cudnn:sm80:64", scores(FusedOrder::Scores::scaled)), 0);
  EXPECT_GT(
      misses_with("efficient", [](FusedPlan& plan) { plan.order.sums = FusedOrder::Sums::fused; }),
      0);
  EXPECT_GT(misses_with("efficient", [](FusedPlan& plan) { plan.order.group = 16; }), 0);
  EXPECT_GT(misses_with("efficient", [](FusedPlan& plan) { plan.order.divides = false; }), 0);
}

TEST(AttentionJudge, ThreadsChangeNothing) {
  AttentionCapture capture = recorded();
  for (AttentionCall& call : capture.calls) {
    for (std::size_t i = 0; i < call.rows.size(); ++i) call.rows[i].bits[i] ^= 1;
  }
  std::int64_t told = 0;
  const AttentionJudgement one = judge_attention({capture, capture}, {1, {}});
  const AttentionJudgement many =
      judge_attention({capture, capture}, {7, [&](std::int64_t done, std::int64_t all) {
                                             told = done;
                                             EXPECT_EQ(all, 48);
                                           }});
  EXPECT_EQ(told, 48);
  EXPECT_EQ(one.kinds, many.kinds);
  EXPECT_EQ(one.misses, many.misses);
  EXPECT_EQ(one.misses.size(), kListedMisses);
  EXPECT_GT(one.total(true).misses(), std::int64_t(kListedMisses));
}

TEST(AttentionJudge, ARuleIsOfAKernelOnAHopper) {
  const AttentionCapture capture = recorded();
  AttentionCall call = capture.calls[0];
  EXPECT_TRUE(rule_of(call, capture.facts).plan);
  EXPECT_FALSE(rule_of(call, {{"variant", "NVIDIA A100"}}).plan);
  EXPECT_FALSE(rule_of(call, {}).plan);
  call.shape.head_dim = 64;
  for (const char* kernels :
       {"", "flash_fwd_kernel z1x1x1 + flash_fwd_kernel z1x1x1", "flash_fwd_splitkv_kernel z1x4x1",
        "cudnn_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x64x64 z1x1x1",
        "cudnn_sdpa_sm80_flash_fprop_wmma_f16_knob_35_16x128x64 z1x1x1",
        "fmha_cutlassF_bf16_aligned_64x128_rf_sm80 z1x1x1",  // of heads above 64
        "fmha_cutlassF_f32_aligned_32x128_gmem_sm80 z1x1x1", " + ", "z", " zx"}) {
    call.kernels = kernels;
    EXPECT_FALSE(rule_of(call, capture.facts).plan) << kernels;
  }
}

TEST(AttentionJudge, SplitsThatAreNotThePlansAreCounted) {
  AttentionCapture capture = recorded();
  AttentionCall& call = call_of(capture, "fa2 split");
  EXPECT_EQ(rule_of(call, capture.facts).splits_started, 2);
  call.kernels.replace(call.kernels.find("x2x"), 3, "x3x");
  AttentionJudgement judgement = judge_attention({capture}, {1, {}});
  EXPECT_EQ(judgement.total(true).wrong_splits, 1);
  EXPECT_EQ(judgement.total(true).misses(), 0);
  capture.facts["multiprocessors"] = "1";  // room for two blocks of threads: few splits
  judgement = judge_attention({capture}, {1, {}});
  EXPECT_EQ(judgement.total(true).wrong_splits, 3);
  EXPECT_GT(judgement.total(true).misses(), 0);
}

TEST(AttentionCaptureText, IsReadAndWrittenAsTheSame) {
  EXPECT_EQ(text_of(recorded()), recorded_text());
}

TEST(AttentionCaptureText, ErrorsHaveTheirPlace) {
  const std::string head = "isobit attention capture 1\nfact variant NVIDIA H200\n";
  const auto call = [](const std::string& words) { return "attention " + words + "\n"; };
  const std::string good = call("fa2 bf16 2 4 2 3 5 1 free 0 | flash_fwd_kernel z1x1x1");
  const std::pair<std::string, std::string> lines[] = {
      {"isobit capture 1\n", "a.txt:1: an attention capture begins"},
      {head + "row 0 0 0 3f80\n", "a.txt:3: there is no call"},
      {head + "facts a b\n", "a.txt:3: unknown word \"facts\""},
      {head + "fact\n", "a.txt:3: a fact has a name"},
      {head + good + "row 2 0 0 3f80\n", "a.txt:4: a row is"},
      {head + good + "row 0 4 0 3f80\n", "a.txt:4: a row is"},
      {head + good + "row 0 0 3 3f80\n", "a.txt:4: a row is"},
      {head + good + "row 0 0 0 3f8\n", "a.txt:4: a row of this call has 4"},
      {head + good + "row 0 0 0 3f80 3f80\n", "a.txt:4: a row of this call has 4"},
      {head + good + "row 0 0 0 3F80\n", "a.txt:4: outputs have hexadecimal"},
      {head + good + "end 1\n", "a.txt:4: the capture has 0 outputs"},
      {head + good + "row 0 0 0 3f80\nend 1\n" + good, "a.txt:6: the capture has ended"},
      {head + good, "a.txt: the capture has no end"},
      {head + "end 0\n", "a.txt: the capture holds no call"},
      {"", "a.txt: the capture has no end"},
      {head + call("fa3 bf16 2 4 2 3 5 1 free 0 | k"), "unknown kernel \"fa3\"; did you mean"},
      {head + call("fa2 fp32 2 4 2 3 5 1 free 0 | k"), "a precision is"},
      {head + call("fa2 bf16 2 40000 2 3 5 1 free 0 | k"), "batch times heads"},
      {head + call("fa2 bf16 0 4 2 3 5 1 free 0 | k"), "batch times heads"},
      {head + call("fa2 bf16 99999999999999999999 4 2 3 5 1 free 0 | k"), "batch times heads"},
      {head + call("fa2 bf16 2 4 3 3 5 1 free 0 | k"), "KV heads"},
      {head + call("fa2 bf16 2 4 2 3 16385 1 free 0 | k"), "at most 16384"},
      {head + call("fa2 bf16 2 4 2 3 5 257 free 0 | k"), "at most 256"},
      {head + call("fa2 bf16 2 4 2 3 5 1 right 0 | k"), "a mask is"},
      {head + call("fa2 bf16 2 4 2 3 5 1 causal 0 | k"), "as many queries as keys"},
      {head + call("fa2 bf16 2 4 2 7 5 1 left:0,0 0 | k"), "no more queries"},
      {head + call("fa2 bf16 2 4 2 3 5 1 left:0 0 | k"), "the mask pads 1 sequences"},
      {head + call("fa2 bf16 2 4 2 3 5 1 left:0,5 0 | k"), "below the number of keys, not \"5\""},
      {head + call("fa2 bf16 2 4 2 3 5 1 left:0, 0 | k"), "below the number of keys, not \"\""},
      {head + call("fa2 bf16 2 4 2 3 5 1 free 64 | k"), "a draw is"},
      {head + call("fa2 bf16 2 4 2 3 5 1 free 0"), "behind a bar"}};
  for (const auto& [text, says] : lines) {
    const auto read = parse_attention_capture(text, "a.txt");
    ASSERT_FALSE(read) << text;
    EXPECT_NE(read.error().text().find(says), std::string::npos) << read.error().text();
    EXPECT_TRUE(read.error().place.starts_with("a.txt")) << read.error().text();
  }
}

TEST(AttentionDraw, RowsAreDrawnByPlace) {
  const auto all = attention_rows(3, AttentionSide::keys, 5, 0, 4, 8, Format::bf16);
  const auto last = attention_rows(3, AttentionSide::keys, 5, 3, 1, 8, Format::bf16);
  EXPECT_TRUE(std::equal(last.begin(), last.end(), all.begin() + 24));
  const auto small = attention_rows(2, AttentionSide::queries, 0, 0, 64, 64, Format::bf16);
  const auto large = attention_rows(3, AttentionSide::queries, 0, 0, 64, 64, Format::bf16);
  const auto most = [](const std::vector<float>& v) {
    return *std::max_element(v.begin(), v.end());
  };
  EXPECT_GT(most(large), 2 * most(small));
}

}  // namespace
}  // namespace isobit::probe
