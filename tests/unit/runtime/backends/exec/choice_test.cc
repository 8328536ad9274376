// The values of axis engine that name a program.
#include "runtime/backends/exec/choice.h"

#include <gtest/gtest.h>

#include "harness/scenario/scenario.h"

namespace isobit::exec {
namespace {

Result<Scenario> scenario(const std::string& engine) {
  return parse_scenario(
      "version: 1\nname: t\nmodel: m\nprompts: p.jsonl\naxes: {engine: [" + engine + "]}\n",
      "folder/t.yaml", {});
}

EngineChoice choice_of(const std::string& engine) {
  const auto parsed = scenario(engine);
  EXPECT_TRUE(parsed) << parsed.error().text();
  if (!parsed) return {};
  return std::get<EngineChoice>(parsed->axes[0].second[0].setting);
}

TEST(ExecChoice, AnAdapterWithOptions) {
  const EngineChoice choice = choice_of("{exec: transformers, padding: left, attention: sdpa}");
  EXPECT_EQ(choice.text(), "exec:transformers+attention:sdpa+padding:left");
  EXPECT_EQ(choice.folder, "folder");
  const ExecSettings& settings = settings_of(choice);
  EXPECT_EQ(settings.adapter, "transformers");
  EXPECT_EQ(settings.options.at("padding"), "left");
}

TEST(ExecChoice, ACommandKeepsItsWords) {
  const EngineChoice choice =
      choice_of(R"({exec: ["./my engine", "a+b:c/d", "100%"], url: "http://x:8000/v1?a=b+c"})");
  EXPECT_EQ(choice.text(),
            "exec:/.%2Fmy%20engine/a%2Bb%3Ac%2Fd/100%25+url:http://x:8000/v1%3Fa=b%2Bc");
  const ExecSettings& settings = settings_of(choice);
  EXPECT_EQ(settings.command, (std::vector<std::string>{"./my engine", "a+b:c/d", "100%"}));
  EXPECT_EQ(settings.options.at("url"), "http://x:8000/v1?a=b+c");
  const auto again = parse_engine(choice.text());
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(again->text(), choice.text());
  EXPECT_EQ(settings_of(*again).command, settings.command);
  EXPECT_EQ(*settings.words(), settings.command);
}

TEST(ExecChoice, AListOfOneWordIsAProgram) {
  EXPECT_EQ(settings_of(choice_of("{exec: [transformers]}")).command,
            std::vector<std::string>{"transformers"});
}

TEST(ExecChoice, WhatIsWrongIsSaid) {
  const std::pair<const char*, const char*> bad[] = {
      {"{exec: transfomers}", "did you mean \"transformers\"?"},
      {"exec", "there is no adapter"},
      {"{exec: [sh, \"\"]}", "exec is empty"},
      {"{exec: openai, Top: 3}", "a word of small letters"},
      {"{exec: []}", "empty list"},
  };
  for (const auto& [engine, says] : bad) {
    const auto parsed = scenario(engine);
    ASSERT_FALSE(parsed) << engine;
    EXPECT_NE(parsed.error().text().find(says), std::string::npos) << parsed.error().text();
    EXPECT_EQ(parsed.error().place.find("folder/t.yaml:5:"), 0u) << parsed.error().text();
  }
}

TEST(ExecChoice, ShippedAdaptersAreFound) {
  for (const std::string& name : adapter_names()) {
    ExecSettings settings;
    settings.adapter = name;
    const auto words = settings.words();
    ASSERT_TRUE(words) << words.error().text();
    EXPECT_EQ((*words)[0], "python3");
    EXPECT_TRUE((*words)[1].ends_with("/adapters/" + name + ".py")) << (*words)[1];
  }
}

TEST(ExecChoice, ItNeedsPermission) {
  BackendOptions options;
  options.engine = choice_of("{exec: [/bin/false]}");
  ASSERT_FALSE(external_allowed());
  EXPECT_NE(unsupported_reason(options, mode_of(Precision::fp32)).find("--allow-external"),
            std::string::npos);
}

}  // namespace
}  // namespace isobit::exec
