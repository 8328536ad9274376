// Continuations, choices, values and instructions of prompt lines.
#include <gtest/gtest.h>

#include "harness/scenario/prompts.h"

namespace isobit {
namespace {

Result<std::vector<Prompt>> read(const std::string& more) {
  return parse_prompts("{\"id\": \"a\", \"text\": \"Hi\", " + more + "}\n", "p.jsonl", {});
}

std::string error_of(const std::string& more) {
  const auto prompts = read(more);
  return prompts ? "no error" : prompts.error().text();
}

TEST(PromptLines, ContinuationsAreTextOrTokens) {
  EXPECT_EQ(read("\"continuation\": \" there\"")->front().continuation, " there");
  EXPECT_EQ(read("\"continuation\": [4, 5]")->front().continuation_tokens,
            (std::vector<std::int32_t>{4, 5}));
  EXPECT_EQ(error_of("\"continuation\": \"\""),
            "p.jsonl:1: continuation must be a text that is not empty, or a list of token ids");
  EXPECT_EQ(error_of("\"continuation\": [4, -1]"),
            "p.jsonl:1: token 2 is \"-1\", not an id from 0 to 2147483647");
  EXPECT_EQ(error_of("\"continuation\": []"),
            "p.jsonl:1: continuation must be a list of token ids that is not empty");
  EXPECT_EQ(error_of("\"continuations\": \"x\""),
            "p.jsonl:1: unknown key \"continuations\"; did you mean \"continuation\"?");
}

TEST(PromptLines, ChoicesAreExpanded) {
  for (const char* answer : {"1", "\"1\"", "\" b\""}) {
    const auto prompts = read("\"choices\": [\" a\", \" b\"], \"answer\": " + std::string(answer));
    ASSERT_TRUE(prompts) << prompts.error().text();
    EXPECT_EQ(prompts->front().right, 1);
    const auto all = expand_choices(*prompts);
    ASSERT_TRUE(all);
    ASSERT_EQ(all->size(), 2U);
    EXPECT_EQ((*all)[0].id, "a#0");
    EXPECT_EQ((*all)[1].id, "a#1");
    EXPECT_EQ((*all)[1].continuation, " b");
    EXPECT_EQ((*all)[0].answer, " b") << "the right one's text";
    EXPECT_EQ((*all)[0].choice, 0);
    EXPECT_EQ((*all)[1].line, (*all)[0].line);
    EXPECT_EQ((*all)[0].text, "Hi");
  }
  EXPECT_EQ(
      error_of("\"choices\": [\"a\", \"b\"], \"answer\": 2"),
      "p.jsonl:1: answer is \"2\": neither one of the 2 choices nor the number of one, from 0");
  EXPECT_EQ(error_of("\"choices\": [\"a\", \"b\"]"),
            "p.jsonl:1: choices need an answer: which of them is right");
  EXPECT_EQ(error_of("\"choices\": [\"a\", \"a\"], \"answer\": 0"),
            "p.jsonl:1: two choices are the same");
  EXPECT_EQ(error_of("\"choices\": [\"a\"], \"answer\": 0"), "p.jsonl:1: choices are two at least");
  EXPECT_EQ(error_of("\"choices\": [\"a\", 3], \"answer\": 0"),
            "p.jsonl:1: choices must be a list of texts that are not empty");
  EXPECT_EQ(error_of("\"choices\": [\"a\", \"b\"], \"answer\": 0, \"continuation\": \"c\""),
            "p.jsonl:1: continuation and choices: a choice is a continuation, give one of them");
  const auto tokens = expand_choices(*read("\"choices\": [[1, 2], [3]], \"answer\": 1"));
  ASSERT_TRUE(tokens);
  EXPECT_EQ((*tokens)[1].continuation_tokens, std::vector<std::int32_t>{3});
  EXPECT_EQ((*tokens)[1].right, 1);
  EXPECT_EQ(error_of("\"choices\": [[1], \"b\"], \"answer\": 0"),
            "p.jsonl:1: a choice must be a list of token ids that is not empty");
  const auto clash = parse_prompts(
      "{\"id\": \"a\", \"text\": \"x\", \"choices\": [\"b\", \"c\"], \"answer\": 0}\n"
      "{\"id\": \"a#1\", \"text\": \"x\"}\n",
      "p.jsonl", {});
  ASSERT_TRUE(clash);
  EXPECT_EQ(expand_choices(*clash).error().text(),
            "p.jsonl:2: id \"a#1\" is that of a choice of another line");
}

TEST(PromptLines, ValuesHoldTheAnswer) {
  EXPECT_EQ(read("\"values\": [\"7\", \"8\"], \"answer\": 7")->front().values.size(), 2U);
  EXPECT_EQ(error_of("\"values\": [\"7\"], \"answer\": 9"),
            "p.jsonl:1: answer is \"9\", which is none of the values");
  EXPECT_EQ(error_of("\"values\": \"7\", \"answer\": 7"),
            "p.jsonl:1: values must be a list of texts that are not empty");
}

TEST(PromptLines, InstructionsKeepTheirArguments) {
  const auto prompts = read(
      "\"instruction_id_list\": [\"keywords:existence\", \"length_constraints:number_words\"], "
      "\"kwargs\": [{\"keywords\": [\"a\"], \"language\": null}, "
      "{\"num_words\": 300, \"relation\": \"at least\"}]");
  ASSERT_TRUE(prompts) << prompts.error().text();
  const auto& all = prompts->front().instructions;
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].lists.at("keywords"), std::vector<std::string>{"a"});
  EXPECT_EQ(all[1].numbers.at("num_words"), 300);
  EXPECT_EQ(all[1].texts.at("relation"), "at least");
  const auto one = [](const std::string& type, const std::string& kwargs) {
    return error_of("\"instruction_id_list\": [\"" + type + "\"], \"kwargs\": [" + kwargs + "]");
  };
  EXPECT_EQ(one("punctuation:no_coma", "{}"),
            "p.jsonl:1: unknown instruction \"punctuation:no_coma\"; did you mean "
            "\"punctuation:no_comma\"?");
  EXPECT_EQ(one("punctuation:no_comma", ""),
            "p.jsonl:1: kwargs must be a list of maps, one for each of instruction_id_list");
  EXPECT_EQ(one("length_constraints:number_words", "{\"num_words\": 3}"),
            "p.jsonl:1: length_constraints:number_words: relation is missing in kwargs");
  EXPECT_EQ(one("length_constraints:number_words", "{\"num_words\": 3, \"relation\": \"atleast\"}"),
            "p.jsonl:1: length_constraints:number_words: relation: unknown relation \"atleast\"; "
            "did you mean \"at least\"?");
  EXPECT_EQ(one("length_constraints:number_paragraphs", "{\"num_paragraphs\": 2.5}"),
            "p.jsonl:1: length_constraints:number_paragraphs: num_paragraphs must be a whole "
            "number from 0 to 1000000000");
  EXPECT_EQ(error_of("\"kwargs\": [{}]"),
            "p.jsonl:1: kwargs, and no instruction_id_list that they are of");
}

}  // namespace
}  // namespace isobit
