// Prompt files: the three formats, selection, and errors with their line.
#include "harness/scenario/prompts.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace isobit {
namespace {

Result<std::vector<Prompt>> read(const std::string& jsonl, PromptSelection selection = {}) {
  return parse_prompts(jsonl, "p.jsonl", selection);
}

std::string prompt_error(const std::string& jsonl, PromptSelection selection = {}) {
  const auto prompts = read(jsonl, selection);
  return prompts ? "no error" : prompts.error().text();
}

TEST(Prompts, OwnFormats) {
  const auto prompts = read(
      "\xef\xbb\xbf{\"id\": \"a\", \"text\": \"Hi\\nthere\", \"answer\": \"4\"}\r\n"
      "\n"
      "{\"id\": 7, \"tokens\": [0, 1, 2147483647], \"answer\": 12}\n"
      "{\"id\": \"c\", \"messages\": [{\"role\": \"system\", \"content\": \"\"}, "
      "{\"content\": \"2+2?\", \"role\": \"user\"}]}");
  ASSERT_TRUE(prompts) << prompts.error().text();
  ASSERT_EQ(prompts->size(), 3u);
  EXPECT_EQ((*prompts)[1].place, "p.jsonl:3");
  EXPECT_EQ((*prompts)[0].text, "Hi\nthere");
  EXPECT_EQ((*prompts)[0].answer, "4");
  EXPECT_EQ((*prompts)[1].id, "7");
  EXPECT_EQ((*prompts)[1].tokens, (std::vector<std::int32_t>{0, 1, 2147483647}));
  EXPECT_EQ((*prompts)[1].answer, "12");
  ASSERT_EQ((*prompts)[2].messages.size(), 2u);
  EXPECT_EQ((*prompts)[2].messages[1].second, "2+2?");
}

TEST(Prompts, Gsm8kAndIfeval) {
  const auto gsm = read(
      "{\"question\": \"How many?\", \"answer\": \"1+1=<<1+1=2>>2\\n#### 1,234 \"}\n"
      "{\"question\": \"And?\", \"answer\": \"no mark\"}\n");
  ASSERT_TRUE(gsm) << gsm.error().text();
  EXPECT_EQ((*gsm)[0].id, "gsm8k-1");
  EXPECT_EQ((*gsm)[0].text, "How many?");
  EXPECT_EQ((*gsm)[0].answer, "1234");
  EXPECT_EQ((*gsm)[1].answer, "");
  const auto ifeval = read(
      "{\"key\": 1000, \"prompt\": \"Write.\", \"instruction_id_list\": [\"a\"], "
      "\"kwargs\": [{}]}\n{\"prompt\": \"More.\"}\n");
  ASSERT_TRUE(ifeval) << ifeval.error().text();
  EXPECT_EQ((*ifeval)[0].id, "ifeval-1000");
  EXPECT_EQ((*ifeval)[1].id, "ifeval-2");
  EXPECT_EQ((*ifeval)[1].text, "More.");
}

TEST(Prompts, SkipAndTake) {
  std::string jsonl;
  for (char id = 'a'; id <= 'e'; ++id)
    jsonl += std::string("{\"id\": \"") + id + "\", \"text\": \"x\"}\n";
  PromptSelection selection;
  selection.skip = 1;
  selection.take = 2;
  const auto two = read(jsonl, selection);
  ASSERT_TRUE(two);
  ASSERT_EQ(two->size(), 2u);
  EXPECT_EQ((*two)[0].id + (*two)[1].id, "bc");
  selection.take = -1;
  EXPECT_EQ(read(jsonl, selection)->size(), 4u);
  selection.take = 5;
  EXPECT_EQ(prompt_error(jsonl, selection),
            "p.jsonl: take 5 after skip 1 is too many; the file holds 5 prompts");
  selection.skip = 5;
  EXPECT_EQ(prompt_error(jsonl, selection),
            "p.jsonl: skip 5 leaves nothing; the file holds 5 prompts");
}

TEST(Prompts, ErrorsNameTheLine) {
  const std::string good = "{\"id\": \"a\", \"text\": \"x\"}\n";
  EXPECT_EQ(prompt_error(""), "p.jsonl: the file holds no prompt");
  EXPECT_EQ(prompt_error("\n\n"), "p.jsonl: the file holds no prompt");
  EXPECT_EQ(prompt_error(good + "{\"id\": \"b\", \"text\": \"x\""),
            "p.jsonl:2:24: malformed JSON: the line ends too early; one object a line");
  EXPECT_EQ(prompt_error(good + "{\"id\": b}"), "p.jsonl:2:8: malformed JSON near \"b}\"");
  EXPECT_EQ(prompt_error(good + "[1]"), "p.jsonl:2: expected one JSON object a line");
  EXPECT_EQ(prompt_error(good + "\n" + good), "p.jsonl:3: id \"a\" is that of line 1");
  EXPECT_EQ(prompt_error("{\"id\": \"a\", \"id\": \"b\", \"text\": \"x\"}"),
            "p.jsonl:1: duplicate key \"id\"");
  EXPECT_EQ(prompt_error("{\"id\": \"a\", \"txt\": \"x\"}"),
            "p.jsonl:1: unknown key \"txt\"; did you mean \"text\"?");
  EXPECT_EQ(prompt_error("{\"text\": \"x\"}"), "p.jsonl:1: the prompt has no id");
  EXPECT_EQ(prompt_error("{\"id\": \"a\"}"),
            "p.jsonl:1: a prompt needs exactly one of text, messages and tokens");
  EXPECT_EQ(prompt_error("{\"id\": \"a\", \"text\": \"x\", \"tokens\": [1]}"),
            "p.jsonl:1: a prompt needs exactly one of text, messages and tokens");
  EXPECT_EQ(prompt_error("{\"id\": \"a\", \"text\": \"\"}"),
            "p.jsonl:1: text must be a text that is not empty");
  EXPECT_EQ(prompt_error("{\"id\": \"a\\n\", \"text\": \"x\"}"),
            "p.jsonl:1: id must be one line of text");
  EXPECT_EQ(prompt_error(R"({"prompt": "a", "key": "\u001b[31m\n::error::x"})"),
            "p.jsonl:1: id must be one line of text");
  EXPECT_EQ(prompt_error("{\"id\": [1], \"text\": \"x\"}"), "p.jsonl:1: id must be a text");
  EXPECT_EQ(prompt_error("{\"question\": 3}"),
            "p.jsonl:1: question must be a text that is not empty");
  EXPECT_EQ(prompt_error("{\"prompt\": \"\"}"),
            "p.jsonl:1: prompt must be a text that is not empty");
}

TEST(Prompts, BadTokensAndMessages) {
  EXPECT_EQ(prompt_error("{\"id\": \"a\", \"tokens\": []}"),
            "p.jsonl:1: tokens must be a list of token ids that is not empty");
  EXPECT_EQ(prompt_error("{\"id\": \"a\", \"tokens\": [1, -1]}"),
            "p.jsonl:1: token 2 is \"-1\", not an id from 0 to 2147483647");
  EXPECT_EQ(prompt_error("{\"id\": \"a\", \"tokens\": [2147483648]}"),
            "p.jsonl:1: token 1 is \"2147483648\", not an id from 0 to 2147483647");
  EXPECT_EQ(prompt_error("{\"id\": \"a\", \"tokens\": [1.5]}"),
            "p.jsonl:1: token 1 is \"1.5\", not an id from 0 to 2147483647");
  EXPECT_EQ(
      prompt_error("{\"id\": \"a\", \"messages\": [{\"role\": \"usr\", \"content\": \"x\"}]}"),
      "p.jsonl:1: unknown role \"usr\"; did you mean \"user\"?");
  EXPECT_EQ(prompt_error("{\"id\": \"a\", \"messages\": [{\"role\": \"user\"}]}"),
            "p.jsonl:1: a message must be {\"role\": text, \"content\": text}");
}

TEST(Prompts, HostileInput) {
  const std::string deep = "{\"id\": " + std::string(100000, '[');
  EXPECT_NE(prompt_error(deep).find("p.jsonl:1"), std::string::npos);
  EXPECT_NE(prompt_error(deep), "no error");
  EXPECT_NE(prompt_error("{\"id\": \"\xff\", \"text\": \"x\"}").find("p.jsonl:1:"),
            std::string::npos);
  const std::string closed = "{\"id\": " + std::string(50, '[') + std::string(50, ']') + "}";
  EXPECT_EQ(prompt_error(closed), "p.jsonl:1: nested too deeply");
  EXPECT_EQ(load_prompts("/nonexistent.jsonl", {}).error().text(),
            "/nonexistent.jsonl: cannot read: No such file or directory");
}

TEST(Prompts, ShippedFilesAreRead) {
  const std::filesystem::path folder =
      std::filesystem::path(ISOBIT_SOURCE_DIR) / "scenarios/prompts";
  int files = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() != ".jsonl") continue;
    const auto prompts = load_prompts(file.path().string(), {});
    ASSERT_TRUE(prompts) << prompts.error().text();
    EXPECT_FALSE(prompts->empty());
    ++files;
  }
  EXPECT_GE(files, 1);
}

// GSM8K and IFEval as others publish them: only where a user has them.
TEST(Prompts, PublishedFilesAreReadWhereTheyAre) {
  const std::filesystem::path folder =
      std::filesystem::path(ISOBIT_SOURCE_DIR) / "../shared/data/prompts";
  if (!std::filesystem::exists(folder / "gsm8k.jsonl")) GTEST_SKIP() << "no published prompts here";
  const auto gsm8k = load_prompts((folder / "gsm8k.jsonl").string(), {});
  ASSERT_TRUE(gsm8k) << gsm8k.error().text();
  for (const Prompt& prompt : *gsm8k) {
    EXPECT_FALSE(prompt.text.empty());
    EXPECT_EQ(prompt.answer.find_first_not_of("-.0123456789"), std::string::npos) << prompt.answer;
    EXPECT_FALSE(prompt.answer.empty()) << prompt.id;
  }
  const auto ifeval = load_prompts((folder / "ifeval.jsonl").string(), {});
  ASSERT_TRUE(ifeval) << ifeval.error().text();
  EXPECT_EQ((*ifeval)[0].id, "ifeval-1000");
}

TEST(Prompts, NothingHidesBehindAZeroByte) {
  const std::string line = R"({"id": "a", "text": "b"})";
  EXPECT_EQ(prompt_error(line + '\0' + "{\"id\""), "p.jsonl:1:25: a zero byte: not a text");
}

}  // namespace
}  // namespace isobit
