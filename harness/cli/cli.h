// The command line: verbs and options as tables, parsing, help texts, completion, dispatch.
//
// Promise: one table of verbs (verbs/verbs.cc) and one of options (cli/options.cc) feed the
// parser, the help and the completion scripts, so that they cannot disagree. A mistyped word is an
// error with the nearest one. Boost.Program_options is included by cli*.cc only.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace isobit {

/// What an option takes after it.
enum class Takes { nothing, one, many, maybe };

struct OptionInfo {
  const char* name;   // "jobs", typed --jobs
  char letter;        // 'j', typed -j; 0: none
  Takes takes;        // maybe: --shuffle or --shuffle=7
  const char* value;  // placeholder in help: "N"; words joined by | are the only ones allowed
  const char* help;   // one line, with the default
};
const std::vector<OptionInfo>& all_options();
/// nullptr when there is no such option.
const OptionInfo* find_option(const std::string& name);

/// A parsed command line.
struct Arguments {
  std::string verb;
  std::vector<std::string> words;                           // what is not an option, in order
  std::map<std::string, std::vector<std::string>> options;  // by long name; a flag has one ""
  std::string command_line;                                 // as typed, quoted for a shell

  [[nodiscard]] bool has(const std::string& name) const { return options.count(name) != 0; }
  [[nodiscard]] std::string text(const std::string& name, const std::string& otherwise = "") const;
  [[nodiscard]] std::vector<std::string> all(const std::string& name) const;
  /// A whole number in [least, most]; an error names the option.
  [[nodiscard]] Result<std::int64_t> number(const std::string& name, std::int64_t otherwise,
                                            std::int64_t least, std::int64_t most) const;
};

struct Verb {
  const char* name;
  const char* arguments;             // "SCENARIO…"
  const char* summary;               // one line of the overview
  const char* about;                 // a few lines of `isobit VERB --help`
  const char* example;               // one command line
  std::vector<std::string> words;    // what the first argument may be ("fetch", …); empty: any
  std::vector<std::string> options;  // long names, in the order of the help
  int least, most;                   // number of arguments; most -1: any
  Result<int> (*run)(const Arguments&);
};
const std::vector<Verb>& verbs();
const Verb* find_verb(const std::string& name);

/// Parses what follows the verb. Unknown options, missing or wrong values and the wrong number of
/// arguments are errors that say what to type.
Result<Arguments> parse_arguments(const Verb& verb, const std::vector<std::string>& words);

std::string overview_text();
std::string help_text(const Verb& verb);
/// A completion script for "bash" or "zsh".
Result<std::string> completion_script(const std::string& shell);

/// The whole program but for what main() must catch. `words`: without the program's name. Gives an
/// ExitCode; errors are printed as one line on stderr.
int run_cli(const std::vector<std::string>& words);

/// "10m", "90s", "1h30m", "45" (seconds).
Result<double> parse_duration(const std::string& text);

}  // namespace isobit
