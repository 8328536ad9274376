// JSONL prompts: one line, one object, checked key by key.
#include "harness/scenario/prompts.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "harness/scenario/json_line.h"
#include "harness/scenario/prompt_line.h"
#include "runtime/base/file.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLargestFile = std::size_t{1} << 28;
constexpr std::size_t kLongestLine = std::size_t{1} << 24;

const std::vector<std::string> kOwnKeys = {"id",      "text",   "messages",
                                           "tokens",  "answer", "continuation",
                                           "choices", "values", "instruction_id_list",
                                           "kwargs"};

std::string place_of(const std::string& path, std::size_t line) {
  return path + ":" + std::to_string(line);
}

bool is_text(const Json& object, const char* key) {
  return object.contains(key) && object[key].is_string();
}

/// "… #### 1,234" -> "1234".
std::string gsm8k_answer(const std::string& solution) {
  const std::size_t mark = solution.rfind("####");
  if (mark == std::string::npos) return "";
  std::string answer;
  for (const char c : solution.substr(mark + 4))
    if (c != ',' && c != '\n' && c != '\r') answer += c;
  const std::size_t first = answer.find_first_not_of(" \t");
  const std::size_t last = answer.find_last_not_of(" \t");
  return first == std::string::npos ? "" : answer.substr(first, last - first + 1);
}

Result<Prompt> read_gsm8k(const Json& object, const std::string& place, std::size_t line) {
  Prompt prompt;
  if (!is_text(object, "question") || object["question"].get_ref<const std::string&>().empty())
    return Error{"question must be a text that is not empty", place};
  prompt.id = "gsm8k-" + std::to_string(line);
  prompt.text = object["question"].get<std::string>();
  if (object.contains("answer") && !is_text(object, "answer"))
    return Error{"answer must be a text", place};
  if (object.contains("answer")) prompt.answer = gsm8k_answer(object["answer"].get<std::string>());
  return prompt;
}

/// An id names lines of goldens and reports.
Result<void> check_id(const std::string& id, const std::string& place) {
  if (is_one_line(id)) return {};
  return Error{"id must be one line of text", place};
}

Result<Prompt> read_ifeval(const Json& object, const std::string& place, std::size_t line) {
  Prompt prompt;
  if (!is_text(object, "prompt") || object["prompt"].get_ref<const std::string&>().empty())
    return Error{"prompt must be a text that is not empty", place};
  prompt.text = object["prompt"].get<std::string>();
  prompt.id = "ifeval-" + std::to_string(line);
  if (object.contains("key")) {
    const Json& key = object["key"];
    if (!key.is_number_integer() && !key.is_string())
      return Error{"key must be a number or a text", place};
    prompt.id = "ifeval-" + (key.is_string() ? key.get<std::string>() : key.dump());
    if (auto ok = check_id(prompt.id, place); !ok) return ok.error();
  }
  if (auto ok = read_given(object, place, false, prompt); !ok) return ok.error();
  return prompt;
}

Result<void> read_messages(const Json& list, const std::string& place, Prompt& prompt) {
  static const std::vector<std::string> roles = {"system", "user", "assistant"};
  if (!list.is_array() || list.empty())
    return Error{"messages must be a list of {role, content} that is not empty", place};
  for (const Json& message : list) {
    if (!message.is_object() || message.size() != 2 || !is_text(message, "role") ||
        !is_text(message, "content"))
      return Error{"a message must be {\"role\": text, \"content\": text}", place};
    const auto role = message["role"].get<std::string>();
    if (std::find(roles.begin(), roles.end(), role) == roles.end())
      return Error{"unknown role " + in_quotes(role) + did_you_mean(role, roles), place};
    prompt.messages.emplace_back(role, message["content"].get<std::string>());
  }
  return {};
}

Result<void> read_label(const Json& object, const char* key, const std::string& place,
                        std::string& out) {
  if (!object.contains(key)) return {};
  const Json& label = object[key];
  if (!label.is_string() && !label.is_number_integer())
    return Error{std::string(key) + " must be a text", place};
  out = label.is_string() ? label.get<std::string>() : label.dump();
  return {};
}

Result<Prompt> read_own(const Json& object, const std::string& place) {
  for (const auto& item : object.items())
    if (std::find(kOwnKeys.begin(), kOwnKeys.end(), item.key()) == kOwnKeys.end())
      return Error{"unknown key " + in_quotes(item.key()) + did_you_mean(item.key(), kOwnKeys),
                   place};
  Prompt prompt;
  auto id = read_label(object, "id", place, prompt.id);
  ISOBIT_TRY(id);
  if (prompt.id.empty()) return Error{"the prompt has no id", place};
  if (auto ok = check_id(prompt.id, place); !ok) return ok.error();
  auto answer = read_label(object, "answer", place, prompt.answer);
  ISOBIT_TRY(answer);
  const bool text = object.contains("text"), messages = object.contains("messages"),
             tokens = object.contains("tokens");
  if (int{text} + int{messages} + int{tokens} != 1)
    return Error{"a prompt needs exactly one of text, messages and tokens", place};
  if (text) {
    if (!is_text(object, "text") || object["text"].get_ref<const std::string&>().empty())
      return Error{"text must be a text that is not empty", place};
    prompt.text = object["text"].get<std::string>();
  }
  Result<void> read;
  if (messages) read = read_messages(object["messages"], place, prompt);
  if (tokens) read = read_tokens(object["tokens"], "tokens", place, prompt.tokens);
  ISOBIT_TRY(read);
  if (auto ok = read_given(object, place, true, prompt); !ok) return ok.error();
  return prompt;
}

Result<Prompt> read_prompt(const std::string& line, const std::string& path, std::size_t number) {
  const std::string place = place_of(path, number);
  auto object = parse_json_line(line, place);
  ISOBIT_TRY(object);
  if (!object->is_object()) return Error{"expected one JSON object a line", place};
  const bool own = object->contains("text") || object->contains("messages") ||
                   object->contains("tokens") || object->contains("id");
  if (!own && object->contains("question")) return read_gsm8k(object.value(), place, number);
  if (!own && object->contains("prompt")) return read_ifeval(object.value(), place, number);
  return read_own(object.value(), place);
}

/// skip and take; asking for more than there is is an error, not a smaller test.
Result<std::vector<Prompt>> select(std::vector<Prompt> prompts, const std::string& path,
                                   const PromptSelection& selection) {
  const auto count = static_cast<std::int64_t>(prompts.size());
  const std::string holds = "; the file holds " + std::to_string(count) + " prompts";
  if (count == 0) return Error{"the file holds no prompt", path};
  if (selection.skip >= count)
    return Error{"skip " + std::to_string(selection.skip) + " leaves nothing" + holds, path};
  if (selection.take > count - selection.skip)
    return Error{"take " + std::to_string(selection.take) + " after skip " +
                     std::to_string(selection.skip) + " is too many" + holds,
                 path};
  const std::int64_t take = selection.take < 0 ? count - selection.skip : selection.take;
  const auto begin = prompts.begin() + static_cast<std::ptrdiff_t>(selection.skip);
  return std::vector<Prompt>(begin, begin + static_cast<std::ptrdiff_t>(take));
}

}  // namespace

Result<std::vector<Prompt>> parse_prompts(const std::string& jsonl, const std::string& path,
                                          const PromptSelection& selection) {
  std::vector<Prompt> prompts;
  std::map<std::string, std::size_t> lines;  // id -> line
  std::size_t begin = jsonl.rfind("\xef\xbb\xbf", 0) == 0 ? 3 : 0;
  for (std::size_t number = 1; begin < jsonl.size(); ++number) {
    const std::size_t end = std::min(jsonl.find('\n', begin), jsonl.size());
    const std::string line = jsonl.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (line.size() > kLongestLine) return Error{"the line is too long", place_of(path, number)};
    auto prompt = read_prompt(line, path, number);
    ISOBIT_TRY(prompt);
    prompt->place = place_of(path, number);
    const auto [at, fresh] = lines.emplace(prompt->id, number);
    if (!fresh)
      return Error{"id " + in_quotes(prompt->id) + " is that of line " + std::to_string(at->second),
                   place_of(path, number)};
    prompt->line = int(prompts.size());
    prompts.push_back(std::move(prompt.value()));
  }
  return select(std::move(prompts), path, selection);
}

Result<std::vector<Prompt>> load_prompts(const std::string& path,
                                         const PromptSelection& selection) {
  const auto text = read_file(path, kLargestFile, "larger than 256 MiB: not a prompt file");
  ISOBIT_TRY(text);
  return parse_prompts(*text, path, selection);
}

}  // namespace isobit
