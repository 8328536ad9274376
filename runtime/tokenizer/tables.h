// What a tokenizer is inside: the file's spec and the models built of it. Private to tokenizer*.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/chat.h"
#include "runtime/tokenizer/sentencepiece.h"
#include "runtime/tokenizer/spec.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tokenizer/unigram.h"

namespace isobit {

struct Tokenizer::Tables {
  TokenizerSpec spec;
  std::vector<std::string> bytes;  // by id: what decode gives; empty: no such id
  AddedTokens raw_added;           // found in the text as it is
  AddedTokens normalized_added;    // found in the normalised text
  Bpe bpe;
  Unigram unigram;
  SentencePiece sentencepiece;
  ChatTemplate chat;

  /// Text without the added tokens that are found before normalisation; `first`: it begins the
  /// whole text.
  void encode_text(std::string_view text, bool first, std::vector<std::int32_t>& ids) const;
  /// Text without added tokens, already normalised.
  void encode_piece(std::string_view text, bool first, std::vector<std::int32_t>& ids) const;
  /// `first` becomes false where a step drops what the text begins with.
  [[nodiscard]] std::string normal(std::string_view text, bool& first) const;
};

}  // namespace isobit
