// Implementation of runtime/tokenizer/added.h: a byte trie, walked from every place.
#include "runtime/tokenizer/added.h"

#include <algorithm>

#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

/// Where the white space that ends at `end` begins, not before `floor`.
std::size_t space_before(std::string_view text, std::size_t floor, std::size_t end) {
  while (end > floor) {
    std::size_t start = end - 1;
    while (start > floor && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) --start;
    const Char c = char_at(text, start);
    if (!c.is(kSpace) || start + c.bytes != end) break;
    end = start;
  }
  return end;
}

std::size_t space_after(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const Char c = char_at(text, at);
    if (!c.is(kSpace)) break;
    at += c.bytes;
  }
  return at;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), nodes_(1) {
  for (std::size_t at = 0; at < tokens_.size(); ++at) insert(static_cast<std::int32_t>(at));
}

void AddedTokens::insert(std::int32_t token) {
  const std::string& content = tokens_[static_cast<std::size_t>(token)].content;
  first_byte_[static_cast<unsigned char>(content.front())] = true;
  std::int32_t node = 0;
  for (const char byte : content) {
    std::int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<std::int32_t>(nodes_.size());
      auto& children = nodes_[static_cast<std::size_t>(node)].children;
      children.insert(std::upper_bound(children.begin(), children.end(), std::pair(byte, next)),
                      {byte, next});
      nodes_.emplace_back();
    }
    node = next;
  }
  std::int32_t& slot = nodes_[static_cast<std::size_t>(node)].token;
  if (slot < 0) slot = token;
}

std::int32_t AddedTokens::child(std::int32_t node, char byte) const {
  const auto& children = nodes_[static_cast<std::size_t>(node)].children;
  const auto found = std::lower_bound(children.begin(), children.end(), std::pair(byte, 0));
  return found != children.end() && found->first == byte ? found->second : -1;
}

AddedTokens::Match AddedTokens::longest(std::string_view text, std::size_t at) const {
  Match best;
  std::int32_t node = 0;
  while (at < text.size()) {
    node = child(node, text[at++]);
    if (node < 0) break;
    const std::int32_t token = nodes_[static_cast<std::size_t>(node)].token;
    if (token >= 0) best = {token, at};
  }
  return best;
}

void AddedTokens::split(std::string_view text, std::vector<Segment>& segments) const {
  std::size_t done = 0;  // everything before is in a segment
  for (std::size_t at = 0; at < text.size();) {
    Match match;
    if (first_byte_[static_cast<unsigned char>(text[at])]) match = longest(text, at);
    if (match.token < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(match.token)];
    std::size_t start = at;
    std::size_t end = match.end;
    if (token.lstrip && start > done) start = space_before(text, done, start);
    if (token.rstrip) end = space_after(text, end);
    if (done < start) segments.push_back({-1, text.substr(done, start - done)});
    segments.push_back({token.id, text.substr(start, end - start)});
    done = end;
    at = match.end;
  }
  if (done < text.size()) segments.push_back({-1, text.substr(done)});
}

}  // namespace isobit
