// What conformance tests compare of two cells: every bit of a trace that a class must share.
#pragma once

#include <string>

#include "runtime/numerics/bits.h"
#include "runtime/trace.h"

namespace isobit {

/// Everything of a trace that a class must share, as one text.
inline std::string bits_of_trace(const CellTrace& trace) {
  std::string out = trace.reason + "\n";
  for (const PromptTrace& prompt : trace.prompts) {
    for (const TokenRecord& t : prompt.tokens) {
      out += std::to_string(t.position) + " " + std::to_string(t.id) + " " + to_hex(t.digest);
      for (int i = 0; i < t.top_count; ++i) {
        out += " " + std::to_string(t.top_ids[std::size_t(i)]) + ":" +
               std::to_string(bits_of(t.top_logits[std::size_t(i)]));
      }
      out += "\n";
    }
    for (const Observation& o : prompt.observations) {
      out += std::to_string(o.position) + " " + std::to_string(o.layer) + " " + name_of(o.site) +
             " " + to_hex(o.digest) + "\n";
    }
  }
  return out;
}

}  // namespace isobit
