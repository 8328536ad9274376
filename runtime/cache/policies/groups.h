// Groups of tokens that are coded together: which they are, and when.
// Callers: the files of this folder.
#pragma once

#include <string>

#include "runtime/base/words.h"
#include "runtime/cache/policies/table.h"

namespace isobit {

constexpr bool is_power_of_two(std::int64_t n) {
  return n > 0 && (n & (n - 1)) == 0;
}

/// `when: prompt`, the default: after the prompt, and then group by group. `when: block`, which may
/// name the group, {block: 32}: each group as it fills, the prompt's included; true is told.
inline Result<bool> read_blocks(const OptionArgs& args, std::int64_t group) {
  const auto option = args.options.find("when");
  if (option == args.options.end() || option->second == "prompt") return false;
  const std::string text = without_parentheses(option->second);
  if (text == "block" || text == "block:" + std::to_string(group)) return true;
  if (text.rfind("block:", 0) == 0) {
    return Error{"a block is a group, " + std::to_string(group) + " tokens, not " +
                     in_quotes(text.substr(6)),
                 ""};
  }
  return Error{
      "option when of " + args.name + " is prompt or block, not " + in_quotes(option->second), ""};
}

/// Positions below the group that query q lies in: those that it sees coded.
constexpr std::int64_t coded_groups(std::int64_t q, std::int64_t group) {
  return q / group * group;
}

}  // namespace isobit
