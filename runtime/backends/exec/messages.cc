// Strict reading: a message of another shape is an error, never a guess.
#include "runtime/backends/exec/messages.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/base/words.h"
#include "runtime/checkpoint/json.h"

namespace isobit::exec {
namespace {

using Json = nlohmann::ordered_json;
using Value = nlohmann::json;

constexpr std::int64_t kMost = std::int64_t{1} << 53;

std::string line_of(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

/// Members of one message; the first that is wrong is kept.
class Members {
 public:
  explicit Members(const Value& object, std::string what)
      : object_(object), what_(std::move(what)) {}

  std::string text(const char* key, bool needed) {
    const Value* value = find(key, needed);
    if (value == nullptr) return "";
    if (!value->is_string()) return wrong(key, "text"), "";
    return value->get<std::string>();
  }
  std::int64_t whole(const char* key, std::int64_t low, std::int64_t high,
                     std::optional<std::int64_t> usual) {
    const Value* value = find(key, !usual);
    if (value == nullptr) return usual.value_or(low);
    if (!value->is_number_integer() || *value < low || *value > high) {
      wrong(key, "a whole number from " + std::to_string(low) + " to " + std::to_string(high));
      return low;
    }
    return value->get<std::int64_t>();
  }
  std::optional<std::int64_t> maybe_whole(const char* key, std::int64_t low, std::int64_t high) {
    if (!object_.contains(key)) return std::nullopt;
    return whole(key, low, high, std::nullopt);
  }
  std::optional<double> maybe_number(const char* key) {
    const Value* value = find(key, false);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) return wrong(key, "a number"), std::nullopt;
    return value->get<double>();
  }
  const Value* find(const char* key, bool needed) {
    const auto at = object_.find(key);
    if (at != object_.end() && !at->is_null()) return &*at;
    if (needed) wrong(key, "there");
    return nullptr;
  }
  void wrong(const std::string& key, const std::string& wanted) {
    if (error.empty()) error = what_ + ": " + key + " must be " + wanted;
  }

  std::string error;

 private:
  const Value& object_;
  std::string what_;
};

Result<Value> object_of(const std::string& line) {
  auto value = parse_strict_json(line, {});
  if (!value || !value->is_object()) {
    return Error{"its standard output, which is the protocol's, holds " + in_quotes(line), ""};
  }
  return value;
}

Understood understood(const Value& value, const std::string& axis, Members& in) {
  Understood out;
  if (value.is_boolean()) {
    out.any = value.get<bool>();
    return out;
  }
  const bool words = value.is_array() && std::all_of(value.begin(), value.end(),
                                                     [](const Value& v) { return v.is_string(); });
  if (!words) {
    in.wrong("axis " + axis, "true, false or a list of its values");
    return out;
  }
  out.values = value.get<std::vector<std::string>>();
  return out;
}

void read_machine(const Value& machine, Members& in, Hello& out) {
  if (!machine.is_object()) return in.wrong("machine", "an object");
  for (const auto& [device, line] : machine.items()) {
    const bool named = line.is_string() && !line.get<std::string>().empty() &&
                       is_one_line(line.get<std::string>());
    if (!named) return in.wrong("machine", "a line of text for each device");
    out.machine[device] = line.get<std::string>();
  }
}

void read_ready(Members& in, Hello& out) {
  out.engine = in.text("engine", true);
  out.version = in.text("version", true);
  const std::string evidence = in.text("evidence", true), batching = in.text("batching", true);
  out.evidence = evidence_named(evidence);
  if (evidence != name_of(out.evidence)) in.wrong("evidence", "logits, logprobs or tokens");
  out.concurrent = batching == "concurrent";
  if (!out.concurrent && batching != "static") in.wrong("batching", "static or concurrent");
  const bool named = !out.engine.empty() && is_one_line(out.engine) && is_one_line(out.version);
  if (!named) in.wrong("engine", "a name of one line");
  if (const Value* machine = in.find("machine", false)) read_machine(*machine, in, out);
  const Value* axes = in.find("axes", true);
  if (axes == nullptr) return;
  if (!axes->is_object()) return in.wrong("axes", "an object");
  for (const auto& [axis, value] : axes->items()) out.axes[axis] = understood(value, axis, in);
}

void read_top(const Value& list, Members& in, Row& row) {
  if (!list.is_array()) return in.wrong("top", "a list of [token, log-probability]");
  for (const Value& pair : list) {
    const bool fits = pair.is_array() && pair.size() == 2 && pair[0].is_number_integer() &&
                      pair[0] >= INT32_MIN && pair[0] <= INT32_MAX && pair[1].is_number();
    if (!fits) return in.wrong("top", "a list of [token, log-probability]");
    row.top.emplace_back(pair[0].get<std::int32_t>(), pair[1].get<double>());
  }
}

void read_row(Members& in, Row& row) {
  row.id = in.whole("id", 0, kMost, std::nullopt);
  row.sequence = in.whole("sequence", 0, kMost, std::nullopt);
  row.position = in.whole("position", 0, kMost, std::nullopt);
  row.token = std::int32_t(in.whole("token", 0, INT32_MAX, std::nullopt));
  if (const auto fed = in.maybe_whole("fed", 0, INT32_MAX)) row.fed = std::int32_t(*fed);
  row.bytes = in.maybe_whole("bytes", 0, kMost);
  row.logprob = in.maybe_number("logprob");
  if (const Value* top = in.find("top", false)) read_top(*top, in, row);
}

void read_ran(const Value& object, Reply& reply, std::string& error) {
  if (!object.is_object()) {
    error = "done: observed must be an object";
    return;
  }
  Members in(object, "observed");
  Ran& ran = reply.ran;
  const std::pair<const char*, std::int64_t*> numbers[] = {{"live_rows", &ran.live_rows},
                                                           {"cached_reads", &ran.cached_reads},
                                                           {"prefix_hits", &ran.prefix_hits},
                                                           {"chunks", &ran.chunks},
                                                           {"steps", &ran.steps},
                                                           {"joined_late", &ran.joined_late},
                                                           {"left_early", &ran.left_early},
                                                           {"threads", &ran.threads}};
  for (const auto& [key, value] : numbers) *value = in.whole(key, 0, kMost, -1);
  const std::pair<const char*, std::string*> texts[] = {
      {"device", &ran.device},   {"precision", &ran.precision}, {"kv", &ran.kv},
      {"kernels", &ran.kernels}, {"library", &ran.library},     {"decode", &ran.decode}};
  for (const auto& [key, value] : texts) *value = in.text(key, false);
  error = in.error;
}

}  // namespace

bool Understood::takes(const std::string& value) const {
  return any || std::find(values.begin(), values.end(), value) != values.end();
}

std::string print_hello(const std::map<std::string, std::string>& options) {
  Json json{{"isobit_exec", kProtocol}, {"ask", "hello"}, {"options", Json::object()}};
  for (const auto& [key, value] : options) json["options"][key] = value;
  return line_of(json);
}

std::string print(const Load& load) {
  return line_of({{"ask", "load"},
                  {"model",
                   {{"path", load.path},
                    {"kind", load.kind},
                    {"vocab_size", load.vocab_size},
                    {"context", load.context}}},
                  {"precision", load.precision},
                  {"device", load.device},
                  {"threads", load.threads}});
}

std::string print(const Request& request) {
  Json json{{"ask", "generate"}, {"id", request.id}, {"sequences", Json::array()}};
  for (const Sequence& sequence : request.sequences) {
    Json one{{"prompt", sequence.prompt}};
    if (!sequence.teacher.empty()) one["teacher"] = sequence.teacher;
    json["sequences"].push_back(std::move(one));
  }
  json["max_new_tokens"] = request.max_new_tokens;
  json["eos"] = request.eos;
  json["cache"] = request.cache;
  json["threads"] = request.threads;
  json["batch"] = request.batch;
  json["kv"] = request.kv;
  if (request.sampling) {
    json["sampling"] = {{"temperature", request.sampling->temperature},
                        {"top_k", request.sampling->top_k},
                        {"top_p", request.sampling->top_p},
                        {"seed", request.sampling->seed}};
  }
  return line_of(json);
}

std::string print_end() {
  return line_of({{"ask", "end"}});
}

Result<Hello> parse_hello(const std::string& line) {
  const auto value = object_of(line);
  ISOBIT_TRY(value);
  Members in(*value, "hello");
  Hello out;
  const std::int64_t version = in.whole("isobit_exec", 0, kMost, 0);
  if (version != kProtocol) {
    return Error{"it speaks version " + std::to_string(version) + " of the protocol, not " +
                     std::to_string(kProtocol),
                 ""};
  }
  const std::string reply = in.text("reply", true);
  if (reply == "hello") {
    read_ready(in, out);
  } else if (reply == "unavailable") {
    out.kind = Hello::Kind::unavailable;
    out.why = in.text("reason", true);
  } else if (reply == "error") {
    out.kind = Hello::Kind::mistaken;
    out.why = in.text("message", true);
  } else {
    in.wrong("reply", "hello, unavailable or error, not " + in_quotes(reply));
  }
  if (!in.error.empty()) return Error{in.error, ""};
  return out;
}

Result<Reply> parse_reply(const std::string& line) {
  const auto value = object_of(line);
  ISOBIT_TRY(value);
  Members in(*value, "a reply");
  Reply out;
  std::string inner;
  const std::string kind = in.text("reply", true);
  if (kind == "row") {
    out.kind = Reply::Kind::row;
    read_row(in, out.row);
  } else if (kind == "done") {
    out.kind = Reply::Kind::done;
    out.id = in.whole("id", 0, kMost, std::nullopt);
    if (const Value* observed = in.find("observed", true)) read_ran(*observed, out, inner);
  } else if (kind == "loaded") {
    out.kind = Reply::Kind::loaded;
  } else if (kind == "error") {
    out.id = in.whole("id", 0, kMost, -1);
    out.message = in.text("message", true);
  } else if (in.error.empty()) {
    in.wrong("reply", "row, done, loaded or error, not " + in_quotes(kind));
  }
  if (!in.error.empty()) return Error{in.error, ""};
  if (!inner.empty()) return Error{inner, ""};
  return out;
}

}  // namespace isobit::exec
