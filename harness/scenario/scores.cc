// The key `score`: which scores of which options; and a rule of the contract that bounds one.
#include "harness/scenario/scores.h"

#include <algorithm>

namespace isobit {
namespace {

class ScoreReader : private NodeReader {
 public:
  using NodeReader::NodeReader;

  std::optional<Error> read(const TreeNode& node, std::vector<ScoreSpec>& out) {
    for (const TreeNode& item : list(node, "score")) {
      const ScoreSpec spec = entry(item);
      if (error_) break;
      const bool twice = std::any_of(
          out.begin(), out.end(), [&](const ScoreSpec& other) { return other.kind == spec.kind; });
      if (twice) fail(item, std::string("score ") + name_of(spec.kind) + " is given twice");
      out.push_back(spec);
    }
    return error_;
  }

  std::optional<Error> rule(const TreeNode& node, Expectation& out) {
    out.kind = Expectation::Kind::score;
    const std::vector<std::string> keys = {"of", "across", "where", "min", "max", "drop", "rise"};
    if (!map(node, "score", keys)) return error_;
    for (std::size_t i = 0; i < node.keys.size(); ++i) {
      const std::string& key = node.keys[i].text;
      const TreeNode& item = node.items[i];
      if (key == "of") out.score = choice(item, "score", score_value_names());
      if (key == "where") out.where = where(item);
      if (key == "across") out.across = axis_list(item, "across");
      bound(key, item, out);
    }
    check(node, out);
    return error_;
  }

 private:
  /// A name, or a map of one name to its options.
  ScoreSpec entry(const TreeNode& node) {
    ScoreSpec out;
    if (node.kind != TreeNode::Kind::map) {
      out.kind = kind(node);
      return out;
    }
    if (!map(node, "a score", {})) return out;
    if (node.keys.size() != 1) fail(node.keys[1], "one score an entry; start this one with \"- \"");
    out.kind = kind(node.keys[0]);
    std::vector<std::string> options;
    if (out.kind == ScoreKind::next_string) options = {"case", "punctuation"};
    if (out.kind == ScoreKind::retrieval) options = {"case"};
    if (options.empty()) fail(node.keys[0], "score " + node.keys[0].text + " has no options");
    const TreeNode& body = node.items[0];
    if (!map(body, node.keys[0].text, options)) return out;
    for (std::size_t i = 0; i < body.keys.size(); ++i) {
      const std::string& key = body.keys[i].text;
      const bool ignored = choice(body.items[i], key, {"exact", "ignore"}) == "ignore";
      (key == "case" ? out.ignore_case : out.ignore_punctuation) = ignored;
    }
    return out;
  }

  ScoreKind kind(const TreeNode& node) {
    const ScoreEntry* entry = find_score(choice(node, "score", score_names()));
    return entry == nullptr ? ScoreKind::answer : entry->kind;
  }

  void bound(const std::string& key, const TreeNode& node, Expectation& rule) {
    constexpr double kAny = 1e300;
    if (key == "min") rule.min = number(node, key, 0, 1);
    if (key == "drop") rule.drop = number(node, key, 0, 1);
    if (key == "max") rule.max = number(node, key, 0, kAny);
    if (key == "rise") rule.rise = number(node, key, 0, kAny);
  }

  void check(const TreeNode& node, const Expectation& rule) {
    const ScoreEntry* entry = find_score(rule.score);
    if (entry == nullptr) {
      fail(node, "a score rule needs of: the name of a score");
      return;
    }
    const bool shares = rule.min || rule.drop, costs = rule.max || rule.rise;
    if (entry->lower && shares)
      fail(node, "of " + rule.score + " less is better; its bounds are max and rise");
    if (!entry->lower && costs)
      fail(node, "of " + rule.score + " more is better; its bounds are min and drop");
    if (!shares && !costs)
      fail(node, std::string("a score rule needs a bound: ") +
                     (entry->lower ? "max or rise" : "min or drop"));
    if (rule.across.empty()) fail(node, "score needs across: the axes it ranges over");
  }
};

}  // namespace

std::optional<Error> read_scores(const Tree& tree, const TreeNode& node,
                                 std::vector<ScoreSpec>& out) {
  return ScoreReader(tree).read(node, out);
}

std::optional<Error> read_score_rule(const Tree& tree, const TreeNode& node, Expectation& out) {
  return ScoreReader(tree).rule(node, out);
}

void add_scores_of_rules(Scenario& scenario) {
  for (const Expectation& rule : scenario.expect) {
    if (rule.kind != Expectation::Kind::score) continue;
    const ScoreKind kind = find_score(rule.score)->kind;
    const auto same = [&](const ScoreSpec& spec) { return spec.kind == kind; };
    if (std::none_of(scenario.scores.begin(), scenario.scores.end(), same)) {
      scenario.scores.push_back({kind, false, false});
    }
  }
}

bool needs_fed_logits(const Scenario& scenario) {
  return std::any_of(scenario.scores.begin(), scenario.scores.end(),
                     [](const ScoreSpec& spec) { return spec.needs_log_p(); });
}

ScoreKind reply_score(const Scenario& scenario) {
  const bool numbers =
      !scenario.scores.empty() && scenario.scores.front().kind == ScoreKind::last_number;
  return numbers ? ScoreKind::last_number : ScoreKind::answer;
}

}  // namespace isobit
