// Added (special) tokens: found in a text before anything else looks at it.
//
// Promise: leftmost match, the longest at each place, and lstrip/rstrip swallow white space, all
// as Hugging Face's AddedVocabulary does it, in time that grows with the text alone, whatever the
// tokens and the text are. Called by the tokenizer only.
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
  bool single_word = false;  // found only where no word's character is beside it
  bool normalized = false;   // matched after normalisation, and after all those that are not
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
  /// Appends the segments of `text`, in order; text segments are not empty. Gives how many nodes
  /// and characters it looked at, of which there are a few for each byte of the text.
  std::int64_t split(std::string_view text, std::vector<Segment>& segments) const;

 private:
  /// Stands for the end of some token, read from the root to here, the last byte first.
  struct Node {
    std::vector<std::pair<char, std::int32_t>> children;  // sorted by byte
    std::int32_t token = -1;   // index in tokens_ of the longest that begins here, -1: none
    std::int32_t shorter = 0;  // stands for the longest other begin of these bytes
  };
  struct Match {
    std::size_t at = 0;
    std::int32_t token = -1;
  };
  void insert(std::int32_t token);
  void link();
  [[nodiscard]] std::int32_t child(std::int32_t node, char byte) const;
  [[nodiscard]] std::vector<Match> matches(std::string_view text, std::int64_t& looks) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;            // a trie, the root first
  std::array<bool, 256> last_byte_{};  // some token ends with it
};

}  // namespace isobit
