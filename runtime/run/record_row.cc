// Best entries, rounded to fp32 each; the margin is rounded once.
#include "runtime/run/record_row.h"

namespace isobit {

void keep_top(const TopEntries& top, TokenRecord& token) {
  token.top_count = top.count;
  for (std::size_t i = 0; i < std::size_t(top.count); ++i) {
    token.top_ids[i] = top.ids[i];
    token.top_logits[i] = float(top.values[i]);
  }
  if (top.count >= 2) token.margin = float(top.values[0] - top.values[1]);
}

}  // namespace isobit
