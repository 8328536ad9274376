// The Unigram model: the best way to write a piece as tokens, by the sum of their scores.
//
// Promise: the ids of Hugging Face tokenizers' Unigram model for the same vocabulary: sums in fp64
// from the left, the earlier of two equal ways, runs of unknown characters as one token. Constant
// after building. Called by the tokenizer only.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace isobit {

class Unigram {
 public:
  Unigram() = default;
  /// `tokens` and `scores` by id; empty texts are no tokens. `unknown` is -1 for none: then
  /// characters that no token covers vanish. With `byte_fallback` they become the tokens <0xNN>,
  /// where the vocabulary has all that are needed.
  Unigram(const std::vector<std::string>& tokens, const std::vector<double>& scores,
          std::int32_t unknown, bool byte_fallback);

  void encode(std::string_view piece, std::vector<std::int32_t>& ids) const;

 private:
  struct Entry {
    std::string text;
    std::int32_t id;
  };
  /// Calls visit(id, bytes) for every token that `text` begins with, the shortest first.
  template <class Visit>
  void prefixes(std::string_view text, const Visit& visit) const;
  [[nodiscard]] std::int32_t find(std::string_view text) const;
  void put_unknown(std::string_view text, std::vector<std::int32_t>& ids) const;

  std::vector<Entry> sorted_;  // by text
  std::vector<double> scores_;
  std::array<std::int32_t, 256> bytes_{};
  double unknown_score_ = 0;
  std::int32_t unknown_ = -1;
  bool byte_fallback_ = false;
};

}  // namespace isobit
