// Tests of the stop set: which file decides, and where each token is from.
#include "runtime/checkpoint/stop_set.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace isobit {
namespace {

using Ids = std::vector<std::int32_t>;

ModelConfig config_of(const Ids& eos) {
  ModelConfig config;
  config.vocab_size = 32;
  for (const std::int32_t id : eos) add_stop_token(config, id, "config.json");
  return config;
}

TEST(StopSetTest, GenerationConfigAloneDecides) {
  const struct {
    const char* text;
    Ids ids;
    bool changes;
    const char* shown;
  } cases[] = {
      // what transformers' generate stops at
      {R"({"eos_token_id": [2, 14]})",
       {2, 14},
       true,
       "2 (config.json), 14 (generation_config.json)"},
      {R"({"eos_token_id": 14})", {14}, true, "14 (generation_config.json)"},
      {R"({"eos_token_id": 2})", {2}, false, "2 (config.json)"},
      {R"({"eos_token_id": [14, 99]})",
       {14, 99},
       true,
       "14 (generation_config.json), 99 (generation_config.json, beyond the vocabulary)"},
      {R"({"eos_token_id": [-1, 14, 14]})", {14}, true, "14 (generation_config.json)"},
      {R"({"eos_token_id": -1})", {}, true, "none"},
      {R"({"eos_token_id": null})", {}, true, "none"},
      {R"({"do_sample": false})", {}, true, "none"},
  };
  for (const auto& each : cases) {
    ModelConfig config = config_of({2});
    const auto changed = read_generation_config(each.text, "m/generation_config.json", config);
    ASSERT_TRUE(changed) << changed.error().text();
    EXPECT_EQ(*changed, each.changes) << each.text;
    EXPECT_EQ(config.eos_tokens, each.ids) << each.text;
    EXPECT_EQ(stop_set_text(config), each.shown);
    EXPECT_TRUE(config.stop_set_is_whole);
  }
  ModelConfig config = config_of({2});
  EXPECT_EQ(read_generation_config(R"({"eos_token_id": "2"})", "g", config).error().text(),
            "g: eos_token_id is \"\\\"2\\\"\"; it must be a token id");
  EXPECT_EQ(read_generation_config("[]", "g", config).error().text(), "g: must be a JSON object");
  EXPECT_FALSE(read_generation_config("{", "g", config));
}

TEST(StopSetTest, GgufKeysAndNamesEndAnAnswer) {
  ModelConfig config = config_of({7});
  GgufTokenizer tokenizer;
  tokenizer.tokens = {"<s>", "</s>", "<|eot_id|>", "a", "<|im_end|>", "<end_of_turn>"};
  tokenizer.token_types = {3, 3, 3, 1, 1, 4};
  tokenizer.eos = 1;
  tokenizer.eot = 2;
  tokenizer.eom = 3;
  set_stop_tokens(config, tokenizer);
  EXPECT_EQ(stop_set_text(config),
            "1 (eos_token_id), 2 (eot_token_id), 3 (eom_token_id), 5 (named <end_of_turn>)");
  set_stop_tokens(config, GgufTokenizer());
  EXPECT_EQ(stop_set_text(config), "none");
}

}  // namespace
}  // namespace isobit
