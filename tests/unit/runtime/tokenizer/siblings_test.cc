// Tests of the facts beside tokenizer.json against AutoTokenizer's ids (siblings_vectors.inc), and
// of which file wins.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"

namespace isobit {
namespace {

#include "tests/unit/runtime/tokenizer/siblings_vectors.inc"

LoadedModel folder_of(const std::string& added, const std::string& config) {
  LoadedModel model;
  model.path = "m";
  model.tokenizer_json = std::string(kBaseFile) + ",\"added_tokens\":" + added + "}";
  model.tokenizer_config_json = config;
  return model;
}

TEST(SiblingsTest, IdsAreAutoTokenizers) {
  for (const SiblingCase& each : kSiblingCases) {
    LoadedModel model = folder_of(each.added, each.config);
    if (*each.map != '\0') model.text_files["special_tokens_map.json"] = each.map;
    if (*each.tokens != '\0') model.text_files["added_tokens.json"] = each.tokens;
    const auto tokenizer = Tokenizer::from_model(model);
    ASSERT_TRUE(tokenizer) << tokenizer.error().text();
    for (const auto& [text, want] : each.texts) {
      std::uint32_t digest = 0x811c9dc5;
      for (const std::int32_t id : tokenizer->encode(text, false)) {
        digest = (digest ^ static_cast<std::uint32_t>(id)) * 0x01000193;
      }
      EXPECT_EQ(digest, want) << text << "\n" << each.config << each.map << each.tokens;
    }
  }
}

std::string chat_of(const LoadedModel& model) {
  const auto tokenizer = Tokenizer::from_model(model);
  if (!tokenizer) return tokenizer.error().text();
  const std::vector<ChatMessage> messages{{"user", "Hi"}};
  const auto text = tokenizer->apply_chat(messages);
  return text ? *text : text.error().text();
}

TEST(SiblingsTest, TheTemplateOfAFileWins) {
  LoadedModel model = folder_of("[]", R"({"chat_template": "config{{ bos_token }}",
                                          "bos_token": "<s>"})");
  EXPECT_EQ(chat_of(model), "config<s>");
  model.text_files["chat_template.jinja"] = "file";
  EXPECT_EQ(chat_of(model), "file");
  model.text_files["chat_templates/tool_use.jinja"] = "tools";
  EXPECT_EQ(chat_of(model), "file");
  model.text_files["chat_templates/default.jinja"] = "folder";
  EXPECT_EQ(chat_of(model), "folder");
  model.text_files.erase("chat_template.jinja");
  EXPECT_EQ(chat_of(model), "folder");
  model.text_files.erase("chat_templates/default.jinja");
  EXPECT_NE(chat_of(model).find("no chat template"), std::string::npos);
  model.text_files.clear();
  model.tokenizer_config_json = R"({"chat_template": [{"name": "x", "template": "x"},
                                    {"name": "default", "template": "list"}]})";
  EXPECT_EQ(chat_of(model), "list");
}

TEST(SiblingsTest, BrokenFilesAreNamed) {
  const auto refused = [](const char* name, const char* text) {
    LoadedModel model = folder_of("[]", "");
    model.text_files[name] = text;
    const auto tokenizer = Tokenizer::from_model(model);
    return tokenizer ? std::string("accepted") : tokenizer.error().text();
  };
  EXPECT_EQ(refused("added_tokens.json", R"({"<a>": -1})"),
            "m/added_tokens.json: \"<a>\": expected a token id from 0 to 2097151");
  EXPECT_EQ(refused("added_tokens.json", "[]"), "m/added_tokens.json: expected an object");
  EXPECT_EQ(refused("special_tokens_map.json", R"({"bos_token": 3})"),
            "m/special_tokens_map.json: bos_token: expected a token's text");
  EXPECT_EQ(refused("special_tokens_map.json", R"({"additional_special_tokens": "x"})"),
            "m/special_tokens_map.json: additional_special_tokens: expected a list of tokens");
  const auto of_config = [](const char* config) {
    const auto tokenizer = Tokenizer::from_model(folder_of("[]", config));
    return tokenizer ? std::string("accepted") : tokenizer.error().text();
  };
  EXPECT_NE(of_config(R"({"added_tokens_decoder": {"x": {"content": "a"}}})").find("a token id"),
            std::string::npos);
  EXPECT_NE(of_config(R"({"split_special_tokens": true})").find("true is not supported"),
            std::string::npos);
}

TEST(SiblingsTest, WhatTheyChangeIsInTheFingerprint) {
  const auto plain = Tokenizer::from_model(folder_of("[]", "{}"));
  for (const char* config :
       {R"({"pad_token": "<new>"})", R"({"pad_token": "the"})",
        R"({"added_tokens_decoder": {"5": {"content": "the", "single_word": true}}})"}) {
    const auto other = Tokenizer::from_model(folder_of("[]", config));
    EXPECT_NE(other->fingerprint_text(), plain->fingerprint_text()) << config;
  }
}

}  // namespace
}  // namespace isobit
