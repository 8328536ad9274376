// From judged calls to lines of a schedule book: which kernel a library takes by itself.
#pragma once

#include <vector>

#include "harness/probe/attention_judge.h"
#include "runtime/numerics/attention_book.h"

namespace isobit::probe {

/// Lines of the calls that asked for no kernel (`default`) and that a rule knows. One line stands
/// for the numbers of keys between the least and the greatest that took its kernel, unless another
/// kernel was taken between them; so for the queries of prompts. Each batch has lines of its own.
/// Proved where no output differs and no call had another number of splits than the rule's.
std::vector<AttentionLine> attention_lines(const std::vector<JudgedCall>& calls);

}  // namespace isobit::probe
