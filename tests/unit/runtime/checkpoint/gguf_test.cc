// GGUF: the container, the metadata, the names, the row order, and every way to be wrong.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "runtime/checkpoint/gguf_names.h"
#include "runtime/checkpoint/gguf_reader.h"
#include "runtime/numerics/functions.h"
#include "tests/fakes/model.h"
#include "tests/unit/runtime/checkpoint/load_test_files.h"

namespace isobit {
namespace {

using namespace test_files;  // NOLINT: helpers of these tests

std::string read_error(const std::string& file) {
  return error_of(read_gguf(as_bytes(file), "m.gguf"));
}

void expect_error(const std::string& file, const std::string& part) {
  const std::string text = read_error(file);
  EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

void expect_error(const GgufMaker& maker, const std::string& part) {
  expect_error(maker.build(), part);
}

TEST(Gguf, ReadsTheTinyModel) {
  GgufMaker maker = tiny_gguf(true);
  maker.string("tokenizer.ggml.model", "gpt2");
  maker.string("tokenizer.ggml.pre", "smollm");
  maker.strings("tokenizer.ggml.tokens", {"a", "b", "c", "d", "e"});
  maker.strings("tokenizer.ggml.merges", {"a b"});
  maker.entries.push_back({"tokenizer.ggml.token_type", 9, ""});
  put(maker.entries.back().value, std::uint32_t{5});
  put(maker.entries.back().value, std::uint64_t{5});
  for (const std::int32_t type : {3, 1, 1, 4, 6}) put(maker.entries.back().value, type);
  maker.number("tokenizer.ggml.add_bos_token", 7, std::uint8_t{1});
  maker.string("tokenizer.chat_template", "{{ x }}");
  const std::string file = maker.build();
  const Result<GgufFile> read = read_gguf(as_bytes(file), "m.gguf");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  const ModelConfig& c = read->config;
  EXPECT_EQ(c.architecture, "llama");
  EXPECT_EQ(c.name, "tiny");
  EXPECT_EQ(c.vocab_size, kVocab);
  EXPECT_EQ(c.hidden_size, kHidden);
  EXPECT_EQ(c.intermediate_size, kMlp);
  EXPECT_EQ(c.layers, 1);
  EXPECT_EQ(c.heads, kHeads);
  EXPECT_EQ(c.kv_heads, kKvHeads);
  EXPECT_EQ(c.head_dim, kHeadDim);
  EXPECT_EQ(c.context, 64);
  EXPECT_EQ(c.rms_norm_eps, 1e-5);  // the double that config.json names, not the fp32 neighbour
  EXPECT_EQ(c.ropes.front().base, 100000.0);
  EXPECT_TRUE(c.tied_embeddings);
  EXPECT_EQ(c.bos_token, 1);
  EXPECT_EQ(c.eos_tokens, std::vector<std::int32_t>{2});
  const GgufTokenizer& t = read->tokenizer;
  EXPECT_EQ(t.model, "gpt2");
  EXPECT_EQ(t.pre, "smollm");
  EXPECT_EQ(t.tokens, (std::vector<std::string>{"a", "b", "c", "d", "e"}));
  EXPECT_EQ(t.token_types, (std::vector<std::int32_t>{3, 1, 1, 4, 6}));
  EXPECT_EQ(t.merges, std::vector<std::string>{"a b"});
  EXPECT_EQ(t.chat_template, "{{ x }}");
  EXPECT_TRUE(t.add_bos);
  EXPECT_FALSE(t.add_eos || t.add_space_prefix);
  EXPECT_EQ(t.bos, 1);
  EXPECT_EQ(t.eos, 2);
  EXPECT_EQ(t.unknown, -1);
  EXPECT_EQ(read->metadata.at("llama.block_count"), "1");
  EXPECT_EQ(read->metadata.at("llama.attention.layer_norm_rms_epsilon"), "1e-05");
  EXPECT_EQ(read->metadata.at("tokenizer.ggml.tokens"), "[5 strings]");
  EXPECT_EQ(read->metadata.at("tokenizer.ggml.add_bos_token"), "true");
}

TEST(Gguf, UndoesThePermutationOfQueriesAndKeys) {
  const std::string file = tiny_gguf(false).build();
  const Result<GgufFile> read = read_gguf(as_bytes(file), "m.gguf");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  EXPECT_FALSE(read->config.tied_embeddings);
  for (const TinyTensor& t : tiny_tensors(false)) {
    const Tensor* tensor = read->weights.find(t.name);
    ASSERT_NE(tensor, nullptr) << t.name;
    std::vector<std::uint32_t> want;
    for (const float value : tiny_values(t)) want.push_back(bits(value));
    EXPECT_EQ(all_bits(*tensor), want) << t.name;
    EXPECT_EQ(tensor->shape.size(), t.rows == 0 ? 1u : 2u);
  }
}

TEST(Gguf, UndoesThePermutationOfBiases) {
  GgufMaker maker = tiny_gguf(true);
  std::vector<float> bias;
  for (int i = 0; i < kKvHeads * kHeadDim; ++i) bias.push_back(static_cast<float>(i));
  maker.tensor("blk.0.attn_k.bias", {kKvHeads * kHeadDim}, 0, raw(permuted(bias, kKvHeads, 1)));
  const std::string file = maker.build();
  const Result<GgufFile> read = read_gguf(as_bytes(file), "m.gguf");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  const Tensor* tensor = read->weights.find("model.layers.0.self_attn.k_proj.bias");
  ASSERT_NE(tensor, nullptr);
  const std::vector<std::uint32_t> got = all_bits(*tensor);
  for (std::size_t i = 0; i < bias.size(); ++i) EXPECT_EQ(got[i], bits(bias[i]));
}

/// A family whose q and k rows llama.cpp leaves as they are, with its own keys and tensors.
TEST(Gguf, ReadsQwen3WithoutAPermutation) {
  GgufMaker maker = tiny_gguf(true);
  for (GgufMaker::Entry& entry : maker.entries) {
    if (entry.key.rfind("llama.", 0) == 0) entry.key.replace(0, 5, "qwen3");
    if (entry.key == "general.architecture") entry.value = gguf_string("qwen3");
  }
  const std::vector<float> weight = {1, 2, 3, 4, 5, 6, 7, 8};
  maker.tensor("blk.0.attn_q_norm.weight", {kHeadDim}, 0, raw(weight));
  maker.tensor("blk.0.attn_k_norm.weight", {kHeadDim}, 0, raw(weight));
  const std::string file = maker.build();
  const Result<GgufFile> read = read_gguf(as_bytes(file), "m.gguf");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  EXPECT_EQ(read->config.architecture, "qwen3");
  EXPECT_EQ(read->config.head_dim, kHeadDim);
  for (const TinyTensor& t : tiny_tensors(true)) {
    std::vector<float> values = tiny_values(t);
    if (t.gguf_name == "blk.0.attn_q.weight") values = permuted(values, kHeads, t.cols);
    if (t.gguf_name == "blk.0.attn_k.weight") values = permuted(values, kKvHeads, t.cols);
    std::vector<std::uint32_t> stored;
    for (const float value : values) stored.push_back(bits(value));
    EXPECT_EQ(all_bits(*read->weights.find(t.name)), stored) << t.name;
  }
  ASSERT_NE(read->weights.find("model.layers.0.self_attn.q_norm.weight"), nullptr);
  maker.u32("qwen3.attention.sliding_window", 17);
  expect_error(maker, "\"qwen3.attention.sliding_window\" is 17, and nothing says which layers");
}

TEST(Gguf, ReadsRopeFactorsAndLinearScaling) {
  GgufMaker maker = tiny_gguf(true);
  maker.tensor("rope_freqs.weight", {kHeadDim / 2}, 0, raw({1.0F, 2.0F, 8.0F, 8.0F}));
  maker.string("llama.rope.scaling.type", "linear");
  maker.f32("llama.rope.scaling.factor", 4.0F);
  const std::string file = maker.build();
  const Result<GgufFile> read = read_gguf(as_bytes(file), "m.gguf");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  EXPECT_EQ(read->config.ropes.front().factors, (std::vector<float>{1.0F, 2.0F, 8.0F, 8.0F}));
  EXPECT_EQ(read->config.ropes.front().scaling.kind, RopeScaling::Kind::linear);
  EXPECT_EQ(read->config.ropes.front().scaling.factor, 4.0);
  GgufMaker wrong = tiny_gguf(true);
  wrong.tensor("rope_freqs.weight", {3}, 0, raw({1.0F, 2.0F, 8.0F}));
  expect_error(wrong, "tensor \"rope_freqs.weight\" must be F32 with head_dim / 2 = 4 elements");
}

TEST(Gguf, ReadsYarn) {
  GgufMaker maker = tiny_gguf(true);
  maker.string("llama.rope.scaling.type", "yarn");
  maker.f32("llama.rope.scaling.factor", 4.0F);
  maker.u32("llama.rope.scaling.original_context_length", 16);
  maker.f32("llama.rope.scaling.attn_factor", 0.5F);
  const std::string file = maker.build();
  const Result<GgufFile> read = read_gguf(as_bytes(file), "m.gguf");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  const RopeScaling& scaling = read->config.ropes.front().scaling;
  EXPECT_EQ(scaling.kind, RopeScaling::Kind::yarn);
  EXPECT_EQ(scaling.factor, 4.0);
  EXPECT_EQ(scaling.original_context, 16);
  EXPECT_EQ(scaling.attention_factor, 0.5 * (0.1 * log_(4.0) + 1.0));
  maker.f32("llama.rope.scaling.yarn_ext_factor", 0.5F);
  expect_error(maker, "\"llama.rope.scaling.yarn_ext_factor\" changes the arithmetic");
}

TEST(Gguf, ReadsLongropeOfTwoTensors) {
  GgufMaker maker = tiny_gguf(true);
  maker.string("llama.rope.scaling.type", "longrope");
  expect_error(maker, "the number of rope_scaling.short_factor is 0; it must be head_dim / 2 (4)");
  maker.u32("llama.rope.scaling.original_context_length", 16);
  maker.tensor("rope_factors_short.weight", {4}, 0, raw({1.0F, 1.0F, 1.5F, 2.0F}));
  expect_error(maker, "belong together");
  GgufMaker nan = maker;
  maker.tensor("rope_factors_long.weight", {4}, 0, raw({1.0F, 2.0F, 4.0F, 8.0F}));
  const std::string file = maker.build();
  const Result<GgufFile> read = read_gguf(as_bytes(file), "m.gguf");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  EXPECT_EQ(read->config.ropes.front().scaling.kind, RopeScaling::Kind::longrope);
  EXPECT_EQ(read->config.ropes.front().factors, (std::vector<float>{1.0F, 1.0F, 1.5F, 2.0F}));
  EXPECT_EQ(read->config.ropes.front().long_factors, (std::vector<float>{1.0F, 2.0F, 4.0F, 8.0F}));
  nan.tensor("rope_factors_long.weight", {4}, 0, raw({1.0F, NAN, 4.0F, 8.0F}));
  expect_error(nan, "a rope_scaling.long_factor value is nan; it must be from 1e-6 to 1e9");
  GgufMaker both = tiny_gguf(true);
  both.tensor("rope_freqs.weight", {4}, 0, raw({1.0F, 1.0F, 1.5F, 2.0F}));
  both.tensor("rope_factors_long.weight", {4}, 0, raw({1.0F, 1.0F, 1.5F, 2.0F}));
  expect_error(both, "belong together");
}

TEST(Gguf, ReadsEveryMetadataType) {
  GgufMaker maker;
  maker.number("u8", 0, std::uint8_t{255});
  maker.number("i8", 1, std::int8_t{-128});
  maker.number("u16", 2, std::uint16_t{65535});
  maker.number("i16", 3, std::int16_t{-1});
  maker.u32("u32", 4294967295u);
  maker.number("i32", 5, std::int32_t{-7});
  maker.f32("f32", 0.1F);
  maker.number("true", 7, std::uint8_t{1});
  maker.string("string", "x");
  maker.number("u64", 10, ~std::uint64_t{0});
  maker.number("i64", 11, std::int64_t{-9});
  maker.number("f64", 12, 0.25);
  std::string nested;  // an array of two arrays: one u8, and one string
  put(nested, std::uint32_t{9});
  put(nested, std::uint64_t{2});
  put(nested, std::uint32_t{0});
  put(nested, std::uint64_t{1});
  nested += 'x';
  put(nested, std::uint32_t{8});
  put(nested, std::uint64_t{1});
  maker.entries.push_back({"nested", 9, nested + gguf_string("deep")});
  maker.strings("none", {});
  const std::string file = maker.build();
  const Result<GgufContainer> read = read_gguf_container(as_bytes(file), "m");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  const auto text = [&](const char* key) { return read->metadata.at(key).text(); };
  EXPECT_EQ(text("u8"), "255");
  EXPECT_EQ(text("i8"), "-128");
  EXPECT_EQ(text("u16"), "65535");
  EXPECT_EQ(text("i16"), "-1");
  EXPECT_EQ(text("u32"), "4294967295");
  EXPECT_EQ(text("i32"), "-7");
  EXPECT_EQ(text("f32"), "0.1");
  EXPECT_EQ(text("true"), "true");
  EXPECT_EQ(text("string"), "x");
  EXPECT_EQ(text("u64"), "18446744073709551615");
  EXPECT_EQ(text("i64"), "-9");
  EXPECT_EQ(text("f64"), "0.25");
  EXPECT_EQ(text("nested"), "[2 elements]");
  EXPECT_EQ(text("none"), "[0 strings]");
}

TEST(Gguf, RefusesOtherFramesAndVersions) {
  expect_error(std::string(), "m.gguf: byte 0: the file ends inside the magic number");
  GgufMaker maker = tiny_gguf(true);
  maker.magic = "GGML";
  expect_error(maker, "m.gguf: byte 0: the file does not begin with \"GGUF\"");
  maker.magic = "GGUF";
  for (const std::uint32_t version : {0u, 1u, 4u}) {
    maker.version = version;
    expect_error(maker, "m.gguf: byte 4: GGUF version " + std::to_string(version) +
                            " is not supported (2, 3)");
  }
  for (const std::uint32_t version : {0x02000000u, 0x03000000u}) {
    maker.version = version;
    expect_error(maker, "m.gguf: byte 4: the file is big-endian GGUF, which is not supported");
  }
  maker.version = 3;
  maker.extra_tensors = std::uint64_t{1} << 60;
  expect_error(maker,
               "m.gguf: byte 8: 1152921504606846987 tensors and 13 metadata entries are more");
  maker.extra_tensors = 0;
  maker.extra_entries = ~std::uint64_t{0} - 100;
  expect_error(maker, "are more than the file can hold; is it truncated?");
}

TEST(Gguf, RefusesBadMetadata) {
  const auto with = [](const std::string& key, std::uint32_t type, const std::string& value) {
    GgufMaker maker;
    maker.entries.push_back({key, type, value});
    return maker.build();
  };
  expect_error(with("k", 13, ""), "metadata key \"k\" has the unknown value type 13");
  expect_error(with("", 0, "x"), "a metadata key of 0 bytes");
  expect_error(with(std::string(65536, 'k'), 0, "x"), "a metadata key of 65536 bytes");
  expect_error(with("k", 7, "\x02"), "metadata key \"k\" is a boolean that is neither 0 nor 1");
  std::string booleans;
  put(booleans, std::uint32_t{7});
  put(booleans, std::uint64_t{1});
  expect_error(with("k", 9, booleans + "\x02"), "has a boolean that is neither 0 nor 1");
  std::string length;
  put(length, ~std::uint64_t{0});
  expect_error(with("k", 8, length), "the file ends inside metadata key \"k\"");
  for (const std::uint32_t type : {0u, 4u, 8u, 9u, 12u}) {
    std::string array;
    put(array, type);
    put(array, std::uint64_t{1} << 61);
    expect_error(with("k", 9, array), "claims 2305843009213693952 elements, more than the file");
  }
  std::string deep;
  for (int i = 0; i < 20; ++i) {
    put(deep, std::uint32_t{9});
    put(deep, std::uint64_t{1});
  }
  expect_error(with("k", 9, deep), "metadata key \"k\" nests arrays too deeply");
  GgufMaker twice = tiny_gguf(true);
  twice.u32("llama.block_count", 1);
  expect_error(twice, "duplicate metadata key \"llama.block_count\"");
}

TEST(Gguf, RefusesBadAlignment) {
  for (const std::uint32_t alignment : {0u, 4u, 12u, 1u << 21}) {
    GgufMaker maker = tiny_gguf(true);
    maker.u32("general.alignment", alignment);
    expect_error(maker, "general.alignment is " + std::to_string(alignment) + "; it must be a u32");
  }
  GgufMaker wrong_type = tiny_gguf(true);
  wrong_type.number("general.alignment", 10, std::uint64_t{32});
  expect_error(wrong_type, "general.alignment is 32; it must be a u32");
  GgufMaker coarse;
  coarse.alignment = 64;
  coarse.u32("general.alignment", 64);
  coarse.tensor("a", {1}, 0, raw({1.0F}));
  coarse.tensor("b", {1}, 0, raw({2.0F}));
  const std::string file = coarse.build();
  const Result<GgufContainer> read = read_gguf_container(as_bytes(file), "m");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  EXPECT_EQ(read->tensors[1].bytes.data() - as_bytes(file).data(),
            static_cast<std::ptrdiff_t>(file.size() - 4));
}

TEST(Gguf, TablesThatNothingReadsAnyMoreAreNamed) {
  GgufMaker maker = tiny_gguf(true);
  maker.tensor("blk.0.attn_rot_embd.weight", {4}, 0, raw({1, 2, 3, 4}));
  const std::string file = maker.build();
  const Result<GgufFile> read = read_gguf(as_bytes(file), "m.gguf");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  EXPECT_EQ(read->unused, std::vector<std::string>{"blk.0.attn_rot_embd.weight"});
}

TEST(Gguf, RefusesBadTensors) {
  const auto changed = [](void (*change)(GgufMaker&)) {
    GgufMaker maker = tiny_gguf(true);
    change(maker);
    return maker.build();
  };
  const std::string name = "blk.0.attn_v.weight";
  expect_error(changed([](GgufMaker& m) { m.record("blk.0.attn_v.weight").type = 24; }),
               "tensor \"" + name +
                   "\" has type I8, which is not supported (F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, "
                   "Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, F64, BF16)");
  expect_error(changed([](GgufMaker& m) { m.record("blk.0.attn_v.weight").type = 4; }),
               "has type 4, which ggml does not have");
  expect_error(changed([](GgufMaker& m) { m.record("blk.0.attn_v.weight").type = 3; }),
               "has rows of 16 elements; Q4_1 needs a multiple of 32");
  expect_error(changed([](GgufMaker& m) { m.record("blk.0.attn_v.weight").offset += 8; }),
               "no multiple of the alignment 32");
  expect_error(changed([](GgufMaker& m) { m.record("blk.0.attn_v.weight").offset += 32; }),
               "overlaps tensor \"" + name + "\"");
  expect_error(changed([](GgufMaker& m) { m.record("blk.0.attn_v.weight").offset = 1 << 20; }),
               "tensor \"" + name + "\" needs 1024 bytes at offset 1048576 but the file has");
  expect_error(changed([](GgufMaker& m) { m.record("blk.0.attn_v.weight").offset = ~31ull; }),
               "bytes of data; is it truncated?");
  expect_error(changed([](GgufMaker& m) { m.record("blk.0.attn_v.weight").dims = {}; }),
               "has 0 dimensions; 1 to 4 are valid");
  expect_error(changed([](GgufMaker& m) {
                 m.record("blk.0.attn_v.weight").dims = {1, 1, 1, 1, 1};
               }),
               "has 5 dimensions");
  expect_error(changed([](GgufMaker& m) {
                 m.record("blk.0.attn_v.weight").dims = {16, 0};
               }),
               "has the size 0 in its shape");
  expect_error(changed([](GgufMaker& m) {
                 m.record("blk.0.attn_v.weight").dims = {1ull << 32, 1ull << 32};
               }),
               "has the size 4294967296 in its shape");
  expect_error(changed([](GgufMaker& m) {
                 m.record("blk.0.attn_v.weight").dims = {~0ull, 2};
               }),
               "gives more than 2^48 elements");
  expect_error(changed([](GgufMaker& m) { m.record("blk.0.attn_v.weight").name = ""; }),
               "has a name of 0 bytes");
  expect_error(
      changed([](GgufMaker& m) { m.record("blk.0.attn_v.weight").name = std::string(65, 'n'); }),
      "has a name of 65 bytes");
  expect_error(
      changed([](GgufMaker& m) { m.record("output_norm.weight").name = "blk.0.attn_v.weight"; }),
      "duplicate tensor \"" + name + "\"");
  expect_error(
      changed([](GgufMaker& m) { m.record("output_norm.weight").name = "lm_head.weight"; }),
      "tensor \"lm_head.weight\" is read by no operation of architecture llama");
  expect_error(
      changed([](GgufMaker& m) { m.record("blk.0.attn_v.weight").name = "blk.1.attn_v.weight"; }),
      "tensor \"blk.1.attn_v.weight\" is read by no operation: block_count is 1");
  expect_error(changed([](GgufMaker& m) {
                 m.record("blk.0.attn_k.weight").dims = {16, 8};
               }),
               "\"model.layers.0.self_attn.k_proj.weight\" has 8 rows; heads times head_dim is 16");
}

TEST(Gguf, RefusesOtherModelsByName) {
  const auto without = [](const char* key) {
    GgufMaker maker = tiny_gguf(true);
    maker.erase(key);
    return maker;
  };
  GgufMaker other = without("general.architecture");
  expect_error(other, "metadata key \"general.architecture\" is missing");
  other.string("general.architecture", "mistral");
  expect_error(
      other,
      "\"general.architecture\" \"mistral\" is not supported (llama, qwen2, qwen3, qwen3moe, ");
  for (const char* key : {"llama.block_count", "llama.context_length", "llama.embedding_length",
                          "llama.feed_forward_length", "llama.attention.head_count",
                          "llama.attention.layer_norm_rms_epsilon"}) {
    expect_error(without(key), std::string("metadata key \"") + key + "\" is missing");
  }
  GgufMaker per_layer = without("llama.attention.head_count_kv");
  per_layer.strings("llama.attention.head_count_kv", {"2"});
  expect_error(per_layer, "is \"[1 strings]\"; it must be one integer");
  GgufMaker experts = tiny_gguf(true);
  experts.u32("llama.expert_count", 8);
  expect_error(experts, "\"llama.expert_used_count\" is missing");
  experts.u32("llama.expert_used_count", 2);
  expect_error(experts,
               "\"blk.0.ffn_gate.weight\" is read by no operation of architecture mixtral");
  GgufMaker other_rope = tiny_gguf(true);
  other_rope.string("llama.rope.scaling.type", "mrope");
  expect_error(other_rope, "\"mrope\" is not supported (none, linear, yarn, longrope)");
  GgufMaker partial = tiny_gguf(true);
  partial.u32("llama.rope.dimension_count", 4);
  expect_error(partial, "is 4 but a head has 8 elements: partial rotation is not supported");
  GgufMaker value_length = tiny_gguf(true);
  value_length.u32("llama.attention.value_length", 16);
  expect_error(value_length, "differs from the key length");
  GgufMaker uneven = without("llama.attention.head_count_kv");
  uneven.u32("llama.attention.head_count_kv", 3);
  expect_error(uneven, "m.gguf: num_key_value_heads is 3; it must be a divisor");
  GgufMaker types = tiny_gguf(true);
  types.entries.push_back(
      {"tokenizer.ggml.token_type", 9, std::string("\5\0\0\0\0\0\0\0\0\0\0\0", 12)});
  EXPECT_EQ(read_error(types.build()), "no error");
  types.strings("tokenizer.ggml.tokens", {"a"});
  EXPECT_EQ(read_error(types.build()), "no error");
}

TEST(Gguf, EveryTruncationIsAnError) {
  const std::string file = tiny_gguf(false).build();
  ASSERT_EQ(read_error(file), "no error");
  expect_error(file.substr(0, file.size() - 1), "bytes of data; is it truncated?");
  for (std::size_t size = 0; size < file.size(); size += size < 2500 ? 1 : 61) {
    ASSERT_NE(read_error(file.substr(0, size)), "no error") << size;
  }
}

TEST(GgufNumbers, FloatsStandForTheirShortestDecimal) {
  EXPECT_EQ(shortest_decimal(1e-5F), 1e-5);
  EXPECT_EQ(shortest_decimal(1e-6F), 1e-6);
  EXPECT_EQ(shortest_decimal(500000.0F), 500000.0);
  EXPECT_EQ(shortest_decimal(0.1F), 0.1);
}

}  // namespace
}  // namespace isobit
