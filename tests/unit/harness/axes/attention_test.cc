// Axis attention: values, patterns, what a class depends on, and what is refused beside it.
#include <gtest/gtest.h>

#include <algorithm>

#include "harness/axes/axes.h"
#include "harness/judge/judge.h"
#include "harness/matrix/matrix.h"
#include "runtime/numerics/attention_book.h"

namespace isobit {
namespace {

AxisPoint point(const std::string& attention, const std::string& kv = "exact",
                const std::string& precision = "bf16") {
  return {{"attention", *axis_value("attention", attention)},
          {"kv", *axis_value("kv", kv)},
          {"precision", *axis_value("precision", precision)}};
}

/// The axes of a class of a cell at this point.
std::string class_of(AxisPoint values, const std::string& axis = "", const std::string& text = "") {
  Cell cell;
  if (!axis.empty()) values[axis] = *axis_value(axis, text);
  for (const Axis& each : all_axes()) {
    const auto found = values.find(each.name);
    cell.axes[each.name] = found == values.end() ? usual_value(each.name) : found->second;
  }
  return class_axes(cell);
}

TEST(AttentionAxis, ValuesReachTheRequest) {
  const GenerateRequest r = requested(point("flash:32+p:bf16+splits:2+stabilise:(beta:7)"));
  const FlashSchedule& flash = r.backend.attention;
  EXPECT_EQ(flash.block, 32);
  EXPECT_EQ(flash.splits, 2);
  EXPECT_EQ(flash.p, Format::bf16);
  EXPECT_EQ(flash.beta, 7);
  EXPECT_FALSE(flash.loose);
  EXPECT_FALSE(requested(point("reference")).backend.attention.emulated());
}

TEST(AttentionAxis, PatternsAreTheWordAndEachPair) {
  const AxisValue value = *axis_value("attention", "flash:64+p:bf16+splits:by_length");
  for (const char* pattern : {"flash", "p:bf16", "splits:by_length", "splits", "p"}) {
    EXPECT_TRUE(value_matches(value, pattern)) << pattern;
    const auto known = axis_value("attention", RawValue{pattern, {}}, ValueUse::pattern);
    EXPECT_TRUE(known) << pattern << ": " << known.error().message;
  }
  for (const char* pattern : {"reference", "p:fp16", "stabilise", "splits:2"}) {
    EXPECT_FALSE(value_matches(value, pattern)) << pattern;
  }
  EXPECT_FALSE(axis_value("attention", RawValue{"splits:99", {}}, ValueUse::pattern));
  EXPECT_FALSE(axis_value("attention", "flash"));
  EXPECT_FALSE(axis_value("attention", "splits:2"));
  EXPECT_NE(axis_value("attention", "flsh").error().message.find("did you mean \"flash\""),
            std::string::npos);
}

/// One class with fixed splits; by length, batch, cache and gpus decide too.
TEST(AttentionAxis, ClassesDependOnStepsByLengthAlone) {
  const AxisPoint fixed = point("flash:64+splits:4"),
                  by_length = point("flash:64+splits:by_length");
  const std::pair<const char*, const char*> steps[] = {
      {"batch", "3"}, {"cache", "off"}, {"gpus", "2"}};
  for (const auto& [axis, text] : steps) {
    EXPECT_EQ(class_of(fixed), class_of(fixed, axis, text)) << axis;
    EXPECT_NE(class_of(by_length), class_of(by_length, axis, text)) << axis;
  }
  for (const auto& [axis, text] : {std::pair<const char*, const char*>{"threads", "2"},
                                   std::pair<const char*, const char*>{"isa", "scalar"}}) {
    EXPECT_EQ(class_of(by_length), class_of(by_length, axis, text)) << axis;
  }
  EXPECT_NE(class_of(fixed), class_of(point("flash:64")));
}

/// A scenario's error, or empty.
std::string refusal(const std::string& attention, const std::string& kv,
                    const std::string& precision = "bf16", const std::string& engine = "") {
  Scenario scenario;
  scenario.name = "test";
  scenario.model = "m";
  for (const auto& [axis, value] : point(attention, kv, precision))
    scenario.axes.push_back({axis, {value}});
  if (!engine.empty()) scenario.axes.push_back({"engine", {*axis_value("engine", engine)}});
  const auto matrix = expand(scenario, false);
  return matrix ? "" : matrix.error().message;
}

TEST(AttentionAxis, WhatItCannotStandWithIsRefusedByName) {
  for (const char* kv :
       {"q8_0", "kivi:2", "chain:snapkv:64>q8_0", "rtn:4+per:channel+when:block"}) {
    EXPECT_NE(refusal("flash:64", kv).find("not codes"), std::string::npos) << kv;
    EXPECT_EQ(refusal("reference", kv), "") << kv;
  }
  for (const char* kv : {"h2o:64", "tova:64", "snapkv:64"}) {
    EXPECT_NE(refusal("flash:64", kv).find("no weights"), std::string::npos) << kv;
  }
  EXPECT_NE(refusal("flash:64", "quanto:4").find("of its own"), std::string::npos);
  for (const char* kv :
       {"exact", "window:64", "streaming:48", "knorm:64", "bits:3", "residual:embedding"}) {
    EXPECT_EQ(refusal("flash:64+splits:2", kv), "") << kv;
  }
  EXPECT_NE(refusal("flash:64+splits:by_length", "window:64").find("by_length"), std::string::npos);
  EXPECT_EQ(refusal("flash:64+splits:by_length", "residual:embedding"), "");
  EXPECT_NE(refusal("flash:64+p:bf16", "exact", "fp64").find("fp64"), std::string::npos);
  EXPECT_EQ(refusal("flash:64", "exact", "fp64"), "");
}

/// Requested against observed.
Judgement judged(const std::string& asked, const std::string& ran, std::int64_t max_position) {
  GenerateRequest request = requested(point(asked));
  CellTrace trace;
  trace.observed.engine = "reference";
  trace.observed.device = "cpu";
  trace.observed.isa = "avx2";
  trace.observed.precision = "bf16";
  trace.observed.threads = trace.observed.ranks = trace.observed.live_rows = 1;
  trace.observed.page_size = request.cache.page_size;
  trace.observed.cached_reads = 1;
  trace.observed.attention = ran;
  trace.observed.max_position = max_position;
  return check_observed(request, trace, false);
}

TEST(AttentionAxis, ObservedIsBelievedOnlyWhereItWasExercised) {
  EXPECT_EQ(judged("flash:64+splits:2", "flash:64+splits:2", 200).verdict, Verdict::pass);
  EXPECT_EQ(judged("reference", "reference", 3).verdict, Verdict::pass);
  const Judgement other = judged("flash:64", "flash:32", 200);
  EXPECT_EQ(other.verdict, Verdict::fail);
  EXPECT_NE(other.reason.find("flash:64 was asked, flash:32 ran"), std::string::npos);
  EXPECT_EQ(judged("reference", "flash:64", 200).verdict, Verdict::fail);
  EXPECT_EQ(judged("flash:64", "reference", 200).verdict, Verdict::fail);
  const Judgement unsplit = judged("flash:64+splits:2", "flash:64", 200);
  EXPECT_EQ(unsplit.verdict, Verdict::mistrusted);
  EXPECT_NE(unsplit.reason.find("more than one split"), std::string::npos);
  EXPECT_EQ(judged("flash:64+splits:by_length", "flash:64", 200).verdict, Verdict::mistrusted);
  const std::string mitigated = "flash:64+p:bf16+splits:2+stabilise:(beta:7)";
  EXPECT_EQ(judged(mitigated, mitigated, 200).verdict, Verdict::pass);
  for (const char* ran : {"flash:64+p:bf16+splits:2", "flash:64+p:bf16"}) {
    const Judgement idle = judged(mitigated, ran, 200);
    EXPECT_EQ(idle.verdict, Verdict::mistrusted) << ran;
    EXPECT_NE(idle.reason.find("never acted"), std::string::npos) << idle.reason;
  }
  EXPECT_NE(judged(mitigated, "flash:64+p:bf16+stabilise:(beta:7)", 200).reason.find("one split"),
            std::string::npos);
  const Judgement short_context = judged("flash:64", "flash:64", 63);
  EXPECT_EQ(short_context.verdict, Verdict::mistrusted);
  EXPECT_NE(short_context.reason.find("one block of 64"), std::string::npos);
  EXPECT_EQ(judged("flash:64", "flash:64", 64).verdict, Verdict::pass);
}

TEST(AttentionAxis, AFusedValueIsALibrarysKernel) {
  for (const char* kernel : {"fa2", "cudnn:sm90", "cudnn:sm80:32", "cudnn:sm80:64", "efficient"}) {
    const std::string text = std::string("fused:") + kernel;
    const GenerateRequest r = requested(point(text));
    const FlashSchedule& schedule = r.backend.attention;
    EXPECT_TRUE(schedule.is_fused()) << text;
    EXPECT_FALSE(schedule.emulated()) << text;
    EXPECT_FALSE(schedule.usual()) << text;
    EXPECT_EQ(text_of(schedule.fused), kernel);
    EXPECT_EQ(schedule.text, text);
    const AxisValue value = *axis_value("attention", text);
    EXPECT_EQ(value.text, text);
    EXPECT_EQ(value.head, "fused");
  }
  EXPECT_TRUE(requested(point("reference")).backend.attention.usual());
  EXPECT_FALSE(requested(point("flash:64")).backend.attention.is_fused());
}

TEST(AttentionAxis, FusedPatterns) {
  const AxisValue value = *axis_value("attention", "fused:cudnn:sm80:64");
  for (const char* pattern : {"fused", "fused:cudnn:sm80:64"}) {
    EXPECT_TRUE(value_matches(value, pattern)) << pattern;
    const auto known = axis_value("attention", RawValue{pattern, {}}, ValueUse::pattern);
    EXPECT_TRUE(known) << pattern << ": " << (known ? "" : known.error().message);
  }
  for (const char* pattern : {"flash", "reference", "fused:fa2", "fused:cudnn:sm80:32", "splits"}) {
    EXPECT_FALSE(value_matches(value, pattern)) << pattern;
  }
  EXPECT_FALSE(value_matches(*axis_value("attention", "flash:64"), "fused"));
  EXPECT_FALSE(axis_value("attention", RawValue{"fused:fa3", {}}, ValueUse::pattern));
}

TEST(AttentionAxis, WrongFusedValuesAreRefused) {
  for (const auto& [text, says] :
       {std::pair{"fused", "attention fused needs a kernel, e.g. {fused: fa2}"},
        std::pair{"fused:", "unknown kernel \"\""},
        std::pair{"fused:fa", "unknown kernel \"fa\"; did you mean \"fa2\""},
        std::pair{"fused:cudnn:sm80", "unknown kernel \"cudnn:sm80\""},
        std::pair{"fused:fa2+splits:2", "unknown kernel \"fa2+splits:2\""},
        std::pair{"fusd", "did you mean \"fused\""}}) {
    const auto value = axis_value("attention", text);
    ASSERT_FALSE(value) << text;
    EXPECT_NE(value.error().message.find(says), std::string::npos) << value.error().message;
  }
  for (const char* precision : {"bf16", "fp16"}) {
    EXPECT_EQ(refusal("fused:fa2", "exact", precision, "model:sm90"), "") << precision;
    EXPECT_NE(refusal("fused:fa2", "exact", precision).find("is of engine {model: sm90}"),
              std::string::npos);
    EXPECT_NE(refusal("fused:fa2", "exact", precision, "model:sm80"), "");
    for (const char* kv : {"q8_0", "window:64", "bits:3", "residual:embedding"}) {
      EXPECT_NE(refusal("fused:fa2", kv, precision).find("reads exact keys and values"),
                std::string::npos)
          << kv;
    }
  }
  for (const char* precision : {"fp32", "fp64", "fp8-e4m3"}) {
    EXPECT_NE(refusal("fused:fa2", "exact", precision).find("is in precision bf16 or fp16"),
              std::string::npos)
        << precision;
  }
}

TEST(AttentionAxis, AKernelIsAComputationOfItsOwn) {
  const auto found = std::find_if(all_axes().begin(), all_axes().end(),
                                  [](const Axis& axis) { return axis.name == "attention"; });
  ASSERT_NE(found, all_axes().end());
  EXPECT_TRUE(found->lossless(*axis_value("attention", "reference")));
  EXPECT_FALSE(found->lossless(*axis_value("attention", "fused:fa2")));
  EXPECT_FALSE(found->lossless(*axis_value("attention", "flash:64")));
  EXPECT_NE(class_of(point("fused:fa2")), class_of(point("fused:efficient")));
  EXPECT_NE(class_of(point("fused:fa2")), class_of(point("reference")));
  EXPECT_EQ(judged("fused:fa2", "fused:fa2", 200).verdict, Verdict::pass);
  EXPECT_EQ(judged("fused:fa2", "reference", 200).verdict, Verdict::fail);
  EXPECT_EQ(judged("fused:fa2", "fused:efficient", 200).verdict, Verdict::fail);
}

}  // namespace
}  // namespace isobit
