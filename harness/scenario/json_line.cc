// The parser's own events find what it would let pass.
#include "harness/scenario/json_line.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <vector>

#include "runtime/base/words.h"

namespace isobit {
namespace {

using Json = nlohmann::json;

constexpr int kDeepestJson = 16;

}  // namespace

Result<Json> parse_json_line(const std::string& line, const std::string& place) {
  // The parser takes a zero byte for the end of the line and would ignore what follows.
  if (const std::size_t zero = line.find('\0'); zero != std::string::npos)
    return Error{"a zero byte: not a text", place + ":" + std::to_string(zero + 1)};
  std::string refused;
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kDeepestJson) refused = "nested too deeply";
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end && !keys.empty()) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.empty()) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second && refused.empty())
        refused = "duplicate key " + in_quotes(key);
    }
    return refused.empty();
  };
  try {
    Json parsed = Json::parse(line, check);
    if (!refused.empty()) return Error{refused, place};
    return parsed;
  } catch (const Json::parse_error& error) {
    const std::string column = ":" + std::to_string(std::max<std::size_t>(error.byte, 1));
    const bool ended = error.byte > line.size();
    return Error{ended ? "malformed JSON: the line ends too early; one object a line"
                       : "malformed JSON near " +
                             in_quotes(line.substr(error.byte == 0 ? 0 : error.byte - 1, 12)),
                 place + column};
  } catch (const std::exception& error) {
    return Error{std::string("malformed JSON: ") + error.what(), place};
  }
}

}  // namespace isobit
