// Tests of the chat formats: what transformers renders from the same templates, and refusals.
#include "runtime/tokenizer/chat.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace isobit {
namespace {

using Kind = ChatFormat::Kind;

const std::vector<ChatMessage> kOne{{"user", "Hi"}};
const std::vector<ChatMessage> kSystem{{"system", "Be brief."}, {"user", " Hi \n"}};
const std::vector<ChatMessage> kTurns{{"user", "a"}, {"assistant", "b"}, {"user", "c"}};

constexpr char kChatmlLoop[] =
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
constexpr char kDefaultSystem[] =
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}";
constexpr char kLlama3Template[] =
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim "
    "+ '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
constexpr char kMistralTemplate[] =
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != "
    "(loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate "
    "user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token + ' ' }}{% else %}"
    "{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}";

ChatFormat format_of(const std::string& text) {
  return recognise_chat(text, "<s>", "</s>");
}

std::string rendered(const std::string& text, const std::vector<ChatMessage>& messages) {
  const auto chat = render_chat(format_of(text), messages);
  return chat ? *chat : "error: " + chat.error().text();
}

TEST(ChatTest, ChatmlWithDefaultSystemMessage) {
  const std::string text =
      std::string("{% for message in messages %}") + kDefaultSystem + kChatmlLoop;
  EXPECT_EQ(rendered(text, kOne),
            "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(rendered(text, kSystem),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi \n<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(rendered(text, {}), "<|im_start|>assistant\n");
}

TEST(ChatTest, ChatmlInOtherSpellings) {
  const std::string bare = std::string("{% for message in messages %}") + kChatmlLoop;
  EXPECT_EQ(rendered(bare, kOne), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  const std::string spread =
      "{%- for message in messages -%}\n  {{- \"<|im_start|>\" + message.role + \"\\n\" }}"
      "{{- message.content + \"<|im_end|>\\n\" -}}\n{%- endfor %}\n"
      "{% if add_generation_prompt %}\n<|im_start|>assistant\n{% endif %}\n";
  EXPECT_EQ(canonical_template(spread), canonical_template(bare));
  EXPECT_EQ(rendered(spread, kOne), rendered(bare, kOne));
}

TEST(ChatTest, Llama3TrimsContentsAndBeginsWithBos) {
  EXPECT_EQ(rendered(kLlama3Template, kSystem),
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(ChatTest, MistralTakesTurnsOnly) {
  EXPECT_EQ(rendered(kMistralTemplate, kTurns), "<s>[INST] a [/INST]b</s> [INST] c [/INST]");
  EXPECT_EQ(rendered(kMistralTemplate, kSystem).find("error: the model's chat format takes"), 0U);
}

TEST(ChatTest, PlainFormat) {
  EXPECT_EQ(format_of(kPlainTemplate).kind, Kind::plain);
  EXPECT_EQ(rendered(kPlainTemplate, kSystem),
            "<|system|>\nBe brief.\n<|user|>\n Hi \n\n<|assistant|>\n");
}

TEST(ChatTest, EveryOtherTemplateIsAnError) {
  const std::string chatml = std::string("{% for message in messages %}") + kChatmlLoop;
  const std::string odd[] = {chatml + "x",
                             std::string(kLlama3Template) + "x",
                             std::string(kMistralTemplate) + "x",
                             std::string(kPlainTemplate) + "x",
                             "{{ messages[0].content }}",
                             "{% for",
                             "{{ 'unclosed",
                             "{{",
                             "\\"};
  for (const std::string& text : odd) {
    EXPECT_EQ(format_of(text).kind, Kind::unknown) << text;
    EXPECT_NE(rendered(text, kOne).find("none of those known"), std::string::npos) << text;
  }
  const std::string hidden =
      std::string(kDefaultSystem)
          .replace(std::string(kDefaultSystem).find("You help."), 9, "You {# help.");
  EXPECT_EQ(format_of("{% for message in messages %}" + hidden + kChatmlLoop).kind, Kind::unknown);
  EXPECT_EQ(format_of("").kind, Kind::none);
  EXPECT_NE(rendered("", kOne).find("no chat template"), std::string::npos);
}

/// The end of each of half a million tags, looked for to the end of the text, would take hours.
TEST(ChatTest, TagsThatNothingClosesAreLookedAtOnce) {
  std::string text = "{{ bos_token }}";
  for (int i = 0; i < 500'000; ++i) text += "{%";
  EXPECT_EQ(canonical_template(text), "{{bos_token}}" + text.substr(15));
  EXPECT_EQ(format_of(text).kind, Kind::unknown);
}

}  // namespace
}  // namespace isobit
