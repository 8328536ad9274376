// Axis model: whose weights, whose tokens. A value is a model's word, named by the last component
// of its path, or a merged model (harness/merged.h), whose text has the last component of each of
// its words. The word is the setting; whoever loads models reads it, so there is nothing to apply.
#include "harness/axes/axes.h"
#include "harness/axes/parse.h"
#include "harness/merged.h"
#include "runtime/base/option_text.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr const char* kBase = "base:";

std::string store_text(const TaskStore& store) {
  const std::string bits = std::to_string(store.bits);
  switch (store.kind) {
    case TaskStore::Kind::none:
      break;
    case TaskStore::Kind::tvq:
      return "(tvq:" + bits + ")";
    case TaskStore::Kind::rtn:
      return "(rtn:" + bits + ")";
    case TaskStore::Kind::rtvq:
      return "(rtvq:" + std::to_string(store.base_bits) + "/" + bits + ")";
  }
  return "";
}

/// "base:B+merge:(arithmetic:0.4)+store:(rtvq:3/2)+tasks:/a/b"
AxisValue merged_value(const MergedModel& merged) {
  std::map<std::string, std::string> args{{"base", escaped(last_component(merged.base))}};
  std::vector<std::string> tasks;
  for (const std::string& task : merged.tasks) tasks.push_back(last_component(task));
  if (!tasks.empty()) args["tasks"] = list_text(tasks);
  if (merged.scale != 0) args["merge"] = "(arithmetic:" + shortest_decimals(merged.scale) + ")";
  if (const std::string store = store_text(merged.store); !store.empty()) args["store"] = store;
  AxisValue value = axes::map_value(args, "", text_of(merged));
  value.head = value.text;
  return value;
}

Error bad_text(const std::string& text) {
  return {"unknown value " + in_quotes(text) +
              " for axis model; a merged model is a map of base, tasks, merge and store",
          ""};
}

/// "(tvq:2)" or "(rtvq:3/2)".
bool read_store(const std::string& text, TaskStore& out) {
  const auto pairs = option_pairs(without_parentheses(text));
  if (pairs.size() != 1) return false;
  const auto& [kind, bits] = pairs.front();
  const std::size_t slash = bits.find('/');
  const bool shared = kind == "rtvq";
  if (shared != (slash != std::string::npos)) return false;
  std::int64_t own = 0, base = 0;
  const std::string last = shared ? bits.substr(slash + 1) : bits;
  if (!parse_integer(last, 1, kMostTaskBits, own)) return false;
  if (shared && !parse_integer(bits.substr(0, slash), 1, kMostTaskBits, base)) return false;
  if (!shared && kind != "tvq" && kind != "rtn") return false;
  out.kind = shared          ? TaskStore::Kind::rtvq
             : kind == "tvq" ? TaskStore::Kind::tvq
                             : TaskStore::Kind::rtn;
  out.bits = int(own), out.base_bits = int(base);
  return true;
}

/// The canonical text back: its words have no folders any more.
Result<AxisValue> read_merged(const std::string& text) {
  MergedModel merged;
  std::map<std::string, int> seen;
  for (const auto& [key, value] : option_pairs(text)) {
    const std::string inner = without_parentheses(value);
    bool fine = ++seen[key] == 1;
    if (key == "base") {
      merged.base = unescaped(value);
    } else if (key == "tasks") {
      merged.tasks = list_of(value);
      fine = fine && list_text(merged.tasks) == value;
    } else if (key == "merge") {
      const auto pairs = option_pairs(inner);
      fine = fine && pairs.size() == 1 && pairs.front().first == "arithmetic" &&
             parse_real(pairs.front().second, merged.scale);
    } else {
      fine = fine && key == "store" && read_store(value, merged.store);
    }
    if (!fine) return bad_text(text);
  }
  const MergedProblem problem = check(merged);
  if (!problem.message.empty()) return Error{"model: " + problem.key + " " + problem.message, ""};
  return merged_value(merged);
}

/// A pair of a merged model, which leaves the others open.
bool is_open(const std::string& text) {
  return text.starts_with("merge:") || text.starts_with("store:") || text.starts_with("tasks:");
}

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  const std::string text = axes::text_of(raw);
  if (is_merged(text)) {
    const auto merged = parse_merged(text);
    ISOBIT_TRY(merged);
    return merged_value(*merged);
  }
  if (use == ValueUse::pattern && is_open(text)) return axes::scalar_value(text, {});
  if (!raw.pairs.empty() || text.starts_with(kBase)) return read_merged(text);
  const std::string name = last_component(text);
  const bool bad = is_merged(name) || name.starts_with(kBase) || is_open(name);
  if (bad || !is_one_line(text)) return bad_text(text);
  return model_value(text);
}

void apply(const AxisValue&, GenerateRequest&) {}

}  // namespace

AxisValue model_value(const std::string& word) {
  const auto merged = is_merged(word) ? parse_merged(word) : Result<MergedModel>(Error{});
  if (merged) return merged_value(*merged);
  const std::string name = last_component(word);
  return {name, {}, name, word};
}

Axis model_axis() {
  Axis axis{"model",
            "",
            "a manifest's name | a folder | a .gguf file | {base: model, tasks: […], merge: …, "
            "store: …}",
            AxisKind::computation,
            false,
            {},
            parse,
            axes::never,
            apply};
  axis.own_lines = true;
  return axis;
}

}  // namespace isobit
