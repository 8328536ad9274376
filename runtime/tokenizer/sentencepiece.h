// SentencePiece's own merging, as llama.cpp does it: of all neighbours whose joined text is a token
// the one with the highest score is joined, the leftmost of equal ones.
//
// Promise: the ids of llama.cpp for a GGUF vocabulary of model "llama", in O(n log n) look-ups.
// Constant after building. Called by the tokenizer only.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace isobit {

class SentencePiece {
 public:
  SentencePiece() = default;
  /// `tokens` and `scores` by id; empty texts are no tokens. A character that is no token becomes
  /// the tokens <0xNN> of its bytes, and `unknown` (-1: nothing) where there is none of a byte.
  SentencePiece(const std::vector<std::string>& tokens, const std::vector<double>& scores,
                std::int32_t unknown);

  void encode(std::string_view piece, std::vector<std::int32_t>& ids) const;

 private:
  struct Token {
    std::int32_t id;
    double score;
  };
  struct Word;
  std::unordered_map<std::string, Token> tokens_;
  std::array<std::int32_t, 256> bytes_{};
  std::int32_t unknown_ = -1;
};

}  // namespace isobit
