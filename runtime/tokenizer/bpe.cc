// Implementation of runtime/tokenizer/bpe.h: a linked list of symbols and a priority queue of
// merges.
#include "runtime/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "runtime/base/interrupt.h"
#include "runtime/tokenizer/spec.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

constexpr std::uint64_t kNoPair = ~std::uint64_t{0};

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

std::uint64_t scatter(std::uint64_t pair) {
  pair *= 0x9e3779b97f4a7c15;
  return pair ^ pair >> 32;
}

}  // namespace

/// One pre-token while it is merged. Symbols never move; a swallowed one has id -1.
class BpeWord {
 public:
  BpeWord(const Bpe& bpe, BpeScratch& scratch)
      : bpe_(bpe), symbols_(scratch.symbols), queue_(scratch.queue) {
    symbols_.clear();
    queue_.clear();
  }

  void append_byte(std::uint8_t byte) { append(bpe_.byte_ids_[byte]); }

  void append_character(const std::string& text) {
    const auto found = bpe_.chars_.find(text);
    if (found != bpe_.chars_.end()) return append(found->second);
    const auto has = [&](char c) { return bpe_.byte_ids_[static_cast<std::uint8_t>(c)] >= 0; };
    if (!bpe_.options_.byte_fallback || !std::all_of(text.begin(), text.end(), has)) {
      return append(-1);
    }
    // Bytes go before an unknown token that is not ended yet, as in Hugging Face tokenizers.
    for (const char c : text) put(bpe_.byte_ids_[static_cast<std::uint8_t>(c)]);
  }

  void merge(std::vector<std::int32_t>& ids) {
    end_unknown();
    const auto size = static_cast<std::int64_t>(symbols_.size());
    if (size == 0) return;
    symbols_.back().next = -1;
    for (std::int64_t at = 0; at + 1 < size; ++at) propose(at);
    while (!queue_.empty() && interrupted == 0) {
      std::pop_heap(queue_.begin(), queue_.end(), later);
      const Candidate top = queue_.back();
      queue_.pop_back();
      apply(top);
    }
    for (std::int64_t at = 0; at >= 0; at = symbol(at).next) ids.push_back(symbol(at).id);
  }

 private:
  using Symbol = BpeScratch::Symbol;
  using Candidate = BpeScratch::Candidate;

  /// A symbol, or -1 for one that the vocabulary lacks.
  void append(std::int32_t id) {
    const bool fused = id < 0 && in_unknown_ && bpe_.options_.fuse_unknown;
    if (!fused) end_unknown();
    in_unknown_ = id < 0;
    if (id >= 0) put(id);
  }
  void end_unknown() {
    if (in_unknown_ && bpe_.options_.unknown >= 0) put(bpe_.options_.unknown);
    in_unknown_ = false;
  }
  void put(std::int32_t id) {
    const auto at = static_cast<std::int64_t>(symbols_.size());
    symbols_.push_back({id, at - 1, at + 1});
  }

  static bool later(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  }

  Symbol& symbol(std::int64_t at) { return symbols_[static_cast<std::size_t>(at)]; }

  /// Queues the merge of the symbol at `at` with its successor, if there is such a merge.
  void propose(std::int64_t at) {
    const Symbol& left = symbol(at);
    if (left.next < 0) return;
    const Bpe::Slot* slot = bpe_.find(left.id, symbol(left.next).id);
    if (slot == nullptr) return;
    queue_.push_back({slot->rank, slot->result, at});
    std::push_heap(queue_.begin(), queue_.end(), later);
  }

  /// Does the merge unless its symbols have changed since it was queued.
  void apply(const Candidate& top) {
    Symbol& left = symbol(top.at);
    if (left.id < 0 || left.next < 0) return;
    Symbol& right = symbol(left.next);
    const Bpe::Slot* slot = bpe_.find(left.id, right.id);
    if (slot == nullptr || slot->result != top.result) return;
    left.id = top.result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbol(left.next).previous = top.at;
    if (left.previous >= 0) propose(left.previous);
    propose(top.at);
  }

  const Bpe& bpe_;
  std::vector<Symbol>& symbols_;
  std::vector<Candidate>& queue_;
  bool in_unknown_ = false;
};

Bpe::Bpe(std::vector<std::pair<std::string, std::int32_t>> pieces,
         const std::vector<BpeMerge>& merges, const BpeOptions& options)
    : options_(options) {
  byte_ids_.fill(-1);
  for (auto& [bytes, id] : pieces) {
    if (options.characters) {
      const int byte = byte_of_fallback(bytes);
      if (byte >= 0) byte_ids_[static_cast<std::size_t>(byte)] = id;
      if (!bytes.empty() && char_at(bytes, 0).bytes == bytes.size()) chars_.emplace(bytes, id);
    } else if (bytes.size() == 1) {
      byte_ids_[static_cast<std::uint8_t>(bytes[0])] = id;
    }
    if (options.ignore_merges) whole_.emplace(std::move(bytes), id);
  }
  slots_.resize(std::bit_ceil(merges.size() * 2 + 2), Slot{kNoPair, 0, 0});
  mask_ = slots_.size() - 1;
  std::int32_t rank = 0;
  for (const BpeMerge& merge : merges) {
    insert({pair_of(merge.left, merge.right), rank++, merge.result});
  }
}

void Bpe::insert(const Slot& slot) {
  std::uint64_t at = scatter(slot.pair) & mask_;
  while (slots_[at].pair != kNoPair && slots_[at].pair != slot.pair) at = (at + 1) & mask_;
  slots_[at] = slot;
}

const Bpe::Slot* Bpe::find(std::int32_t left, std::int32_t right) const {
  const std::uint64_t pair = pair_of(left, right);
  for (std::uint64_t at = scatter(pair) & mask_;; at = (at + 1) & mask_) {
    if (slots_[at].pair == pair) return &slots_[at];
    if (slots_[at].pair == kNoPair) return nullptr;
  }
}

void Bpe::encode(std::string_view piece, BpeScratch& scratch,
                 std::vector<std::int32_t>& ids) const {
  if (slots_.empty()) return;
  if (options_.ignore_merges) {
    const auto found = whole_.find(std::string(piece));
    if (found != whole_.end()) {
      ids.push_back(found->second);
      return;
    }
  }
  BpeWord word(*this, scratch);
  if (options_.characters) {
    for (std::size_t at = 0; at < piece.size();) {
      const std::size_t bytes = char_at(piece, at).bytes;
      word.append_character(std::string(piece.substr(at, bytes)));
      at += bytes;
    }
  } else {
    for (const char c : piece) word.append_byte(static_cast<std::uint8_t>(c));
  }
  word.merge(ids);
}

int Bpe::missing_bytes() const {
  return static_cast<int>(std::count(byte_ids_.begin(), byte_ids_.end(), -1));
}

}  // namespace isobit
