// The command line: tables that agree, parsing, typos, durations, shell quoting, completion.
#include "harness/cli/cli.h"

#include <gtest/gtest.h>

#include <set>

#include "runtime/base/words.h"

namespace isobit {
namespace {

Result<Arguments> parse(const std::string& verb, const std::vector<std::string>& words) {
  const Verb* found = find_verb(verb);
  EXPECT_NE(found, nullptr) << verb;
  return parse_arguments(*found, words);
}

/// The words that a shell makes of a line with blanks, single and double quotes and backslashes.
/// Reads $'…' from behind its quote; gives the place of the last one.
std::size_t ansi_c(const std::string& line, std::size_t i, std::string& word) {
  for (; i < line.size() && line[i] != '\''; ++i) {
    if (line[i] != '\\') {
      word += line[i];
    } else if (line[++i] == 'x') {
      word += char(std::stoi(line.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      word += line[i];
    }
  }
  return i;
}

std::vector<std::string> shell_words(const std::string& line) {
  std::vector<std::string> words;
  bool word = false;
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote == 0 && (c == ' ' || c == '\n')) {
      word = false;
      continue;
    }
    if (!word) words.emplace_back();
    word = true;
    if (quote == 0 && c == '$' && line.compare(i, 2, "$'") == 0) {
      i = ansi_c(line, i + 2, words.back());
    } else if (c == quote) {
      quote = 0;
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (quote != '\'' && c == '\\' && i + 1 < line.size()) {
      words.back() += line[++i];
    } else {
      words.back() += c;
    }
  }
  return words;
}

std::string error_of(const std::string& verb, const std::vector<std::string>& words) {
  const auto arguments = parse(verb, words);
  return arguments ? "no error" : arguments.error().text();
}

TEST(Cli, TablesAgree) {
  std::set<std::string> names, used;
  for (const OptionInfo& option : all_options()) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    EXPECT_EQ(option.takes == Takes::nothing, std::string(option.value).empty()) << option.name;
  }
  std::set<std::string> verb_names;
  for (const Verb& verb : verbs()) {
    EXPECT_TRUE(verb_names.insert(verb.name).second) << verb.name;
    std::set<std::string> own;
    for (const std::string& option : verb.options) {
      EXPECT_NE(find_option(option), nullptr) << verb.name << " --" << option;
      EXPECT_TRUE(own.insert(option).second) << verb.name << " --" << option;
      used.insert(option);
    }
    EXPECT_EQ(
        std::string(verb.example).find("isobit " + std::string(verb.name)) == std::string::npos,
        false)
        << verb.name;
  }
  used.insert("help");
  EXPECT_EQ(used, names) << "an option that no verb has, or the other way round";
}

TEST(Cli, ExamplesParse) {
  for (const Verb& verb : verbs()) {
    if (std::string(verb.name) == "completion") continue;  // its example is the shell's
    std::vector<std::string> words = shell_words(verb.example);
    ASSERT_GE(words.size(), 2u) << verb.name;
    words.erase(words.begin(), words.begin() + 2);
    EXPECT_EQ(error_of(verb.name, words), "no error") << verb.example;
  }
}

TEST(Cli, HelpNamesEveryOption) {
  for (const Verb& verb : verbs()) {
    const std::string help = help_text(verb);
    for (const std::string& option : verb.options) {
      EXPECT_NE(help.find("--" + option), std::string::npos) << verb.name << " " << option;
    }
    EXPECT_NE(help.find("Example:"), std::string::npos);
    EXPECT_NE(overview_text().find(verb.name), std::string::npos);
  }
}

TEST(Cli, Parses) {
  const auto arguments = parse("run", {"a.yaml", "-k", "batch>1", "-j4", "--set", "axes.batch=[1]",
                                       "--set=axes.gpus=[2]", "b.yaml", "-q", "--shuffle=7"});
  ASSERT_TRUE(arguments) << arguments.error().text();
  EXPECT_EQ(arguments->words, (std::vector<std::string>{"a.yaml", "b.yaml"}));
  EXPECT_EQ(arguments->text("filter"), "batch>1");
  EXPECT_EQ(arguments->all("set"), (std::vector<std::string>{"axes.batch=[1]", "axes.gpus=[2]"}));
  EXPECT_TRUE(arguments->has("quiet"));
  EXPECT_FALSE(arguments->has("verbose"));
  EXPECT_EQ(arguments->text("shuffle"), "7");
  EXPECT_EQ(*arguments->number("jobs", 1, 1, 8), 4);
  EXPECT_EQ(*arguments->number("repeat", 3, 1, 8), 3);
  EXPECT_FALSE(arguments->number("jobs", 1, 1, 3));
}

TEST(Cli, ShuffleDoesNotEatTheScenario) {
  const auto arguments = parse("run", {"--shuffle", "a.yaml"});
  ASSERT_TRUE(arguments) << arguments.error().text();
  EXPECT_EQ(arguments->words, std::vector<std::string>{"a.yaml"});
  EXPECT_EQ(arguments->text("shuffle"), "");
}

TEST(Cli, WrongWords) {
  EXPECT_EQ(error_of("check", {"--max-tim", "3", "a"}),
            "check: unknown option --max-tim; did you mean --max-time?");
  EXPECT_NE(error_of("check", {"--lenient", "a"}).find("other verbs have it"), std::string::npos);
  EXPECT_EQ(error_of("check", {}), "check: an argument is missing; usage: isobit check SCENARIO…");
  EXPECT_EQ(error_of("check", {"a", "--update", "al"}),
            "--update: unknown value \"al\"; did you mean \"all\"?");
  EXPECT_EQ(error_of("check", {"a", "--db", "x", "--db", "y"}), "--db: given twice");
  EXPECT_NE(error_of("diff", {"1", "2", "3"}).find("unexpected argument \"3\""), std::string::npos);
  EXPECT_EQ(error_of("model", {"fetsh", "x"}),
            "model: unknown word \"fetsh\"; did you mean \"fetch\"?");
  EXPECT_NE(error_of("check", {"a", "--jobs"}), "no error");
  EXPECT_NE(error_of("check", {"a", "--dry"}), "no error");  // no guessing of shortened options
}

TEST(Cli, AnEmptyValueIsAnErrorNotADefault) {
  for (const OptionInfo& option : all_options()) {
    if (option.takes == Takes::nothing || option.takes == Takes::maybe) continue;
    const std::string dashed = std::string("--") + option.name;
    for (const Verb& verb : verbs()) {
      if (std::count(verb.options.begin(), verb.options.end(), option.name) == 0) continue;
      std::vector<std::string> words(std::size_t(std::max(verb.least, 1)), "a");
      words.insert(words.end(), {dashed, ""});
      EXPECT_NE(error_of(verb.name, words).find("the value is empty"), std::string::npos)
          << verb.name << " " << dashed;
      break;
    }
  }
}

TEST(Cli, Durations) {
  EXPECT_EQ(*parse_duration("10m"), 600);
  EXPECT_EQ(*parse_duration("90s"), 90);
  EXPECT_EQ(*parse_duration("1h30m"), 5400);
  EXPECT_EQ(*parse_duration("45"), 45);
  EXPECT_EQ(*parse_duration("0s"), 0);
  for (const char* wrong : {"", "m", "10x", "-3s", "1.5h", "10 m", "99999999999h"}) {
    EXPECT_FALSE(parse_duration(wrong)) << wrong;
  }
}

TEST(Cli, ShellLinesReadBack) {
  const std::vector<std::vector<std::string>> lines = {
      {"isobit", "run", "a.yaml"},
      {"a b", "", "it's", "\\", "axes.batch=[1,2]", "x\ny'\\", "'", "$HOME `x` \"q\""}};
  for (const auto& words : lines) EXPECT_EQ(shell_words(shell_line(words)), words);
  EXPECT_EQ(shell_line({"isobit", "a.yaml", "-j2"}), "isobit a.yaml -j2");
}

TEST(Cli, CompletionKnowsEveryVerbAndOption) {
  for (const char* shell : {"bash", "zsh"}) {
    const auto script = completion_script(shell);
    ASSERT_TRUE(script);
    for (const Verb& verb : verbs()) {
      EXPECT_NE(script->find(verb.name), std::string::npos) << shell << " " << verb.name;
    }
    for (const OptionInfo& option : all_options()) {
      EXPECT_NE(script->find("--" + std::string(option.name)), std::string::npos)
          << shell << " " << option.name;
    }
  }
  EXPECT_FALSE(completion_script("fish"));
}

}  // namespace
}  // namespace isobit
