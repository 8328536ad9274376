// Implementation of runtime/tokenizer/unigram.h: the shortest path over the piece's bytes.
#include "runtime/tokenizer/unigram.h"

#include <algorithm>

#include "runtime/base/interrupt.h"
#include "runtime/tokenizer/spec.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

constexpr double kUnknownPenalty = 10.0;

/// The best way to write what ends at a byte.
struct Node {
  double score = 0;
  std::size_t start = SIZE_MAX;  // of its last token; SIZE_MAX: no way is known
  std::int32_t id = -1;          // -1: unknown
};

void offer(Node& node, double score, std::size_t start, std::int32_t id) {
  if (node.start == SIZE_MAX || score > node.score) node = {score, start, id};
}

}  // namespace

Unigram::Unigram(const std::vector<std::string>& tokens, const std::vector<double>& scores,
                 std::int32_t unknown, bool byte_fallback)
    : scores_(scores), unknown_(unknown), byte_fallback_(byte_fallback) {
  bytes_.fill(-1);
  double least = 0;
  for (std::size_t id = 0; id < scores.size(); ++id) {
    if (tokens[id].empty()) continue;
    least = sorted_.empty() ? scores[id] : std::min(least, scores[id]);
    sorted_.push_back({tokens[id], static_cast<std::int32_t>(id)});
    const int byte = byte_of_fallback(tokens[id]);
    if (byte >= 0) bytes_[static_cast<std::size_t>(byte)] = static_cast<std::int32_t>(id);
  }
  unknown_score_ = least - kUnknownPenalty;
  std::sort(sorted_.begin(), sorted_.end(),
            [](const Entry& a, const Entry& b) { return a.text < b.text; });
}

/// Narrows the range of entries that share the bytes read so far.
template <class Visit>
void Unigram::prefixes(std::string_view text, const Visit& visit) const {
  auto low = sorted_.begin();
  auto high = sorted_.end();
  for (std::size_t depth = 0; depth < text.size(); ++depth) {
    // The byte at `depth` of an entry that is longer; shorter ones come first.
    const auto byte_of = [depth](const Entry& entry) {
      return depth < entry.text.size() ? int{static_cast<unsigned char>(entry.text[depth])} : -1;
    };
    const int wanted = static_cast<unsigned char>(text[depth]);
    low = std::lower_bound(low, high, wanted,
                           [&](const Entry& entry, int byte) { return byte_of(entry) < byte; });
    high = std::upper_bound(low, high, wanted,
                            [&](int byte, const Entry& entry) { return byte < byte_of(entry); });
    if (low == high) return;
    if (low->text.size() == depth + 1) visit(low->id, depth + 1);
  }
}

std::int32_t Unigram::find(std::string_view text) const {
  const auto found = std::lower_bound(sorted_.begin(), sorted_.end(), text,
                                      [](const Entry& entry, std::string_view wanted) {
                                        return std::string_view(entry.text) < wanted;
                                      });
  return found != sorted_.end() && found->text == text ? found->id : -1;
}

void Unigram::put_unknown(std::string_view text, std::vector<std::int32_t>& ids) const {
  if (const std::int32_t whole = find(text); whole >= 0) {
    ids.push_back(whole);  // a run of unknown characters may be a token
    return;
  }
  const bool all = byte_fallback_ && std::all_of(text.begin(), text.end(), [&](char c) {
                     return bytes_[static_cast<unsigned char>(c)] >= 0;
                   });
  if (all) {
    for (const char c : text) ids.push_back(bytes_[static_cast<unsigned char>(c)]);
  } else if (unknown_ >= 0) {
    ids.push_back(unknown_);
  }
}

void Unigram::encode(std::string_view piece, std::vector<std::int32_t>& ids) const {
  std::vector<Node> ends(piece.size() + 1);
  for (std::size_t at = 0; at < piece.size();) {
    if (interrupted != 0) return;
    const double before = ends[at].score;
    const std::size_t one = char_at(piece, at).bytes;
    bool single = false;
    prefixes(piece.substr(at), [&](std::int32_t id, std::size_t bytes) {
      offer(ends[at + bytes], scores_[static_cast<std::size_t>(id)] + before, at, id);
      single = single || bytes == one;
    });
    if (!single) offer(ends[at + one], unknown_score_ + before, at, -1);
    at += one;
  }
  std::vector<std::pair<std::string_view, std::int32_t>> back;  // the last token first
  for (std::size_t end = piece.size(); end > 0;) {
    const Node& node = ends[end];
    const bool unknown = node.id < 0 || node.id == unknown_;
    const std::string_view text = piece.substr(node.start, end - node.start);
    if (unknown && !back.empty() && back.back().second < 0) {
      back.back().first = {text.data(), text.size() + back.back().first.size()};
    } else {
      back.emplace_back(text, unknown ? -1 : node.id);
    }
    end = node.start;
  }
  for (auto token = back.rbegin(); token != back.rend(); ++token) {
    if (token->second >= 0) {
      ids.push_back(token->second);
    } else {
      put_unknown(token->first, ids);
    }
  }
}

}  // namespace isobit
