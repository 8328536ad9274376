// Implementation of runtime/tokenizer/added.h: the automaton of Aho and Corasick over the reversed
// tokens. One walk from the text's end to its begin meets, at each place, the longest token that
// begins there; a trie walked anew from every place would look at a long token's bytes each time.
#include "runtime/tokenizer/added.h"

#include <algorithm>

#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

/// Where the white space that ends at `end` begins, not before `floor`.
std::size_t space_before(std::string_view text, std::size_t floor, std::size_t end,
                         std::int64_t& looks) {
  for (; end > floor; ++looks) {
    std::size_t start = end - 1;
    while (start > floor && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) --start;
    const Char c = char_at(text, start);
    if (!c.is(kSpace) || start + c.bytes != end) break;
    end = start;
  }
  return end;
}

/// Whether a word's character is right before or right after a stretch of `text`.
bool inside_word(std::string_view text, std::size_t begin, std::size_t end) {
  if (end < text.size() && char_at(text, end).is(kWord)) return true;
  if (begin == 0) return false;
  std::size_t start = begin - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) --start;
  const Char c = char_at(text, start);
  return c.is(kWord) && start + c.bytes == begin;
}

/// Where runs of white space end. Of the last one this is remembered: tokens that are white space
/// themselves ask for every place in it.
class SpaceAfter {
 public:
  explicit SpaceAfter(std::string_view text) : text_(text) {}

  std::size_t end(std::size_t at, std::int64_t& looks) {
    const bool inside = begin_ <= at && at < end_;
    if (inside && (static_cast<unsigned char>(text_[at]) & 0xc0) != 0x80) return end_;
    std::size_t end = at;
    for (; end < text_.size(); ++looks) {
      const Char c = char_at(text_, end);
      if (!c.is(kSpace)) break;
      end += c.bytes;
    }
    if (end > at) begin_ = at, end_ = end;
    return end;
  }

 private:
  std::string_view text_;
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), nodes_(1) {
  for (std::size_t at = 0; at < tokens_.size(); ++at) insert(static_cast<std::int32_t>(at));
  link();
}

void AddedTokens::insert(std::int32_t token) {
  const std::string& content = tokens_[static_cast<std::size_t>(token)].content;
  last_byte_[static_cast<unsigned char>(content.back())] = true;
  std::int32_t node = 0;
  for (auto byte = content.rbegin(); byte != content.rend(); ++byte) {
    std::int32_t next = child(node, *byte);
    if (next < 0) {
      next = static_cast<std::int32_t>(nodes_.size());
      auto& children = nodes_[static_cast<std::size_t>(node)].children;
      children.insert(std::upper_bound(children.begin(), children.end(), std::pair(*byte, next)),
                      {*byte, next});
      nodes_.emplace_back();
    }
    node = next;
  }
  std::int32_t& slot = nodes_[static_cast<std::size_t>(node)].token;
  if (slot < 0) slot = token;
}

/// Level by level: what is shorter is linked already.
void AddedTokens::link() {
  std::vector<std::int32_t> level{0};
  while (!level.empty()) {
    std::vector<std::int32_t> below;
    for (const std::int32_t parent : level) {
      for (const auto& [byte, at] : nodes_[static_cast<std::size_t>(parent)].children) {
        Node& node = nodes_[static_cast<std::size_t>(at)];
        for (std::int32_t from = parent; from != 0 && node.shorter == 0;) {
          from = nodes_[static_cast<std::size_t>(from)].shorter;
          node.shorter = std::max(0, child(from, byte));
        }
        if (node.token < 0) node.token = nodes_[static_cast<std::size_t>(node.shorter)].token;
        below.push_back(at);
      }
    }
    level = std::move(below);
  }
}

std::int32_t AddedTokens::child(std::int32_t node, char byte) const {
  const auto& children = nodes_[static_cast<std::size_t>(node)].children;
  const auto found = std::lower_bound(children.begin(), children.end(), std::pair(byte, 0));
  return found != children.end() && found->first == byte ? found->second : -1;
}

/// The longest token at each place that has one, the last place first.
std::vector<AddedTokens::Match> AddedTokens::matches(std::string_view text,
                                                     std::int64_t& looks) const {
  std::vector<Match> found;
  std::int32_t node = 0;
  for (std::size_t at = text.size(); at-- > 0;) {
    if (node == 0 && !last_byte_[static_cast<unsigned char>(text[at])]) continue;
    std::int32_t next = child(node, text[at]);
    for (++looks; next < 0 && node != 0; ++looks) {
      node = nodes_[static_cast<std::size_t>(node)].shorter;
      next = child(node, text[at]);
    }
    node = std::max(0, next);
    const std::int32_t token = nodes_[static_cast<std::size_t>(node)].token;
    if (token >= 0) found.push_back({at, token});
  }
  return found;
}

std::int64_t AddedTokens::split(std::string_view text, std::vector<Segment>& segments) const {
  std::int64_t looks = 0;
  SpaceAfter space(text);
  std::size_t done = 0;  // everything before is in a segment
  std::size_t at = 0;    // no token begins before
  std::vector<Match> found = matches(text, looks);
  for (; !found.empty(); found.pop_back()) {
    const Match match = found.back();
    if (match.at < at) continue;  // inside the one before
    const AddedToken& token = tokens_[static_cast<std::size_t>(match.token)];
    at = match.at + token.content.size();
    if (token.single_word && inside_word(text, match.at, at)) continue;
    std::size_t start = match.at;
    std::size_t end = at;
    if (token.lstrip && start > done) start = space_before(text, done, start, looks);
    if (token.rstrip) end = space.end(end, looks);
    if (done < start) segments.push_back({-1, text.substr(done, start - done)});
    segments.push_back({token.id, text.substr(start, end - start)});
    done = end;
  }
  if (done < text.size()) segments.push_back({-1, text.substr(done)});
  return looks;
}

}  // namespace isobit
