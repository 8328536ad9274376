// Added (special) tokens: found in a text before anything else looks at it.
//
// Promise: leftmost match, the longest at each place, and lstrip/rstrip swallow white space, all
// as Hugging Face's AddedVocabulary does it. Called by the tokenizer only.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace isobit {

/// One entry of tokenizer.json's added_tokens, or a control or user-defined token of a GGUF file.
struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;  // matched after normalisation, and after all those that are not
};

/// A stretch of text: an added token (id >= 0) or text between such (id -1).
struct Segment {
  std::int32_t id = -1;
  std::string_view text;
};

class AddedTokens {
 public:
  /// Of two tokens with the same content the first counts. REQUIRES: no content is empty.
  explicit AddedTokens(std::vector<AddedToken> tokens = {});
  /// Appends the segments of `text`, in order; text segments are not empty.
  void split(std::string_view text, std::vector<Segment>& segments) const;

 private:
  struct Node {
    std::vector<std::pair<char, std::int32_t>> children;  // sorted by byte
    std::int32_t token = -1;                              // index in tokens_, -1: none ends here
  };
  struct Match {
    std::int32_t token = -1;
    std::size_t end = 0;
  };
  void insert(std::int32_t token);
  [[nodiscard]] std::int32_t child(std::int32_t node, char byte) const;
  [[nodiscard]] Match longest(std::string_view text, std::size_t at) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;             // a trie, the root first
  std::array<bool, 256> first_byte_{};  // some token begins with it
};

}  // namespace isobit
