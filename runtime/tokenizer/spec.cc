// GPT-2's byte alphabet and the resolving of merges, shared by both readers.
#include "runtime/tokenizer/spec.h"

#include <algorithm>
#include <array>
#include <utility>

#include "runtime/checkpoint/json.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

bool prints_itself(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

constexpr std::uint32_t kPrintableEnd = 0x144;

/// Code point by byte, and byte by code point (-1: none).
struct Alphabet {
  std::array<std::uint32_t, 256> printable{};
  std::array<int, kPrintableEnd> byte{};
};

const Alphabet& alphabet() {
  static const Alphabet table = [] {
    Alphabet made;
    made.byte.fill(-1);
    std::uint32_t next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const std::uint32_t code = prints_itself(byte) ? static_cast<std::uint32_t>(byte) : next++;
      made.printable[static_cast<std::size_t>(byte)] = code;
      made.byte[code] = byte;
    }
    return made;
  }();
  return table;
}

}  // namespace

std::uint32_t printable_of_byte(std::uint8_t byte) {
  return alphabet().printable[byte];
}

bool bytes_of_printable(std::string_view printable, std::string& bytes) {
  bytes.clear();
  for (std::size_t at = 0; at < printable.size();) {
    const Char c = char_at(printable, at);
    at += c.bytes;
    const int byte = c.code < kPrintableEnd ? alphabet().byte[c.code] : -1;
    if (byte < 0) return false;
    bytes += static_cast<char>(byte);
  }
  return true;
}

int byte_of_fallback(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'A' && c <= 'F')) return -1;
    value = value * 16 + (digit ? c - '0' : c - 'A' + 10);
  }
  return value;
}

std::int32_t id_of_token(const TokenizerSpec& spec, std::string_view text) {
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), text);
  return found == spec.tokens.end() || text.empty()
             ? -1
             : static_cast<std::int32_t>(found - spec.tokens.begin());
}

void add_token(TokenizerSpec& spec, AddedToken token) {
  if (token.content.empty()) return;
  for (AddedToken& known : spec.added) {
    if (known.content != token.content) continue;
    token.id = known.id;
    known = std::move(token);
    return;
  }
  token.id = id_of_token(spec, token.content);
  if (token.id < 0) {
    std::int32_t last = -1;
    for (const AddedToken& known : spec.added) last = std::max(last, known.id);
    const auto vocabulary = static_cast<std::int32_t>(
        std::count(spec.in_vocabulary.begin(), spec.in_vocabulary.end(), 1));
    token.id = last >= vocabulary ? last + 1 : vocabulary;
    const auto at = static_cast<std::size_t>(token.id);
    if (at >= spec.tokens.size()) {
      spec.tokens.resize(at + 1);
      spec.in_vocabulary.resize(at + 1, 0);
      if (!spec.scores.empty()) spec.scores.resize(at + 1, 0);
    }
    spec.tokens[at] = token.content;
  }
  spec.added.push_back(std::move(token));
}

Result<BpeMerge> resolve_merge(const VocabularyIndex& index, std::string_view left,
                               std::string_view right, const std::string& place) {
  const std::string joined = std::string(left) + std::string(right);
  const std::string_view names[3] = {left, right, joined};
  std::int32_t ids[3] = {};
  for (int at = 0; at < 3; ++at) {
    const auto found = index.find(names[at]);
    if (found == index.end()) {
      const char* what = at == 2 ? "gives the token " : "names the token ";
      return Error{std::string("the merge ") + what + shown(names[at]) +
                       ", which the vocabulary lacks; the file is damaged or of two tokenizers",
                   place};
    }
    ids[at] = found->second;
  }
  return BpeMerge{ids[0], ids[1], ids[2]};
}

}  // namespace isobit
