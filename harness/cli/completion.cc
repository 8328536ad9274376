// Completion scripts for bash and zsh, written from the tables of verbs and options.
#include "harness/cli/cli.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

/// What may follow an option: its words, "file" or "" for nothing known.
std::string values_of(const OptionInfo& option) {
  const std::string value = option.value;
  if (value.find('|') != std::string::npos) {
    std::string words = value;
    for (char& c : words) c = c == '|' ? ' ' : c;
    return words;
  }
  const bool path = value == "PATH" || value == "DIR" || value == "FILE";
  return path ? "file" : "";
}

std::string verb_names() {
  std::string out;
  for (const Verb& verb : verbs()) out += (out.empty() ? "" : " ") + std::string(verb.name);
  return out + " help";
}

std::string dashed(const Verb& verb) {
  std::string out;
  for (const std::string& name : verb.options) out += "--" + name + " ";
  return out + "--help";
}

std::string first_words(const Verb& verb) {
  std::string out;
  for (const std::string& word : verb.words) out += (out.empty() ? "" : " ") + word;
  return out;
}

std::string bash_script() {
  std::string out =
      "# bash completion for isobit\n"
      "_isobit() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} "
      "verb=${COMP_WORDS[1]}\n"
      "  local options='' words=''\n"
      "  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W '" +
      verb_names() +
      "' -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case $before in\n";
  for (const OptionInfo& option : all_options()) {
    const std::string values = values_of(option);
    if (values.empty() || values == "file") continue;
    out += "    --" + std::string(option.name) + ") COMPREPLY=($(compgen -W '" + values +
           "' -- \"$word\")); return ;;\n";
  }
  out += "  esac\n  case $verb in\n";
  for (const Verb& verb : verbs()) {
    out += "    " + std::string(verb.name) + ") options='" + dashed(verb) + "'; words='" +
           first_words(verb) + "' ;;\n";
  }
  out += "    help) words='" + verb_names() +
         "' ;;\n"
         "  esac\n"
         "  if [[ $word == -* ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
         "  elif [ \"$COMP_CWORD\" -eq 2 ] && [ -n \"$words\" ]; then\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -f -- \"$word\"))\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F _isobit isobit\n";
  return out;
}

/// A help text inside a zsh specification in single quotes.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'')
      out += "'\\''";
    else if (c == '[' || c == ']' || c == ':' || c == '\\')
      out += std::string("\\") + c;
    else
      out += c;
  }
  return out;
}

std::string zsh_option(const OptionInfo& option) {
  std::string out = option.takes == Takes::many ? "'*--" : "'--";
  out += option.name;
  if (option.takes == Takes::one || option.takes == Takes::many) out += "=";
  if (option.takes == Takes::maybe) out += "=-";
  out += "[" + zsh_text(option.help) + "]";
  if (option.takes != Takes::nothing) {
    const std::string values = values_of(option);
    out += (option.takes == Takes::maybe ? "::" : ":") + zsh_text(option.value) + ":";
    if (values == "file")
      out += "_files";
    else if (!values.empty())
      out += "(" + values + ")";
  }
  return out + "'";
}

std::string zsh_script() {
  std::string out =
      "#compdef isobit\n"
      "_isobit() {\n"
      "  local -a verbs\n"
      "  verbs=(\n";
  for (const Verb& verb : verbs()) {
    out += "    '" + std::string(verb.name) + ":" + zsh_text(verb.summary) + "'\n";
  }
  out +=
      "    'help:usage of a verb'\n"
      "  )\n"
      "  if (( CURRENT == 2 )); then\n"
      "    _describe 'verb' verbs\n"
      "    return\n"
      "  fi\n"
      "  local verb=$words[2]\n"
      "  shift words\n"
      "  (( CURRENT-- ))\n"
      "  case $verb in\n";
  for (const Verb& verb : verbs()) {
    out += "    " + std::string(verb.name) + ")\n      _arguments -s";
    for (const std::string& name : verb.options) {
      out += " \\\n        " + zsh_option(*find_option(name));
    }
    out += " \\\n        " + zsh_option(*find_option("help"));
    const std::string words = first_words(verb);
    if (!words.empty()) out += " \\\n        '1:word:(" + words + ")'";
    out += " \\\n        '*:argument:_files'\n      ;;\n";
  }
  out +=
      "    help) _describe 'verb' verbs ;;\n"
      "  esac\n"
      "}\n"
      "if [ \"$funcstack[1]\" = _isobit ]; then _isobit \"$@\"; else compdef _isobit isobit; fi\n";
  return out;
}

}  // namespace

Result<std::string> completion_script(const std::string& shell) {
  if (shell == "bash") return bash_script();
  if (shell == "zsh") return zsh_script();
  return Error{"unknown shell " + in_quotes(shell) + did_you_mean(shell, {"bash", "zsh"}),
               "completion"};
}

}  // namespace isobit
