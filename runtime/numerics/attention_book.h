// Lines of a schedule book about fused attention: which kernel a library takes for a call, by its
// shape (product_book.h; NUMERICS.md, "Fused attention of libraries").
//
//   attention PRECISION HEADS:KV_HEADS D MASK BATCH QUERIES KEYS KERNEL EVIDENCE
// MASK is free, causal or left (fused.h, FusedMask). BATCH, QUERIES and KEYS are n or n..m. KERNEL
// is fa2, cudnn:sm90, cudnn:sm80:BLOCK or efficient. EVIDENCE is "proved CALLS OUTPUTS" (calls
// reproduced, outputs compared, none differed), "forecast", or "open FIT OUTPUTS"; an open call is
// refused.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/numerics/fused.h"

namespace isobit {

enum class BookEvidence : std::uint8_t { proved, forecast, open };

struct BookRange {
  std::int64_t from = 1, to = 1;
  [[nodiscard]] bool has(std::int64_t n) const { return n >= from && n <= to; }
  bool operator==(const BookRange&) const = default;
  auto operator<=>(const BookRange&) const = default;
};

struct AttentionLine {
  Format format = Format::bf16;
  std::int64_t heads = 1, kv_heads = 1, head_dim = 64;
  FusedMask mask = FusedMask::free;
  BookRange batch, queries, keys;
  FusedChoice choice;
  BookEvidence evidence = BookEvidence::proved;
  std::int64_t calls = 0, outputs = 0;  // proved: reproduced; open: outputs that fit, of how many
  bool operator==(const AttentionLine&) const = default;
};

/// "fa2", "cudnn:sm90", "cudnn:sm80:64", "efficient".
std::string text_of(const FusedChoice& choice);
/// Errors name what it may be.
Result<FusedChoice> parse_fused_choice(const std::string& text);
/// "free", "causal", "left".
std::string name_of_mask(FusedMask mask);

/// With its end of line.
std::string line_text(const AttentionLine& line);
/// Errors say what a line is.
Result<AttentionLine> parse_attention_line(const std::string& text);
/// Sorts. Two lines that speak of one call are an error.
Result<void> order_attention(std::vector<AttentionLine>& lines);
/// nullptr where no line speaks of it.
const AttentionLine* find_attention(const std::vector<AttentionLine>& lines, Format format,
                                    const FusedShape& shape);

}  // namespace isobit
