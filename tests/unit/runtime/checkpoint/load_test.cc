// load_model on hand-made folders and files; the model from PyPI when it is there.
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdlib>

#include "runtime/backends/registry.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/model/rank_model.h"
#include "tests/fakes/folder.h"
#include "tests/unit/runtime/checkpoint/load_test_files.h"

namespace isobit {
namespace {

using namespace test_files;  // NOLINT: helpers of these tests

void expect_error(const std::string& path, const std::string& part) {
  const std::string text = error_of(load_model(path));
  EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

void expect_tiny_values(const LoadedModel& model, bool tied) {
  for (const TinyTensor& t : tiny_tensors(tied)) {
    const Tensor* tensor = model.weights.find(t.name);
    ASSERT_NE(tensor, nullptr) << t.name;
    std::vector<std::uint32_t> want;
    for (const float value : tiny_values(t)) want.push_back(bits(value));
    EXPECT_EQ(all_bits(*tensor), want) << t.name;
  }
}

TEST(LoadModel, OneSafetensorsFile) {
  const fakes::Folder folder;
  folder.write("config.json", tiny_config());
  folder.write("model.safetensors", tiny_safetensors(tiny_tensors(false)));
  folder.write("tokenizer.json", "{}");
  folder.write("tokenizer_config.json", "{ }");
  const Result<LoadedModel> model = load_model(folder.path());
  ASSERT_TRUE(model.has_value()) << error_of(model);
  expect_tiny_values(*model, false);
  EXPECT_EQ(model->tokenizer_json, "{}");
  EXPECT_EQ(model->tokenizer_config_json, "{ }");
  EXPECT_EQ(model->gguf_tokenizer, nullptr);
  EXPECT_EQ(model->path, folder.path());
  EXPECT_EQ(model->files,
            (std::vector<std::string>{
                folder.path() + "/config.json", folder.path() + "/model.safetensors",
                folder.path() + "/tokenizer.json", folder.path() + "/tokenizer_config.json"}));
}

TEST(LoadModel, SafetensorsAndGgufGiveTheSameConfigAndNumbers) {
  const fakes::Folder folder;
  folder.write("config.json", tiny_config(R"(, "tie_word_embeddings": true, "bos_token_id": 1,
                                             "eos_token_id": 2)"));
  folder.write("model.safetensors", tiny_safetensors(tiny_tensors(true)));
  const Result<LoadedModel> a = load_model(folder.path());
  ASSERT_TRUE(a.has_value()) << error_of(a);
  const Result<LoadedModel> b = load_model(folder.write("tiny.gguf", tiny_gguf(true).build()));
  ASSERT_TRUE(b.has_value()) << error_of(b);
  for (const TableTensor& needed : needed_tensors(a->config)) {
    EXPECT_EQ(all_bits(*a->weights.find(needed.name)), all_bits(*b->weights.find(needed.name)));
  }
  EXPECT_EQ(a->config.rms_norm_eps, b->config.rms_norm_eps);
  EXPECT_EQ(a->config.ropes.front().base, b->config.ropes.front().base);
  EXPECT_EQ(a->config.eos_tokens, b->config.eos_tokens);
  EXPECT_EQ(a->config.tied_embeddings, b->config.tied_embeddings);
  EXPECT_EQ(a->config.head_dim, b->config.head_dim);
  ASSERT_NE(b->gguf_tokenizer, nullptr);
  EXPECT_EQ(b->files.size(), 1u);
}

/// A folder whose tensors lie in two shards; `index` changes the index's text.
void write_shards(const fakes::Folder& folder, const std::string& from = "",
                  const std::string& to = "") {
  const std::vector<TinyTensor> all = tiny_tensors(false);
  const std::vector<TinyTensor> first(all.begin(), all.begin() + 5);
  const std::vector<TinyTensor> second(all.begin() + 5, all.end());
  folder.write("config.json", tiny_config());
  folder.write("model-1.safetensors", tiny_safetensors(first));
  folder.write("model-2.safetensors", tiny_safetensors(second));
  std::string index = "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {";
  for (std::size_t i = 0; i < all.size(); ++i) {
    index += (i == 0 ? "\"" : ", \"") + all[i].name + "\": \"model-" + (i < 5 ? "1" : "2") +
             ".safetensors\"";
  }
  index += "}}";
  if (!from.empty()) index.replace(index.find(from), from.size(), to);
  folder.write("model.safetensors.index.json", index);
}

TEST(LoadModel, Shards) {
  const fakes::Folder folder;
  write_shards(folder);
  const Result<LoadedModel> model = load_model(folder.path());
  ASSERT_TRUE(model.has_value()) << error_of(model);
  expect_tiny_values(*model, false);
  EXPECT_EQ(model->files.size(), 4u);
}

TEST(LoadModel, BadShards) {
  const fakes::Folder folder;
  write_shards(folder, "model-2.safetensors", "../x.safetensors");
  expect_error(folder.path(),
               "names \"../x.safetensors\", which is no file name inside the folder");
  write_shards(folder, "model-2.safetensors", "model-3.safetensors");
  expect_error(folder.path(), "model-3.safetensors: cannot read: No such file");
  write_shards(folder, "model-2.safetensors", "model-1.safetensors");
  expect_error(folder.path(), "\"model.layers.0.self_attn.o_proj.weight\" is not in this file");
  write_shards(folder, "\"weight_map\"", "\"weights\"");
  expect_error(folder.path(), "index.json: needs an object \"weight_map\"");
  write_shards(folder, "\"model-2.safetensors\"", "2");
  expect_error(folder.path(), "must name a file");
  write_shards(folder, "}}", "}");
  expect_error(folder.path(), "model.safetensors.index.json:1:");
  write_shards(folder);
  folder.write("model-2.safetensors", tiny_safetensors(tiny_tensors(false)));
  expect_error(folder.path(), "is in another file of this model too");
}

TEST(LoadModel, NamesWhatIsMissing) {
  expect_error("/nonexistent/model", "/nonexistent/model: no such file or folder");
  const fakes::Folder folder;
  expect_error(folder.path(), "the folder has no config.json; is it a Hugging Face model?");
  folder.write("config.json", tiny_config());
  expect_error(folder.path(), "has neither model.safetensors nor model.safetensors.index.json");
  expect_error(folder.path() + "/config.json", "not a .gguf file; for safetensors give the folder");
  folder.write("model.safetensors", "");
  expect_error(folder.path(), "model.safetensors: byte 0: the file ends inside the 8 bytes");
  folder.write("model.safetensors", tiny_safetensors(tiny_tensors(true)));
  expect_error(folder.path(),
               "model.safetensors: tensor \"lm_head.weight\" of shape [5, 16] is missing");
  folder.write("config.json", tiny_config(", \"attention_bias\": true"));
  expect_error(folder.path(),
               "tensor \"model.layers.0.self_attn.q_proj.bias\" of shape [32] is missing");
  folder.write("config.json", "{");
  expect_error(folder.path(), "/config.json:1:2: invalid JSON");
}

TEST(LoadModel, ShowsBothShapes) {
  const fakes::Folder folder;
  folder.write("config.json", tiny_config());
  std::vector<TinyTensor> tensors = tiny_tensors(false);
  std::swap(tensors[4].rows, tensors[4].cols);
  tensors[4].rows = 8;
  folder.write("model.safetensors", tiny_safetensors(tensors));
  expect_error(folder.path(),
               "tensor \"model.layers.0.self_attn.v_proj.weight\" has shape [8, 16] but the config "
               "needs [16, 16]");
  std::string gguf_path;
  GgufMaker maker = tiny_gguf(true);
  maker.record("output_norm.weight").dims = {8};
  gguf_path = folder.write("bad.gguf", maker.build());
  expect_error(gguf_path,
               "bad.gguf: tensor \"model.norm.weight\" has shape [8] but the config "
               "needs [16]");
}

TEST(LoadModel, TensorsThatNothingReadsAreRefused) {
  const fakes::Folder folder;
  folder.write("config.json", tiny_config());
  std::vector<TinyTensor> tensors = tiny_tensors(false);
  tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", "", 0, 4});
  folder.write("model.safetensors", tiny_safetensors(tensors));
  const Result<LoadedModel> model = load_model(folder.path());
  ASSERT_TRUE(model.has_value()) << error_of(model);
  tensors.back() = {"model.layers.1.input_layernorm.weight", "", 0, kHidden};
  folder.write("model.safetensors", tiny_safetensors(tensors));
  expect_error(folder.path(),
               "model.safetensors: tensor \"model.layers.1.input_layernorm.weight\" is read by no "
               "operation: architecture llama with 1 layers has no such tensor");
  tensors.back() = {"model.layers.0.self_attn.v_proj.bias", "", 0, 16};
  folder.write("model.safetensors", tiny_safetensors(tensors));
  expect_error(folder.path(),
               "tensor \"model.layers.0.self_attn.v_proj.bias\" is read by no operation: "
               "attention_bias is not true in the config");
}

/// transformers 5: what the file holds is used, whatever tie_word_embeddings says.
/// Tables and masks of older versions, in whatever type.
TEST(LoadModel, TensorsThatAreKnownToBeLeftOverAreNamed) {
  const fakes::Folder folder;
  folder.write("config.json", tiny_config());
  const std::string plain = tiny_safetensors(tiny_tensors(false));
  std::uint64_t length = 0;
  std::memcpy(&length, plain.data(), sizeof length);
  const std::string header = plain.substr(8, length), data = plain.substr(8 + length);
  const auto with = [&](const std::string& name, const std::string& dtype, const std::string& shape,
                        std::size_t bytes) {
    const std::string more = ", \"" + name + "\": {\"dtype\": \"" + dtype +
                             "\", \"shape\": " + shape + ", \"data_offsets\": [" +
                             std::to_string(data.size()) + ", " +
                             std::to_string(data.size() + bytes) + "]}}";
    folder.write("model.safetensors", safetensors(header.substr(0, header.rfind('}')) + more,
                                                  data + std::string(bytes, 0)));
    return load_model(folder.path());
  };
  const auto unused = [&](const std::string& name, const std::string& dtype,
                          const std::string& shape, std::size_t bytes) {
    const Result<LoadedModel> model = with(name, dtype, shape, bytes);
    EXPECT_TRUE(model.has_value()) << error_of(model);
    return model ? model->unused : std::vector<std::string>{};
  };
  for (const char* name : {"model.position_ids", "position_ids"}) {
    EXPECT_EQ(unused(name, "I64", "[1, 2]", 16), std::vector<std::string>{name});
  }
  const std::string layer = "model.layers.0.";
  EXPECT_EQ(unused(layer + "self_attn.rotary_emb.inv_freq", "F32", "[4]", 16).size(), 1u);
  EXPECT_EQ(unused(layer + "attn.bias", "BOOL", "[1, 1, 2, 2]", 4).size(), 1u);
  EXPECT_EQ(unused(layer + "attn.masked_bias", "F32", "[]", 4).size(), 1u);
  EXPECT_NE(error_of(with(layer + "attn.bias", "F32", "[4]", 16)).find("is read by no operation"),
            std::string::npos)
      << "a vector is no mask";
  EXPECT_NE(error_of(with("model.extra", "I64", "[1]", 8)).find("(it is I64)"), std::string::npos);
  EXPECT_NE(error_of(with("my_position_ids", "I64", "[1]", 8)).find("is read by no operation"),
            std::string::npos);
}

TEST(LoadModel, AWeightThatIsNoNumberIsRefused) {
  const fakes::Folder folder;
  folder.write("config.json", tiny_config());
  std::string file = tiny_safetensors(tiny_tensors(false));
  const std::size_t at = file.find("\"F32\", \"shape\": [16]");
  file.replace(at, 5, "\"I32\"");
  folder.write("model.safetensors", file);
  expect_error(folder.path(), "input_layernorm.weight\": dtype \"I32\" is not supported (F64, F32");
}

TEST(LoadModel, ASplitGgufIsFoundByAnyOfItsParts) {
  const fakes::Folder folder;
  const GgufMaker whole = tiny_gguf(true);
  std::vector<std::string> paths;
  for (std::uint16_t no = 0; no < 2; ++no) {
    GgufMaker part;
    if (no == 0) part.entries = whole.entries;
    part.number("split.no", 2, no);
    part.number("split.count", 2, std::uint16_t{2});
    for (std::size_t i = no; i < whole.records.size(); i += 2) {
      const GgufMaker::Record& r = whole.records[i];
      std::uint64_t size = 4;
      for (const std::uint64_t extent : r.dims) size *= extent;
      part.tensor(r.name, r.dims, r.type, whole.data.substr(r.offset, size));
    }
    paths.push_back(
        folder.write("m-0000" + std::to_string(no + 1) + "-of-00002.gguf", part.build()));
  }
  for (const std::string& path : paths) {
    const Result<LoadedModel> model = load_model(path);
    ASSERT_TRUE(model.has_value()) << error_of(model);
    expect_tiny_values(*model, true);
    EXPECT_EQ(model->files, paths);
  }
  const std::string text = error_of(load_model(folder.write("other.gguf", "GGUF")));
  EXPECT_NE(text.find("other.gguf: byte 4"), std::string::npos) << text;
  std::filesystem::remove(paths[1]);
  expect_error(paths[0], "m-00002-of-00002.gguf: part 2 of 2 of a split model: cannot read");
}

TEST(LoadModel, TiedEmbeddingsAreThoseThatTheFileDoesNotHold) {
  const fakes::Folder folder;
  folder.write("config.json", tiny_config(R"(, "tie_word_embeddings": true)"));
  folder.write("model.safetensors", tiny_safetensors(tiny_tensors(false)));
  const Result<LoadedModel> both = load_model(folder.path());
  ASSERT_TRUE(both.has_value()) << error_of(both);
  EXPECT_FALSE(both->config.tied_embeddings);
  EXPECT_NE(all_bits(*both->weights.find("lm_head.weight")),
            all_bits(*both->weights.find("model.embed_tokens.weight")));
  std::vector<TinyTensor> tensors = tiny_tensors(false);
  tensors.erase(tensors.begin());
  folder.write("model.safetensors", tiny_safetensors(tensors));
  const Result<LoadedModel> head = load_model(folder.path());
  ASSERT_TRUE(head.has_value()) << error_of(head);
  EXPECT_EQ(all_bits(*head->weights.find("lm_head.weight")),
            all_bits(*head->weights.find("model.embed_tokens.weight")));
  folder.write("config.json", tiny_config());
  expect_error(folder.path(), "tensor \"model.embed_tokens.weight\" of shape [5, 16] is missing");
}

/// llama.cpp's rule: a GGUF has the biases that it holds, tensor by tensor.
TEST(LoadModel, EveryBiasOfAGgufIsUsed) {
  const fakes::Folder folder;
  const std::string l = "model.layers.0.";
  const auto biases = [&](const std::vector<TinyTensor>& tensors) {
    GgufMaker maker = tiny_gguf(true);
    for (const TinyTensor& t : tensors) {
      maker.tensor(t.gguf_name, {std::uint64_t(t.cols)}, 0, raw(tiny_values(t)));
    }
    return load_model(folder.write("biased.gguf", maker.build()));
  };
  const TinyTensor v{l + "self_attn.v_proj.bias", "blk.0.attn_v.bias", 0, 16};
  const TinyTensor down{l + "mlp.down_proj.bias", "blk.0.ffn_down.bias", 0, kHidden};
  for (const auto& tensors : {std::vector{v}, {down}, {v, down}}) {
    const Result<LoadedModel> model = biases(tensors);
    ASSERT_TRUE(model.has_value()) << error_of(model);
    const auto backend = make_backend({}, mode_of(Precision::fp32));
    ASSERT_TRUE(backend.has_value());
    const auto rank = build_rank_model(*model, **backend, **backend, 0, 1, {8, {}});
    const LayerWeights& w = rank->layers[0];
    std::size_t used = 0;
    for (const auto& [linear, t] : {std::pair(&w.v, v), {&w.down, down}}) {
      const auto named = [name = t.name](const TinyTensor& each) { return each.name == name; };
      const bool there = std::any_of(tensors.begin(), tensors.end(), named);
      ASSERT_EQ(linear->bias.get() != nullptr, there) << t.name;
      if (!there) continue;
      const auto* values = static_cast<const float*>(linear->bias.get());
      EXPECT_EQ(std::vector<float>(values, values + t.cols), tiny_values(t));
      ++used;
    }
    EXPECT_EQ(used, tensors.size());
    for (const LinearWeights* other : {&w.q, &w.k, &w.o, &w.gate, &w.up}) {
      EXPECT_EQ(other->bias.get(), nullptr);
    }
  }
  const TinyTensor wrong{v.name, v.gguf_name, 0, 8};
  EXPECT_NE(error_of(biases({wrong})).find("v_proj.bias\" has shape [8] but the config needs [16]"),
            std::string::npos);
}

/// XXH3-128 over the fp32 bytes of all tensors, sorted by name, as hex.
std::string digest_of_values(const Weights& weights) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  XXH3_128bits_reset(state.get());
  for (const auto& [name, tensor] : weights.all()) {
    std::vector<float> row(static_cast<std::size_t>(tensor.cols));
    for (std::int64_t r = 0; r < tensor.rows; ++r) {
      tensor.read_row(r, 0, tensor.cols, row);
      XXH3_128bits_update(state.get(), row.data(), row.size() * sizeof(float));
    }
  }
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state.get()));
  std::string hex;
  for (const unsigned char byte : canonical.digest) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);
    hex += digits;
  }
  return hex;
}

/// ISOBIT_TEST_SMOLLM2 names SmolLM2-135M-Instruct.Q4_1.gguf. The digest comes from
/// tests/integration/check_dequantised.py, which shares no code with the loader.
TEST(LoadModel, SmolLm2) {
  const char* path = std::getenv("ISOBIT_TEST_SMOLLM2");
  if (path == nullptr) GTEST_SKIP() << "ISOBIT_TEST_SMOLLM2 is not set";
  const Result<LoadedModel> model = load_model(path);
  ASSERT_TRUE(model.has_value()) << error_of(model);
  const ModelConfig& c = model->config;
  EXPECT_EQ(c.layers, 30);
  EXPECT_EQ(c.hidden_size, 576);
  EXPECT_EQ(c.heads, 9);
  EXPECT_EQ(c.kv_heads, 3);
  EXPECT_EQ(c.head_dim, 64);
  EXPECT_EQ(c.ropes.front().base, 100000.0);
  EXPECT_EQ(c.rms_norm_eps, 1e-5);
  EXPECT_TRUE(c.tied_embeddings);
  EXPECT_EQ(model->weights.all().size(), 272u);
  EXPECT_EQ(model->weights.find("model.embed_tokens.weight")->type, TensorType::q8_0);
  EXPECT_EQ(model->gguf_tokenizer->tokens.size(), 49152u);
  EXPECT_EQ(digest_of_values(model->weights), "5601d558f9561a3b25ac73e094feab36");
}

}  // namespace
}  // namespace isobit
