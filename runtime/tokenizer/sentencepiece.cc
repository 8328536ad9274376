// Implementation of runtime/tokenizer/sentencepiece.h: a linked list of symbols and a priority
// queue of neighbours.
#include "runtime/tokenizer/sentencepiece.h"

#include <algorithm>

#include "runtime/base/interrupt.h"
#include "runtime/tokenizer/spec.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {

/// One piece while it is merged. Symbols never move; a swallowed one has no bytes.
struct SentencePiece::Word {
  struct Symbol {
    std::size_t begin, bytes;
    std::int64_t previous, next;  // -1: none
  };
  struct Candidate {
    double score;
    std::int64_t left, right;
    std::size_t bytes;  // of both, when it was queued
  };

  const SentencePiece& model;
  std::string_view text;
  std::vector<Symbol> symbols;
  std::vector<Candidate> queue;  // a heap, the next merge on top

  static bool later(const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score < b.score : a.left > b.left;
  }

  Symbol& at(std::int64_t index) { return symbols[static_cast<std::size_t>(index)]; }

  void cut() {
    for (std::size_t begin = 0; begin < text.size();) {
      const auto index = static_cast<std::int64_t>(symbols.size());
      const std::size_t bytes = char_at(text, begin).bytes;
      symbols.push_back({begin, bytes, index - 1, index + 1});
      begin += bytes;
    }
    if (!symbols.empty()) symbols.back().next = -1;
  }

  void propose(std::int64_t left, std::int64_t right) {
    if (left < 0 || right < 0) return;
    const std::size_t bytes = at(left).bytes + at(right).bytes;
    const auto found = model.tokens_.find(std::string(text.substr(at(left).begin, bytes)));
    if (found == model.tokens_.end()) return;
    queue.push_back({found->second.score, left, right, bytes});
    std::push_heap(queue.begin(), queue.end(), later);
  }

  void merge() {
    for (std::size_t i = 1; i < symbols.size(); ++i) {
      propose(static_cast<std::int64_t>(i) - 1, static_cast<std::int64_t>(i));
    }
    while (!queue.empty() && interrupted == 0) {
      std::pop_heap(queue.begin(), queue.end(), later);
      const Candidate top = queue.back();
      queue.pop_back();
      Symbol& left = at(top.left);
      Symbol& right = at(top.right);
      if (left.bytes == 0 || right.bytes == 0 || left.bytes + right.bytes != top.bytes) continue;
      left.bytes = top.bytes;
      right.bytes = 0;
      left.next = right.next;
      if (left.next >= 0) at(left.next).previous = top.left;
      propose(left.previous, top.left);
      propose(top.left, left.next);
    }
  }
};

SentencePiece::SentencePiece(const std::vector<std::string>& tokens,
                             const std::vector<double>& scores, std::int32_t unknown)
    : unknown_(unknown) {
  bytes_.fill(-1);
  tokens_.reserve(tokens.size());
  for (std::size_t id = 0; id < scores.size(); ++id) {
    if (tokens[id].empty()) continue;
    const auto number = static_cast<std::int32_t>(id);
    tokens_.emplace(tokens[id], Token{number, scores[id]});
    const int byte = byte_of_fallback(tokens[id]);
    if (byte >= 0) bytes_[static_cast<std::size_t>(byte)] = number;
  }
}

void SentencePiece::encode(std::string_view piece, std::vector<std::int32_t>& ids) const {
  if (piece.empty()) return;
  Word word{*this, piece, {}, {}};
  word.cut();
  word.merge();
  for (std::int64_t at = 0; at >= 0; at = word.at(at).next) {
    const std::string_view text = piece.substr(word.at(at).begin, word.at(at).bytes);
    const auto found = tokens_.find(std::string(text));
    if (found != tokens_.end()) {
      ids.push_back(found->second.id);
      continue;
    }
    for (const char c : text) {
      const std::int32_t byte = bytes_[static_cast<unsigned char>(c)];
      const std::int32_t id = byte >= 0 ? byte : unknown_;
      if (id >= 0) ids.push_back(id);
    }
  }
}

}  // namespace isobit
