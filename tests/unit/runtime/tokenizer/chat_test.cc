// Tests of chat templates: what jinja2 renders in transformers' environment (chat_vectors.inc),
// what the interpreter refuses, and its bounds.
#include "runtime/tokenizer/chat.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace isobit {
namespace {

struct Turn {
  const char* role;
  const char* content;
};

#include "tests/unit/runtime/tokenizer/chat_vectors.inc"

std::string rendered(const std::string& source, const std::vector<ChatMessage>& messages) {
  const ChatTemplate chat(source, {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  const auto text = chat.render(messages);
  return text ? *text : "error: " + text.error().text();
}

std::string rendered(const std::string& source) {
  return rendered(source, {{"user", "Hi"}});
}

TEST(ChatTest, TemplatesGiveWhatJinjaGives) {
  std::size_t checked = 0;
  for (const ChatVector& vector : kChatVectors) {
    std::size_t at = 0;
    for (const auto& turns : kConversations) {
      std::vector<ChatMessage> messages;
      for (const Turn& turn : turns) messages.push_back({turn.role, turn.content});
      const std::string got = rendered(vector.source, messages);
      const std::string_view want = vector.texts[at++];
      if (want == "error") {
        EXPECT_EQ(got.find("error: the model's chat template, line "), 0U) << vector.name;
      } else {
        EXPECT_EQ(got, want) << vector.name;
        ++checked;
      }
    }
  }
  EXPECT_GT(checked, 70U);
}

TEST(ChatTest, WhatIsNotSupportedIsNamedWhereItIsReached) {
  const struct {
    const char *source, *says;
  } refusals[] = {
      {"a\n{{ messages | tojson }}", "line 2: the filter tojson is not supported"},
      {"{{ strftime_now('%Y') }}", "the function strftime_now is not supported"},
      {"{{ messages }}", "the text of a list is not supported"},
      {"{{ 'a'.format(1) }}", "the method format of a text with these arguments"},
      {"{{ 1.5 }}", "the number 1.5 is not supported"},
      {"{{ 3 / 2 }}", "the operation a number / a number is not supported"},
      {"{{ messages is callable }}", "the test callable is not supported"},
      {"{{ messages[0].pop('role') }}", "the method pop of a dict"},
      {"{% include 'x' %}", "the statement include is not supported"},
      {"{% raw %}{{ x }}{% endraw %}", "the statement raw is not supported"},
      {"{{ 'é' | upper }}", "upper of a text that is not ASCII"},
      {"{{ bos_token + nothing }}", "'nothing' is undefined"},
      {"{{ nothing.more }}", "'nothing' is undefined (asked for its more)"},
      {"{{ 'a' + 1 }}", "the operation a text + a number"},
      {"{{ raise_exception('no') }}", "the template refuses: no"},
      {"{{ x.__class__ }}{{ 'a'.__class__ }}", "'x' is undefined"},
      {"{{ 'a'.__class__ }}", "the attribute __class__ is not supported"},
      {"{% if true %}", "the statement that endif ends is not ended"},
      {"{{ 'a }}", "a text that nothing closes"},
      {"{{ a", "a tag that nothing closes"},
      {"{# a", "a comment that nothing closes"},
      {"{{ ) }}", "a bracket that nothing opens"},
      {"{{ 'a' | trim [0] }}", "expected the end of the tag"},
  };
  for (const auto& refusal : refusals) {
    const std::string text = rendered(refusal.source);
    EXPECT_NE(text.find(refusal.says), std::string::npos) << refusal.source << " gave " << text;
    EXPECT_NE(text.find("give the prompt as text instead"), std::string::npos);
  }
  EXPECT_EQ(rendered("{% if tools %}{{ tools | tojson }}{% endif %}x"), "x");  // never reached
  EXPECT_NE(rendered("").find("no chat template"), std::string::npos);
}

TEST(ChatTest, WorkIsBounded) {
  const std::string many =
      "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}"
      "{% endfor %}";
  EXPECT_NE(rendered(many).find("too many steps"), std::string::npos);
  const std::string doubled =
      "{% set n = namespace(x='0123456789') %}{% for a in range(60) %}"
      "{% set n.x = n.x + n.x %}{% endfor %}";
  EXPECT_NE(rendered(doubled).find("too much text"), std::string::npos);
  EXPECT_NE(rendered("{{ range(100001) }}").find("the range is too long"), std::string::npos);
  const std::string macro = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
  EXPECT_NE(rendered(macro).find("too deeply"), std::string::npos);
  for (const char* open : {"(", "[", "not ", "-", "{'a':", "x[", "f("}) {
    std::string deep = "{{ ";
    for (int i = 0; i < 100'000; ++i) deep += open;
    EXPECT_EQ(rendered(deep).find("error: "), 0U) << open;
  }
  std::string blocks;
  for (int i = 0; i < 100'000; ++i) blocks += "{% if x %}";
  EXPECT_NE(rendered(blocks).find("nested too deeply"), std::string::npos);
}

TEST(ChatTest, NameIsByTheMarks) {
  EXPECT_EQ(ChatTemplate("", {}).name(), "none");
  EXPECT_EQ(ChatTemplate("<|im_start|>", {}).name(), "chatml");
  EXPECT_EQ(ChatTemplate("x", {}).name(), "other");
  EXPECT_EQ(ChatTemplate("{%", {}).name().find("unknown (the model's chat template"), 0U);
}

}  // namespace
}  // namespace isobit
