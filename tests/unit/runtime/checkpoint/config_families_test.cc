// config.json of the families that are not quite Llama: defaults as transformers has them, what is
// refused by name. The values of whole models are compared in tests/integration.
#include <gtest/gtest.h>

#include "tests/unit/runtime/checkpoint/load_test_files.h"

namespace isobit {
namespace {

using test_files::error_of;

const std::string kSizes =
    R"("vocab_size": 50, "hidden_size": 64, "intermediate_size": 24, "num_hidden_layers": 6,
       "num_attention_heads": 4, "max_position_embeddings": 64)";

Result<ModelConfig> read(const std::string& type, const std::string& extra = "") {
  return parse_hf_config(R"({"model_type": ")" + type + "\", " + kSizes + extra + "}", "c");
}

void expect_error(const Result<ModelConfig>& result, const std::string& part) {
  EXPECT_NE(error_of(result).find(part), std::string::npos) << error_of(result);
}

std::string windows(const ModelConfig& config) {
  std::string out;
  for (std::int64_t i = 0; i < config.layers; ++i) out += std::to_string(config.window(i)) + " ";
  return out;
}

TEST(Families, Gemma2) {
  const auto plain = read("gemma2");
  ASSERT_TRUE(plain.has_value()) << error_of(plain);
  EXPECT_EQ(plain->head_dim, 256);
  EXPECT_EQ(plain->kv_heads, 4);
  EXPECT_EQ(plain->query_scale, 256.0);
  EXPECT_EQ(plain->attention_softcap, 50.0);
  EXPECT_EQ(plain->logit_softcap, 30.0);
  EXPECT_TRUE(plain->tied_embeddings);
  EXPECT_EQ(windows(*plain), "4096 0 4096 0 4096 0 ");
  const auto other = read("gemma2", R"(, "attn_logit_softcapping": null, "sliding_window": 8,
      "final_logit_softcapping": 3.5, "query_pre_attn_scalar": 224, "layer_types": [
      "full_attention", "full_attention", "full_attention", "full_attention", "full_attention",
      "sliding_attention"])");
  ASSERT_TRUE(other.has_value()) << error_of(other);
  EXPECT_EQ(other->attention_softcap, 0.0);
  EXPECT_EQ(other->logit_softcap, 3.5);
  EXPECT_EQ(other->query_scale, 224.0);
  EXPECT_EQ(windows(*other), "0 0 0 0 0 8 ");
  expect_error(read("gemma2", R"(, "attn_logit_softcapping": 0)"),
               "attn_logit_softcapping must be null or above 0");
  expect_error(read("gemma2", R"(, "attn_logit_softcapping": 1e-9)"),
               "attn_logit_softcapping is 1.0000000000000001e-09; it must be none, or from 0.001");
  expect_error(read("gemma2", R"(, "query_pre_attn_scalar": -1)"),
               "query_pre_attn_scalar must be above 0");
  expect_error(read("gemma2", R"(, "query_pre_attn_scalar": 0)"), "must be above 0");
  expect_error(read("gemma2", R"(, "use_bidirectional_attention": true)"), "only causal");
  expect_error(read("gemma2", R"(, "hidden_activation": "silu")"), "hidden_activation \"silu\"");
}

TEST(Families, Gemma3) {
  const auto plain = read("gemma3_text");
  ASSERT_TRUE(plain.has_value()) << error_of(plain);
  EXPECT_EQ(plain->attention_softcap, 0.0);
  EXPECT_EQ(plain->logit_softcap, 0.0);
  EXPECT_EQ(windows(*plain), "4096 4096 4096 4096 4096 0 ");
  EXPECT_EQ(windows(*read("gemma3_text", R"(, "sliding_window_pattern": 2)")),
            "4096 0 4096 0 4096 0 ");
  expect_error(read("gemma3_text", R"(, "sliding_window_pattern": 0)"), "must be at least 1");
  expect_error(read("gemma3_text", R"(, "use_bidirectional_attention": true)"), "only causal");
}

TEST(Families, Gpt2) {
  const std::string sizes =
      R"({"model_type": "gpt2", "vocab_size": 50, "n_embd": 64, "n_layer": 2, "n_head": 4)";
  const auto read = [&](const std::string& extra) {
    return parse_hf_config(sizes + extra + "}", "c");
  };
  const auto plain = read("");
  ASSERT_TRUE(plain.has_value()) << error_of(plain);
  EXPECT_EQ(plain->intermediate_size, 256);
  EXPECT_EQ(plain->context, 1024);
  EXPECT_EQ(plain->kv_heads, 4);
  EXPECT_EQ(plain->head_dim, 16);
  EXPECT_EQ(plain->rms_norm_eps, 1e-5);
  EXPECT_TRUE(plain->tied_embeddings);
  EXPECT_EQ(read(R"(, "n_inner": 100, "n_positions": 33)")->intermediate_size, 100);
  expect_error(read(R"(, "activation_function": "relu")"), "activation_function \"relu\"");
  expect_error(read(R"(, "scale_attn_weights": false)"), "scale_attn_weights is false");
  expect_error(read(R"(, "scale_attn_by_inverse_layer_idx": true)"), "is true, which is not");
  expect_error(parse_hf_config(R"({"model_type": "gpt2", "vocab_size": 50})", "c"),
               "n_embd is missing");
  expect_error(parse_hf_config(R"({"model_type": "gpt2", "vocab_size": 50, "n_layer": 1,
                                   "n_head": 4, "n_embd": 4611686018427387904})",
                               "c"),
               "hidden_size is 4611686018427387904");
}

TEST(Families, Experts) {
  const auto mixtral = read("mixtral", R"(, "num_key_value_heads": 2)");
  ASSERT_TRUE(mixtral.has_value()) << error_of(mixtral);
  EXPECT_EQ(mixtral->experts, 8);
  EXPECT_EQ(mixtral->experts_used, 2);
  EXPECT_EQ(mixtral->expert_size, 24);
  EXPECT_TRUE(mixtral->experts_sum_to_one && mixtral->is_routed(0));
  expect_error(read("mixtral", R"(, "num_key_value_heads": 2, "num_experts_per_tok": 9)"),
               "num_experts_per_tok is 9; it must be from 1 to 8");
  const auto qwen = read("qwen3_moe", R"(, "decoder_sparse_step": 2, "mlp_only_layers": [3])");
  ASSERT_TRUE(qwen.has_value()) << error_of(qwen);
  EXPECT_EQ(qwen->experts, 128);
  EXPECT_EQ(qwen->experts_used, 8);
  EXPECT_EQ(qwen->expert_size, 768);
  EXPECT_FALSE(qwen->experts_sum_to_one);
  EXPECT_EQ(qwen->routed, (std::vector<bool>{false, true, false, false, false, true}));
  EXPECT_EQ(read("qwen3_moe", R"(, "num_experts": 7, "num_experts_per_tok": 7)")->experts, 7);
  expect_error(read("qwen3_moe", R"(, "decoder_sparse_step": 0)"), "must be at least 1");
  expect_error(read("qwen3_moe", R"(, "mlp_only_layers": [1.5])"), "a list of integers");
  expect_error(read("llama", R"(, "num_local_experts": 8)"), "changes the arithmetic");
}

TEST(Families, LayersThatDoNotRotate) {
  const auto plain = read("smollm3");
  ASSERT_TRUE(plain.has_value()) << error_of(plain);
  EXPECT_EQ(plain->rotating, (std::vector<bool>{true, true, true, false, true, true}));
  EXPECT_TRUE(plain->tied_embeddings);
  EXPECT_EQ(read("smollm3", R"(, "no_rope_layers": [0, 1, 1, 0, 1, 1])")->rotating,
            (std::vector<bool>{false, true, true, false, true, true}));
  expect_error(read("smollm3", R"(, "no_rope_layers": [0, 1])"), "0 or 1 for every layer");
  expect_error(read("smollm3", R"(, "no_rope_layers": [0, 1, 2, 0, 1, 1])"), "0 or 1 for every");
}

TEST(Families, WindowsThatAreSwitchedOn) {
  const std::string on = R"(, "use_sliding_window": true, "max_window_layers": 2)";
  EXPECT_EQ(windows(*read("smollm3", on)), "0 0 0 0 0 0 ") << "no window, no layer slides";
  EXPECT_EQ(windows(*read("smollm3", on + R"(, "sliding_window": 16)")), "0 0 0 16 0 0 ");
  EXPECT_EQ(windows(*read("smollm3", R"(, "sliding_window": 16)")), "0 0 0 0 0 0 ");
  EXPECT_EQ(windows(*read("qwen3_moe", on + R"(, "sliding_window": 16)")), "16 16 16 16 16 16 ");
  expect_error(read("qwen3_moe", on + R"(, "sliding_window": 0)"), "null or at least 1");
  ModelConfig many = *read("qwen3_moe");
  many.layers = 4000;
  many.experts = 1000;
  many.slides.clear();
  many.routed.clear();
  const Result<void> valid = many.validate();
  ASSERT_FALSE(valid.has_value());
  EXPECT_NE(valid.error().message.find("so many that all layers have at most"), std::string::npos)
      << valid.error().message;
}

TEST(Families, Phi3AndOlmo2) {
  const auto phi = read("phi3", R"(, "sliding_window": 17)");
  ASSERT_TRUE(phi.has_value()) << error_of(phi);
  EXPECT_EQ(windows(*phi), "17 17 17 17 17 17 ");
  EXPECT_EQ(phi->kv_heads, 4);
  EXPECT_EQ(phi->rms_norm_eps, 1e-5);
  const auto olmo = read("olmo2");
  ASSERT_TRUE(olmo.has_value()) << error_of(olmo);
  EXPECT_EQ(olmo->rms_norm_eps, 1e-5);
  EXPECT_FALSE(olmo->tied_embeddings);
}

}  // namespace
}  // namespace isobit
