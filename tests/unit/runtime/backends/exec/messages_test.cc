// The protocol's lines, written and read.
#include "runtime/backends/exec/messages.h"

#include <gtest/gtest.h>

namespace isobit::exec {
namespace {

constexpr const char* kHello =
    R"({"isobit_exec": 1, "reply": "hello", "engine": "e", "version": "2", "evidence": "logprobs",)"
    R"( "batching": "concurrent", "axes": {"batch": true, "cache": ["on", "off"], "kv": false}})";

TEST(Messages, AHelloIsRead) {
  const auto hello = parse_hello(kHello);
  ASSERT_TRUE(hello) << hello.error().text();
  EXPECT_EQ(hello->kind, Hello::Kind::ready);
  EXPECT_EQ(hello->engine, "e");
  EXPECT_EQ(hello->version, "2");
  EXPECT_EQ(hello->evidence, Evidence::logprobs);
  EXPECT_TRUE(hello->concurrent);
  EXPECT_TRUE(hello->axes.at("batch").takes("8"));
  EXPECT_TRUE(hello->axes.at("cache").takes("off"));
  EXPECT_FALSE(hello->axes.at("cache").takes("prefix"));
  EXPECT_FALSE(hello->axes.at("kv").takes("exact"));
}

/// A hello that says this of its machine.
Result<Hello> hello_of_machine(const std::string& machine) {
  const std::string head = R"({"isobit_exec": 1, "reply": "hello", "engine": "e", "version": "2",)";
  return parse_hello(head + R"( "evidence": "logits", "batching": "static", "axes": {},)" +
                     R"( "machine": )" + machine + "}");
}

TEST(Messages, AHelloMayNameTheMachine) {
  EXPECT_TRUE(parse_hello(kHello)->machine.empty());
  EXPECT_TRUE(hello_of_machine("{}")->machine.empty());
  const auto hello = hello_of_machine(R"({"cuda": "torch 2.11.0, NVIDIA H200", "cpu": "x"})");
  ASSERT_TRUE(hello) << hello.error().text();
  EXPECT_EQ(hello->machine, (std::map<std::string, std::string>{
                                {"cuda", "torch 2.11.0, NVIDIA H200"}, {"cpu", "x"}}));
  for (const char* machine : {"[]", "\"H200\"", "3"}) {
    const auto wrong = hello_of_machine(machine);
    ASSERT_FALSE(wrong) << machine;
    EXPECT_NE(wrong.error().message.find("machine must be an object"), std::string::npos)
        << wrong.error().message;
  }
  for (const char* machine : {R"({"cuda": ""})", R"({"cuda": 3})", R"({"cuda": "two\nlines"})",
                              R"({"cpu": "x", "cuda": null})"}) {
    const auto wrong = hello_of_machine(machine);
    ASSERT_FALSE(wrong) << machine;
    EXPECT_NE(wrong.error().message.find("machine must be a line of text for each device"),
              std::string::npos)
        << wrong.error().message;
  }
}

TEST(Messages, AnEngineMaySayWhyNot) {
  const auto missing =
      parse_hello(R"({"isobit_exec": 1, "reply": "unavailable", "reason": "no torch"})");
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->kind, Hello::Kind::unavailable);
  EXPECT_EQ(missing->why, "no torch");
  const auto wrong = parse_hello(R"({"isobit_exec": 1, "reply": "error", "message": "left?"})");
  ASSERT_TRUE(wrong);
  EXPECT_EQ(wrong->kind, Hello::Kind::mistaken);
  EXPECT_EQ(wrong->why, "left?");
}

TEST(Messages, ABadHelloIsRefused) {
  const std::pair<const char*, const char*> bad[] = {
      {"Loading checkpoint shards: 100%", "its standard output, which is the protocol's, holds"},
      {"[1]", "holds"},
      {R"({"reply": "hello"})", "it speaks version 0 of the protocol, not 1"},
      {R"({"isobit_exec": 2, "reply": "hello"})", "it speaks version 2 of the protocol, not 1"},
      {R"({"isobit_exec": 1, "reply": "hi"})", "reply must be hello"},
      {R"({"isobit_exec": 1, "reply": "hello", "version": "2"})", "engine must be there"},
      {R"({"isobit_exec": 1, "reply": "hello", "engine": "e", "version": "2",)"
       R"( "evidence": "logit", "batching": "static", "axes": {}})",
       "evidence must be logits, logprobs or tokens"},
      {R"({"isobit_exec": 1, "reply": "hello", "engine": "e", "version": "2",)"
       R"( "evidence": "logits", "batching": "static", "axes": {"batch": "yes"}})",
       "axis batch must be true, false or a list"},
  };
  for (const auto& [line, says] : bad) {
    const auto hello = parse_hello(line);
    ASSERT_FALSE(hello) << line;
    EXPECT_NE(hello.error().message.find(says), std::string::npos) << hello.error().message;
  }
}

TEST(Messages, ARowIsRead) {
  const auto reply = parse_reply(
      R"({"reply": "row", "id": 3, "sequence": 1, "position": 9, "token": 12, "logprob": -0.25,)"
      R"( "top": [[12, -0.25], [7, -1.75]]})");
  ASSERT_TRUE(reply) << reply.error().text();
  EXPECT_EQ(reply->kind, Reply::Kind::row);
  EXPECT_EQ(reply->row.id, 3);
  EXPECT_EQ(reply->row.sequence, 1);
  EXPECT_EQ(reply->row.position, 9);
  EXPECT_EQ(reply->row.token, 12);
  EXPECT_EQ(reply->row.logprob, -0.25);
  EXPECT_FALSE(reply->row.bytes);
  EXPECT_FALSE(reply->row.fed);
  EXPECT_EQ(reply->row.top.size(), 2u);
  EXPECT_EQ(reply->row.top[1], (std::pair<std::int32_t, double>(7, -1.75)));
}

TEST(Messages, WhatRanIsRead) {
  const auto reply =
      parse_reply(R"({"reply": "done", "id": 3, "observed": {"live_rows": 8, "device": "cuda"}})");
  ASSERT_TRUE(reply) << reply.error().text();
  EXPECT_EQ(reply->kind, Reply::Kind::done);
  EXPECT_EQ(reply->id, 3);
  EXPECT_EQ(reply->ran.live_rows, 8);
  EXPECT_EQ(reply->ran.cached_reads, -1);
  EXPECT_EQ(reply->ran.device, "cuda");
  EXPECT_EQ(reply->ran.precision, "");
}

TEST(Messages, ABadReplyIsRefused) {
  const std::pair<const char*, const char*> bad[] = {
      {"tokens: 12", "its standard output"},
      {R"({"reply": "row"})", "id must be there"},
      {R"({"reply": "row", "id": 1, "sequence": 0, "position": 2, "token": -1})", "token must be"},
      {R"({"reply": "row", "id": 1, "sequence": 0, "position": 2, "token": 1.5})", "token must be"},
      {R"({"reply": "row", "id": 1, "sequence": 0, "position": 2, "token": 1, "top": [[1]]})",
       "top must be"},
      {R"({"reply": "row", "id": 1, "sequence": 0, "position": 2, "token": 1, "logprob": "x"})",
       "logprob must be a number"},
      {R"({"reply": "row", "id": 1, "sequence": 0, "position": 2, "token": 1, "logprob": NaN})",
       "its standard output"},
      {R"({"reply": "done", "id": 1})", "observed must be there"},
      {R"({"reply": "done", "id": 1, "observed": {"live_rows": "8"}})", "live_rows must be"},
      {R"({"reply": "fine"})", "reply must be row, done, loaded or error"},
      {R"({"reply": "error"})", "message must be there"},
  };
  for (const auto& [line, says] : bad) {
    const auto reply = parse_reply(line);
    ASSERT_FALSE(reply) << line;
    EXPECT_NE(reply.error().message.find(says), std::string::npos) << reply.error().message;
  }
}

TEST(Messages, RequestsAreOneLine) {
  Request request;
  request.id = 7;
  request.sequences = {{{1, 2}, {}}, {{3}, {9, 8}}};
  request.max_new_tokens = 4;
  EXPECT_EQ(
      print(request),
      R"({"ask":"generate","id":7,"sequences":[{"prompt":[1,2]},{"prompt":[3],"teacher":[9,8]}])"
      R"(,"max_new_tokens":4,"eos":[],"cache":"on","threads":1,"batch":1,"kv":"exact"})"
      "\n");
  EXPECT_EQ(print_hello({{"a", "two\nlines"}}),
            "{\"isobit_exec\":1,\"ask\":\"hello\",\"options\":{\"a\":\"two\\nlines\"}}\n");
}

}  // namespace
}  // namespace isobit::exec
