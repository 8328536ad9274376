// Scenario reading: every kind of mistake is an error at its exact place, and every key is read.
#include "harness/scenario/scenario.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "harness/matrix/matrix.h"

namespace isobit {
namespace {

const char* const kBase = "version: 1\nname: t\nmodel: m\nprompts: p.jsonl\n";

std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const auto scenario = parse_scenario(text, "t.yaml", overrides);
  return scenario ? "no error" : scenario.error().text();
}

/// The error of a scenario that is well but for `more`, which starts in line 5.
std::string error_after_base(const std::string& more) {
  return error_of(kBase + more);
}

std::vector<std::string> axis_texts(const std::string& axis, const std::string& values) {
  const auto scenario =
      parse_scenario(std::string(kBase) + "axes: {" + axis + ": " + values + "}\n", "t.yaml", {});
  if (!scenario) return {scenario.error().text()};
  std::vector<std::string> texts;
  for (const AxisValue& value : scenario->axes[0].second) texts.push_back(value.text);
  return texts;
}

using Texts = std::vector<std::string>;

const char* const kEveryKey = R"(version: 1
name: kv-cache-equivalence
question: Same bits?
model: smollm2-135m
prompts: {file: p.jsonl, take: 20, skip: 100, pad_to: 300}
decode: {strategy: sample, max_new_tokens: 96, ignore_eos: yes, temperature: 0.5, top_k: 40,
         top_p: 0.9, seed: 7}
axes:
  engine: [reference, {openblas: haswell}]
  batch: [1, {size: 3, order: reversed, join: staggered}]
zip:
  - {gpus: [1, 2], threads: [2, 1]}
exclude: [{engine: openblas, gpus: 2}]
include: [{precision: bf16, cache: [on, {paged: 16}]}]
requires: {openblas: openblas, gpus: [real, gpu]}
observe: layers
expect:
  - same_bits: {where: engine=reference, across: [batch, gpus, cache]}
  - within: {across: [cache], token_match: 1.0, max_kl: 1e-6, max_abs: 0.5, max_ulp: 4}
  - differ: {where: precision=fp16, across: [cache]}
  - differ_all: {across: [batch]}
xfail: [{where: batch>1, reason: known, until: 2028-02-29}]
tags: [ci, slow]
max_cells: 77
time_limit: 2.5
pairwise: {per: [engine]}
cost: true
)";

TEST(Scenario, ValuesOfAnAxisAreThoseOfAxesZipAndInclude) {
  const auto scenario = parse_scenario(
      std::string(kBase) + "axes: {batch: [1, 2]}\nzip: [{gpus: [1, 2], threads: [2, 1]}]\n" +
          "exclude: [{batch: 2}]\ninclude: [{batch: 4, gpus: [4, 8]}]\n",
      "t.yaml", {});
  ASSERT_TRUE(scenario) << scenario.error().text();
  EXPECT_EQ(value_texts(*scenario, "batch"), (Texts{"1", "2", "4"}));
  EXPECT_EQ(value_texts(*scenario, "gpus"), (Texts{"1", "2", "4", "8"}));
  EXPECT_EQ(value_texts(*scenario, "seed"), Texts{});
}

TEST(Scenario, ReadsEveryKey) {
  const std::string text = kEveryKey;
  const auto read = parse_scenario(text, "dir/t.yaml", {});
  ASSERT_TRUE(read) << read.error().text();
  const Scenario& s = *read;
  EXPECT_EQ(s.path, "dir/t.yaml");
  EXPECT_EQ(s.text, text);
  EXPECT_EQ(s.name, "kv-cache-equivalence");
  EXPECT_EQ(s.question, "Same bits?");
  EXPECT_EQ(s.model, "smollm2-135m");
  EXPECT_EQ(s.prompts.file, "p.jsonl");
  EXPECT_EQ(s.prompts.take, 20);
  EXPECT_EQ(s.prompts.skip, 100);
  EXPECT_EQ(s.prompts.pad_to, 300);
  EXPECT_EQ(s.decode.strategy, "sample");
  EXPECT_EQ(s.decode.max_new_tokens, 96);
  EXPECT_TRUE(s.decode.ignore_eos);
  EXPECT_TRUE(s.decode.temperature == 0.5);
  EXPECT_EQ(s.decode.top_k, 40);
  EXPECT_TRUE(s.decode.top_p == 0.9);
  EXPECT_EQ(s.decode.seed, 7u);
  ASSERT_EQ(s.axes.size(), 2u);
  EXPECT_EQ(s.axes[0].second[1].text, "openblas:Haswell");
  EXPECT_EQ(s.axes[1].second[1].text, "join:staggered+order:reversed+size:3");
  ASSERT_EQ(s.zip.size(), 1u);
  EXPECT_EQ(s.zip[0].at("threads")[0].text, "2");
  EXPECT_EQ(s.exclude[0].at("engine")[0].text, "openblas");
  EXPECT_EQ(s.include[0].at("cache")[1].text, "paged:16");
  ASSERT_EQ(s.requirements.size(), 3u);
  EXPECT_EQ(s.requirements[2].subject + " " + s.requirements[2].what, "gpus gpu");
  EXPECT_EQ(s.requirements[0].place, "dir/t.yaml:15:12");
  EXPECT_EQ(s.observe, TraceLevel::layers);
  ASSERT_EQ(s.expect.size(), 4u);
  EXPECT_EQ(s.expect[0].text(), "same_bits across batch, gpus, cache where engine=reference");
  EXPECT_EQ(s.expect[0].place, "dir/t.yaml:18:5");
  EXPECT_EQ(s.expect[1].kind, Expectation::Kind::within);
  EXPECT_TRUE(s.expect[1].token_match == 1.0 && s.expect[1].max_kl == 1e-6);
  EXPECT_TRUE(s.expect[1].max_abs == 0.5 && s.expect[1].max_ulp == 4);
  EXPECT_EQ(s.expect[3].kind, Expectation::Kind::differ_all);
  EXPECT_EQ(s.xfail[0].until, "2028-02-29");
  EXPECT_EQ(s.tags, (Texts{"ci", "slow"}));
  EXPECT_EQ(s.max_cells, 77);
  EXPECT_TRUE(s.cell_seconds == 2.5);
  EXPECT_TRUE(s.pairwise);
  EXPECT_TRUE(s.cost);
  EXPECT_EQ(s.pairwise_per, Texts{"engine"});
}

TEST(Scenario, MakesAxisValuesCanonical) {
  EXPECT_EQ(axis_texts("cache", "[on, off, {chunked: 17}, paged:16, prefix, recomputed]"),
            (Texts{"on", "off", "chunked:17", "paged:16", "prefix", "recomputed"}));
  EXPECT_EQ(axis_texts("cache", "[{prefix: true, paged: 16, chunked: 17}, {prefix: true}]"),
            (Texts{"chunked:17+paged:16+prefix:true", "prefix"}));
  EXPECT_EQ(axis_texts("cache", "[{recomputed: false}, {recomputed: yes, chunked: 17}]"),
            (Texts{"on", "chunked:17+recomputed:true"}));
  EXPECT_EQ(axis_texts("cache", "[true, False]"), (Texts{"on", "off"}));
  EXPECT_EQ(axis_texts("cache", "[yes, \"off\"]"), (Texts{"on", "off"}));
  EXPECT_EQ(axis_texts("teacher_forced", "[on, no]"), (Texts{"true", "false"}));
  EXPECT_EQ(axis_texts("batch", "[{size: 3}, {order: given, size: 8, join: together}, 1]"),
            (Texts{"3", "8", "1"}));
  EXPECT_EQ(axis_texts("batch", "[\"order:shuffled+size:8\"]"), Texts{"order:shuffled+size:8"});
  EXPECT_EQ(axis_texts("engine", "[{threads: 2, openblas: SKYLAKEX}, openblas:zen]"),
            (Texts{"openblas:SkylakeX+threads:2", "openblas:Zen"}));
  EXPECT_EQ(axis_texts("gpus", "[{ranks: 2}, {topology: ring, ranks: 4}, ranks:8+arrival:7]"),
            (Texts{"2", "ranks:4+topology:ring", "arrival:7+ranks:8"}));
  EXPECT_EQ(axis_texts("engine", "[{cublas: 5}, cublas:-1, {math: pedantic, cublas: default}]"),
            (Texts{"cublas:5", "cublas", "cublas:default+math:pedantic"}));
  EXPECT_EQ(axis_texts("engine",
                       "[{cublaslt: heuristic}, {index: 3, cublaslt: heuristic}, {tile: 20, "
                       "cluster: 2, cublaslt: 66}, \"cublaslt:heuristic+algorithm:7\"]"),
            (Texts{"cublaslt", "cublaslt:heuristic+index:3", "cublaslt:66+cluster:2+tile:20",
                   "cublaslt:heuristic+algorithm:7"}));
}

TEST(Scenario, TeacherForcedInDecodeIsTheAxis) {
  const auto forced =
      parse_scenario(std::string(kBase) + "decode: {teacher_forced: true}\n", "t.yaml", {});
  ASSERT_TRUE(forced);
  ASSERT_EQ(forced->axes.size(), 1u);
  EXPECT_EQ(forced->axes[0].first, "teacher_forced");
  EXPECT_EQ(forced->axes[0].second[0].text, "true");
  EXPECT_EQ(error_after_base("decode: {teacher_forced: true}\naxes: {teacher_forced: [true]}\n"),
            "t.yaml:5:26: teacher_forced is an axis already; give it in one place");
}

struct BadScenario {
  const char* yaml;  // from line 5 on
  const char* error;
};

class BadScenarios : public testing::TestWithParam<BadScenario> {};

TEST_P(BadScenarios, NamePlaceAndMistake) {
  EXPECT_EQ(error_after_base(GetParam().yaml), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Keys, BadScenarios,
    testing::Values(
        BadScenario{"modle: x\n",
                    "t.yaml:5:1: unknown key \"modle\" in the scenario; did you mean \"model\"?"},
        BadScenario{"model: x\n", "t.yaml:5:1: duplicate key \"model\"; first in line 3"},
        BadScenario{"decode: {strategy: gredy}\n",
                    "t.yaml:5:20: unknown strategy \"gredy\"; did you mean \"greedy\"?"},
        BadScenario{"decode: {max_new_token: 3}\n",
                    "t.yaml:5:10: unknown key \"max_new_token\" in decode; did you mean "
                    "\"max_new_tokens\"?"},
        BadScenario{"decode: {max_new_tokens: many}\n",
                    "t.yaml:5:26: max_new_tokens must be a whole number from 1 to 1048576, not "
                    "\"many\""},
        BadScenario{"decode: {max_new_tokens: 0}\n",
                    "t.yaml:5:26: max_new_tokens must be a whole number from 1 to 1048576, not "
                    "\"0\""},
        BadScenario{"decode: {max_new_tokens: \"8\"}\n",
                    "t.yaml:5:26: max_new_tokens must be a whole number from 1 to 1048576, not "
                    "\"8\" in quotes, which make it a text"},
        BadScenario{"decode: {ignore_eos: maybe}\n",
                    "t.yaml:5:22: ignore_eos must be true or false, not \"maybe\""},
        BadScenario{"decode: {seed: 3}\n",
                    "t.yaml:5:10: \"seed\" has no meaning with strategy greedy; add strategy: "
                    "sample"},
        BadScenario{"decode: {strategy: sample, top_p: nan}\n",
                    "t.yaml:5:35: top_p must be a number from 0 to 1, not \"nan\""},
        BadScenario{"decode: {strategy: sample, top_p: 0}\n",
                    "t.yaml:5:35: top_p must be above 0, up to 1; 0 would be greedy"},
        BadScenario{"decode: {strategy: sample, temperature: 1e-39}\n",
                    "t.yaml:5:41: temperature \"1e-39\" is above 0 and below 1e-30, where logits "
                    "divided by it overflow; 0 is greedy"},
        BadScenario{"decode: []\n", "t.yaml:5:9: decode must be a map, not a list"},
        BadScenario{"decode:\n", "t.yaml:5:1: decode must be a map, not nothing"},
        BadScenario{"observe: layer\n",
                    "t.yaml:5:10: unknown observe \"layer\"; did you mean \"layers\"?"},
        BadScenario{"tags: [a, a]\n", "t.yaml:5:11: tag \"a\" is given twice"},
        BadScenario{"tags: ci\n", "t.yaml:5:7: tags must be a list, not \"ci\""},
        BadScenario{"tags: []\n", "t.yaml:5:7: tags is an empty list"},
        BadScenario{"time_limit: -1\n",
                    "t.yaml:5:13: time_limit must be a number from 0.001 to 1e+06, not \"-1\""},
        BadScenario{"max_cells: 1.5\n",
                    "t.yaml:5:12: max_cells must be a whole number from 1 to 1000000, not "
                    "\"1.5\""},
        BadScenario{"question: [x]\n", "t.yaml:5:11: question must be a value, not a list"},
        BadScenario{"pairwise: {per: [batch]}\n",
                    "t.yaml:5:18: axis batch of per is neither in axes nor in zip"},
        BadScenario{"? [a]\n: b\n", "t.yaml:5:3: a key must be a plain word"}));

INSTANTIATE_TEST_SUITE_P(
    Axes, BadScenarios,
    testing::Values(
        BadScenario{"axes: {precison: [fp32]}\n",
                    "t.yaml:5:8: unknown axis \"precison\"; did you mean \"precision\"?"},
        BadScenario{"axes:\n  precision: [fp32, bf61]\n",
                    "t.yaml:6:21: unknown value \"bf61\" for axis precision; did you mean "
                    "\"bf16\"?"},
        BadScenario{"axes: {precision: fp32}\n",
                    "t.yaml:5:19: axis precision must be a list, e.g. [fp32]"},
        BadScenario{"axes: {precision: []}\n", "t.yaml:5:19: axis precision is an empty list"},
        BadScenario{"axes: {}\n", "t.yaml:5:7: axes is an empty map"},
        BadScenario{"axes: {batch: [1, 3, {size: 3}]}\n",
                    "t.yaml:5:22: value \"3\" is twice in axis batch"},
        BadScenario{"axes: {batch: [0]}\n",
                    "t.yaml:5:16: unknown value \"0\" for axis batch; a whole number from 1 to "
                    "4096"},
        BadScenario{"axes: {batch: [{order: reversed}]}\n",
                    "t.yaml:5:16: a batch map needs size, e.g. {size: 3, order: reversed}"},
        BadScenario{"axes: {batch: [{size: 3, order: reverse}]}\n",
                    "t.yaml:5:16: unknown value \"reverse\" for axis batch, option order; did you "
                    "mean \"reversed\"?"},
        BadScenario{"axes: {batch: [{size: 3, ordr: given}]}\n",
                    "t.yaml:5:16: unknown option \"ordr\" of batch; did you mean \"order\"?"},
        BadScenario{"axes: {gpus: [3]}\n",
                    "t.yaml:5:15: unknown value \"3\" for axis gpus; did you mean \"1\"?"},
        BadScenario{"axes: {cache: [chunked]}\n",
                    "t.yaml:5:16: unknown value \"chunked\" for axis cache; it needs a size, e.g. "
                    "{chunked: 16}"},
        BadScenario{"axes: {cache: [{chunk: 3}]}\n",
                    "t.yaml:5:16: unknown value \"chunk\" for axis cache; did you mean "
                    "\"chunked\"?"},
        BadScenario{"axes: {cache: [{on: 3}]}\n",
                    "t.yaml:5:16: unknown value \"on\" for axis cache; it stands alone"},
        BadScenario{"axes: {cache: [{prefix: 3}]}\n",
                    "t.yaml:5:16: bad cache mode 'prefix:3': prefix is true or false"},
        BadScenario{
            "axes: {cache: [{prefix: true, recomputed: true}]}\n",
            "t.yaml:5:16: bad cache mode 'prefix:true+recomputed:true': recomputed rebuilds "
            "every position, so no prefix could be shared"},
        BadScenario{"axes: {cache: [{paged: [16]}]}\n",
                    "t.yaml:5:24: paged must be a value, not a list"},
        BadScenario{"axes: {engine: [openblass]}\n",
                    "t.yaml:5:17: unknown engine \"openblass\"; did you mean "
                    "\"openblas\"?"},
        BadScenario{"axes: {engine: [{openblas: Haswel}]}\n",
                    "t.yaml:5:17: unknown core type \"Haswel\" of openblas; did you mean "
                    "\"Haswell\"?"},
        BadScenario{"axes: {gpus: [{ranks: 2, topology: rings}]}\n",
                    "t.yaml:5:15: unknown value \"rings\" for axis gpus, option topology; did you "
                    "mean \"ring\"?"},
        BadScenario{"axes: {engine: [cublastl]}\n",
                    "t.yaml:5:17: unknown engine \"cublastl\"; did you mean "
                    "\"cublaslt\"?"},
        BadScenario{"axes: {engine: [{cublaslt: 66, tiles: 20}]}\n",
                    "t.yaml:5:17: unknown option \"tiles\" of engine cublaslt; did you mean "
                    "\"tile\"?"},
        BadScenario{"axes: {engine: [{cublaslt: heuristic, tile: 20}]}\n",
                    "t.yaml:5:17: unknown option \"tile\" of engine cublaslt; it goes with "
                    "{cublaslt: ALGORITHM}, a number"},
        BadScenario{"axes: {engine: [{cublaslt: 66, index: 2}]}\n",
                    "t.yaml:5:17: unknown option \"index\" of engine cublaslt; it goes with "
                    "{cublaslt: heuristic}"},
        BadScenario{"axes: {engine: [{cublas: 24}]}\n",
                    "t.yaml:5:17: algorithm '24' of engine cublas is neither default nor a whole "
                    "number from -1 to 23"},
        BadScenario{"axes: {engine: [{cublas: 1}, cublas:1]}\n",
                    "t.yaml:5:30: value \"cublas:1\" is twice in axis engine"},
        BadScenario{"axes: {engine: [vllm]}\n",
                    "t.yaml:5:17: unknown engine \"vllm\"; known: reference, openblas, cublas, "
                    "cublaslt, model, twin, exec, plugin"},
        BadScenario{"axes: {gpus: [{topology: ring}]}\n",
                    "t.yaml:5:15: a map of gpus needs ranks, e.g. {ranks: 4, topology: ring}"},
        BadScenario{"axes: {engine: [{reference: x}]}\n",
                    "t.yaml:5:17: engine reference has no options"},
        BadScenario{"axes: {isa: [avx]}\n",
                    "t.yaml:5:14: unknown value \"avx\" for axis isa; did you mean \"avx2\"?"},
        BadScenario{"zip: [{batch: [1, 2], gpus: [1]}]\n",
                    "t.yaml:5:23: zip needs equally long lists: gpus has 1 values, batch has 2"},
        BadScenario{"axes: {batch: [1]}\nzip: [{batch: [1, 2], gpus: [1, 2]}]\n",
                    "t.yaml:6:8: axis batch is given twice, in axes or zip"},
        BadScenario{"exclude: [{cache: chunkd}]\n",
                    "t.yaml:5:19: unknown value \"chunkd\" for axis cache; did you mean "
                    "\"chunked\"?"},
        BadScenario{"exclude: {cache: on}\n", "t.yaml:5:10: exclude must be a list, not a map"},
        BadScenario{"include: [{cache: chunked}]\n",
                    "t.yaml:5:19: unknown value \"chunked\" for axis cache; it needs a size, e.g. "
                    "{chunked: 16}"}));

INSTANTIATE_TEST_SUITE_P(
    Contract, BadScenarios,
    testing::Values(
        BadScenario{"expect: [{same_bit: {across: [batch]}}]\n",
                    "t.yaml:5:11: unknown key \"same_bit\" in a rule of expect; did you mean "
                    "\"same_bits\"?"},
        BadScenario{"expect: [{same_bits: {where: batch>1}}]\n",
                    "t.yaml:5:11: same_bits needs across: the axes it ranges over"},
        BadScenario{"expect: [{same_bits: {across: [bach]}}]\n",
                    "t.yaml:5:32: unknown axis \"bach\"; did you mean \"batch\"?"},
        BadScenario{"expect: [{same_bits: {across: [batch, batch]}}]\n",
                    "t.yaml:5:39: axis batch is twice in across"},
        BadScenario{"expect: [{same_bits: {across: []}}]\n",
                    "t.yaml:5:31: across is an empty list"},
        BadScenario{"expect: [{within: {across: [batch]}}]\n",
                    "t.yaml:5:19: within needs a bound: token_match, max_kl, max_abs or max_ulp"},
        BadScenario{"expect: [{same_bits: {across: [batch], max_kl: 1}}]\n",
                    "t.yaml:5:40: unknown key \"max_kl\" in same_bits; known: where, across, of"},
        BadScenario{"expect: [{within: {across: [batch], token_match: 1.5}}]\n",
                    "t.yaml:5:50: token_match must be a number from 0 to 1, not \"1.5\""},
        BadScenario{"expect: [{same_bits: {where: batch=, across: [batch]}}]\n",
                    "t.yaml:5:30, column 7: expected a value of batch, got the end"},
        BadScenario{"expect: [{differ: {where: precison=fp32, across: [batch]}}]\n",
                    "t.yaml:5:27, column 1: unknown axis \"precison\"; did you mean "
                    "\"precision\"?"},
        BadScenario{"expect:\n  same_bits: {across: [batch]}\n",
                    "t.yaml:6:3: expect must be a list, not a map"},
        BadScenario{"expect:\n  - same_bits: {across: [batch]}\n    differ: {across: [gpus]}\n",
                    "t.yaml:7:5: one rule an entry; start this one with \"- \""},
        BadScenario{"xfail: [{where: batch>1}]\n", "t.yaml:5:9: an entry of xfail needs a reason"},
        BadScenario{"xfail: [{reason: x}]\n", "t.yaml:5:9: an entry of xfail needs where"},
        BadScenario{"xfail: [{where: batch>1, reason: x, until: 2027-02-29}]\n",
                    "t.yaml:5:44: until must be a date as 2027-03-01, not \"2027-02-29\""},
        BadScenario{"xfail: [{where: batch>1, reason: x, until: soon}]\n",
                    "t.yaml:5:44: until must be a date as 2027-03-01, not \"soon\""},
        BadScenario{"requires: {cubals: gpu}\n",
                    "t.yaml:5:12: requires: \"cubals\" is neither an axis nor a value of one; did "
                    "you mean \"cublas\"?"},
        BadScenario{"requires: {cublas: gup}\n",
                    "t.yaml:5:20: nobody can enforce the requirement \"gup\"; did you mean "
                    "\"gpu\"? (known: gpu, nccl, mpi, real, avx2, avx512, neon, openblas, "
                    "cublas, cublaslt, twin, exec, plugin)"},
        BadScenario{"requires: gpu\n",
                    "t.yaml:5:11: requires must be a map of an axis or a value to what it needs, "
                    "e.g. {cuda: gpu}"}));

INSTANTIATE_TEST_SUITE_P(
    Yaml, BadScenarios,
    testing::Values(
        BadScenario{"tags: &a [x]\n",
                    "t.yaml:5:7: anchors (&name) are not allowed; write the value out"},
        BadScenario{"question: !!str x\n",
                    "t.yaml:5:11: tags are not allowed: \"tag:yaml.org,2002:str\""},
        BadScenario{"---\nversion: 1\n", "t.yaml:6:1: a second document; one file, one question"},
        BadScenario{"question: \"a\\nb\"\n", "t.yaml:5:11: question must be one line of text"},
        BadScenario{"tags: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n",
                    "t.yaml:5:30: the YAML is nested too deeply"}));

TEST(Scenario, TopOfTheFile) {
  EXPECT_EQ(error_of(""), "t.yaml:1:1: the scenario is empty");
  EXPECT_EQ(error_of("# nothing\n"), "t.yaml:1:1: the scenario is empty");
  EXPECT_EQ(error_of("hello"), "t.yaml:1:1: the scenario must be a map, not \"hello\"");
  EXPECT_EQ(error_of("version: 2\nname: t\nmodel: m\nprompts: p\n"),
            "t.yaml:1:10: version 2 is not known; this is 1");
  EXPECT_EQ(error_of("name: t\nmodel: m\nprompts: p\n"),
            "t.yaml:1:1: the key \"version\" is missing");
  EXPECT_EQ(error_of("version: 1\nname: a/b\nmodel: m\nprompts: p\n"),
            "t.yaml:2:7: name \"a/b\" must be letters, digits, - _ and . (it names a golden file)");
  EXPECT_EQ(error_of("version: 1\nname: t\nmodel: m\nprompts: {take: 3}\n"),
            "t.yaml:4:10: prompts needs a file");
  EXPECT_EQ(error_of("version: 1\nname: t\nmodel: m\nprompts: {file: p, take: 0}\n"),
            "t.yaml:4:26: take must be a whole number from 1 to 1073741824, not \"0\"");
  EXPECT_EQ(error_of(std::string("version: 1\0", 11)),
            "t.yaml: byte 10: a zero byte: not a YAML text");
  EXPECT_EQ(error_of(std::string(2 << 20, ' ')), "t.yaml: larger than 1 MiB: not a scenario");
}

// The words after "malformed YAML" are yaml-cpp's and change with its version.
TEST(Scenario, MalformedYamlNamesThePlace) {
  EXPECT_EQ(error_after_base("tags: [a, b\n").find("t.yaml:6:1: malformed YAML: "), 0u);
  EXPECT_EQ(error_after_base("tags: *a\n").find("t.yaml:5:7: malformed YAML: "), 0u);
  EXPECT_EQ(error_after_base("tags: ['a, b]\n"),
            "t.yaml:5:8: malformed YAML: the quote is not closed");
  EXPECT_EQ(error_after_base("question: 'it''s\n"),
            "t.yaml:5:11: malformed YAML: the quote is not closed");
  EXPECT_EQ(error_after_base("question: \"a\\\"\n"),
            "t.yaml:5:11: malformed YAML: the quote is not closed");
  EXPECT_EQ(error_after_base("question: 'it''s'\ntags: [\"a\\\"b\"]\n"), "no error");
  EXPECT_EQ(error_after_base("tags: }\n").find("t.yaml:5:7: malformed YAML: "), 0u);
  const std::string tab = error_after_base("axes:\n\t- x\n");
  EXPECT_EQ(tab.find("t.yaml:6:2: malformed YAML: "), 0u) << tab;
  EXPECT_NE(tab.find("; YAML allows no tabs"), std::string::npos) << tab;
}

TEST(Scenario, HostileNestingEndsEarly) {
  for (const char* open : {"[", "{a: ", "- "}) {
    std::string text;
    for (int i = 0; i < 50000; ++i) text += open;
    EXPECT_NE(error_of(text).find("t.yaml:1:"), std::string::npos) << open;
  }
  EXPECT_NE(error_of("tags: &a [x, *a]\n"), "no error");
}

TEST(ScenarioOverride, ReplacesAndCreates) {
  const std::string text =
      std::string(kBase) + "axes: {batch: [1, 3]}\nexpect:\n  - same_bits: {across: [batch]}\n";
  const auto read = parse_scenario(
      text, "t.yaml",
      {"axes.batch=[1,2]", "decode.max_new_tokens=4", "axes.cache=[on, {paged: 16}]",
       "expect.0.same_bits.across=[batch, cache]", "prompts={file: q.jsonl, take: 2}"});
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->axes[0].second[1].text, "2");
  EXPECT_EQ(read->axes[1].second[1].text, "paged:16");
  EXPECT_EQ(read->decode.max_new_tokens, 4);
  EXPECT_EQ(read->expect[0].across, (Texts{"batch", "cache"}));
  EXPECT_EQ(read->prompts.file, "q.jsonl");
  EXPECT_EQ(read->text, text);
}

TEST(ScenarioOverride, ReachesBelowPromptsThatAreAFileAlone) {
  const auto read = parse_scenario(kBase, "x.yaml", {"prompts.take=2", "prompts.raw=true"});
  ASSERT_TRUE(read.has_value()) << read.error().text();
  const auto plain = parse_scenario(kBase, "x.yaml", {});
  EXPECT_EQ(read->prompts.file, plain->prompts.file);
  EXPECT_EQ(read->prompts.take, 2);
  EXPECT_TRUE(read->prompts.raw && !plain->prompts.raw);
  EXPECT_EQ(error_of(kBase, {"prompts.raw=yes please"}).find("--set prompts.raw=yes please"), 0u);
}

TEST(ScenarioOverride, ErrorsNameTheOverride) {
  const auto with = [](const std::string& override) { return error_of(kBase, {override}); };
  EXPECT_EQ(with("axes.precision=[bf61]"),
            "--set axes.precision=[bf61], column 17: unknown value \"bf61\" for axis precision; "
            "did you mean \"bf16\"?");
  EXPECT_EQ(with("axes.precison=[bf16]"),
            "--set axes.precison=[bf16]: unknown axis \"precison\"; did you mean \"precision\"?");
  EXPECT_EQ(with("axs.batch=[1]"),
            "--set axs.batch=[1]: unknown key \"axs\" in the scenario; did you mean \"axes\"?");
  EXPECT_EQ(with("axes.batch"), "--set axes.batch: expected path=value, e.g. axes.batch=[1,2]");
  EXPECT_EQ(with("axes..batch=[1]"), "--set axes..batch=[1]: the path has an empty step");
  EXPECT_EQ(with("model.x=1"), "--set model.x=1: \"x\" is below a plain value");
  EXPECT_EQ(with("tags=[a, a]"), "--set tags=[a, a], column 10: tag \"a\" is given twice");
  EXPECT_EQ(with("tags=[a").find("--set tags=[a, column "), 0u);
  EXPECT_EQ(error_of(std::string(kBase) + "tags: [a]\n", {"tags.1=b"}),
            "--set tags.1=b: \"1\" is not an index of a list of 1");
  EXPECT_EQ(with("a.b.c.d.e.f.g.h.i=1"), "--set a.b.c.d.e.f.g.h.i=1: the path is too deep");
}

TEST(ScenarioFile, TheDocumentedExampleIsRead) {
  std::ifstream file(std::string(ISOBIT_SOURCE_DIR) + "/scenarios/SCHEMA.md");
  const std::string page{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const std::size_t begin = page.find("```yaml\n");
  ASSERT_NE(begin, std::string::npos);
  const std::string yaml = page.substr(begin + 8, page.find("```", begin + 8) - begin - 8);
  const auto scenario = parse_scenario(yaml, "SCHEMA.md", {});
  ASSERT_TRUE(scenario) << scenario.error().text();
  const auto matrix = expand(*scenario, false);
  ASSERT_TRUE(matrix) << matrix.error().text();
  EXPECT_EQ(matrix->cells.size(), 74u);  // 2 x 2 x 3 x 4 x 2 - 24 + 2
  for (const Group& group : groups_of(*scenario, *matrix)) EXPECT_GE(group.cells.size(), 2u);
}

/// Each key compared with all before it would be more than a thousand million comparisons.
TEST(ScenarioFile, AMapOfManyKeysIsReadAtOnce) {
  std::string text;
  for (int i = 0; i < 49'000; ++i) text += "key" + std::to_string(i) + ": 1\n";
  const auto unknown = parse_scenario(text, "t.yaml", {});
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().text().find("unknown key \"key0\""), std::string::npos);
  const auto twice = parse_scenario(text + "key7: 1\n", "t.yaml", {});
  ASSERT_FALSE(twice);
  EXPECT_NE(twice.error().text().find("duplicate key \"key7\"; first in line 8"),
            std::string::npos);
}

TEST(ScenarioFile, MissingFileAndDirectory) {
  const auto missing = load_scenario("/nonexistent/x.yaml", {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().text(), "/nonexistent/x.yaml: cannot read: No such file or directory");
  const std::string folder = std::filesystem::temp_directory_path().string();
  const auto directory = load_scenario(folder, {});
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().text(), folder + ": is a folder, not a regular file");
}

}  // namespace
}  // namespace isobit
