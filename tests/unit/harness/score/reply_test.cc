// Replies and what they are held against: hand-made texts.
#include "harness/score/reply.h"

#include <gtest/gtest.h>

namespace isobit {
namespace {

TEST(Replies, EndWhereAnotherRoleSpeaks) {
  PromptTrace prompt;
  prompt.text = " 42 <|end|>\n<|user|> 43";
  EXPECT_EQ(reply_of(prompt), " 42 ");
  prompt.text = "42";
  EXPECT_EQ(reply_of(prompt), "42");
}

TEST(Replies, AnAnswerIsWhatThePromptFileSays) {
  EXPECT_TRUE(is_answer("42", "42"));
  EXPECT_TRUE(is_answer(" 42\n", "42"));
  EXPECT_TRUE(is_answer("1 + 41 = 42\n#### 42", "42"));
  EXPECT_TRUE(is_answer("#### 7\n#### 42 ", "42"));
  EXPECT_FALSE(is_answer("#### 42\n#### 7", "42"));
  EXPECT_FALSE(is_answer("It is 42.", "42")) << "that is last_number's";
  EXPECT_FALSE(is_answer("42.0", "42"));
  EXPECT_FALSE(is_answer("", ""));
  EXPECT_TRUE(is_answer("blue red", "blue red"));
}

TEST(Replies, TheLastNumberIsComparedAsADecimal) {
  for (const char* reply : {"It is 42.", "3 and then 42", "#### 42", "42.00", "042", "$42", "42 %",
                            "so 40+2=42", "x-42"}) {
    EXPECT_TRUE(is_last_number(reply, "42")) << reply;
  }
  for (const char* reply : {"42 of 50", "-42", "4 2", "42.5", "forty-two", "", "42,1"}) {
    EXPECT_FALSE(is_last_number(reply, "42")) << reply;
  }
  EXPECT_TRUE(is_last_number("1,234 dollars", "1234"));
  EXPECT_TRUE(is_last_number("1234", "so\n#### 1,234"));
  EXPECT_TRUE(is_last_number("it fell to -7.50", "-7.5"));
  EXPECT_TRUE(is_last_number("-0", "0"));
  EXPECT_TRUE(is_last_number("ends, 5, 6.", "6"));
  EXPECT_FALSE(is_last_number(".5", "5"));
  EXPECT_TRUE(is_last_number("it is .50", "0.5"));
  EXPECT_TRUE(is_last_number("version 1.2.3", "3"));
  EXPECT_TRUE(is_last_number("it lost -$5", "-5"));
  EXPECT_FALSE(is_last_number("it lost -$5", "5"));
  EXPECT_FALSE(has_gold_number("blue"));
  EXPECT_FALSE(has_gold_number("shore: 390"));
  EXPECT_TRUE(has_gold_number("$1,000"));
}

TEST(Replies, TheNextStringIsTheFirstOfTheReply) {
  const ScoreSpec exact{ScoreKind::next_string, false, false};
  ScoreSpec relaxed = exact;
  relaxed.ignore_case = relaxed.ignore_punctuation = true;
  ScoreSpec folded = exact;
  folded.ignore_case = true;
  EXPECT_TRUE(is_next_string(" house and more", "house", exact));
  EXPECT_FALSE(is_next_string(" house, and", "house", exact));
  EXPECT_FALSE(is_next_string(" House", "house", exact));
  EXPECT_FALSE(is_next_string(" the house", "house", exact));
  EXPECT_FALSE(is_next_string("", "house", relaxed));
  EXPECT_TRUE(is_next_string("\n\"House,\" he", "house", relaxed));
  EXPECT_FALSE(is_next_string("House,", "house", folded));
  EXPECT_TRUE(is_next_string("House", "hOUSE", folded));
  EXPECT_FALSE(is_next_string("...", "--", relaxed)) << "punctuation alone stays";
  EXPECT_TRUE(is_next_string("ÉTÉ!", "été", relaxed));
  EXPECT_FALSE(is_next_string("it's", "its", relaxed)) << "only at the edges";
  EXPECT_TRUE(is_one_string(" house "));
  EXPECT_FALSE(is_one_string("two words"));
  EXPECT_FALSE(is_one_string(" "));
}

TEST(Replies, ARetrievedValueIsTheFirstOfTheListsValues) {
  const std::vector<std::string> values = {"390", "39", "725", "blue", "blue sky"};
  const auto right = [&](const char* reply, const char* answer) {
    return is_retrieved(reply, answer, values, false);
  };
  EXPECT_TRUE(right("shore: 390", "390"));
  EXPECT_FALSE(right("shore: 3901", "390"));
  EXPECT_FALSE(right("a390", "390"));
  EXPECT_FALSE(right("_390", "390"));
  EXPECT_TRUE(right("390, not 725", "390"));
  EXPECT_FALSE(right("not 725 but 390", "390"));
  EXPECT_TRUE(right("901 no, 390", "390")) << "901 is no value of the list";
  EXPECT_FALSE(right("390", "39"));
  EXPECT_FALSE(right("blue sky", "blue")) << "the longer one of two that begin together";
  EXPECT_TRUE(right("blue sky", "blue sky"));
  EXPECT_FALSE(right("Blue", "blue"));
  EXPECT_TRUE(is_retrieved("Blue", "blue", values, true));
}

TEST(Replies, ARetrievedValueMayBeginAndEndWithPunctuation) {
  const std::vector<std::string> values = {"$5", "-5", "C", "C++", "(1)"};
  for (const std::string& value : values) {
    EXPECT_TRUE(is_retrieved("it is " + value + " today", value, values, false)) << value;
    EXPECT_FALSE(is_retrieved("it is a" + value + "b", value, values, false)) << value;
  }
  EXPECT_FALSE(is_retrieved("C++ is right", "C", values, false));
}

TEST(Replies, ATraceIsScoredByItsOwnAnswers) {
  CellTrace trace;
  const auto add = [&](const char* text, const char* answer) {
    PromptTrace& prompt = trace.prompts.emplace_back();
    prompt.text = text;
    prompt.answer = answer;
  };
  add("42", "42"), add("It is 42", "42"), add("blue", "blue"), add("x", "");
  EXPECT_EQ(score_of(trace).scored, 3);
  EXPECT_EQ(score_of(trace).correct, 2);
  EXPECT_EQ(score_of(trace, ScoreKind::last_number).scored, 2);
  EXPECT_EQ(score_of(trace, ScoreKind::last_number).correct, 2);
}

TEST(Scores, HaveOneNameEach) {
  std::vector<std::string> names = score_value_names();
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  EXPECT_EQ(score_names().size(), 7U);
  EXPECT_EQ(find_score("ifeval"), find_score("ifeval.prompt_strict"));
  EXPECT_EQ(find_score("ifeval.nothing"), nullptr);
  EXPECT_EQ(find_score(""), nullptr);
}

}  // namespace
}  // namespace isobit
