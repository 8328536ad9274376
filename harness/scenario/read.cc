// Tree -> Scenario: every key, type and range of scenarios/SCHEMA.md is checked here.
//
// The reader keeps the first error (scenario/tree.h) and goes on with defaults, so that the code
// below reads as the schema does.
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/axes/axes.h"
#include "harness/scenario/ensembles.h"
#include "harness/scenario/scores.h"
#include "harness/scenario/tree.h"
#include "runtime/base/option_text.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

using Values = std::vector<AxisValue>;
using AxisLists = std::map<std::string, Values>;
using Kind = TreeNode::Kind;

const std::vector<std::string> kTopKeys = {
    "version",    "name",   "question", "model",     "prompts",    "decode",
    "axes",       "zip",    "exclude",  "include",   "requires",   "observe",
    "expect",     "xfail",  "tags",     "max_cells", "time_limit", "pairwise",
    "min_tokens", "golden", "cost",     "measure",   "ensemble",   "score"};
/// What a cell can require: hardware, an instruction set, or that an engine can run here.
std::vector<std::string> requirements_known() {
  std::vector<std::string> out = {"gpu", "nccl", "mpi", "real", "avx2", "avx512", "neon"};
  for (const EngineEntry& row : engine_entries()) {
    if (!row.deterministic) out.push_back(row.name);
  }
  return out;
}

/// "--set include=[]": as if the key were not there.
bool taken_away(const TreeNode& node) {
  return node.origin >= 0 && node.kind == TreeNode::Kind::list && node.items.empty();
}

class Reader : private NodeReader {
 public:
  using NodeReader::NodeReader;
  Result<Scenario> read();

 private:
  // Parts of the schema, one function each.
  void find_operation(const TreeNode& key, const TreeNode& node);
  void top(const std::string& key, const TreeNode& node);
  void contract(const std::string& key, const TreeNode& node);
  void name(const TreeNode& node);
  void prompts(const TreeNode& node);
  void decode(const TreeNode& node);
  void decode_option(const std::string& key, const TreeNode& node);
  void axes(const TreeNode& node);
  void zip(const TreeNode& node);
  void pairwise(const TreeNode& node);
  std::vector<AxisLists> patterns(const TreeNode& node, const std::string& what, ValueUse use);
  AxisValue value(const std::string& axis, const TreeNode& node, ValueUse use);
  Values values(const std::string& axis, const TreeNode& node, ValueUse use);
  std::string requirement(const TreeNode& node);
  void requirements(const TreeNode& node);
  void expectation(const TreeNode& node);
  void bounds(const std::string& key, const TreeNode& node, Expectation& rule);
  void check_rule(const TreeNode& node, const TreeNode& body, const Expectation& rule);
  void expected_failure(const TreeNode& node);
  void golden(const TreeNode& node);
  void check_axes_and_keys();
  void check_seeds();
  void finish();

  Scenario scenario_;
  std::set<std::string> varied_;              // axes of `axes` and `zip`
  std::vector<const TreeNode*> per_;          // pairwise.per
  const TreeNode* teacher_forced_ = nullptr;  // decode.teacher_forced
  const TreeNode* decode_seed_ = nullptr;     // decode.seed
  const TreeNode* short_form_ = nullptr;      // first key of decode that is of the axis decode
  const TreeNode* model_key_ = nullptr;
  std::map<std::string, const TreeNode*> first_;  // of the axes: first value of each
};

Result<Scenario> Reader::read() {
  const TreeNode& root = tree_.root;
  if (root.kind == Kind::null) return Error{"the scenario is empty", tree_.place(root)};
  if (!map(root, "the scenario", kTopKeys)) return *error_;
  for (std::size_t i = 0; i < root.keys.size(); ++i) find_operation(root.keys[i], root.items[i]);
  for (std::size_t i = 0; i < root.keys.size(); ++i) {
    refuse_key(root.keys[i]);
    if (taken_away(root.items[i])) continue;
    top(root.keys[i].text, root.items[i]);
  }
  finish();
  for (const char* key : {"version", "name", "model", "prompts"}) {
    if (operation_ != OperationKind::none && key == std::string("prompts")) continue;
    if (key == std::string("model") && first_.count(key) != 0) continue;
    bool named = false;
    for (std::size_t i = 0; i < root.keys.size(); ++i) {
      named = named || (root.keys[i].text == key && !taken_away(root.items[i]));
    }
    if (!named) fail(root, std::string("the key \"") + key + "\" is missing");
  }
  if (error_) return *error_;
  return std::move(scenario_);
}

/// Known before any other key is read: it decides which axes there are.
void Reader::find_operation(const TreeNode& key, const TreeNode& node) {
  if (key.text != "model" || !is_operation(node)) return;
  scenario_.operation = operation(node);
  operation_ = scenario_.operation.kind;
  scenario_.model = std::string("operation ") + name_of(operation_);
}

void Reader::top(const std::string& key, const TreeNode& node) {
  constexpr std::int64_t kMostCells = 1000000;
  constexpr double kLongestCell = 1e6;
  if (key == "version") {
    scenario_.version = integer(node, "version", INT64_MIN, INT64_MAX);
    if (scenario_.version != 1)
      fail(node, "version " + std::to_string(scenario_.version) + " is not known; this is 1");
  }
  if (key == "name") name(node);
  if (key == "question") scenario_.question = word(node, "question");
  if (key == "model") model_key_ = &node;
  if (key == "model" && operation_ == OperationKind::none) scenario_.model = model(node);
  if (key == "prompts") prompts(node);
  if (key == "decode") decode(node);
  if (key == "axes") axes(node);
  if (key == "zip") zip(node);
  if (key == "exclude") scenario_.exclude = patterns(node, "exclude", ValueUse::pattern);
  if (key == "include") scenario_.include = patterns(node, "include", ValueUse::exact);
  if (key == "max_cells") scenario_.max_cells = integer(node, "max_cells", 1, kMostCells);
  if (key == "min_tokens") scenario_.min_tokens = integer(node, "min_tokens", 1, kMostCells);
  if (key == "time_limit") scenario_.cell_seconds = number(node, "time_limit", 0.001, kLongestCell);
  if (key == "pairwise") pairwise(node);
  if (key == "cost") scenario_.cost = boolean(node, "cost");
  contract(key, node);
}

void Reader::contract(const std::string& key, const TreeNode& node) {
  if (key == "requires") requirements(node);
  if (key == "observe" && !error_) error_ = read_observe(tree_, node, scenario_);
  if (key == "golden") golden(node);
  if (key == "expect")
    for (const TreeNode& item : list(node, "expect")) expectation(item);
  if (key == "measure" && !error_) error_ = read_measures(tree_, node, scenario_.measures);
  if (key == "ensemble" && !error_) error_ = read_ensembles(tree_, node, scenario_.expect);
  if (key == "score" && !error_) error_ = read_scores(tree_, node, scenario_.scores);
  if (key == "xfail")
    for (const TreeNode& item : list(node, "xfail")) expected_failure(item);
  if (key != "tags") return;
  for (const TreeNode& item : list(node, "tags")) {
    const std::string tag = word(item, "a tag");
    if (std::count(scenario_.tags.begin(), scenario_.tags.end(), tag))
      fail(item, "tag " + in_quotes(tag) + " is given twice");
    scenario_.tags.push_back(tag);
  }
}

void Reader::name(const TreeNode& node) {
  scenario_.name = word(node, "name");
  const auto allowed = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  const bool good = std::all_of(scenario_.name.begin(), scenario_.name.end(), allowed);
  constexpr std::size_t kLongestName = 100;
  if (!good || scenario_.name[0] == '.' || scenario_.name.size() > kLongestName)
    fail(node, "name " + in_quotes(scenario_.name) +
                   " must be letters, digits, - _ and . (it names a golden file)");
}

void Reader::prompts(const TreeNode& node) {
  PromptSelection& selection = scenario_.prompts;
  if (node.kind != Kind::map) {
    selection.file = word(node, "prompts");
    return;
  }
  map(node, "prompts", {"file", "skip", "take", "pad_to", "raw"});
  for (std::size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& key = node.keys[i].text;
    const TreeNode& item = node.items[i];
    if (key == "file") selection.file = word(item, "file");
    if (key == "skip") selection.skip = integer(item, "skip", 0, 1 << 30);
    if (key == "take") selection.take = integer(item, "take", 1, 1 << 30);
    if (key == "raw") selection.raw = boolean(item, "raw");
    if (key == "pad_to") selection.pad_to = integer(item, "pad_to", 1, 1 << 24);
  }
  if (selection.file.empty()) fail(node, "prompts needs a file");
}

void Reader::decode(const TreeNode& node) {
  map(node, "decode",
      {"strategy", "max_new_tokens", "ignore_eos", "temperature", "top_k", "top_p", "seed",
       "teacher_forced"});
  if (node.kind != Kind::map) return;
  for (std::size_t i = 0; i < node.keys.size(); ++i)
    decode_option(node.keys[i].text, node.items[i]);
  for (const TreeNode& key : node.keys) {
    const bool other =
        key.text == "max_new_tokens" || key.text == "ignore_eos" || key.text == "teacher_forced";
    if (!other && short_form_ == nullptr) short_form_ = &key;
  }
  if (scenario_.decode.strategy != "greedy") return;
  for (const TreeNode& key : node.keys)
    for (const char* sampled : {"temperature", "top_k", "top_p", "seed"})
      if (key.text == sampled)
        fail(key,
             in_quotes(key.text) + " has no meaning with strategy greedy; add strategy: sample");
}

void Reader::decode_option(const std::string& key, const TreeNode& node) {
  Decode& decode = scenario_.decode;
  if (key == "strategy") decode.strategy = choice(node, "strategy", {"greedy", "sample"});
  if (key == "max_new_tokens") decode.max_new_tokens = integer(node, key, 1, 1 << 20);
  if (key == "ignore_eos") decode.ignore_eos = boolean(node, key);
  if (key == "temperature") {
    decode.temperature = number(node, key, 0, 1000);
    if (decode.temperature > 0 && decode.temperature < kLeastTemperature)
      fail(node,
           "temperature " + in_quotes(node.text) +
               " is above 0 and below 1e-30, where logits divided by it overflow; 0 is greedy");
  }
  if (key == "top_k") decode.top_k = integer(node, key, 0, 1 << 30);
  if (key == "top_p") {
    decode.top_p = number(node, key, 0, 1);
    if (decode.top_p == 0) fail(node, "top_p must be above 0, up to 1; 0 would be greedy");
  }
  if (key == "seed") decode_seed_ = &node;
  if (key == "seed") decode.seed = static_cast<std::uint64_t>(integer(node, key, 0, INT64_MAX));
  if (key != "teacher_forced") return;
  const bool given = node.text == "answer" || node.text == "continuation";
  if (given || boolean(node, key)) teacher_forced_ = &node;
}

void Reader::axes(const TreeNode& node) {
  if (!map(node, "axes", {})) return;
  for (std::size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& axis = node.keys[i].text;
    if (!known_axis(node.keys[i])) continue;
    if (!varied_.insert(axis).second) fail(node.keys[i], "axis " + axis + " is in zip already");
    if (node.items[i].kind != Kind::list) {
      fail(node.items[i],
           "axis " + axis + " must be a list, e.g. [" + usual_value(axis).text + "]");
      continue;
    }
    scenario_.axes.emplace_back(axis, values(axis, node.items[i], ValueUse::exact));
  }
}

void Reader::zip(const TreeNode& node) {
  for (const TreeNode& group : list(node, "zip")) {
    if (!map(group, "a zip group", {})) continue;
    AxisLists columns;
    for (std::size_t i = 0; i < group.keys.size(); ++i) {
      const std::string& axis = group.keys[i].text;
      if (!known_axis(group.keys[i])) continue;
      if (!varied_.insert(axis).second)
        fail(group.keys[i], "axis " + axis + " is given twice, in axes or zip");
      // In lock-step a value may come again: no check for duplicates.
      for (const TreeNode& item : list(group.items[i], "axis " + axis))
        columns[axis].push_back(value(axis, item, ValueUse::exact));
      const std::size_t length = columns[axis].size(), first = group.items[0].items.size();
      if (length != first)
        fail(group.keys[i], "zip needs equally long lists: " + axis + " has " +
                                std::to_string(length) + " values, " + group.keys[0].text +
                                " has " + std::to_string(first));
    }
    scenario_.zip.push_back(columns);
  }
}

/// true, false or {per: [axes]}.
void Reader::pairwise(const TreeNode& node) {
  if (node.kind != Kind::map) {
    scenario_.pairwise = boolean(node, "pairwise");
    return;
  }
  scenario_.pairwise = map(node, "pairwise", {"per"});
  if (error_) return;
  for (const TreeNode& axis : list(node.items[0], "per"))
    if (is(axis, Kind::scalar, "an axis of per") && known_axis(axis)) per_.push_back(&axis);
}

/// exclude and include: a list of maps axis -> value or list of values.
std::vector<AxisLists> Reader::patterns(const TreeNode& node, const std::string& what,
                                        ValueUse use) {
  std::vector<AxisLists> out;
  for (const TreeNode& entry : list(node, what)) {
    if (!map(entry, "an entry of " + what, {})) continue;
    AxisLists pattern;
    for (std::size_t i = 0; i < entry.keys.size(); ++i) {
      const std::string& axis = entry.keys[i].text;
      if (known_axis(entry.keys[i])) pattern[axis] = values(axis, entry.items[i], use);
    }
    out.push_back(pattern);
  }
  return out;
}

/// A list of different values, or one value.
Values Reader::values(const std::string& axis, const TreeNode& node, ValueUse use) {
  if (node.kind != Kind::list) return {value(axis, node, use)};
  Values out;
  std::set<std::string> seen;
  for (const TreeNode& item : list(node, "axis " + axis)) {
    out.push_back(value(axis, item, use));
    if (!seen.insert(out.back().text).second)
      fail(item, "value " + in_quotes(out.back().text) + " is twice in axis " + axis +
                     (axis == "model" ? "; a model's name is the last component of its path" : ""));
  }
  return out;
}

AxisValue Reader::value(const std::string& axis, const TreeNode& node, ValueUse use) {
  if (use == ValueUse::exact || axis == "seed") first_.emplace(axis, &node);
  return axis_value_of(axis, node, use);
}

/// A word that somebody can enforce; a typing error would otherwise guard nothing.
std::string Reader::requirement(const TreeNode& node) {
  const std::vector<std::string> known = requirements_known();
  const std::string what = word(node, "requirement");
  if (error_ || std::find(known.begin(), known.end(), what) != known.end()) return what;
  fail(node, "nobody can enforce the requirement " + in_quotes(what) + among_known(what, known));
  return what;
}

void Reader::requirements(const TreeNode& node) {
  if (node.kind != Kind::map) {
    fail(node, "requires must be a map of an axis or a value to what it needs, e.g. {cuda: gpu}");
  }
  if (!map(node, "requires", {})) return;
  std::vector<std::string> subjects = axis_names();
  for (const std::string& head : value_words()) subjects.push_back(head);
  for (std::size_t i = 0; i < node.keys.size(); ++i) {
    const TreeNode& key = node.keys[i];
    if (std::find(subjects.begin(), subjects.end(), key.text) == subjects.end())
      fail(key, "requires: " + in_quotes(key.text) + " is neither an axis nor a value of one" +
                    (nearest(key.text, subjects).empty() ? "" : did_you_mean(key.text, subjects)));
    if (find_axis(key.text) != nullptr) belongs(key.text, key);
    const TreeNode& what = node.items[i];
    const bool many = what.kind == Kind::list;
    for (const TreeNode& item : many ? list(what, "requires") : std::vector<TreeNode>{what})
      scenario_.requirements.push_back({key.text, requirement(item), tree_.place(key)});
  }
}

/// {same_bits: {…}} and its siblings.
void Reader::expectation(const TreeNode& node) {
  static const std::vector<std::string> kKinds = {"same_bits",  "within",  "differ",
                                                  "differ_all", "measure", "score"};
  if (!map(node, "a rule of expect", kKinds)) return;
  if (node.keys.size() != 1)
    fail(node.keys.back(), "one rule an entry; start this one with \"- \"");
  Expectation rule;
  const auto kind = std::find(kKinds.begin(), kKinds.end(), node.keys[0].text);
  if (kind == kKinds.end()) return;
  rule.place = tree_.place(node.keys[0]);
  const TreeNode& body = node.items[0];
  if (*kind == "score" && !error_) {
    error_ = read_score_rule(tree_, body, rule);
    scenario_.expect.push_back(rule);
    return;
  }
  rule.kind = static_cast<Expectation::Kind>(kind - kKinds.begin());
  std::vector<std::string> known = {"where", "across"};
  if (rule.kind == Expectation::Kind::within)
    known.insert(known.end(), {"token_match", "max_kl", "max_abs", "max_ulp"});
  else if (rule.kind != Expectation::Kind::measure)
    known.emplace_back("of");
  if (!map(body, *kind, known)) return;
  for (std::size_t i = 0; i < body.keys.size(); ++i) {
    const std::string& key = body.keys[i].text;
    if (key == "where") rule.where = where(body.items[i]);
    if (key == "across") rule.across = axis_list(body.items[i], "across");
    if (key == "of") {
      rule.of = evidence_named(choice(body.items[i], "of", {"logits", "logprobs", "tokens"}));
    }
    bounds(key, body.items[i], rule);
  }
  check_rule(node, body, rule);
  scenario_.expect.push_back(rule);
}

void Reader::bounds(const std::string& key, const TreeNode& node, Expectation& rule) {
  constexpr double kAny = 1e300;
  if (key == "token_match") rule.token_match = number(node, key, 0, 1);
  if (key == "max_kl") rule.max_kl = number(node, key, 0, kAny);
  if (key == "max_abs") rule.max_abs = number(node, key, 0, kAny);
  if (key == "max_ulp") rule.max_ulp = integer(node, key, 0, INT64_MAX);
}

void Reader::check_rule(const TreeNode& node, const TreeNode& body, const Expectation& rule) {
  if (rule.across.empty())
    fail(node.keys[0], node.keys[0].text + " needs across: the axes it ranges over");
  const bool bounded = rule.token_match || rule.max_kl || rule.max_abs || rule.max_ulp;
  if (rule.kind == Expectation::Kind::within && !bounded)
    fail(body, "within needs a bound: token_match, max_kl, max_abs or max_ulp");
}

void Reader::expected_failure(const TreeNode& node) {
  if (!map(node, "an entry of xfail", {"where", "verdict", "reason", "until"})) return;
  ExpectedFailure expected;
  expected.place = tree_.place(node);
  for (std::size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& key = node.keys[i].text;
    if (key == "where") expected.where = where(node.items[i]);
    if (key == "reason") expected.reason = word(node.items[i], "reason");
    if (key == "verdict") {
      expected.verdict = choice(node.items[i], "verdict", {"DIFF", "NONDET", "MISTRUSTED"});
    }
    if (key == "until") expected.until = date(node.items[i], "until");
  }
  if (expected.where.empty()) fail(node, "an entry of xfail needs where");
  if (expected.reason.empty()) fail(node, "an entry of xfail needs a reason");
  scenario_.xfail.push_back(expected);
}

void Reader::golden(const TreeNode& node) {
  GoldenChoice& choice_of = scenario_.golden;
  choice_of.place = tree_.place(node);
  if (node.kind != Kind::map) {
    choice_of.none = choice(node, "golden", {"all", "none"}) == "none";
    return;
  }
  if (!map(node, "golden", {"where"})) return;
  for (const TreeNode& item : node.items) choice_of.where = where(item);
  if (choice_of.where.empty()) fail(node, "a map of golden needs where");
}

/// What a key says is not said by an axis as well.
void Reader::check_axes_and_keys() {
  if (short_form_ != nullptr && first_.count("decode") != 0) {
    fail(*short_form_, "decode is an axis already; its values say " + in_quotes(short_form_->text) +
                           ", under the key decode stand max_new_tokens and ignore_eos");
  }
  if (model_key_ != nullptr && first_.count("model") != 0) {
    fail(*model_key_, "model is an axis already; give it in one place");
  }
}

/// The axis seed draws samples: it has a meaning with sampling alone, and it is the option seed.
void Reader::check_seeds() {
  if (operation_ != OperationKind::none) return;  // there it seeds the operands
  const bool has_seeds = first_.count("seed") != 0;
  bool samples = scenario_.decode.strategy != "greedy";
  for (const AxisValue* value : values_on(scenario_, "decode")) samples |= value->text != "greedy";
  if (has_seeds && !samples)
    fail(*first_.at("seed"),
         "axis seed has no meaning with strategy greedy; add decode: {strategy: sample}");
  if (has_seeds && decode_seed_ != nullptr)
    fail(*decode_seed_, "seed is an axis already; give it in one place");
  if (!error_) error_ = check_draws(scenario_, has_seeds);
}

/// What needs the whole file. decode.teacher_forced is the axis with one value.
void Reader::finish() {
  for (const TreeNode* axis : per_) {
    if (!varied_.count(axis->text))
      fail(*axis, "axis " + axis->text + " of per is neither in axes nor in zip");
    scenario_.pairwise_per.push_back(axis->text);
  }
  if (scenario_.golden.none && scenario_.expect.empty() && !error_) {
    error_ = Error{"golden: none, and expect has no rule: nothing would be compared",
                   scenario_.golden.place};
  }
  check_axes_and_keys();
  check_seeds();
  if (!error_) error_ = check_model_names(scenario_);
  if (!error_) error_ = check_measures(scenario_);
  if (!error_) add_scores_of_rules(scenario_);
  if (operation_ != OperationKind::none && !error_) error_ = check_operation(scenario_);
  if (teacher_forced_ == nullptr) return;
  if (!varied_.insert("teacher_forced").second)
    fail(*teacher_forced_, "teacher_forced is an axis already; give it in one place");
  scenario_.axes.emplace_back("teacher_forced",
                              Values{*axis_value("teacher_forced", teacher_forced_->text)});
}

}  // namespace

Result<Scenario> read_scenario(const Tree& tree) {
  return Reader(tree).read();
}

}  // namespace isobit
