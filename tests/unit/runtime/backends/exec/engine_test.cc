// A whole engine in another process: `isobit serve` gives what the reference gives here, and
// programs that do not keep to the protocol fail their cell with one line.
#include "runtime/backends/exec/engine.h"

#include <gtest/gtest.h>

#include "harness/selftest/model.h"
#include "runtime/backends/exec/choice.h"
#include "runtime/base/option_text.h"
#include "runtime/run/generate.h"
#include "tests/fakes/folder.h"

namespace isobit::exec {
namespace {

class ExecEngine : public testing::Test {
 protected:
  ExecEngine() {
    EXPECT_TRUE(selftest::write_selftest_inputs(folder_.file("")));
    auto model = load_model(folder_.file("model"));
    EXPECT_TRUE(model);
    model_ = std::make_shared<const LoadedModel>(std::move(*model));
  }

  static EngineChoice command(const std::vector<std::string>& words,
                              const std::string& options = "") {
    auto choice = parse_engine("exec:" + list_text(words) + options);
    EXPECT_TRUE(choice) << choice.error().text();
    return *choice;
  }
  static EngineChoice served(const std::string& options = "") {
    return command({ISOBIT_PROGRAM, "serve"}, options);
  }
  /// A program that says hello and takes the model, then does as the script says.
  static EngineChoice script(const std::string& body) {
    return command({"sh", "-c",
                    "read hello; echo '{\"isobit_exec\":1,\"reply\":\"hello\",\"engine\":\"e\","
                    "\"version\":\"1\",\"evidence\":\"tokens\",\"batching\":\"concurrent\","
                    "\"axes\":{\"batch\":true}}'; read load; [ \"$load\" = '{\"ask\":\"end\"}' ] "
                    "&& exit; echo '{\"reply\":\"loaded\"}'; " +
                        body});
  }
  static GenerateRequest request() {
    GenerateRequest out;
    out.prompts = {{{1, 2, 3, 4, 5}, {}, "p0"}, {{9, 8, 7}, {}, "p1"}, {{11, 12}, {}, "p2"}};
    out.max_new_tokens = 6;
    return out;
  }
  GenerateResult run(const EngineChoice& choice, const GenerateRequest& request) {
    auto engine = make_exec(model_, choice);
    auto result = engine->generate(request);
    EXPECT_TRUE(result) << result.error().text();
    return result ? std::move(*result) : GenerateResult{};
  }
  std::string reason(const EngineChoice& choice) {
    GenerateRequest asked = request();
    asked.eos = {2};
    const CellTrace trace = run(choice, asked).trace;
    EXPECT_NE(trace.status, CellStatus::ok);
    return trace.reason;
  }
  GenerateResult reference(const GenerateRequest& request) {
    auto result = Runtime(model_).generate(request);
    EXPECT_TRUE(result) << result.error().text();
    return std::move(*result);
  }

  fakes::Folder folder_;
  std::shared_ptr<const LoadedModel> model_;
};

TEST_F(ExecEngine, GivesTheBitsOfTheReference) {
  for (const std::int64_t batch : {1, 2, 8}) {
    for (const char* cache : {"on", "off", "chunked:2"}) {
      GenerateRequest asked = request();
      asked.batch.size = batch;
      asked.cache = *parse_cache_mode(cache);
      const CellTrace ours = reference(asked).trace;
      const CellTrace theirs = run(served(), asked).trace;
      EXPECT_EQ(theirs.status, CellStatus::ok) << theirs.reason;
      EXPECT_EQ(cell_root(theirs), cell_root(ours)) << batch << " " << cache;
      ASSERT_EQ(theirs.prompts.size(), 3u);
      for (std::size_t i = 0; i < ours.prompts[0].tokens.size(); ++i) {
        EXPECT_EQ(theirs.prompts[0].tokens[i].margin, ours.prompts[0].tokens[i].margin);
        EXPECT_EQ(theirs.prompts[0].tokens[i].top_ids, ours.prompts[0].tokens[i].top_ids);
        EXPECT_EQ(theirs.prompts[0].tokens[i].fed, ours.prompts[0].tokens[i].fed);
      }
      EXPECT_EQ(theirs.observed.evidence, "logits");
      EXPECT_EQ(theirs.observed.engine, "exec:isobit numerics F1");
      EXPECT_EQ(theirs.observed.live_rows, batch);
      EXPECT_EQ(theirs.observed.cached_reads > 0, std::string(cache) != "off");
    }
  }
}

TEST_F(ExecEngine, PrecisionTeacherAndSeedArriveThere) {
  GenerateRequest asked = request();
  asked.precision = Precision::bf16;
  EXPECT_EQ(cell_root(run(served(), asked).trace), cell_root(reference(asked).trace));
  asked.sampler = {0.8, 20, 0.9, 77, 0};
  EXPECT_EQ(cell_root(run(served(), asked).trace), cell_root(reference(asked).trace));
  GenerateRequest taught = request();
  for (PromptTokens& prompt : taught.prompts) prompt.teacher = {4, 5, 6};
  const CellTrace theirs = run(served(), taught).trace;
  EXPECT_EQ(cell_root(theirs), cell_root(reference(taught).trace));
  EXPECT_EQ(theirs.prompts[1].tokens.size(), 3u);
  EXPECT_EQ(theirs.prompts[1].tokens[1].fed, 5);
}

TEST_F(ExecEngine, RowsComeByValue) {
  GenerateRequest asked = request();
  asked.capture = {{1, 4}};
  std::int64_t spilled = 0;
  asked.spill = [&](int, std::int64_t, std::span<const std::byte> row) {
    spilled += std::int64_t(row.size());
  };
  const GenerateResult theirs = run(served(), asked);
  EXPECT_EQ(theirs.captured, reference(asked).captured);
  EXPECT_EQ(spilled, 2 * 18 * 4 * selftest::kVocabulary);  // once by each of the two
}

TEST_F(ExecEngine, LesserEvidenceIsSaidAndHashedApart) {
  const CellTrace rows = run(served(), request()).trace;
  const CellTrace logprobs = run(served("+evidence:logprobs"), request()).trace;
  const CellTrace tokens = run(served("+evidence:tokens"), request()).trace;
  EXPECT_EQ(logprobs.observed.evidence, "logprobs");
  EXPECT_EQ(tokens.observed.evidence, "tokens");
  for (std::size_t i = 0; i < 6; ++i) {
    const TokenRecord &a = rows.prompts[0].tokens[i], &b = logprobs.prompts[0].tokens[i],
                      &c = tokens.prompts[0].tokens[i];
    EXPECT_EQ(a.id, b.id);
    EXPECT_EQ(a.id, c.id);
    EXPECT_NE(a.digest, b.digest);
    EXPECT_NE(b.digest, c.digest);
    EXPECT_EQ(b.top_count, 5);
    EXPECT_EQ(b.top_ids[1], a.top_ids[1]);
    EXPECT_LT(b.top_logits[0], 0);
    EXPECT_EQ(c.top_count, 0);
  }
}

TEST_F(ExecEngine, OneProcessServesManyCellsAndAFailureEndsIt) {
  // Says its process id as the token, so that a new process is seen; crashes when asked for p2.
  const EngineChoice choice = script(
      "id=1; while read line; do case \"$line\" in *'[11,12]'*) exit 4;; *'\"end\"'*) exit 0;; "
      "esac; echo '{\"reply\":\"row\",\"id\":'$id',\"sequence\":0,\"position\":4,\"token\":'$(($$ "
      "% 256))'}'; echo '{\"reply\":\"done\",\"id\":'$id',\"observed\":{}}'; id=$((id + 1)); done");
  auto engine = make_exec(model_, choice);
  GenerateRequest fine = request(), bad = request();
  fine.prompts.resize(1);
  fine.max_new_tokens = 1;
  bad.prompts.erase(bad.prompts.begin(), bad.prompts.begin() + 2);
  const auto first = engine->generate(fine), second = engine->generate(fine);
  ASSERT_TRUE(first && second);
  ASSERT_EQ(first->trace.status, CellStatus::ok) << first->trace.reason;
  ASSERT_EQ(second->trace.status, CellStatus::ok) << second->trace.reason;
  EXPECT_EQ(first->trace.prompts[0].tokens[0].id, second->trace.prompts[0].tokens[0].id);
  const auto crashed = engine->generate(bad);
  ASSERT_TRUE(crashed);
  EXPECT_EQ(crashed->trace.status, CellStatus::crashed);
  EXPECT_EQ(crashed->trace.reason, "sh: ended with status 4");
  const auto after = engine->generate(fine);
  ASSERT_TRUE(after);
  EXPECT_EQ(after->trace.status, CellStatus::ok) << after->trace.reason;
}

TEST_F(ExecEngine, WhatIsNoAnswerIsSaid) {
  const std::string row = R"({"reply":"row","id":1,"sequence":0,"position":)";
  const std::pair<std::string, const char*> bad[] = {
      {"exec cat", "a reply: reply must be there"},
      {"read g; echo done", "holds \"done\""},
      {"read g; echo '" + row + "5,\"token\":1}'", "a row of position 5 came instead"},
      {"read g; echo '" + row + "4,\"token\":256}'", "token 256 is outside the vocabulary of 256"},
      {"read g; echo '" + row + "4,\"token\":1,\"bytes\":1024}'", "a row of logits, which it does"},
      {"read g; echo '{\"reply\":\"done\",\"id\":1,\"observed\":{}}'", "p0 has no row"},
      {"read g; echo '" + row + "4,\"token\":2}'; echo '" + row + "5,\"token\":3}'",
       "p0, position 5: a row behind the end of its sequence"},
      {"read g; echo '{\"reply\":\"done\",\"id\":9,\"observed\":{}}'", "that was not asked"},
      {"read g; echo '{\"reply\":\"row\",\"id\":2,\"sequence\":0,\"position\":4,\"token\":1}'",
       "a row of request 2, sequence 0, which is not open"},
      {"read g; echo '{\"reply\":\"error\",\"id\":1,\"message\":\"out of memory\"}'; cat "
       ">/dev/null",
       "out of memory"},
      {"read g; echo Killed >&2; exit 137", "ended with status 137; it last said: Killed"},
  };
  for (const auto& [body, says] : bad) {
    const std::string why = reason(script(body));
    EXPECT_EQ(why.rfind("sh: ", 0), 0u) << why;
    EXPECT_NE(why.find(says), std::string::npos) << why;
    EXPECT_EQ(why.find('\n'), std::string::npos) << why;
  }
}

TEST_F(ExecEngine, ARowOfAFailedCellIsNoRowOfTheNext) {
  // Refuses the first of two open requests, and answers the other when nobody asks any more.
  const EngineChoice choice = script(
      "read a; read b; echo '{\"reply\":\"error\",\"id\":1,\"message\":\"no room\"}'; echo "
      "'{\"reply\":\"row\",\"id\":2,\"sequence\":0,\"position\":2,\"token\":42}'; echo "
      "'{\"reply\":\"done\",\"id\":2,\"observed\":{}}'; cat >/dev/null");
  auto engine = make_exec(model_, choice);
  GenerateRequest two = request(), one = request();
  two.prompts.pop_back();
  two.batch.size = 2;
  two.max_new_tokens = one.max_new_tokens = 1;
  one.prompts = {one.prompts[1]};
  EXPECT_EQ(engine->generate(two)->trace.reason, "sh: no room");
  two.prompts = {two.prompts[1], two.prompts[1]};
  const auto again = engine->generate(two);  // a new process: it refuses the first again
  EXPECT_EQ(again->trace.reason, "sh: no room");
}

TEST_F(ExecEngine, ATaughtRowSaysWhatWasFed) {
  const EngineChoice choice = command(
      {"sh", "-c",
       "read hello; echo "
       "'{\"isobit_exec\":1,\"reply\":\"hello\",\"engine\":\"e\",\"version\":\"1\","
       "\"evidence\":\"tokens\",\"batching\":\"static\",\"axes\":{\"teacher_forced\":true}}'; read "
       "load; echo '{\"reply\":\"loaded\"}'; read g; echo "
       "'{\"reply\":\"row\",\"id\":1,\"sequence\":0,\"position\":4,\"token\":7}'; cat >/dev/null"});
  GenerateRequest taught = request();
  taught.prompts.resize(1);
  taught.prompts[0].teacher = {4, 5};
  EXPECT_EQ(run(choice, taught).trace.reason,
            "sh: prompt p0, position 4: no `fed`, which a row of a taught sequence needs");
}

TEST_F(ExecEngine, RequestsAreOpenTogether) {
  // Answers nothing before three requests have come.
  const EngineChoice choice = script(
      "read a; read b; read c; for id in 3 1 2; do case $id in 1) p=4;; 2) p=2;; 3) p=1;; esac; "
      "echo '{\"reply\":\"row\",\"id\":'$id',\"sequence\":0,\"position\":'$p',\"token\":7}'; "
      "echo '{\"reply\":\"done\",\"id\":'$id',\"observed\":{\"live_rows\":'$id'}}'; done; cat "
      ">/dev/null");
  GenerateRequest asked = request();
  asked.max_new_tokens = 1;
  asked.batch.size = 3;
  const CellTrace trace = run(choice, asked).trace;
  ASSERT_EQ(trace.status, CellStatus::ok) << trace.reason;
  EXPECT_EQ(trace.observed.live_rows, 3);
  for (const PromptTrace& prompt : trace.prompts) EXPECT_EQ(prompt.tokens.size(), 1u);
}

TEST_F(ExecEngine, WhatItDoesNotUnderstandIsRefusedWithTheAxis) {
  const auto refused = [&](auto change) {
    GenerateRequest asked = request();
    asked.backend.engine = script("cat >/dev/null");
    change(asked);
    return exec_refuse(asked);
  };
  EXPECT_EQ(refused([](GenerateRequest&) {}), "");
  EXPECT_EQ(refused([](GenerateRequest& r) { r.batch.size = 8; }), "");
  EXPECT_EQ(refused([](GenerateRequest& r) { r.precision = Precision::bf16; }),
            "e does not understand precision bf16");
  EXPECT_EQ(refused([](GenerateRequest& r) { r.ranks = 2; }), "e does not understand gpus 2");
  EXPECT_EQ(refused([](GenerateRequest& r) { r.cache = *parse_cache_mode("off"); }),
            "e does not understand cache off");
  EXPECT_EQ(refused([](GenerateRequest& r) { r.backend.isa = "avx2"; }),
            "e does not understand isa avx2");
}

TEST_F(ExecEngine, AListDecidesForTheDefaultToo) {
  GenerateRequest asked = request();
  asked.backend.engine = command(
      {"sh", "-c",
       "read hello; echo "
       "'{\"isobit_exec\":1,\"reply\":\"hello\",\"engine\":\"e\",\"version\":\"1\","
       "\"evidence\":\"tokens\",\"batching\":\"static\",\"axes\":{\"precision\":[\"bf16\"]}}'"});
  EXPECT_EQ(exec_refuse(asked), "e does not understand precision fp32");
  asked.precision = Precision::bf16;
  EXPECT_EQ(exec_refuse(asked), "");
}

TEST_F(ExecEngine, MistakesAndMissingPackagesAreToldApart) {
  const auto says = [](const std::string& reply) {
    return command({"sh", "-c", "read hello; echo '{\"isobit_exec\":1," + reply + "}'"});
  };
  const EngineChoice mistaken = says(R"("reply":"error","message":"padding is left or right")");
  BackendOptions options;
  options.engine = mistaken;
  EXPECT_EQ(exec_unsupported(options, mode_of(Precision::fp32)), "");
  EXPECT_EQ(exec_check(mistaken).error().text(), "sh: padding is left or right");
  options.engine = says(R"("reply":"unavailable","reason":"torch is not installed")");
  EXPECT_EQ(exec_unsupported(options, mode_of(Precision::fp32)), "torch is not installed");
  const EngineChoice missing = command({"no-such-program-here"});
  EXPECT_EQ(exec_check(missing).error().text(),
            "no-such-program-here: cannot be started: No such file or directory");
}

}  // namespace
}  // namespace isobit::exec
