// Continuations, choices, values and instructions, key by key.
#include "harness/scenario/prompt_line.h"

#include <algorithm>
#include <set>

#include "harness/score/ifeval.h"
#include "runtime/base/option_text.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

using Json = nlohmann::json;

bool is_full_text(const Json& value) {
  return value.is_string() && !value.get_ref<const std::string&>().empty();
}

Result<std::vector<std::string>> texts_of(const Json& list, const std::string& what,
                                          const std::string& place) {
  std::vector<std::string> out;
  for (const Json& item : list) {
    if (!is_full_text(item)) break;
    out.push_back(item.get<std::string>());
  }
  if (!list.is_array() || list.empty() || out.size() != list.size())
    return Error{what + " must be a list of texts that are not empty", place};
  return out;
}

Result<void> read_continuation(const Json& value, const std::string& place, Prompt& prompt) {
  if (value.is_array())
    return read_tokens(value, "continuation", place, prompt.continuation_tokens);
  if (!is_full_text(value))
    return Error{"continuation must be a text that is not empty, or a list of token ids", place};
  prompt.continuation = value.get<std::string>();
  return {};
}

/// The number of the right choice: `answer` is its text, or counts from 0.
Result<int> right_choice(const Prompt& prompt, const std::string& place) {
  const auto& all = prompt.choices;
  const auto at = std::find(all.begin(), all.end(), prompt.answer);
  if (at != all.end()) return int(at - all.begin());
  std::int64_t number = 0;
  const std::size_t count = all.size() + prompt.choice_tokens.size();
  if (parse_integer(prompt.answer, 0, std::int64_t(count) - 1, number)) return int(number);
  return Error{"answer is " + in_quotes(prompt.answer) + ": neither one of the " +
                   std::to_string(count) + " choices nor the number of one, from 0",
               place};
}

/// All of one kind: texts, or lists of token ids.
Result<void> read_choice_list(const Json& value, const std::string& place, Prompt& prompt) {
  if (!value.is_array() || value.empty() || !value[0].is_array()) {
    auto texts = texts_of(value, "choices", place);
    ISOBIT_TRY(texts);
    prompt.choices = std::move(*texts);
    return {};
  }
  for (const Json& item : value) {
    auto ok = read_tokens(item, "a choice", place, prompt.choice_tokens.emplace_back());
    ISOBIT_TRY(ok);
  }
  return {};
}

template <class T>
bool all_differ(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  return std::adjacent_find(values.begin(), values.end()) == values.end();
}

Result<void> read_choices(const Json& value, const std::string& place, Prompt& prompt) {
  if (auto ok = read_choice_list(value, place, prompt); !ok) return ok;
  if (prompt.choices.size() + prompt.choice_tokens.size() < 2)
    return Error{"choices are two at least", place};
  if (!all_differ(prompt.choices) || !all_differ(prompt.choice_tokens))
    return Error{"two choices are the same", place};
  if (prompt.answer.empty()) return Error{"choices need an answer: which of them is right", place};
  const auto right = right_choice(prompt, place);
  ISOBIT_TRY(right);
  prompt.right = *right;
  if (!prompt.choices.empty()) prompt.answer = prompt.choices[std::size_t(*right)];
  return {};
}

Result<void> read_values(const Json& value, const std::string& place, Prompt& prompt) {
  auto texts = texts_of(value, "values", place);
  ISOBIT_TRY(texts);
  prompt.values = std::move(*texts);
  if (std::count(prompt.values.begin(), prompt.values.end(), prompt.answer) != 0) return {};
  return Error{"answer is " + in_quotes(prompt.answer) + ", which is none of the values", place};
}

/// One argument of an instruction; null is the same as its absence.
Result<void> read_argument(const Json& kwargs, const ArgumentEntry& entry, const std::string& place,
                           Instruction& out) {
  const std::string what = out.type + ": " + entry.name;
  const auto at = kwargs.find(entry.name);
  if (at == kwargs.end() || at->is_null()) return Error{what + " is missing in kwargs", place};
  if (entry.kind == ArgumentKind::number) {
    constexpr double kMost = 1e9;
    const double number = at->is_number() ? at->get<double>() : -1;
    if (!(number >= 0 && number <= kMost && number == double(std::int64_t(number))))
      return Error{what + " must be a whole number from 0 to 1000000000", place};
    out.numbers[entry.name] = std::int64_t(number);
    return {};
  }
  if (entry.kind == ArgumentKind::list) {
    auto texts = texts_of(*at, what, place);
    ISOBIT_TRY(texts);
    out.lists[entry.name] = std::move(*texts);
    return {};
  }
  if (!is_full_text(*at)) return Error{what + " must be a text that is not empty", place};
  const auto text = at->get<std::string>();
  const auto& known = relations();
  if (entry.kind == ArgumentKind::relation &&
      std::find(known.begin(), known.end(), text) == known.end())
    return Error{what + ": unknown relation " + in_quotes(text) + did_you_mean(text, known), place};
  out.texts[entry.name] = text;
  return {};
}

Result<void> read_instructions(const Json& object, const std::string& place, bool own,
                               Prompt& prompt) {
  auto types = texts_of(object["instruction_id_list"], "instruction_id_list", place);
  ISOBIT_TRY(types);
  const Json kwargs = object.value("kwargs", Json());
  if (!kwargs.is_array() || kwargs.size() != types->size())
    return Error{"kwargs must be a list of maps, one for each of instruction_id_list", place};
  for (std::size_t i = 0; i < types->size(); ++i) {
    Instruction out;
    out.type = (*types)[i];
    const InstructionEntry* entry = find_instruction(out.type);
    if (entry == nullptr && own)
      return Error{"unknown instruction " + in_quotes(out.type) +
                       did_you_mean(out.type, instruction_types()),
                   place};
    if (!kwargs[i].is_object()) return Error{out.type + ": its kwargs are no map", place};
    // Another data set of IFEval's form has other types: they are kept, and never judged.
    const auto arguments = entry == nullptr ? std::vector<ArgumentEntry>{} : entry->arguments;
    for (const ArgumentEntry& argument : arguments) {
      if (auto ok = read_argument(kwargs[i], argument, place, out); !ok) return ok;
    }
    prompt.instructions.push_back(std::move(out));
  }
  return {};
}

}  // namespace

Result<void> read_tokens(const Json& list, const std::string& what, const std::string& place,
                         std::vector<std::int32_t>& out) {
  if (!list.is_array() || list.empty())
    return Error{what + " must be a list of token ids that is not empty", place};
  for (const Json& token : list) {
    const bool whole = token.is_number_unsigned();
    if (!whole || token.get<std::uint64_t>() > INT32_MAX)
      return Error{"token " + std::to_string(out.size() + 1) + " is " +
                       in_quotes(token.dump(-1, ' ', true)) + ", not an id from 0 to 2147483647",
                   place};
    out.push_back(static_cast<std::int32_t>(token.get<std::uint64_t>()));
  }
  return {};
}

Result<void> read_given(const Json& object, const std::string& place, bool own, Prompt& prompt) {
  const bool continued = object.contains("continuation"), chosen = object.contains("choices");
  if (continued && chosen)
    return Error{"continuation and choices: a choice is a continuation, give one of them", place};
  Result<void> read;
  if (continued) read = read_continuation(object["continuation"], place, prompt);
  ISOBIT_TRY(read);
  if (chosen) read = read_choices(object["choices"], place, prompt);
  ISOBIT_TRY(read);
  if (object.contains("values")) read = read_values(object["values"], place, prompt);
  ISOBIT_TRY(read);
  if (object.contains("instruction_id_list")) return read_instructions(object, place, own, prompt);
  if (object.contains("kwargs"))
    return Error{"kwargs, and no instruction_id_list that they are of", place};
  return {};
}

Result<std::vector<Prompt>> expand_choices(const std::vector<Prompt>& prompts) {
  std::vector<Prompt> out;
  std::set<std::string> ids;
  for (const Prompt& line : prompts) {
    const std::size_t choices = line.choices.size() + line.choice_tokens.size();
    const std::size_t count = std::max<std::size_t>(choices, 1);
    for (std::size_t c = 0; c < count; ++c) {
      Prompt one = line;
      if (choices > 0) {
        one.id += "#" + std::to_string(c);
        if (!line.choices.empty()) one.continuation = line.choices[c];
        if (line.choices.empty()) one.continuation_tokens = line.choice_tokens[c];
        one.choice = int(c);
        one.choices.clear();
        one.choice_tokens.clear();
      }
      if (!ids.insert(one.id).second)
        return Error{"id " + in_quotes(one.id) + " is that of a choice of another line", one.place};
      out.push_back(std::move(one));
    }
  }
  return out;
}

}  // namespace isobit
