// llama.cpp's names of every tensor of every family, there and back.
#include "runtime/checkpoint/gguf_names.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/fakes/model.h"

namespace isobit {
namespace {

TEST(GgufNames, EveryFamilyThereAndBack) {
  for (const Architecture* family : architectures()) {
    std::set<std::string> reached;
    for (const auto& rows : {family->before, family->layer, family->after}) {
      const bool in_layer = rows.data() == family->layer.data();
      for (const TensorRow& row : rows) {
        if (row.gguf[0] == '\0') continue;  // a part of a fused matrix
        for (const bool bias : {false, true}) {
          const std::string part = bias ? ".bias" : ".weight";
          const std::string stored = (in_layer ? "blk.12." : "") + std::string(row.gguf) + part;
          const auto name = read_gguf_name(*family, stored);
          ASSERT_EQ(name.has_value(), !bias || row.bias != When::never) << stored;
          if (!name) continue;
          EXPECT_EQ(name->hugging_face,
                    (in_layer ? layer_prefix(*family, 12) : "") + std::string(row.name) + part);
          EXPECT_EQ(name->layer, in_layer ? 12 : -1);
          EXPECT_TRUE(reached.insert(name->hugging_face).second) << "two names for one tensor";
        }
      }
    }
    ModelConfig config = fakes::odd_config(family->name);
    config.layers = 13;
    config.slides.clear();
    config.rotating.clear();
    config.routed.clear();
    for (const FusedRow& fused : family->fused) {
      for (const char* end : {".weight", ".bias"}) {
        const auto name = read_gguf_name(*family, std::string("blk.12.") + fused.gguf + end);
        ASSERT_TRUE(name.has_value()) << fused.gguf;
        EXPECT_EQ(name->hugging_face, layer_prefix(*family, 12) + fused.name + end);
        for (const char* part : fused.parts) reached.insert(layer_prefix(*family, 12) + part + end);
      }
    }
    for (const TensorRow& row : family->experts.rows) {
      const auto name = read_gguf_name(*family, std::string("blk.12.") + row.gguf + ".weight");
      ASSERT_TRUE(name.has_value() && name->experts) << row.gguf;
      EXPECT_EQ(name->layer, 12);
      for (std::int64_t e = 0; e < config.experts; ++e) {
        reached.insert(expert_prefix(*family, 12, e) + name->hugging_face);
      }
    }
    const std::string layers = family->layers;
    for (const TableTensor& tensor : table_tensors(config)) {
      const bool other_layer =
          tensor.name.rfind(layers, 0) == 0 && tensor.name.rfind(layers + "12.", 0) != 0;
      EXPECT_EQ(reached.count(tensor.name), other_layer ? 0u : 1u) << tensor.name;
    }
  }
}

TEST(GgufNames, NamesAsLlamaCppWritesThem) {
  const auto name = [](const char* family, const char* gguf) {
    const auto found = read_gguf_name(*find_architecture_of_gguf(family), gguf);
    return found ? found->hugging_face : "none";
  };
  EXPECT_EQ(name("llama", "blk.12.ffn_down.bias"), "model.layers.12.mlp.down_proj.bias");
  EXPECT_EQ(name("llama", "output.weight"), "lm_head.weight");
  EXPECT_EQ(name("llama", "blk.0.attn_q_norm.weight"), "none");
  EXPECT_EQ(name("qwen2", "blk.1.attn_k.bias"), "model.layers.1.self_attn.k_proj.bias");
  EXPECT_EQ(name("qwen2", "blk.1.attn_output.weight"), "model.layers.1.self_attn.o_proj.weight");
  EXPECT_EQ(name("qwen2", "blk.1.attn_output.bias"), "none");
  EXPECT_EQ(name("qwen3", "blk.1.attn_q_norm.weight"), "model.layers.1.self_attn.q_norm.weight");
  EXPECT_EQ(name("qwen3", "blk.1.attn_k_norm.weight"), "model.layers.1.self_attn.k_norm.weight");
  EXPECT_EQ(name("gemma3", "blk.1.ffn_norm.weight"),
            "model.layers.1.pre_feedforward_layernorm.weight");
  EXPECT_EQ(name("gemma3", "blk.1.post_ffw_norm.weight"),
            "model.layers.1.post_feedforward_layernorm.weight");
  EXPECT_EQ(name("phi3", "blk.1.ffn_up.weight"), "model.layers.1.mlp.gate_up_proj.weight");
  EXPECT_EQ(name("gpt2", "blk.1.attn_qkv.bias"), "transformer.h.1.attn.c_attn.bias");
  EXPECT_EQ(name("gpt2", "position_embd.weight"), "transformer.wpe.weight");
  EXPECT_EQ(name("qwen3moe", "blk.1.ffn_gate_exps.weight"), "gate_proj.weight");
  EXPECT_EQ(name("qwen3", "blk.1.ffn_norm.weight"),
            "model.layers.1.post_attention_layernorm.weight");
  for (const char* unknown : {"blk.01.attn_q.weight", "blk..attn_q.weight", "blk.1.attn_qkv.weight",
                              "blk.1x.attn_q.weight", "blk.1", "output", "token_embd.scale", "",
                              "blk.12345678901.attn_q.weight", "output.bias", "lm_head.weight"}) {
    EXPECT_EQ(name("llama", unknown), "none") << unknown;
  }
  EXPECT_EQ(interleaved_order(2, 4), (std::vector<std::int64_t>{0, 2, 1, 3, 4, 6, 5, 7}));
}

}  // namespace
}  // namespace isobit
