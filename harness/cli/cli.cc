// Dispatch of verbs, help texts, and command lines as text.
#include "harness/cli/cli.h"

#include <cstdio>

#include "harness/verdict.h"
#include "runtime/base/text.h"
#include "runtime/base/words.h"

#ifndef ISOBIT_VERSION
#define ISOBIT_VERSION "unknown"
#endif

namespace isobit {
namespace {

constexpr std::size_t kColumn = 26;  // where help texts begin

void print(std::FILE* to, const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), to);
}

/// Number of characters, not bytes: placeholders hold "…".
std::size_t characters(const std::string& text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
  return count;
}

std::string row(const std::string& left, const std::string& right) {
  const std::size_t width = characters(left);
  if (width + 2 > kColumn) return "  " + left + "\n" + std::string(kColumn + 2, ' ') + right + "\n";
  return "  " + left + std::string(kColumn - width, ' ') + right + "\n";
}

std::string option_row(const OptionInfo& option) {
  std::string left = option.letter != 0 ? std::string("-") + option.letter + ", " : "    ";
  left += "--" + std::string(option.name);
  const std::string value = option.value;
  if (option.takes == Takes::maybe) left += "[=" + value + "]";
  if (option.takes == Takes::one || option.takes == Takes::many) left += " " + value;
  return row(left, option.help);
}

int usage_error(const Error& error) {
  print(stderr, "isobit: " + text::printable(error.text()) + "\n");
  return kExitUsage;
}

int help_of(const std::vector<std::string>& words) {
  if (words.empty()) {
    print(stdout, overview_text());
    return kExitOk;
  }
  const Verb* verb = find_verb(words[0]);
  if (verb != nullptr) {
    print(stdout, help_text(*verb));
    return kExitOk;
  }
  std::vector<std::string> names;
  for (const Verb& known : verbs()) names.emplace_back(known.name);
  return usage_error({"unknown verb " + in_quotes(words[0]) + did_you_mean(words[0], names), ""});
}

}  // namespace

const Verb* find_verb(const std::string& name) {
  for (const Verb& verb : verbs()) {
    if (name == verb.name) return &verb;
  }
  return nullptr;
}

std::string overview_text() {
  std::string out =
      "isobit " ISOBIT_VERSION
      ": do these configurations give the same bits, and if not, what changed them?\n\n"
      "usage: isobit VERB [OPTION…] [ARGUMENT…]\n\n";
  for (const Verb& verb : verbs()) out += row(verb.name, verb.summary);
  out +=
      "\nFirst steps:\n"
      "  isobit doctor                          is this machine ready?\n"
      "  isobit check scenarios/smoke.yaml      run, compare, exit code\n"
      "  isobit VERB --help                     usage with an example\n\n"
      "Exit codes: 0 all contracts hold, 1 different or failed, 2 usage or invalid input,\n"
      "3 internal error, 4 nothing compared, 5 only goldens missing or stale, 6 environment,\n"
      "7 mistrusted, 8 not all was run, 77 everything skipped, 130 interrupted.\n";
  return out;
}

std::string help_text(const Verb& verb) {
  std::string out = "usage: isobit " + std::string(verb.name);
  if (!verb.options.empty()) out += " [OPTION…]";
  if (*verb.arguments != '\0') out += " " + std::string(verb.arguments);
  out += "\n\n" + std::string(verb.about) + "\n\nExample:\n  " + verb.example + "\n\nOptions:\n";
  for (const std::string& name : verb.options) {
    const OptionInfo* option = find_option(name);
    ISOBIT_CHECK(option != nullptr);
    out += option_row(*option);
  }
  return out + option_row(*find_option("help"));
}

int run_cli(const std::vector<std::string>& words) {
  if (words.empty()) {
    print(stdout, overview_text());
    return kExitOk;
  }
  const std::vector<std::string> rest(words.begin() + 1, words.end());
  const std::string& first = words[0];
  if (first == "help" || first == "--help" || first == "-h") return help_of(rest);
  const Verb* verb = find_verb(first == "--version" ? "version" : first);
  if (verb == nullptr && first.size() > 1 && first[0] == '-') {
    return usage_error(
        {"the verb comes first, then options; `isobit help` lists the verbs", first});
  }
  if (verb == nullptr) return help_of({first});
  Result<Arguments> arguments = parse_arguments(*verb, rest);
  if (!arguments) return usage_error(arguments.error());
  if (arguments->has("help")) return help_of({verb->name});
  std::vector<std::string> whole{"isobit"};
  whole.insert(whole.end(), words.begin(), words.end());
  arguments->command_line = shell_line(whole);
  const Result<int> code = verb->run(*arguments);
  return code ? *code : usage_error(code.error());
}

}  // namespace isobit
