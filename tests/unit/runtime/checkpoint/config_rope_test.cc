// RoPE as config.json tells it: every kind, in every form, and what is refused.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "runtime/checkpoint/config_fields.h"
#include "runtime/numerics/functions.h"

namespace isobit {
namespace {

using Kind = RopeScaling::Kind;

std::string tiny_config() {
  return R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 97, "hidden_size": 64,
             "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 8,
             "max_position_embeddings": 64, "rope_theta": 100000.0)";
}

Result<ModelConfig> read_with(const std::string& extra) {
  return parse_hf_config(tiny_config() + extra + "}", "config.json");
}

Result<ModelConfig> read_changed(const std::string& from, const std::string& to) {
  std::string text = tiny_config() + "}";
  text.replace(text.find(from), from.size(), to);
  return parse_hf_config(text, "config.json");
}

std::string error_of(const Result<ModelConfig>& read) {
  return read ? "no error" : read.error().text();
}

void expect_error(const Result<ModelConfig>& read, const std::string& message) {
  EXPECT_NE(error_of(read).find(message), std::string::npos) << error_of(read) << "\n" << message;
}

/// The only RoPE of a file that is good.
Rope rope_with(const std::string& extra) {
  const Result<ModelConfig> read = read_with(extra);
  EXPECT_TRUE(read.has_value()) << error_of(read);
  return read ? read->ropes.front() : Rope{};
}

TEST(HfConfig, RopeInBothForms) {
  const std::string llama3 =
      R"("factor": 8.0, "low_freq_factor": 1, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 8192)";
  for (const std::string& extra :
       {R"(, "rope_scaling": {"rope_type": "llama3", )" + llama3 + "}",
        R"(, "rope_parameters": {"rope_type": "llama3", "rope_theta": 100000.0, )" + llama3 +
            "}"}) {
    const Result<ModelConfig> read = read_with(extra);
    ASSERT_TRUE(read.has_value()) << error_of(read);
    EXPECT_EQ(read->ropes.front().scaling.kind, RopeScaling::Kind::llama3);
    EXPECT_EQ(read->ropes.front().scaling.factor, 8.0);
    EXPECT_EQ(read->ropes.front().scaling.low_freq_factor, 1.0);
    EXPECT_EQ(read->ropes.front().scaling.high_freq_factor, 4.0);
    EXPECT_EQ(read->ropes.front().scaling.original_context, 8192);
    EXPECT_EQ(read->ropes.front().base, 100000.0);
  }
  const Result<ModelConfig> linear =
      read_with(R"(, "rope_scaling": {"type": "linear", "factor": 2})");
  ASSERT_TRUE(linear.has_value()) << error_of(linear);
  EXPECT_EQ(linear->ropes.front().scaling.kind, RopeScaling::Kind::linear);
  EXPECT_EQ(linear->ropes.front().scaling.factor, 2.0);
  const Result<ModelConfig> theta =
      read_changed(R"("rope_theta": 100000.0)",
                   R"("rope_parameters": {"rope_type": "default", "rope_theta": 5e5})");
  ASSERT_TRUE(theta.has_value()) << error_of(theta);
  EXPECT_EQ(theta->ropes.front().base, 5e5);
  EXPECT_EQ(theta->ropes.front().scaling.kind, RopeScaling::Kind::none);
}

TEST(HfConfig, RefusesOtherRope) {
  for (const char* type : {"su", "mrope", "proportional"}) {
    expect_error(
        read_with(std::string(R"(, "rope_scaling": {"factor": 2.0, "type": ")") + type + "\"}"),
        std::string("rope_scaling.type \"") + type + "\" is not supported");
  }
  expect_error(read_with(R"(, "rope_scaling": {"type": "linear"})"),
               "rope_scaling.factor is missing");
  expect_error(read_with(R"(, "rope_scaling": {"type": "linear", "factor": 0.5})"),
               "rope_scaling.factor is 0.5; it must be at least 1");
  expect_error(
      read_with(R"(, "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5})"),
      "rope_parameters.partial_rotary_factor = 0.5 changes the arithmetic");
  expect_error(read_with(R"(, "rope_parameters": {"rope_theta": 1e4})"),
               "rope_theta differs from rope_parameters.rope_theta");
  expect_error(
      read_with(R"(, "rope_parameters": {"full_attention": {"rope_type": "default"}})"),
      "rope_parameters.full_attention is not supported: the layers of this architecture have one");
  expect_error(
      read_with(R"(, "rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {})"),
      "rope_scaling and rope_parameters are both given and differ");
  expect_error(read_with(R"(, "rope_scaling": 2)"),
               "rope_scaling is 2; it must be an object or null");
  expect_error(read_with(R"(, "rope_scaling": {"type": "linear", "rope_type": "llama3"})"),
               "rope_scaling.type and rope_type differ");
  const char* bad[][2] = {
      {R"("linear", "factor": 0)", "rope_scaling.factor is 0; it must be at least 1"},
      {R"("dynamic", "factor": -1)", "rope_scaling.factor is -1; it must be at least 1"},
      {R"("yarn", "factor": "4")", "rope_scaling.factor is \"4\"; it must be a number"},
      {R"("yarn", "factor": 4, "attention_factor": 0)", "attention_factor is 0; it must be above"},
      {R"("yarn", "factor": 4, "beta_fast": 1, "beta_slow": 2)", "beta_slow is 2; it must be"},
      {R"("yarn", "factor": 4, "beta_slow": -1)", "beta_slow is -1; it must be above 0"},
      {R"("yarn", "factor": 4, "truncate": 1)", "truncate is 1; it must be true or false"},
      {R"("yarn", "original_max_position_embeddings": 0)", "rope_scaling.factor is inf"},
      {R"("yarn", "factor": 4, "original_max_position_embeddings": 0)",
       "original_max_position_embeddings is 0; it must be from 1"},
      {R"("longrope", "long_factor": [1, 1, 1, 1])", "rope_scaling.short_factor is missing"},
      {R"("longrope", "short_factor": 1, "long_factor": [1, 1, 1, 1])",
       "rope_scaling.short_factor is 1; it must be a list of fp32 numbers"},
      {R"("longrope", "short_factor": [1, 1, 1, 1e300], "long_factor": [1, 1, 1, 1])",
       "rope_scaling.short_factor is a list; it must be a list of fp32 numbers"},
      {R"("longrope", "short_factor": [1, 1, 1], "long_factor": [1, 1, 1, 1])",
       "the number of rope_scaling.short_factor is 3; it must be head_dim / 2 (4)"},
      {R"("longrope", "short_factor": [1, 1, 1, 1], "long_factor": [1, 1, -2, 1])",
       "a rope_scaling.long_factor value is -2; it must be from 1e-6 to 1e9"},
      {R"("longrope", "short_factor": [1, 1, 1, 1e-30], "long_factor": [1, 1, 1, 1])",
       "it must be from 1e-6 to 1e9"},
  };
  for (const auto& [scaling, message] : bad) {
    expect_error(read_with(std::string(R"(, "rope_scaling": {"type": )") + scaling + "}"), message);
  }
}

TEST(HfConfig, KeysThatAKindOfRopeDoesNotUseArePassedOver) {
  const Rope linear = rope_with(
      R"(, "rope_scaling": {"type": "linear", "factor": 2, "attention_factor": 1.1, "x": []})");
  EXPECT_EQ(linear.scaling.attention_factor, 1.0);
  const Rope plain = rope_with(
      R"(, "rope_scaling": {"rope_type": "default", "factor": "none", "mrope_section": [1]})");
  EXPECT_TRUE(plain.scaling == RopeScaling{});
}

TEST(HfConfig, DynamicRopeReachesFurtherThanItsContext) {
  const auto read = read_with(R"(, "rope_scaling": {"type": "dynamic", "factor": 2.5})");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  EXPECT_EQ(read->ropes.front().scaling.kind, Kind::dynamic);
  EXPECT_EQ(read->ropes.front().scaling.original_context, 64);
  EXPECT_EQ(read->context, 160);
}

TEST(HfConfig, YarnAndItsDefaults) {
  const RopeScaling plain = rope_with(R"(, "rope_scaling": {"type": "yarn", "factor": 4})").scaling;
  EXPECT_EQ(plain.kind, Kind::yarn);
  EXPECT_EQ(plain.original_context, 64);
  EXPECT_EQ(plain.beta_fast, 32.0);
  EXPECT_EQ(plain.beta_slow, 1.0);
  EXPECT_TRUE(plain.truncate);
  EXPECT_EQ(plain.attention_factor, 0.1 * log_(4.0) + 1.0);
  const RopeScaling told = rope_with(R"(, "rope_scaling": {"type": "yarn", "factor": null,
      "original_max_position_embeddings": 16, "beta_fast": 8, "beta_slow": 0, "truncate": false,
      "mscale": 2, "mscale_all_dim": 0.5})")
                               .scaling;
  EXPECT_EQ(told.factor, 4.0);
  EXPECT_EQ(told.original_context, 16);
  EXPECT_EQ(told.beta_fast, 8.0);
  EXPECT_EQ(told.beta_slow, 1.0);
  EXPECT_FALSE(told.truncate);
  EXPECT_EQ(told.attention_factor, (0.2 * log_(4.0) + 1.0) / (0.05 * log_(4.0) + 1.0));
  EXPECT_EQ(rope_with(R"(, "rope_scaling": {"type": "yarn", "factor": 4, "attention_factor": 1.5,
                          "mscale": 2, "mscale_all_dim": 3})")
                .scaling.attention_factor,
            1.5);
}

TEST(HfConfig, LongropeAndItsDefaults) {
  const std::string lists = R"("short_factor": [1, 1, 1.5, 2], "long_factor": [1, 2, 3, 4])";
  const Rope rope = rope_with(R"(, "rope_scaling": {"type": "longrope", )" + lists +
                              R"(, "original_max_position_embeddings": 16})");
  EXPECT_EQ(rope.scaling.kind, Kind::longrope);
  EXPECT_EQ(rope.factors, (std::vector<float>{1, 1, 1.5F, 2}));
  EXPECT_EQ(rope.long_factors, (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(rope.scaling.attention_factor, sqrt_(1.0 + log_(4.0) / log_(16.0)));
  const Rope same = rope_with(R"(, "rope_scaling": {"type": "longrope", )" + lists + "}");
  EXPECT_EQ(same.scaling.original_context, 64);
  EXPECT_EQ(same.scaling.attention_factor, 1.0);
  const std::string outside = R"(, "original_max_position_embeddings": 32, "rope_scaling": {)";
  EXPECT_EQ(rope_with(outside + R"("type": "longrope", )" + lists + "}").scaling.original_context,
            32);
  expect_error(
      read_with(outside + R"("type": "longrope", "original_max_position_embeddings": 16, )" +
                lists + "}"),
      "rope_scaling.original_max_position_embeddings is 16 and outside of it 32");
}

TEST(HfConfig, AContextThatIsNotTold) {
  const auto read = read_changed(R"("max_position_embeddings": 64, )", "");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  EXPECT_EQ(read->context, 2048);
}

/// What read_ropes() makes of a family's config; its error, or "".
std::string ropes_of(const std::string& text, ModelConfig& config) {
  const std::string place = "c";
  const nlohmann::json object = nlohmann::json::parse(text);
  ConfigFields fields(object, "", text, place);
  read_ropes(fields, config);
  return fields.error ? fields.error->text() : "";
}

/// A family with a RoPE for full attention and one for layers that slide.
ModelConfig two_ropes() {
  ModelConfig config;
  config.architecture = "gemma3_text";
  config.head_dim = 16;
  config.context = 64;
  config.ropes.resize(2);
  config.ropes[0].base = 1e6;
  return config;
}

TEST(HfConfig, TwoRopesByKindOfLayer) {
  ModelConfig config = two_ropes();
  EXPECT_EQ(ropes_of(R"({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8,
                         "rope_theta": 5e5}, "sliding_attention": {"rope_theta": 2e4}}})",
                     config),
            "");
  EXPECT_EQ(config.ropes[0].base, 5e5);
  EXPECT_EQ(config.ropes[0].scaling.kind, Kind::linear);
  EXPECT_EQ(config.ropes[0].scaling.factor, 8.0);
  EXPECT_EQ(config.ropes[1].base, 2e4);
  EXPECT_EQ(config.ropes[1].scaling.kind, Kind::none);
  ModelConfig older = two_ropes();
  EXPECT_EQ(ropes_of(R"({"rope_theta": 5e5, "rope_local_base_freq": 2e4,
                         "rope_scaling": {"rope_type": "linear", "factor": 8}})",
                     older),
            "");
  EXPECT_TRUE(older.ropes == config.ropes);
  ModelConfig defaults = two_ropes();
  EXPECT_EQ(ropes_of("{}", defaults), "");
  EXPECT_TRUE(defaults.ropes == two_ropes().ropes);
  EXPECT_EQ(ropes_of(R"({"rope_parameters": {"sliding_attention": null}})", defaults), "");
  EXPECT_TRUE(defaults.ropes == two_ropes().ropes);
}

TEST(HfConfig, RefusesTwoRopesThatAreNotTold) {
  const auto error_with = [](const std::string& text) {
    ModelConfig config = two_ropes();
    return ropes_of(text, config);
  };
  EXPECT_EQ(error_with(R"({"rope_parameters": {"rope_theta": 1e4}})"),
            "c: rope_parameters.full_attention is missing: the layers of this architecture have "
            "two RoPEs");
  EXPECT_EQ(error_with(R"({"rope_parameters": {"full_attention": 3}})"),
            "c:1:22: rope_parameters.full_attention is 3; it must be an object or null");
  EXPECT_EQ(error_with(R"({"rope_parameters": {"sliding_attention": {"rope_type": "x"}}})"),
            "c:1:44: rope_parameters.sliding_attention.rope_type \"x\" is not supported (default, "
            "linear, dynamic, llama3, yarn, longrope)");
}

TEST(HfConfig, Phi3TurnsAPartAndHasWordsOfItsOwn) {
  const auto phi3 = [](const std::string& text, ModelConfig& config) {
    config = ModelConfig();
    config.architecture = "phi3";
    config.head_dim = 16;
    config.context = 128;
    return ropes_of(text, config);
  };
  const std::string lists = R"("short_factor": [1, 1, 1, 1, 1, 1],
                               "long_factor": [2, 2, 2, 2, 2, 2]})";
  ModelConfig config;
  for (const char* type : {"su", "yarn", "longrope"}) {
    EXPECT_EQ(phi3(R"({"partial_rotary_factor": 0.75, "original_max_position_embeddings": 32,
                       "rope_scaling": {"type": ")" +
                       std::string(type) + "\", " + lists + "}",
                   config),
              "");
    EXPECT_EQ(config.ropes[0].dims, 12);
    EXPECT_EQ(config.ropes[0].scaling.kind, Kind::longrope);
    EXPECT_EQ(config.ropes[0].scaling.original_context, 32);
  }
  EXPECT_EQ(phi3(R"({"rope_scaling": {"type": "su", )" + lists + "}", config), "");
  EXPECT_EQ(config.ropes[0].scaling.original_context, 4096);
  EXPECT_EQ(config.ropes[0].scaling.attention_factor, 1.0);
  EXPECT_NE(phi3(R"({"rope_parameters": {"partial_rotary_factor": 0.05}})", config)
                .find("partial_rotary_factor leaves no dims of a head to turn"),
            std::string::npos);
  EXPECT_NE(phi3(R"({"partial_rotary_factor": 1.5})", config)
                .find("partial_rotary_factor is 1.5; it must be above 0 and at most 1"),
            std::string::npos);
}

}  // namespace
}  // namespace isobit
