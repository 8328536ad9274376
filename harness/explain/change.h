// A golden block that waits, or is about to be blessed, beside what it would stand for: the first
// row that differs, its tokens, its distance, and why. For `isobit review` and `bless`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "golden/bless.h"
#include "harness/explain/cause.h"
#include "harness/explain/values.h"
#include "runtime/tokenizer/tokenizer.h"

namespace isobit {

/// "new", "equal" (under another recipe), "changed".
const char* state_of(const GoldenChange& change);

struct ChangeView {
  const GoldenChange* change = nullptr;
  std::string replaced;  // "another recipe: model 296c… -> 83ab…"; empty: same key
  std::int64_t compared = 0, differing = 0, flipped = 0;  // rows until the first flip
  std::int64_t position = -1, index = -1;                 // of the first row that differs
  std::int32_t id_before = -1, id_after = -1;             // its tokens
  std::string text_before, text_after;                    // empty without a tokenizer
  std::optional<StoredDistance> distance;                 // where the database has both sides
  std::string cause;                                      // explain/cause.h
  [[nodiscard]] const char* state() const { return state_of(*change); }
};

/// `change` outlives it. `tokenizer` may be nullptr.
ChangeView view_of(Witnesses& witnesses, const GoldenChange& change, const Tokenizer* tokenizer);
/// For people: the block's state, hash, prompt and class.
std::string line_of(const GoldenChange& change);
/// That line, then an indented one for each thing that is known but the cause, which many share.
std::vector<std::string> lines_of(const ChangeView& view);

}  // namespace isobit
