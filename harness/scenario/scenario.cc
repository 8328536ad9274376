// Scenario file -> tree -> Scenario. The one file that includes yaml-cpp.
//
// yaml-cpp throws and, on hostile input, recurses and copies aliases without end. So its event
// interface is used (no YAML::Node): size, depth and node count are bounded while parsing, aliases
// are refused, and every exception ends here as an Error with its place.
#include "harness/scenario/scenario.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <exception>
#include <sstream>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "harness/scenario/tree.h"
#include "runtime/base/file.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr std::size_t kLargestFile = 1 << 20;
constexpr const char* kTooLarge = "larger than 1 MiB: not a scenario";
constexpr std::size_t kDeepestNesting = 24;
constexpr std::size_t kMostNodes = 100000;

/// Thrown through yaml-cpp by the builder below, caught in parse_tree.
struct Refused {
  YAML::Mark mark;
  std::string message;
};

/// Builds a TreeNode from events. Containers under construction are on a stack of values.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& text, int origin) : text_(text), origin_(origin) {
    for (std::size_t i = 0; i < text.size(); ++i)
      if (text[i] == '\n') line_starts_.push_back(i + 1);
  }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(node(mark, TreeNode::Kind::null, "", anchor));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refused{mark, "aliases (*name) are not allowed; write the value out"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    TreeNode scalar = node(mark, TreeNode::Kind::scalar, tag, anchor);
    scalar.text = value;
    scalar.plain = tag != "!";
    if (!scalar.plain) check_closed(mark);
    add(std::move(scalar));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, node(mark, TreeNode::Kind::list, tag, anchor));
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, node(mark, TreeNode::Kind::map, tag, anchor));
  }
  void OnMapEnd() override { close(); }

  /// An empty document gives a null node.
  TreeNode take() { return std::move(root_); }

 private:
  TreeNode node(const YAML::Mark& mark, TreeNode::Kind kind, const std::string& tag,
                YAML::anchor_t anchor) {
    if (anchor != 0) throw Refused{mark, "anchors (&name) are not allowed; write the value out"};
    if (!tag.empty() && tag != "?" && tag != "!")
      throw Refused{mark, "tags are not allowed: " + in_quotes(tag)};
    if (++nodes_ > kMostNodes) throw Refused{mark, "the scenario has too many values"};
    TreeNode made;
    made.kind = kind;
    made.line = mark.line + 1;
    made.column = mark.column + 1;
    made.origin = origin_;
    return made;
  }

  void open(const YAML::Mark& mark, TreeNode container) {
    if (stack_.size() >= kDeepestNesting) throw Refused{mark, "the YAML is nested too deeply"};
    stack_.push_back(std::move(container));
    lines_of_keys_.emplace_back();
    waiting_for_value_.push_back(false);
  }

  void close() {
    TreeNode done = std::move(stack_.back());
    stack_.pop_back();
    lines_of_keys_.pop_back();
    waiting_for_value_.pop_back();
    add(std::move(done));
  }

  void add(TreeNode value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return;
    }
    TreeNode& parent = stack_.back();
    const bool is_key = parent.kind == TreeNode::Kind::map && !waiting_for_value_.back();
    if (is_key) check_key(value);
    if (!is_key && value.kind == TreeNode::Kind::null && !parent.keys.empty()) {
      value.line = parent.keys.back().line;  // yaml-cpp marks an absent value somewhere behind
      value.column = parent.keys.back().column;
    }
    (is_key ? parent.keys : parent.items).push_back(std::move(value));
    waiting_for_value_.back() = is_key;
  }

  void check_key(const TreeNode& key) {
    YAML::Mark mark;
    mark.line = key.line - 1;
    mark.column = key.column - 1;
    if (key.kind != TreeNode::Kind::scalar) throw Refused{mark, "a key must be a plain word"};
    const auto [earlier, fresh] = lines_of_keys_.back().emplace(key.text, key.line);
    if (!fresh)
      throw Refused{mark, "duplicate key " + in_quotes(key.text) + "; first in line " +
                              std::to_string(earlier->second)};
  }

  /// yaml-cpp takes a quote that the end of the file closes.
  void check_closed(const YAML::Mark& mark) const {
    const auto line = static_cast<std::size_t>(mark.line);
    if (line >= line_starts_.size()) return;
    std::size_t i = line_starts_[line] + static_cast<std::size_t>(mark.column);
    const char quote = i < text_.size() ? text_[i] : '\0';
    if (quote != '\'' && quote != '"') return;
    for (++i; i < text_.size(); ++i) {
      const bool doubled = quote == '\'' && text_.compare(i, 2, "''") == 0;
      if (doubled || (quote == '"' && text_[i] == '\\'))
        ++i;
      else if (text_[i] == quote)
        return;
    }
    throw Refused{mark, "malformed YAML: the quote is not closed"};
  }

  const std::string& text_;
  std::vector<std::size_t> line_starts_ = {0};
  int origin_;
  std::size_t nodes_ = 0;
  TreeNode root_;
  std::vector<TreeNode> stack_;
  std::vector<std::unordered_map<std::string, int>> lines_of_keys_;  // of the maps on the stack
  std::vector<bool> waiting_for_value_;                              // a map has its key
};

bool line_has_tab(const std::string& text, int line) {
  std::istringstream stream(text);
  std::string content;
  for (int i = 0; i <= line && std::getline(stream, content);) ++i;
  return content.find('\t') != std::string::npos;
}

/// The one document of `text`; `origin` says where it stands (TreeNode).
Result<TreeNode> parse_tree(const Tree& tree, const std::string& text, int origin) {
  const auto error_at = [&](int line, int column, const std::string& message) {
    TreeNode at;
    at.origin = origin;
    at.line = std::max(line, 0) + 1;
    at.column = std::max(column, 0) + 1;
    return Error{message, tree.place(at)};
  };
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    TreeBuilder builder(text, origin);
    parser.HandleNextDocument(builder);
    TreeBuilder second(text, origin);
    if (!parser.HandleNextDocument(second)) return builder.take();
    const TreeNode extra = second.take();
    return Error{"a second document; one file, one question", tree.place(extra)};
  } catch (const Refused& refused) {
    return error_at(refused.mark.line, refused.mark.column, refused.message);
  } catch (const YAML::Exception& exception) {
    const bool tab = line_has_tab(text, exception.mark.line);
    return error_at(exception.mark.line, exception.mark.column,
                    "malformed YAML: " + exception.msg + (tab ? "; YAML allows no tabs" : ""));
  } catch (const std::exception& exception) {
    return error_at(0, 0, std::string("malformed YAML: ") + exception.what());
  }
}

/// `prompts: FILE` is short for `prompts: {file: FILE}`: what is set below it needs the long form.
void spell_out_prompts(Tree& tree) {
  for (std::size_t i = 0; i < tree.root.keys.size(); ++i) {
    TreeNode& node = tree.root.items[i];
    if (tree.root.keys[i].text != "prompts" || node.kind != TreeNode::Kind::scalar) continue;
    TreeNode map = node;
    map.kind = TreeNode::Kind::map;
    map.text.clear();
    TreeNode key = node;
    key.text = "file";
    key.plain = true;
    map.keys = {key};
    map.items = {node};
    node = map;
  }
}

/// "path=YAML value" on the tree.
Result<void> apply_override(Tree& tree, int index) {
  const std::string text = tree.overrides[static_cast<std::size_t>(index)];
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return Error{"expected path=value, e.g. axes.batch=[1,2]", "--set " + text};
  auto value = parse_tree(tree, text.substr(equals + 1), index);
  ISOBIT_TRY(value);
  if (tree.root.kind == TreeNode::Kind::null) tree.root.kind = TreeNode::Kind::map;
  if (text.rfind("prompts.", 0) == 0) spell_out_prompts(tree);
  return set_path(tree, index, text.substr(0, equals), value.value());
}

}  // namespace

Result<Scenario> parse_scenario(const std::string& text, const std::string& path,
                                const std::vector<std::string>& overrides) {
  if (text.size() > kLargestFile) return Error{kTooLarge, path};
  const std::size_t zero = text.find('\0');
  if (zero != std::string::npos)
    return Error{"a zero byte: not a YAML text", path + ": byte " + std::to_string(zero)};
  Tree tree{path, overrides, {}};
  auto root = parse_tree(tree, text, -1);
  ISOBIT_TRY(root);
  tree.root = std::move(root.value());
  for (std::size_t i = 0; i < overrides.size(); ++i) {
    auto applied = apply_override(tree, static_cast<int>(i));
    ISOBIT_TRY(applied);
  }
  auto scenario = read_scenario(tree);
  ISOBIT_TRY(scenario);
  scenario->path = path;
  scenario->text = text;
  scenario->overrides = overrides;
  return scenario;
}

Result<Scenario> load_scenario(const std::string& path, const std::vector<std::string>& overrides) {
  const auto text = read_file(path, kLargestFile, kTooLarge);
  ISOBIT_TRY(text);
  return parse_scenario(*text, path, overrides);
}

std::vector<const AxisValue*> values_on(const Scenario& scenario, const std::string& axis) {
  std::vector<const AxisValue*> out;
  const auto add = [&](const auto& lists) {
    for (const auto& [name, values] : lists) {
      if (name != axis) continue;
      for (const AxisValue& value : values) out.push_back(&value);
    }
  };
  add(scenario.axes);
  for (const auto& group : scenario.zip) add(group);
  for (const auto& entry : scenario.include) add(entry);
  return out;
}

std::vector<std::string> value_texts(const Scenario& scenario, const std::string& axis) {
  std::vector<std::string> texts;
  for (const AxisValue* value : values_on(scenario, axis)) texts.push_back(value->text);
  return texts;
}

AxisPoint defaults_of(const Scenario& scenario) {
  AxisPoint out;
  for (const Axis& axis : all_axes()) out.emplace(axis.name, usual_value(axis.name));
  if (!scenario.model.empty()) out["model"] = model_value(scenario.model);
  const Decode& decode = scenario.decode;
  if (decode.strategy == "sample") {
    out["decode"] = decode_value({decode.temperature, decode.top_k, decode.top_p, decode.seed, 0});
  }
  return out;
}

std::vector<AxisValue> models_of(const Scenario& scenario) {
  std::vector<AxisValue> out;
  for (const AxisValue* value : values_on(scenario, "model")) {
    const auto same = [&](const AxisValue& known) { return known == *value; };
    if (std::none_of(out.begin(), out.end(), same)) out.push_back(*value);
  }
  if (out.empty()) out.push_back(model_value(scenario.model));
  return out;
}

}  // namespace isobit
