// JSON lines to a TraceFile, key by key.
#include "harness/import/trace_file.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/base/words.h"
#include "runtime/checkpoint/json.h"

namespace isobit {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLongestLine = std::size_t{1} << 26;
constexpr std::int64_t kLastPosition = std::int64_t{1} << 40;
const std::vector<std::string> kEvidence = {"logits", "logprobs", "tokens"};

Result<void> check_keys(const Json& object, const std::vector<std::string>& known,
                        const std::string& place) {
  for (const auto& item : object.items()) {
    if (std::find(known.begin(), known.end(), item.key()) != known.end()) continue;
    return Error{"unknown key " + in_quotes(item.key()) + did_you_mean(item.key(), known), place};
  }
  return {};
}

Result<std::int64_t> whole_number(const Json& object, const char* key, std::int64_t low,
                                  std::int64_t high, const std::string& place) {
  const Json& value = object.at(key);
  const bool whole = value.is_number_integer() &&
                     !(value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX);
  const std::int64_t number = whole ? value.get<std::int64_t>() : low - 1;
  if (number >= low && number <= high) return number;
  return Error{std::string(key) + " is " + in_quotes(value.dump(-1, ' ', true)) +
                   ", not a whole number from " + std::to_string(low) + " to " +
                   std::to_string(high),
               place};
}

/// A text of one line that is not empty.
Result<std::string> one_line(const Json& object, const char* key, const std::string& place) {
  const Json& value = object.at(key);
  if (value.is_string()) {
    auto text = value.get<std::string>();
    if (!text.empty() && is_one_line(text)) return text;
  }
  return Error{std::string(key) + " must be one line of text", place};
}

/// A JSON number; -Infinity, which JSON cannot hold, is the text "-inf".
bool read_number(const Json& value, double& out) {
  if (value.is_number()) {
    out = value.get<double>();
    return std::isfinite(out);
  }
  out = -std::numeric_limits<double>::infinity();
  return value.is_string() && value.get_ref<const std::string&>() == "-inf";
}

Result<std::int32_t> token_of(const Json& value, const std::string& what,
                              const std::string& place) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() <= INT32_MAX) {
    return std::int32_t(value.get<std::uint64_t>());
  }
  return Error{
      what + " is " + in_quotes(value.dump(-1, ' ', true)) + ", not an id from 0 to 2147483647",
      place};
}

/// {"name": "text", …}; a whole number is taken for its digits.
Result<std::map<std::string, std::string>> texts_of(const Json& object, const char* key,
                                                    const std::string& place) {
  std::map<std::string, std::string> out;
  if (!object.contains(key)) return out;
  const Json& texts = object.at(key);
  if (!texts.is_object()) return Error{std::string(key) + " must be an object of texts", place};
  for (const auto& [name, value] : texts.items()) {
    const bool text = value.is_string() && is_one_line(value.get_ref<const std::string&>());
    if ((!text && !value.is_number_integer()) || name.empty() || !is_one_line(name)) {
      return Error{std::string(key) + ": " + in_quotes(name) + " must be one line of text", place};
    }
    out[name] = text ? value.get<std::string>() : value.dump();
  }
  return out;
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& path) : text_(text), path_(path) {}

  Result<TraceFile> parse() {
    std::size_t number = 0;
    for (std::size_t at = 0; at < text_.size();) {
      const std::size_t end = std::min(text_.find('\n', at), text_.size());
      std::string_view line = text_.substr(at, end - at);
      if (line.ends_with('\r')) line.remove_suffix(1);
      at = end + 1;
      ++number;
      if (auto ok = read_line(line, path_ + ":" + std::to_string(number)); !ok) return ok.error();
    }
    if (out_.place.empty()) return Error{"the file is empty: it is no trace", path_ + ":1"};
    if (out_.prompts.empty()) return Error{"the trace has no prompt", out_.place};
    for (const TracePrompt& prompt : out_.prompts) {
      if (prompt.rows.empty()) {
        return Error{"prompt " + in_quotes(prompt.id) + " has no row", prompt.place};
      }
    }
    return std::move(out_);
  }

 private:
  Result<void> read_line(std::string_view line, const std::string& place) {
    if (line.find_first_not_of(" \t") == std::string_view::npos) {
      return Error{"an empty line; each line is one object", place};
    }
    if (line.size() > kLongestLine) return Error{"a line of more than 64 MiB", place};
    if (line.find('\0') != std::string_view::npos) return Error{"a zero byte: not a text", place};
    const auto object = parse_strict_json(line, JsonPlace{place, 0});
    ISOBIT_TRY(object);
    if (!object->is_object()) return Error{"each line is one object", place};
    if (out_.place.empty()) return read_header(*object, place);
    if (object->contains("isobit_trace")) {
      return Error{"a second header: two traces in one file?", place};
    }
    if (!object->contains("prompt")) {
      return Error{"needs the key prompt, which names a prompt by its id", place};
    }
    const auto id = one_line(*object, "prompt", place);
    ISOBIT_TRY(id);
    return object->contains("tokens") ? read_prompt(*object, *id, place)
                                      : read_row(*object, *id, place);
  }

  Result<void> read_header(const Json& object, const std::string& place) {
    if (!object.contains("isobit_trace")) {
      return Error{"the first line must be a header, {\"isobit_trace\": 1, \"engine\": …}", place};
    }
    const auto format = whole_number(object, "isobit_trace", 0, INT32_MAX, place);
    ISOBIT_TRY(format);
    if (*format != 1) {
      return Error{"format " + std::to_string(*format) + " is not known; this program reads 1",
                   place};
    }
    auto known = check_keys(
        object, {"isobit_trace", "engine", "version", "evidence", "model", "axes", "environment"},
        place);
    ISOBIT_TRY(known);
    if (!object.contains("engine")) return Error{"the header needs engine", place};
    for (const auto& [key, field] : {std::pair<const char*, std::string*>{"engine", &out_.engine},
                                     {"version", &out_.version},
                                     {"evidence", &out_.evidence},
                                     {"model", &out_.model}}) {
      if (!object.contains(key)) continue;
      auto text = one_line(object, key, place);
      ISOBIT_TRY(text);
      *field = std::move(*text);
    }
    if (std::find(kEvidence.begin(), kEvidence.end(), out_.evidence) == kEvidence.end()) {
      return Error{
          "unknown evidence " + in_quotes(out_.evidence) + among_known(out_.evidence, kEvidence),
          place};
    }
    auto axes = texts_of(object, "axes", place);
    ISOBIT_TRY(axes);
    auto environment = texts_of(object, "environment", place);
    ISOBIT_TRY(environment);
    out_.axes = std::move(*axes);
    out_.environment = std::move(*environment);
    out_.place = place;
    return {};
  }

  Result<void> read_prompt(const Json& object, const std::string& id, const std::string& place) {
    auto known = check_keys(object, {"prompt", "tokens", "rows"}, place);
    ISOBIT_TRY(known);
    TracePrompt prompt;
    prompt.id = id;
    prompt.place = place;
    const Json& tokens = object.at("tokens");
    if (!tokens.is_array() || tokens.empty()) {
      return Error{"tokens must be the prompt's token ids", place};
    }
    for (const Json& token : tokens) {
      const auto each = token_of(token, "token " + std::to_string(prompt.tokens.size() + 1), place);
      ISOBIT_TRY(each);
      prompt.tokens.push_back(*each);
    }
    if (object.contains("rows")) {
      if (out_.evidence != "logits") {
        return Error{"rows are evidence of logits; the header says " + out_.evidence, place};
      }
      auto rows = one_line(object, "rows", place);
      ISOBIT_TRY(rows);
      prompt.rows_file = std::move(*rows);
    }
    const auto [at, is_new] = places_.emplace(id, out_.prompts.size());
    if (!is_new) {
      return Error{"prompt " + in_quotes(id) + " was given at " + out_.prompts[at->second].place,
                   place};
    }
    out_.prompts.push_back(std::move(prompt));
    return {};
  }

  Result<void> read_row(const Json& object, const std::string& id, const std::string& place) {
    auto known = check_keys(
        object, {"prompt", "position", "token", "fed", "digest", "logprob", "finite", "top"},
        place);
    ISOBIT_TRY(known);
    const auto owner = places_.find(id);
    if (owner == places_.end()) {
      return Error{"a row of prompt " + in_quotes(id) +
                       ", of which no line {\"prompt\": …, \"tokens\": …} came before",
                   place};
    }
    TracePrompt& prompt = out_.prompts[owner->second];
    for (const char* key : {"position", "token"}) {
      if (!object.contains(key)) return Error{std::string("a row needs ") + key, place};
    }
    const auto position = whole_number(object, "position", 0, kLastPosition, place);
    ISOBIT_TRY(position);
    TraceRow row;
    row.place = place;
    row.position = *position;
    if (auto ok = check_position(prompt, row); !ok) return ok;
    for (const char* key : {"token", "fed"}) {
      if (!object.contains(key)) continue;
      const auto token = token_of(object.at(key), key, place);
      ISOBIT_TRY(token);
      if (key == std::string_view("token")) row.token = *token;
      if (key == std::string_view("fed")) row.fed = *token;
    }
    if (auto ok = read_evidence(object, prompt, row); !ok) return ok;
    prompt.rows.push_back(std::move(row));
    return {};
  }

  static Result<void> check_position(const TracePrompt& prompt, const TraceRow& row) {
    if (prompt.rows.empty()) return {};
    const std::int64_t before = prompt.rows.back().position;
    if (row.position == before + 1) return {};
    const std::string name = "prompt " + in_quotes(prompt.id);
    const std::string at = "position " + std::to_string(row.position);
    if (row.position > before) {
      return Error{name + ": " + at + " follows " + std::to_string(before) + "; position " +
                       std::to_string(before + 1) + " is missing",
                   row.place};
    }
    const bool twice = row.position >= prompt.rows.front().position;
    return Error{name + ": " + at + (twice ? " stands twice" : " comes after later ones"),
                 row.place};
  }

  /// What the level of evidence needs is there, and nothing that it has no use for.
  Result<void> read_evidence(const Json& object, const TracePrompt& prompt, TraceRow& row) const {
    const bool logits = out_.evidence == "logits", logprobs = out_.evidence == "logprobs";
    if (object.contains("digest")) {
      const Json& digest = object.at("digest");
      Digest read;
      if (!digest.is_string() || !from_hex(digest.get_ref<const std::string&>(), read)) {
        return Error{"digest must be 32 hex digits", row.place};
      }
      row.digest = read;
    }
    if (logits && !row.digest && prompt.rows_file.empty()) {
      return Error{"the row needs a digest, or its prompt a file of rows", row.place};
    }
    if (logprobs != object.contains("logprob")) {
      return Error{logprobs ? "the row needs logprob, the token's log-probability"
                            : "logprob is no evidence of " + out_.evidence,
                   row.place};
    }
    if (logprobs) {
      double value = 0;
      if (!read_number(object.at("logprob"), value)) {
        return Error{"logprob must be a number, or \"-inf\"", row.place};
      }
      row.logprob = value;
    }
    if (object.contains("finite")) {
      const Json& finite = object.at("finite");
      if (!logits) return Error{"finite is no evidence of " + out_.evidence, row.place};
      if (!finite.is_boolean()) return Error{"finite must be true or false", row.place};
      row.finite = finite.get<bool>();
    }
    if (!object.contains("top")) return {};
    if (!logits && !logprobs) return Error{"top is no evidence of tokens", row.place};
    return read_top(object.at("top"), row);
  }

  static Result<void> read_top(const Json& list, TraceRow& row) {
    const Error wrong{"top must be a list of [id, value]", row.place};
    if (!list.is_array()) return wrong;
    std::set<std::int32_t> seen;
    for (const Json& pair : list) {
      double value = 0;
      if (!pair.is_array() || pair.size() != 2 || !read_number(pair[1], value)) return wrong;
      const auto id = token_of(pair[0], "an id of top", row.place);
      ISOBIT_TRY(id);
      if (!seen.insert(*id).second) {
        return Error{"token " + std::to_string(*id) + " stands twice in top", row.place};
      }
      row.top.emplace_back(*id, value);
    }
    return {};
  }

  std::string_view text_;
  const std::string& path_;
  TraceFile out_;
  std::map<std::string, std::size_t> places_;  // of prompts, by id
};

}  // namespace

Result<TraceFile> parse_trace(std::string_view text, const std::string& path) {
  return Parser(text, path).parse();
}

}  // namespace isobit
