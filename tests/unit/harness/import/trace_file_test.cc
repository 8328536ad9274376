// Traces as files say them: the three levels of evidence, and every line that is refused.
#include "harness/import/trace_file.h"

#include <gtest/gtest.h>

#include <limits>

namespace isobit {
namespace {

const std::string kHeader = R"({"isobit_trace": 1, "engine": "vllm"})"
                            "\n";
const std::string kPrompt = R"({"prompt": "p1", "tokens": [1, 5, 9]})"
                            "\n";
const std::string kDigest = "00112233445566778899aabbccddeeff";

std::string row(int position, const std::string& more = "") {
  return R"({"prompt": "p1", "position": )" + std::to_string(position) + R"(, "token": 3)" +
         (more.empty() ? R"(, "digest": ")" + kDigest + "\"" : more) + "}\n";
}
std::string header(const std::string& more) {
  return R"({"isobit_trace": 1, "engine": "vllm", )" + more + "}\n";
}

void expect_error(const std::string& text, const std::string& begin) {
  const auto file = parse_trace(text, "t");
  ASSERT_FALSE(file) << begin;
  EXPECT_EQ(file.error().text().substr(0, begin.size()), begin) << file.error().text();
}

TEST(TraceFile, ReadsHeaderPromptsAndRows) {
  const auto whole = parse_trace(
      header(R"("version": "0.9", "axes": {"batch": 8, "precision": "bf16"}, "model": "ab", )"
             R"("environment": {"gpu": "H200"})") +
          kPrompt + "{\"prompt\": \"p2\", \"tokens\": [2], \"rows\": \"p2.npy\"}\r\n" +
          row(2, R"(, "digest": ")" + kDigest + R"(", "fed": 4, "top": [[3, 1.5], [0, -0.0]])") +
          R"({"prompt": "p2", "position": 0, "token": 0})" + "\n" + row(3),
      "t");
  ASSERT_TRUE(whole) << whole.error().text();
  EXPECT_EQ(whole->engine, "vllm");
  EXPECT_EQ(whole->version, "0.9");
  EXPECT_EQ(whole->evidence, "logits");
  EXPECT_EQ(whole->model, "ab");
  EXPECT_EQ(whole->axes.at("batch"), "8");
  EXPECT_EQ(whole->environment.at("gpu"), "H200");
  ASSERT_EQ(whole->prompts.size(), 2U);
  EXPECT_EQ(whole->prompts[0].tokens, (std::vector<std::int32_t>{1, 5, 9}));
  EXPECT_EQ(whole->prompts[1].rows_file, "p2.npy");
  ASSERT_EQ(whole->prompts[0].rows.size(), 2U);
  const TraceRow& first = whole->prompts[0].rows[0];
  EXPECT_EQ(first.place, "t:4");
  EXPECT_EQ(first.position, 2);
  EXPECT_EQ(first.token, 3);
  EXPECT_EQ(first.fed, 4);
  EXPECT_EQ(to_hex(*first.digest), kDigest);
  EXPECT_EQ(first.top, (TopList{{3, 1.5}, {0, -0.0}}));
  EXPECT_FALSE(whole->prompts[1].rows[0].digest);
  EXPECT_FALSE(first.finite);
}

TEST(TraceFile, ReadsWhetherARowIsFinite) {
  const auto rows =
      parse_trace(kHeader + kPrompt + row(2, R"(, "finite": true, "digest": ")" + kDigest + "\"") +
                      row(3, R"(, "finite": false, "digest": ")" + kDigest + "\""),
                  "t");
  ASSERT_TRUE(rows) << rows.error().text();
  EXPECT_EQ(rows->prompts[0].rows[0].finite, true);
  EXPECT_EQ(rows->prompts[0].rows[1].finite, false);
  expect_error(kHeader + kPrompt + row(2, R"(, "finite": 0, "digest": ")" + kDigest + "\""),
               "t:3: finite must be true or false");
  for (const std::string evidence : {"logprobs", "tokens"}) {
    expect_error(header("\"evidence\": \"" + evidence + "\"") + kPrompt +
                     row(2, (evidence == "tokens" ? "" : R"(, "logprob": -0.5)") +
                                std::string(R"(, "finite": false)")),
                 "t:3: finite is no evidence of " + evidence);
  }
}

TEST(TraceFile, ReadsLesserEvidence) {
  const auto logprobs =
      parse_trace(header(R"("evidence": "logprobs")") + kPrompt +
                      row(2, R"(, "logprob": -0.25, "top": [[3, -0.25], [7, "-inf"]])") +
                      row(3, R"(, "logprob": "-inf")"),
                  "t");
  ASSERT_TRUE(logprobs) << logprobs.error().text();
  EXPECT_EQ(logprobs->prompts[0].rows[0].logprob, -0.25);
  EXPECT_EQ(logprobs->prompts[0].rows[0].top[1].second, -std::numeric_limits<double>::infinity());
  const auto tokens =
      parse_trace(header(R"("evidence": "tokens")") + kPrompt + row(2, R"(, "fed": 3)"), "t");
  ASSERT_TRUE(tokens) << tokens.error().text();
}

TEST(TraceFile, NamesTheLineOfABadHeader) {
  expect_error("{\"isobit_trace\": 1,\n\"engine\": \"e\"}", "t:1: byte ");
  expect_error("", "t:1: the file is empty");
  expect_error("\n" + kHeader, "t:1: an empty line");
  expect_error("{\"isobit_trace\": 1", "t:1: byte ");
  expect_error("[1]\n", "t:1: each line is one object");
  expect_error(kPrompt, "t:1: the first line must be a header");
  expect_error(R"({"isobit_trace": 2, "engine": "e"})", "t:1: format 2 is not known");
  expect_error(R"({"isobit_trace": "1", "engine": "e"})", "t:1: isobit_trace is ");
  expect_error(R"({"isobit_trace": 1})", "t:1: the header needs engine");
  expect_error(R"({"isobit_trace": 1, "engine": ""})", "t:1: engine must be one line of text");
  expect_error(header(R"("evidence": "logit")"),
               "t:1: unknown evidence \"logit\"; did you mean \"logits\"?");
  expect_error(header(R"("enviroment": {})"),
               "t:1: unknown key \"enviroment\"; did you mean \"environment\"?");
  expect_error(header(R"("axes": {"batch": [1]})"), "t:1: axes: \"batch\" must be one line");
  expect_error(header(R"("axes": {"batch": 1, "batch": 2})"), "t:1: byte ");
  expect_error(header(R"("environment": "gpu")"), "t:1: environment must be an object");
  expect_error(kHeader, "t:1: the trace has no prompt");
  expect_error(kHeader + kPrompt, "t:2: prompt \"p1\" has no row");
  expect_error(kHeader + kPrompt + row(2) + kHeader, "t:4: a second header");
}

TEST(TraceFile, NamesTheLineOfABadPrompt) {
  expect_error(kHeader + R"({"tokens": [1]})", "t:2: needs the key prompt");
  expect_error(kHeader + R"({"prompt": 7, "tokens": [1]})", "t:2: prompt must be one line");
  expect_error(kHeader + R"({"prompt": "p", "tokens": []})", "t:2: tokens must be the prompt's");
  expect_error(kHeader + R"({"prompt": "p", "tokens": [1, -1]})", "t:2: token 2 is \"-1\", not");
  expect_error(kHeader + R"({"prompt": "p", "tokens": [2147483648]})", "t:2: token 1 is ");
  expect_error(kHeader + R"({"prompt": "p", "tokens": [1], "row": "x"})", "t:2: unknown key");
  expect_error(kHeader + kPrompt + kPrompt, "t:3: prompt \"p1\" was given at t:2");
  expect_error(header(R"("evidence": "tokens")") + R"({"prompt": "p", "tokens": [1], "rows": "x"})",
               "t:2: rows are evidence of logits");
}

TEST(TraceFile, NamesTheLineOfABadRow) {
  const std::string begin = kHeader + kPrompt;
  expect_error(kHeader + row(2), "t:2: a row of prompt \"p1\", of which no line");
  expect_error(begin + R"({"prompt": "p1", "position": 2})", "t:3: a row needs token");
  expect_error(begin + R"({"prompt": "p1", "token": 2})", "t:3: a row needs position");
  expect_error(begin + row(-1), "t:3: position is \"-1\", not a whole number");
  expect_error(begin + row(2) + row(4),
               "t:4: prompt \"p1\": position 4 follows 2; position 3 is missing");
  expect_error(begin + row(2) + row(2), "t:4: prompt \"p1\": position 2 stands twice");
  expect_error(begin + row(2) + row(1), "t:4: prompt \"p1\": position 1 comes after later ones");
  expect_error(begin + row(2, R"(, "digest": "00")"), "t:3: digest must be 32 hex digits");
  expect_error(begin + row(2, R"(, "digest": 12)"), "t:3: digest must be 32 hex digits");
  expect_error(begin + row(2, R"(, "fed": 3)"), "t:3: the row needs a digest, or its prompt");
  expect_error(begin + row(2, R"(, "fed": 3.5)"), "t:3: fed is \"3.5\", not an id");
  expect_error(begin + row(2, R"(, "logprob": 1, "digest": ")" + kDigest + "\""),
               "t:3: logprob is no evidence of logits");
  expect_error(begin + row(2, R"(, "top": [[3]], "digest": ")" + kDigest + "\""),
               "t:3: top must be a list of [id, value]");
  expect_error(begin + row(2, R"(, "top": [[3, 1], [3, 1]], "digest": ")" + kDigest + "\""),
               "t:3: token 3 stands twice in top");
  expect_error(begin + row(2, R"(, "top": [[3, 1e999]], "digest": ")" + kDigest + "\""), "t:3: ");
  expect_error(begin + std::string("{\"prompt\0\": 1}", 14), "t:3: a zero byte: not a text");
}

TEST(TraceFile, DemandsTheEvidenceThatItSays) {
  const std::string logprobs = header(R"("evidence": "logprobs")") + kPrompt;
  expect_error(logprobs + row(2, R"(, "fed": 3)"), "t:3: the row needs logprob");
  expect_error(logprobs + row(2, R"(, "logprob": "inf")"), "t:3: logprob must be a number");
  const std::string tokens = header(R"("evidence": "tokens")") + kPrompt;
  expect_error(tokens + row(2, R"(, "top": [])"), "t:3: top is no evidence of tokens");
  expect_error(tokens + row(2, R"(, "logprob": -1)"), "t:3: logprob is no evidence of tokens");
}

}  // namespace
}  // namespace isobit
