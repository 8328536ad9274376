// Traces and lines to values: hand-made log-probabilities, choices, likelihoods, units and their
// standard error.
#include "harness/score/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>

namespace isobit {
namespace {

/// A trace whose prompt p was fed tokens of these log-probabilities.
struct Made {
  std::vector<ScoreLine> lines;
  CellTrace trace;

  ScoreLine& add(const std::vector<double>& log_p, const std::string& given = "") {
    ScoreLine& line = lines.emplace_back();
    line.id = "p" + std::to_string(lines.size());
    line.tokens_digest[0] = std::uint8_t(lines.size());
    line.line = int(lines.size()) - 1;
    line.given = given;
    line.continuation = std::int64_t(log_p.size());
    PromptTrace& prompt = trace.prompts.emplace_back();
    prompt.tokens_digest = line.tokens_digest;
    for (const double value : log_p) {
      TokenRecord& token = prompt.tokens.emplace_back();
      token.fed = 1;
      token.log_sum = 2;
      token.fed_logit = 2 + value;
    }
    return line;
  }
  void add_choices(const std::vector<std::pair<double, std::string>>& choices, int right) {
    const int number = int(lines.size());
    for (std::size_t c = 0; c < choices.size(); ++c) {
      ScoreLine& line = add({choices[c].first}, choices[c].second);
      line.line = number;
      line.choice = int(c);
      line.right = right;
    }
  }
  std::vector<ScoreValue> values(ScoreKind kind, const std::string& taught = "false") const {
    std::vector<ScoreValue> out;
    for (const ScoreOutcomes& one : evaluate({kind, false, false}, lines, trace, taught)) {
      out.push_back(value_of(one));
    }
    return out;
  }
};

TEST(Evaluate, LikelihoodIsPerTokenOverAllPrompts) {
  Made made;
  made.add({-1, -2, -3}, "abcdef");
  made.add({-0.5}, "xy");
  const auto values = made.values(ScoreKind::likelihood, "continuation");
  ASSERT_EQ(values.size(), 3U);
  EXPECT_EQ(values[0].value_name, "nll");
  EXPECT_EQ(values[0].n, 4);
  EXPECT_EQ(values[0].right, -1);
  EXPECT_DOUBLE_EQ(*values[0].value, 6.5 / 4);
  EXPECT_DOUBLE_EQ(*values[1].value, std::exp(6.5 / 4));
  EXPECT_DOUBLE_EQ(*values[2].value, 6.5 / std::log(2.0) / 8);
  EXPECT_EQ(values[2].n, 8);
  // Line sums 6 of 3 tokens and 0.5 of 1: off by 1.125 and -1.125.
  EXPECT_DOUBLE_EQ(*values[0].error, std::sqrt(2.0 * 2 * 1.125 * 1.125) / 4);
  EXPECT_DOUBLE_EQ(*values[1].error, *values[0].error * *values[1].value);
}

TEST(Evaluate, LikelihoodNeedsWhatWasFed) {
  Made made;
  made.add({-1});
  auto values = made.values(ScoreKind::likelihood, "true");
  EXPECT_DOUBLE_EQ(*values[0].value, 1);
  EXPECT_FALSE(values[0].error) << "one prompt has no spread";
  EXPECT_EQ(values[2].reason, "what was fed is no text of the prompt file");
  made.trace.prompts[0].tokens[0].fed_logit = kNotRecorded;
  values = made.values(ScoreKind::likelihood, "true");
  EXPECT_FALSE(values[0].value);
  EXPECT_EQ(values[0].reason, "prompt p1 has no log-probabilities of what was fed");
}

TEST(Evaluate, AChoiceIsTheMostLikelyBySumAndPerByte) {
  Made made;
  made.add_choices({{-4, " ab"}, {-5, " abcdefgh"}, {-9, " a"}}, 0);  // per byte: the second
  made.add_choices({{-7, " abc"}, {-3, " abc"}}, 1);
  made.add_choices({{-3, " abc"}, {-3, " xyz"}}, 1);  // of equals the first
  const auto values = made.values(ScoreKind::choice, "continuation");
  ASSERT_EQ(values.size(), 2U);
  EXPECT_EQ(values[0].n, 3);
  EXPECT_EQ(values[0].right, 2);
  EXPECT_EQ(values[1].right, 1);
  EXPECT_DOUBLE_EQ(*values[0].value, 2.0 / 3);
  EXPECT_DOUBLE_EQ(*values[0].error, std::sqrt(2.0 / 9 / 2));  // p (1 - p) / (n - 1)
  const auto free = made.values(ScoreKind::choice, "false");
  EXPECT_EQ(free[0].reason, "the cell is not fed its choices: teacher_forced is false");
}

TEST(Evaluate, ATraceOfOtherPromptsIsBroken) {
  Made made;
  made.add_choices({{-4, " ab"}, {-5, " cd"}}, 0);
  const auto broken = [&](const std::string& taught) {
    const auto all = evaluate({ScoreKind::choice, false, false}, made.lines, made.trace, taught);
    return all[0].broken ? all[0].reason : "fine";
  };
  EXPECT_EQ(broken("continuation"), "fine");
  const CellTrace whole = made.trace;
  made.trace.prompts.pop_back();
  EXPECT_EQ(broken("continuation"), "prompt p2 is not in the trace at its place");
  made.trace = whole;
  std::swap(made.trace.prompts[0], made.trace.prompts[1]);
  EXPECT_EQ(broken("continuation"), "prompt p1 is not in the trace at its place");
  made.trace = whole;
  made.trace.prompts[0].tokens.clear();
  EXPECT_EQ(broken("continuation"), "prompt p1 has 0 rows, its continuation has 1 tokens");
  made.trace = whole;
  made.trace.prompts.emplace_back();
  EXPECT_EQ(broken("continuation"), "the trace has 3 prompts, not 2");
}

TEST(Evaluate, IfevalCountsWhatIsJudged) {
  Made made;
  const auto add = [&](const std::string& text, const std::vector<std::string>& types) {
    ScoreLine& line = made.add({});
    for (const std::string& type : types) line.instructions.push_back({type, {}, {}, {}});
    made.trace.prompts.back().text = text;
  };
  add("a b", {"punctuation:no_comma", "startend:quotation"});
  add("\"a b\"", {"punctuation:no_comma", "startend:quotation"});
  add("a b", {"punctuation:no_comma", "change_case:english_lowercase"});
  add("x\n\"a\"\ny", {"startend:quotation"});
  add("a, b", {});
  const auto values = made.values(ScoreKind::ifeval);
  ASSERT_EQ(values.size(), 4U);
  const auto told = [](const ScoreValue& v) {
    return std::to_string(v.right) + " of " + std::to_string(v.n) + ", " +
           std::to_string(v.left_out) + " left out";
  };
  EXPECT_EQ(told(values[0]), "1 of 3, 1 left out");  // prompt_strict
  EXPECT_EQ(told(values[1]), "2 of 3, 1 left out");  // prompt_loose
  EXPECT_EQ(told(values[2]), "4 of 6, 0 left out");
  EXPECT_EQ(told(values[3]), "5 of 6, 0 left out");
  EXPECT_EQ(not_judged_text(made.lines), "change_case:english_lowercase 1; of 1 prompts");
  // Instructions of one prompt are no independent units: lines of 1/2, 2/2, 1/1 and 0/1.
  double squares = 0;
  for (const auto& [x, w] : {std::pair{1.0, 2.0}, {2.0, 2.0}, {1.0, 1.0}, {0.0, 1.0}}) {
    squares += (x - 4.0 / 6 * w) * (x - 4.0 / 6 * w);
  }
  EXPECT_DOUBLE_EQ(*values[2].error, std::sqrt(4.0 / 3 * squares) / 6);
}

TEST(Evaluate, RepliesAreThoseOfTheirOwnPrompts) {
  Made made;
  made.add({}).answer = "42";
  made.add({}).answer = "blue";
  made.add({});
  made.trace.prompts[0].text = "It is 42";
  made.trace.prompts[1].text = "blue";
  const auto answer = made.values(ScoreKind::answer)[0];
  EXPECT_EQ(answer.right, 1);
  EXPECT_EQ(answer.n, 2);
  const auto number = made.values(ScoreKind::last_number)[0];
  EXPECT_EQ(number.right, 1);
  EXPECT_EQ(number.n, 1);
  const auto none = made.values(ScoreKind::retrieval)[0];
  EXPECT_EQ(none.reason, "no prompt has values");
}

}  // namespace
}  // namespace isobit
