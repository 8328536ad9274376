// Byte-pair encoding of one piece: the merges, by rank and then from the left.
//
// Promise: the ids of Hugging Face tokenizers' BPE model for the same vocabulary and merges, in
// O(n log n), whatever the bytes. Constant after build(), so any number of threads may encode.
// Called by the tokenizer only.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace isobit {

/// Ids `left` and `right` side by side become `result`. The rank is the index in the list.
struct BpeMerge {
  std::int32_t left = 0;
  std::int32_t right = 0;
  std::int32_t result = 0;
};

struct BpeOptions {
  bool ignore_merges = false;  // a piece that is in the vocabulary is that token at once
  bool fuse_unknown = false;   // several unknown bytes in a row are one unknown token
  std::int32_t unknown = -1;   // stands for what the vocabulary lacks; -1: that vanishes
  bool characters = false;     // symbols are characters at first, not bytes
  bool byte_fallback = false;  // a character that is no token becomes <0xNN> for its bytes
};

/// Working memory of encode, kept from piece to piece so that nothing is allocated for each.
struct BpeScratch {
  struct Symbol {
    std::int32_t id;              // -1: swallowed by its left neighbour
    std::int64_t previous, next;  // -1: none
  };
  struct Candidate {
    std::int32_t rank;
    std::int32_t result;
    std::int64_t at;  // the left symbol
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> queue;  // a heap, the next merge on top
};

class Bpe {
 public:
  Bpe() = default;
  /// `pieces`: bytes of the tokens that text may become, with their ids (no two alike).
  /// Of two merges of the same pair the later one holds, as in Hugging Face tokenizers.
  Bpe(std::vector<std::pair<std::string, std::int32_t>> pieces, const std::vector<BpeMerge>& merges,
      const BpeOptions& options);

  /// Appends the ids of one pre-token.
  void encode(std::string_view piece, BpeScratch& scratch, std::vector<std::int32_t>& ids) const;
  /// How many of the 256 bytes have no token.
  [[nodiscard]] int missing_bytes() const;

 private:
  struct Slot {
    std::uint64_t pair;
    std::int32_t rank;
    std::int32_t result;
  };
  [[nodiscard]] const Slot* find(std::int32_t left, std::int32_t right) const;
  void insert(const Slot& slot);

  std::vector<Slot> slots_;  // open addressing, a power of two of them
  std::uint64_t mask_ = 0;
  std::array<std::int32_t, 256> byte_ids_{};  // of a byte, or of <0xNN> where characters are first
  std::unordered_map<std::string, std::int32_t> chars_;
  std::unordered_map<std::string, std::int32_t> whole_;  // filled for ignore_merges only
  BpeOptions options_;

  friend class BpeWord;
};

}  // namespace isobit
