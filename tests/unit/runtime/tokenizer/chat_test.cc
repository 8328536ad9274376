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
    EXPECT_NE(text.find("give the prompt as text, or --raw"), std::string::npos);
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

std::string repeated(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

TEST(ChatTest, OperatorsWithinOneAnotherAreBounded) {
  const std::string says = "line 2: an expression has too many operators within one another";
  for (const char* more : {"+1", "-1", "~1", "*1", " or 0", " and 1", "[0]", "[0:]", ".a", "(0)",
                           "|trim", " is defined", " if 1"}) {
    const std::string chain = "\n{{ 0" + repeated(more, 12'000) + " }}";
    EXPECT_NE(rendered(chain).find(says), std::string::npos) << more;
  }
  EXPECT_EQ(rendered("{{ 0" + repeated("+1", 400) + " }}"), "400");
  EXPECT_EQ(rendered("{{ 0" + repeated(" or 0", 400) + " }}"), "0");
  // Neither macro nor expression is deep, but both together.
  const std::string calls = "{% macro f() %}{{ f()" + repeated("~1", 490) + " }}{% endmacro %}";
  EXPECT_NE(rendered(calls + "{{ f() }}").find("nests too deeply"), std::string::npos);
  const std::string loops = "{% macro f() %}" + repeated("{% for i in [1] %}", 90) + "{{ f() }}" +
                            repeated("{% endfor %}", 90) + "{% endmacro %}";
  EXPECT_NE(rendered(loops + "{{ f() }}").find("nests too deeply"), std::string::npos);
  EXPECT_NE(rendered("{{ " + std::string(1001, 'a') + " }}").find("a name of more than 1000"),
            std::string::npos);
}

TEST(ChatTest, ValuesWithinOneAnotherAreBounded) {
  const auto nested = [](const std::string& more, int count) {
    return "{% set ns = namespace(x=[], y=[]) %}{% for i in range(" + std::to_string(count) +
           ") %}{% set ns.x = " + more + " %}{% endfor %}{{ ns.x == ns.y }}";
  };
  for (const char* more :
       {"[ns.x]", "(ns.x, 1)", "{'a': ns.x}", "dict(a=ns.x)", "{'a': ns.x}.items()"}) {
    EXPECT_NE(rendered(nested(more, 90'000)).find("lie within one another too deeply"),
              std::string::npos)
        << more;
    EXPECT_EQ(rendered(nested(more, 30)), "False") << more;
  }
  // A namespace may change after it is held: such chains, and rings, have no depth to count.
  for (const char* more : {"ns", "[ns]", "{'a': ns}", "dict(a=ns)", "namespace(a=ns)"}) {
    EXPECT_NE(rendered(nested(more, 1)).find("a namespace within another value is not supported"),
              std::string::npos)
        << more;
  }
}

TEST(ChatTest, TextIsCountedBeforeItIsBuilt) {
  const std::string long_text =
      "{% set ns = namespace(t='a', l=[]) %}{% for i in range(18) %}{% set ns.t = ns.t + ns.t %}"
      "{% endfor %}";  // 256 KiB
  for (const char* use : {"{{ ns.t|replace('a', ns.t) }}", "{{ ns.t.replace('a', ns.t) }}",
                          "{{ range(90000)|join(ns.t) }}"}) {
    EXPECT_NE(rendered(long_text + use).find("makes too much text"), std::string::npos) << use;
  }
  // Each of these would take gigabytes.
  const std::string eight = long_text +
                            "{% for i in range(5) %}{% set ns.t = ns.t + ns.t %}{% endfor %}"
                            "{% set t = ns.t %}";
  EXPECT_NE(rendered(eight + "{{ t.split('a')|length }}").find("too many steps"),
            std::string::npos);
  EXPECT_NE(rendered(eight + "{{ t|list|length }}").find("more than 1 MB"), std::string::npos);
  EXPECT_EQ(rendered(eight + "{{ t|length }} {{ t[-1] }} {{ t.split()|length }}"), "8388608 a 1");
  const std::string keys =
      "{% set d = {ns.t: 1} %}{% for i in range(9999) %}"
      "{% set ns.l = ns.l + d.keys() %}{% endfor %}";
  EXPECT_NE(rendered(long_text + keys).find("makes too much text"), std::string::npos);
  // Copies of a list share its texts.
  const std::string copies =
      "{% for i in range(1500) %}{% set ns.l = ns.l + [ns.t, 'b'] %}"
      "{% endfor %}{{ ns.l|length }}";
  EXPECT_NE(rendered(long_text + copies).find("too many steps"), std::string::npos);
  const std::string some =
      "{% for i in range(500) %}{% set ns.l = ns.l + [ns.t, 'b'] %}"
      "{% endfor %}{{ ns.l|length }}";
  EXPECT_EQ(rendered(long_text + some), "1000");
}

TEST(ChatTest, ComparisonsAndSearchesAreCounted) {
  const std::string twice =
      "{% set a = namespace(x=[], y=[]) %}{% for i in range(45) %}"
      "{% set a.x = [a.x, a.x] %}{% set a.y = [a.y, a.y] %}{% endfor %}";
  EXPECT_NE(rendered(twice + "{{ a.x == a.y }}").find("too many steps"), std::string::npos);
  EXPECT_NE(rendered(twice + "{{ a.x in [a.y] }}").find("too many steps"), std::string::npos);
  EXPECT_NE(rendered(twice + "{{ a.x is eq(a.y) }}").find("too many steps"), std::string::npos);
  EXPECT_EQ(rendered(twice + "{{ a.x == a.x }}"), "True");
  const std::string long_text =
      "{% set ns = namespace(t='a') %}{% for i in range(19) %}"
      "{% set ns.t = ns.t + ns.t %}{% endfor %}{% set h = ns.t[:200000] %}";
  for (const char* use : {"{{ h + 'b' in ns.t }}", "{{ ns.t.split(h + 'b') }}",
                          "{{ ns.t|replace(h + 'b', '') }}", "{{ ns.t.strip('b' + h) }}"}) {
    EXPECT_NE(rendered(long_text + use).find("looks at too much text"), std::string::npos) << use;
  }
}

TEST(ChatTest, SplitLeavesTheLastPartAsItIs) {
  const auto split = [](const std::string& arguments) {
    return rendered("{% for p in ' a  b c '.split(" + arguments + ") %}[{{ p }}]{% endfor %}");
  };
  EXPECT_EQ(split(""), "[a][b][c]");  // all as Python gives them
  EXPECT_EQ(split("none, 1"), "[a][b c ]");
  EXPECT_EQ(split("none, 0"), "[a  b c ]");
  EXPECT_EQ(split("none, 3"), "[a][b][c]");
  EXPECT_EQ(split("' '"), "[][a][][b][c][]");
  EXPECT_EQ(split("' ', 2"), "[][a][ b c ]");
  EXPECT_EQ(split("'b'"), "[ a  ][ c ]");
}

TEST(ChatTest, NumbersDoNotOverflow) {
  const std::string least = "{% set m = 0 - 999999999999999999 * 9 - 223372036854775807 - 10 %}";
  EXPECT_EQ(rendered(least + "{{ m }}"), "-9223372036854775808");
  EXPECT_EQ(rendered(least + "{{ m // 3 }} {{ m % 3 }}"), "-3074457345618258603 1");
  EXPECT_EQ(rendered("{{ 5 // -1 }} {{ 5 % -1 }} {{ 7 // -2 }} {{ 7 % -2 }}"), "-5 0 -4 -1");
  for (const char* use :
       {"{{ -m }}", "{{ m // -1 }}", "{{ m - 1 }}", "{{ m * 2 }}", "{{ m // 0 }}", "{{ m % 0 }}"}) {
    EXPECT_EQ(rendered(least + use).find("error: "), 0U) << use;
  }
}

TEST(ChatTest, NameIsByTheMarks) {
  EXPECT_EQ(ChatTemplate("", {}).name(), "none");
  EXPECT_EQ(ChatTemplate("<|im_start|>", {}).name(), "chatml");
  EXPECT_EQ(ChatTemplate("x", {}).name(), "other");
  EXPECT_EQ(ChatTemplate("{%", {}).name().find("unknown (the model's chat template"), 0U);
}

}  // namespace
}  // namespace isobit
