// The text of a merged model, both ways (merged.h).
#include "harness/merged.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/base/text.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

using nlohmann::json;

constexpr std::size_t kLongestText = 1 << 16;
constexpr int kDeepest = 4;

Error bad(const std::string& message) {
  return Error{"merged model: " + message, ""};
}

/// A JSON value without duplicate keys and not nested deeply, or one that is discarded.
json parsed(const std::string& text) {
  std::vector<std::vector<std::string>> keys;
  bool twice = false;
  const auto look = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kDeepest) twice = true;
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key) {
      for (const std::string& key : keys.back()) twice |= key == value.get<std::string>();
      keys.back().push_back(value.get<std::string>());
    }
    return true;
  };
  json value = json::parse(text, look, false);
  return twice ? json(json::value_t::discarded) : value;
}

Result<std::string> word(const json& value, const std::string& what) {
  if (!value.is_string()) return bad(what + " must be a text");
  return value.get<std::string>();
}

Result<int> bits_of(const json& value, const std::string& what) {
  if (!value.is_number_integer()) return bad(what + " must be a whole number of bits");
  const auto bits = value.get<std::int64_t>();
  return bits >= 0 && bits <= kMostTaskBits ? int(bits) : kMostTaskBits + 1;
}

Result<TaskStore> read_store(const json& value) {
  if (value == "none") return TaskStore{};
  const std::vector<std::string> known = {"tvq", "rtvq", "rtn", "none"};
  if (!value.is_object() || value.size() != 1) {
    return bad("store must be none or one of {tvq: b}, {rtvq: [b, b]}, {rtn: b}");
  }
  const std::string kind = value.begin().key();
  const json& what = value.begin().value();
  if (kind == "rtvq") {
    if (!what.is_array() || what.size() != 2) return bad("rtvq must be [bits of base, of offset]");
    const auto base = bits_of(what[0], "rtvq"), offset = bits_of(what[1], "rtvq");
    ISOBIT_TRY(base);
    ISOBIT_TRY(offset);
    return TaskStore{TaskStore::Kind::rtvq, *offset, *base};
  }
  if (kind != "tvq" && kind != "rtn") {
    return bad("unknown store " + in_quotes(kind) + among_known(kind, known));
  }
  const auto bits = bits_of(what, kind);
  ISOBIT_TRY(bits);
  return TaskStore{kind == "tvq" ? TaskStore::Kind::tvq : TaskStore::Kind::rtn, *bits, 0};
}

Result<double> read_scale(const json& value) {
  if (value == "none") return 0.0;
  if (!value.is_object() || value.size() != 1) return bad("merge must be {arithmetic: NUMBER}");
  if (value.begin().key() != "arithmetic") {
    return bad("unknown merge " + in_quotes(value.begin().key()) +
               among_known(value.begin().key(), {"arithmetic"}));
  }
  if (!value.begin()->is_number()) return bad("arithmetic must be a number");
  return value.begin()->get<double>();
}

Result<void> read_key(const std::string& key, const json& value, MergedModel& merged) {
  if (key == "base") {
    auto base = word(value, key);
    ISOBIT_TRY(base);
    merged.base = std::move(*base);
  } else if (key == "tasks") {
    if (!value.is_array()) return bad("tasks must be a list");
    for (const json& item : value) {
      auto task = word(item, "a task");
      ISOBIT_TRY(task);
      merged.tasks.push_back(std::move(*task));
    }
  } else if (key == "merge") {
    const auto scale = read_scale(value);
    ISOBIT_TRY(scale);
    merged.scale = *scale;
  } else if (key == "store") {
    const auto store = read_store(value);
    ISOBIT_TRY(store);
    merged.store = *store;
  } else {
    return bad("unknown key " + in_quotes(key) +
               did_you_mean(key, {"base", "tasks", "merge", "store"}));
  }
  return {};
}

std::string bits_problem(const TaskStore& store) {
  const auto wrong = [](int bits) { return bits < 1 || bits > kMostTaskBits; };
  if (store.kind == TaskStore::Kind::none) return "";
  const bool base = store.kind == TaskStore::Kind::rtvq && wrong(store.base_bits);
  return base || wrong(store.bits) ? "a code has 1 to 8 bits" : "";
}

json store_json(const TaskStore& store) {
  switch (store.kind) {
    case TaskStore::Kind::none:
      break;
    case TaskStore::Kind::tvq:
      return {{"tvq", store.bits}};
    case TaskStore::Kind::rtn:
      return {{"rtn", store.bits}};
    case TaskStore::Kind::rtvq:
      return {{"rtvq", json::array({store.base_bits, store.bits})}};
  }
  return "none";
}

}  // namespace

std::string last_component(const std::string& path) {
  const std::size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return path;
  const std::size_t slash = path.find_last_of('/', end);
  const std::size_t begin = slash == std::string::npos ? 0 : slash + 1;
  return path.substr(begin, end + 1 - begin);
}

std::string meaning_of_model(const std::string& word) {
  const auto merged = is_merged(word) ? parse_merged(word) : Result<MergedModel>(Error{});
  return merged ? meaning_of(*merged) : last_component(word);
}

Result<MergedModel> parse_merged(const std::string& text) {
  const json value = text.size() <= kLongestText ? parsed(text) : json(json::value_t::discarded);
  if (!value.is_object()) {
    return bad(
        "must be one JSON object such as {\"base\": \"NAME\", \"tasks\": [], \"store\": "
        "\"none\"}, without duplicate keys");
  }
  MergedModel merged;
  for (const auto& item : value.items()) {
    if (auto ok = read_key(item.key(), item.value(), merged); !ok) return ok.error();
  }
  const MergedProblem problem = check(merged);
  if (!problem.message.empty()) return bad(problem.key + ": " + problem.message);
  return merged;
}

MergedProblem check(const MergedModel& merged) {
  if (merged.base.empty()) return {"base", "is missing"};
  if (!is_one_line(merged.base)) return {"base", "has a control character"};
  if (is_merged(merged.base)) return {"base", "is a merged model itself"};
  if (merged.tasks.size() > kMostTasks) return {"tasks", "are more than 64"};
  for (const std::string& task : merged.tasks) {
    if (task.empty() || !is_one_line(task))
      return {"tasks", "one is empty or has a control character"};
    if (is_merged(task)) return {"tasks", "one is a merged model itself"};
  }
  if (!std::isfinite(merged.scale) || std::fabs(merged.scale) > kLargestScale) {
    return {"merge", "arithmetic must be a number from -1e6 to 1e6"};
  }
  if (merged.tasks.empty() && merged.scale != 0) {
    return {"merge", "there is nothing to merge; without tasks it is none"};
  }
  if (!merged.tasks.empty() && merged.scale == 0) {
    return {"merge",
            "must be {arithmetic: NUMBER} with a number that is not 0; tasks: [] is the base"};
  }
  if (merged.tasks.empty() && merged.store.kind != TaskStore::Kind::none) {
    return {"store", "there is nothing to store; without tasks it is none"};
  }
  const std::string bits = bits_problem(merged.store);
  return bits.empty() ? MergedProblem{} : MergedProblem{"store", bits};
}

std::string text_of(const MergedModel& merged) {
  json out = {{"base", merged.base}, {"tasks", merged.tasks}};
  if (!merged.tasks.empty()) out["merge"] = {{"arithmetic", merged.scale}};
  if (merged.store.kind != TaskStore::Kind::none) out["store"] = store_json(merged.store);
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string text_of(const TaskStore& store) {
  const std::string bits = std::to_string(store.bits);
  switch (store.kind) {
    case TaskStore::Kind::none:
      break;
    case TaskStore::Kind::tvq:
      return "tvq " + bits;
    case TaskStore::Kind::rtn:
      return "rtn " + bits;
    case TaskStore::Kind::rtvq:
      return "rtvq " + std::to_string(store.base_bits) + "+" + bits;
  }
  return "none";
}

std::string meaning_of(const MergedModel& merged) {
  MergedModel bare = merged;
  bare.base = last_component(bare.base);
  for (std::string& task : bare.tasks) task = last_component(task);
  return text_of(bare);
}

}  // namespace isobit
