// Parses one verb's arguments with Boost.Program_options, from the tables of cli.h.
#include <boost/program_options.hpp>
#include <charconv>
#include <sstream>

#include "harness/cli/cli.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

namespace po = boost::program_options;

constexpr const char* kWords = "isobit-words";  // no person types this option

std::string spelled(const OptionInfo& option) {
  return std::string(option.name) + (option.letter != 0 ? std::string(",") + option.letter : "");
}

po::options_description description_of(const Verb& verb) {
  po::options_description description;
  const auto add = [&](const OptionInfo& option) {
    if (option.takes == Takes::nothing) {
      description.add_options()(spelled(option).c_str(), "");
      return;
    }
    description.add_options()(spelled(option).c_str(), po::value<std::vector<std::string>>(), "");
  };
  for (const std::string& name : verb.options) {
    const OptionInfo* option = find_option(name);
    ISOBIT_CHECK(option != nullptr);
    add(*option);
  }
  add(*find_option("help"));
  description.add_options()(kWords, po::value<std::vector<std::string>>(), "");
  return description;
}

constexpr const char* kNoValue = "?";  // stands for the missing value of --shuffle

/// Program_options would take the next word as the value of an option that may have none.
std::vector<std::string> with_missing_values(std::vector<std::string> words) {
  for (std::string& word : words) {
    if (word == "--") break;
    const OptionInfo* option = word.rfind("--", 0) == 0 ? find_option(word.substr(2)) : nullptr;
    if (option != nullptr && option->takes == Takes::maybe) word += std::string("=") + kNoValue;
  }
  return words;
}

std::vector<std::string> dashed_names(const Verb& verb) {
  std::vector<std::string> names;
  for (const std::string& name : verb.options) names.push_back("--" + name);
  names.push_back("--help");
  return names;
}

Error unknown_option(const Verb& verb, const std::string& typed) {
  const std::string near = nearest(typed, dashed_names(verb));
  std::string message = "unknown option " + typed;
  if (!near.empty()) {
    message += "; did you mean " + near + "?";
  } else {
    const std::string bare = typed.substr(std::min(typed.find_first_not_of('-'), typed.size()));
    if (find_option(bare) != nullptr) message += "; other verbs have it, this one does not";
    message += "; `isobit " + std::string(verb.name) + " --help` lists the options";
  }
  return Error{message, verb.name};
}

std::vector<std::string> choices_of(const OptionInfo& option) {
  std::vector<std::string> choices;
  if (std::string(option.value).find('|') == std::string::npos) return choices;
  std::istringstream stream(option.value);
  for (std::string word; std::getline(stream, word, '|');) choices.push_back(word);
  return choices;
}

Result<void> keep_option(const OptionInfo& option, const std::vector<std::string>& values,
                         Arguments& arguments) {
  const std::string dashed = "--" + std::string(option.name);
  if (option.takes != Takes::many && option.takes != Takes::nothing && arguments.has(option.name)) {
    return Error{"given twice", dashed};
  }
  std::vector<std::string>& kept = arguments.options[option.name];
  if (values.empty()) kept.push_back("");
  for (const std::string& value : values) {
    if (value.empty()) return Error{"the value is empty (a variable that is not set?)", dashed};
    const std::vector<std::string> choices = choices_of(option);
    if (!choices.empty() && std::find(choices.begin(), choices.end(), value) == choices.end()) {
      return Error{"unknown value " + in_quotes(value) + did_you_mean(value, choices), dashed};
    }
    kept.push_back(option.takes == Takes::maybe && value == kNoValue ? "" : value);
  }
  return {};
}

Result<void> check_words(const Verb& verb, const Arguments& arguments) {
  const std::string place = verb.name;
  const std::size_t count = arguments.words.size();
  const std::string usage = "; usage: isobit " + place + " " + verb.arguments;
  if (count < std::size_t(verb.least)) {
    return Error{(count == 0 ? "an argument is missing" : "more arguments are needed") + usage,
                 place};
  }
  if (verb.most >= 0 && count > std::size_t(verb.most)) {
    return Error{
        "unexpected argument " + in_quotes(arguments.words[std::size_t(verb.most)]) + usage, place};
  }
  if (count > 0 && !verb.words.empty() &&
      std::find(verb.words.begin(), verb.words.end(), arguments.words[0]) == verb.words.end()) {
    return Error{"unknown word " + in_quotes(arguments.words[0]) +
                     did_you_mean(arguments.words[0], verb.words),
                 place};
  }
  return {};
}

}  // namespace

Result<Arguments> parse_arguments(const Verb& verb, const std::vector<std::string>& words) {
  Arguments arguments;
  arguments.verb = verb.name;
  const std::string place = verb.name;
  po::positional_options_description positional;
  positional.add(kWords, -1);
  const po::options_description description = description_of(verb);
  const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  try {
    const auto parsed = po::command_line_parser(with_missing_values(words))
                            .options(description)
                            .positional(positional)
                            .style(style)
                            .run();
    for (const auto& option : parsed.options) {
      if (option.string_key == kWords) {
        arguments.words.insert(arguments.words.end(), option.value.begin(), option.value.end());
        continue;
      }
      const OptionInfo* info = find_option(option.string_key);
      ISOBIT_CHECK(info != nullptr);
      const Result<void> kept = keep_option(*info, option.value, arguments);
      ISOBIT_TRY(kept);
    }
  } catch (const po::unknown_option& error) {
    return unknown_option(verb, error.get_option_name());
  } catch (const po::error& error) {
    return Error{error.what(), place};
  }
  if (!arguments.has("help")) {
    const Result<void> checked = check_words(verb, arguments);
    ISOBIT_TRY(checked);
  }
  return arguments;
}

std::string Arguments::text(const std::string& name, const std::string& otherwise) const {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : found->second.back();
}

std::vector<std::string> Arguments::all(const std::string& name) const {
  const auto found = options.find(name);
  return found == options.end() ? std::vector<std::string>{} : found->second;
}

Result<std::int64_t> Arguments::number(const std::string& name, std::int64_t otherwise,
                                       std::int64_t least, std::int64_t most) const {
  const auto found = options.find(name);
  if (found == options.end()) return otherwise;
  const std::string& value = found->second.back();
  std::int64_t number = 0;
  if (!parse_integer(value, least, most, number)) {
    return Error{in_quotes(value) + " is not a whole number from " + std::to_string(least) +
                     " to " + std::to_string(most) + number_hint(value),
                 "--" + name};
  }
  return number;
}

Result<double> parse_duration(const std::string& text) {
  const Error wrong{in_quotes(text) + " is not a duration such as 10m, 90s or 1h30m", ""};
  double seconds = 0;
  const char* at = text.data();
  const char* const end = at + text.size();
  if (at == end) return wrong;
  const bool padded = text.size() > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9';
  if (padded) return wrong;  // 1h05m is fine, 010m is ten minutes or eight
  while (at != end) {
    std::int64_t number = 0;
    const auto [after, problem] = std::from_chars(at, end, number);
    if (problem != std::errc() || number < 0 || number > 1'000'000'000) return wrong;
    const char unit = after == end ? 's' : *after;
    if (unit != 'h' && unit != 'm' && unit != 's') return wrong;
    seconds += double(number) * (unit == 'h' ? 3600 : unit == 'm' ? 60 : 1);
    at = after == end ? end : after + 1;
  }
  return seconds;
}

}  // namespace isobit
