// config.json: what is read, which defaults hold, and what is refused with which words.
#include "runtime/model/config.h"

#include <gtest/gtest.h>

#include "tests/unit/runtime/checkpoint/load_test_files.h"

namespace isobit {
namespace {

using namespace test_files;  // NOLINT: helpers of these tests

Result<ModelConfig> read_with(const std::string& extra) {
  return parse_hf_config(tiny_config(extra), "config.json");
}

/// The tiny config with `from` replaced by `to`.
Result<ModelConfig> read_changed(const std::string& from, const std::string& to) {
  std::string text = tiny_config();
  const std::size_t at = text.find(from);
  ISOBIT_CHECK(at != std::string::npos);
  return parse_hf_config(text.replace(at, from.size(), to), "config.json");
}

void expect_error(const Result<ModelConfig>& result, const std::string& part) {
  const std::string text = error_of(result);
  EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

TEST(HfConfig, ReadsEveryField) {
  const Result<ModelConfig> read = read_with(
      R"(, "bos_token_id": 1, "eos_token_id": [2, 4, 2], "tie_word_embeddings": true,
          "attention_bias": true, "mlp_bias": true, "isobit_segments": 16, "sliding_window": null,
          "torch_dtype": "bfloat16", "pretraining_tp": 1, "rope_interleaved": false,
          "rope_scaling": null, "_name_or_path": "me/tiny")");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  EXPECT_EQ(read->architecture, "llama");
  EXPECT_EQ(read->name, "me/tiny");
  EXPECT_EQ(read->vocab_size, 5);
  EXPECT_EQ(read->hidden_size, 16);
  EXPECT_EQ(read->intermediate_size, 24);
  EXPECT_EQ(read->layers, 1);
  EXPECT_EQ(read->heads, 4);
  EXPECT_EQ(read->kv_heads, 2);
  EXPECT_EQ(read->head_dim, 8);
  EXPECT_EQ(read->context, 64);
  EXPECT_EQ(read->sliding_window, 0);
  EXPECT_EQ(read->segments, 16);
  EXPECT_EQ(read->rms_norm_eps, 1e-5);
  EXPECT_EQ(read->ropes.front().base, 100000.0);
  EXPECT_EQ(read->ropes.front().scaling.kind, RopeScaling::Kind::none);
  EXPECT_TRUE(read->tied_embeddings && read->attention_bias && read->mlp_bias);
  EXPECT_EQ(read->bos_token, 1);
  EXPECT_EQ(read->eos_tokens, (std::vector<std::int32_t>{2, 4}));
}

TEST(HfConfig, DefaultsAreTransformers) {
  const Result<ModelConfig> read = parse_hf_config(
      R"({"model_type": "llama", "vocab_size": 5, "hidden_size": 32, "intermediate_size": 24,
          "num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 64,
          "eos_token_id": 3})",
      "config.json");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  EXPECT_EQ(read->kv_heads, 4);
  EXPECT_EQ(read->head_dim, 8);
  EXPECT_EQ(read->rms_norm_eps, 1e-6);
  EXPECT_EQ(read->ropes.front().base, 10000.0);
  EXPECT_EQ(read->segments, 8);
  EXPECT_EQ(read->bos_token, -1);
  EXPECT_EQ(read->eos_tokens, std::vector<std::int32_t>{3});
  EXPECT_FALSE(read->tied_embeddings || read->attention_bias || read->mlp_bias);
}

/// The tiny config as another family's; `layers` of it.
Result<ModelConfig> read_as(const std::string& type, const std::string& class_name,
                            const std::string& extra, int layers = 1) {
  std::string text = tiny_config(extra);
  text.replace(text.find("LlamaForCausalLM"), 16, class_name);
  text.replace(text.find("\"llama\""), 7, "\"" + type + "\"");
  const std::string key = "\"num_hidden_layers\": ";
  text.replace(text.find(key) + key.size(), 1, std::to_string(layers));
  return parse_hf_config(text, "config.json");
}

TEST(HfConfig, MistralSlidesUnlessToldOtherwise) {
  const auto mistral = [](const std::string& extra) {
    return read_as("mistral", "MistralForCausalLM", extra);
  };
  ASSERT_TRUE(mistral("").has_value()) << error_of(mistral(""));
  EXPECT_EQ(mistral("")->architecture, "mistral");
  EXPECT_EQ(mistral("")->sliding_window, 4096);
  EXPECT_EQ(mistral(R"(, "sliding_window": null)")->sliding_window, 0);
  EXPECT_EQ(mistral(R"(, "sliding_window": 17)")->sliding_window, 17);
  expect_error(mistral(R"(, "sliding_window": 0)"), "sliding_window must be null or at least 1");
  expect_error(mistral(R"(, "attention_bias": true)"), "attention_bias is not part of Mistral");
  expect_error(mistral(R"(, "sliding_window": 17, "layer_types": ["full_attention"])"),
               "layer_types must be null or \"sliding_attention\" for every layer");
  expect_error(read_with(R"(, "sliding_window": 17)"), "no effect on a Llama");
}

TEST(HfConfig, QwenDefaultsAreTransformers) {
  const std::string sizes =
      R"("vocab_size": 5, "hidden_size": 256, "intermediate_size": 24, "num_hidden_layers": 2,
          "num_attention_heads": 32, "max_position_embeddings": 64})";
  const Result<ModelConfig> two = parse_hf_config(R"({"model_type": "qwen2", )" + sizes, "c");
  ASSERT_TRUE(two.has_value()) << error_of(two);
  EXPECT_EQ(two->architecture, "qwen2");
  EXPECT_EQ(two->kv_heads, 32);
  EXPECT_EQ(two->head_dim, 8);
  EXPECT_EQ(two->sliding_window, 0);
  EXPECT_EQ(two->rms_norm_eps, 1e-6);
  EXPECT_EQ(two->ropes.front().base, 10000.0);
  EXPECT_FALSE(two->attention_bias || two->mlp_bias || two->tied_embeddings);
  const Result<ModelConfig> three = parse_hf_config(R"({"model_type": "qwen3", )" + sizes, "c");
  ASSERT_TRUE(three.has_value()) << error_of(three);
  EXPECT_EQ(three->architecture, "qwen3");
  EXPECT_EQ(three->kv_heads, 32);
  EXPECT_EQ(three->head_dim, 128);
  EXPECT_FALSE(three->attention_bias || three->tied_embeddings);
  const Result<ModelConfig> biased =
      parse_hf_config(R"({"model_type": "qwen3", "attention_bias": true, "head_dim": 16,
                          "num_key_value_heads": null, )" +
                          sizes,
                      "c");
  ASSERT_TRUE(biased.has_value()) << error_of(biased);
  EXPECT_TRUE(biased->attention_bias);
  EXPECT_EQ(biased->head_dim, 16);
  EXPECT_EQ(biased->kv_heads, 32);
}

TEST(HfConfig, QwenSlidesInLaterLayers) {
  for (const auto& [type, class_name] :
       {std::pair("qwen2", "Qwen2ForCausalLM"), {"qwen3", "Qwen3ForCausalLM"}}) {
    SCOPED_TRACE(type);
    const auto windows = [type = type, class_name = class_name](const std::string& extra) {
      const Result<ModelConfig> read = read_as(type, class_name, extra, 3);
      if (!read) return read.error().text();
      std::string out;
      for (int i = 0; i < 3; ++i) out += std::to_string(read->window(i)) + " ";
      return out;
    };
    const std::string on = R"(, "use_sliding_window": true)";
    EXPECT_EQ(windows(""), "0 0 0 ");
    EXPECT_EQ(windows(R"(, "sliding_window": 17, "max_window_layers": 0)"), "0 0 0 ");
    EXPECT_EQ(windows(on), "0 0 0 ") << "28 layers come first";
    EXPECT_EQ(windows(on + R"(, "max_window_layers": 1)"), "0 4096 4096 ");
    EXPECT_EQ(windows(on + R"(, "max_window_layers": 2, "sliding_window": 17)"), "0 0 17 ");
    EXPECT_EQ(windows(on + R"(, "max_window_layers": 0, "sliding_window": 17)"), "17 17 17 ");
    EXPECT_EQ(windows(on + R"(, "max_window_layers": 0, "sliding_window": null)"), "0 0 0 ");
    const std::string kinds =
        R"(, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"])";
    EXPECT_EQ(windows(on + kinds + R"(, "sliding_window": 17)"), "17 0 17 ");
    EXPECT_EQ(windows(kinds),
              "config.json:4:80: layer_types has sliding_attention, but the config "
              "gives no window");
    EXPECT_NE(windows(on + R"(, "layer_types": ["full_attention"])")
                  .find("layer_types must be null or a list of one kind for each of the 3 layers"),
              std::string::npos);
    EXPECT_NE(windows(R"(, "layer_types": ["full_attention", "linear_attention", 1])")
                  .find("layer_types has \"linear_attention\"; known: full_attention, "),
              std::string::npos);
    EXPECT_NE(windows(on + R"(, "sliding_window": 0)").find("sliding_window must be null or at"),
              std::string::npos);
    EXPECT_NE(windows(on + R"(, "max_window_layers": 1.5)").find("max_window_layers is 1.5"),
              std::string::npos);
  }
}

TEST(HfConfig, RefusesOtherArithmeticByName) {
  expect_error(read_changed("\"silu\"", "\"gelu\""),
               "config.json:1:64: hidden_act \"gelu\" is not");
  expect_error(read_changed("LlamaForCausalLM", "GemmaForCausalLM"),
               "architectures \"GemmaForCausalLM\" is not supported (LlamaForCausalLM, "
               "MistralForCausalLM, MixtralForCausalLM, Qwen2ForCausalLM, ");
  expect_error(read_changed("LlamaForCausalLM", "Qwen2ForCausalLM"),
               "model_type \"llama\" does not belong to \"Qwen2ForCausalLM\"");
  expect_error(parse_hf_config(R"({"model_type": "phi"})", "c"),
               "c:1:2: model_type \"phi\" is not supported (llama, mistral, mixtral, qwen2, ");
  expect_error(read_changed("\"llama\"", "\"mistral\""), "model_type \"mistral\" does not belong");
  expect_error(read_changed(R"(["LlamaForCausalLM"])", "[]"), "must be a list of one name");
  expect_error(read_with(R"(, "partial_rotary_factor": 0.5)"), "partial_rotary_factor = 0.5");
  expect_error(read_with(R"(, "rope_interleaved": true)"), "rope_interleaved = true");
  expect_error(read_with(R"(, "pretraining_tp": 2)"), "pretraining_tp = 2");
  expect_error(read_with(R"(, "num_local_experts": 8)"), "num_local_experts = 8");
  EXPECT_TRUE(
      read_with(R"(, "partial_rotary_factor": 1, "quantization_config": null)").has_value());
}

TEST(HfConfig, TypesAreStrict) {
  expect_error(read_changed("\"vocab_size\": 5", "\"vocab_size\": \"5\""),
               "config.json:2:2: vocab_size is \"5\"; it must be an integer");
  expect_error(read_changed("\"vocab_size\": 5", "\"vocab_size\": 5.0"), "must be an integer");
  expect_error(read_changed("\"vocab_size\": 5", "\"vocab_size\": true"), "must be an integer");
  expect_error(read_changed("\"vocab_size\": 5", "\"vocab_size\": 18446744073709551615"),
               "must be an integer");
  expect_error(read_changed("\"vocab_size\": 5", "\"vocab_size\": null"), "vocab_size is missing");
  expect_error(read_changed("1e-05", "\"1e-05\""),
               "rms_norm_eps is \"1e-05\"; it must be a number");
  expect_error(read_with(R"(, "tie_word_embeddings": 1)"), "must be true or false");
  expect_error(read_with(R"(, "eos_token_id": "2")"),
               "eos_token_id is \"2\"; it must be a token id");
  expect_error(read_with(R"(, "eos_token_id": [[2]])"), "eos_token_id is a list");
  expect_error(read_with(R"(, "bos_token_id": 1.5)"), "bos_token_id is 1.5; it must be a token id");
}

TEST(HfConfig, TokensOutsideTheVocabularyAreNone) {
  for (const char* id : {"-7", "-1", "5", "99999999999999999999"}) {
    const std::string text = std::string(R"(, "bos_token_id": )") + id;
    const auto read = read_with(text);
    const bool whole = std::string(id).size() < 20;  // beyond 64 bits it is a float
    ASSERT_EQ(read.has_value(), whole) << id;
    EXPECT_EQ(read ? read->bos_token : -1, -1) << id;
  }
  const auto read = read_with(R"(, "eos_token_id": [2, -1, 5])");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->eos_tokens, (std::vector<std::int32_t>{2, 5}));
  EXPECT_EQ(read->eos_origins,
            (std::vector<std::string>{"config.json", "config.json, beyond the vocabulary"}));
}

TEST(HfConfig, ShapesHaveLimits) {
  const auto changed_to = [](const std::string& key, const std::string& value) {
    std::string text = tiny_config();
    const std::size_t at = text.find("\"" + key + "\": ") + key.size() + 4;
    return parse_hf_config(text.replace(at, text.find_first_of(",}", at) - at, value), "c");
  };
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    expect_error(changed_to(key, "0"), std::string(key) + " is 0; it must be from ");
    expect_error(changed_to(key, "-1"), std::string(key) + " is -1; it must be from ");
    expect_error(changed_to(key, "4611686018427387904"), "4611686018427387904; it must be from ");
  }
  expect_error(changed_to("num_key_value_heads", "3"),
               "num_key_value_heads is 3; it must be a divisor of num_attention_heads (4)");
  expect_error(changed_to("head_dim", "12"), "head_dim is 12; it must be a multiple of 8");
  expect_error(changed_to("head_dim", "264"), "head_dim is 264; it must be from 8 to 256");
  expect_error(changed_to("rms_norm_eps", "0"), "rms_norm_eps is 0; it must be at least");
  expect_error(changed_to("rms_norm_eps", "1e-39"), "it must be at least 2^-126 and below 1");
  expect_error(changed_to("rope_theta", "1.0"), "rope_theta is 1; it must be above 1");
  expect_error(read_with(R"(, "isobit_segments": 12)"),
               "isobit_segments is 12; it must be 8, 16 or 32");
  expect_error(read_changed(", \"head_dim\": 8", ", \"hidden_size_\": 8"),
               "head_dim is 4; it must be from 8");
}

TEST(HfConfig, JsonErrorsHaveAPlace) {
  expect_error(parse_hf_config("", "c"), "c:1:1: invalid JSON");
  expect_error(parse_hf_config("{\n  \"a\": }", "c"), "c:2:8: invalid JSON");
  expect_error(parse_hf_config("[1]", "c"), "c: must be a JSON object");
  expect_error(parse_hf_config("{} x", "c"), "c:1:4: invalid JSON");
  expect_error(parse_hf_config(std::string("{}\0x", 4), "c"), "c:1:3: invalid JSON: NUL byte");
  expect_error(parse_hf_config("{\"a\": 1,\n \"b\": {\"c\": 1, \"c\": 2}}", "c"),
               "c:2:16: duplicate key \"c\"");
  expect_error(parse_hf_config("{\"a\": \"\xff\"}", "c"), "c:1:8: invalid JSON");
  expect_error(parse_hf_config(std::string(100000, '['), "c"), "c:1:65: nested deeper than 64");
  expect_error(parse_hf_config("{\"rope_theta\": 1e999}", "c"), "invalid JSON");
}

TEST(Validate, NamesTheField) {
  ModelConfig config = *parse_hf_config(tiny_config(), "c");
  EXPECT_TRUE(config.validate().has_value());
  config.ropes.front().factors = {1.0F, 2.0F};
  EXPECT_NE(error_of(config.validate()).find("rope_freqs is 2; it must be head_dim / 2 (4)"),
            std::string::npos);
  config.ropes.front().factors = {1.0F, 2.0F, 0.0F, 1.0F};
  EXPECT_NE(error_of(config.validate()).find("a rope_freqs value is 0"), std::string::npos);
  config.ropes.front().factors.clear();
  config.architecture = "gpt3";
  EXPECT_NE(error_of(config.validate()).find("architecture \"gpt3\" is not supported"),
            std::string::npos);
  config.architecture = "llama";
  config.ropes.front().scaling.kind = RopeScaling::Kind::llama3;
  config.ropes.front().scaling.low_freq_factor = 4.0;
  EXPECT_NE(error_of(config.validate()).find("rope_scaling.low_freq_factor is 4"),
            std::string::npos);
}

}  // namespace
}  // namespace isobit
