// Strict reader of golden text (FORMAT.md): whatever it accepts prints back to the same bytes.
//
// Errors are "place:line: what is wrong (likely mistake)". Bad input never aborts.
#include <charconv>
#include <limits>
#include <string_view>

#include "golden/golden.h"
#include "golden/text.h"

namespace isobit {
namespace {

using golden_text::is_hex;
using golden_text::unescape;

constexpr std::size_t kClassDigits = 64;
constexpr std::size_t kBlockDigits = 16;

/// Canonical decimal: no sign but '-', no leading zero.
template <class T>
bool read_integer(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size() && std::to_string(out) == text;
}

class GoldenParser {
 public:
  GoldenParser(std::string_view text, const std::string& place) : rest_(text), place_(place) {}

  Result<GoldenFile> parse() {
    if (auto header = read_header(); !header) return header.error();
    while (!at_end()) {
      if (!next_line()) return broken_end();
      if (!line_.empty()) return fail("expected an empty line before a block or the ledger");
      if (!next_line()) return broken_end();
      if (line_.starts_with("block ")) {
        if (!file_.ledger.empty()) return fail("a block after the ledger");
        if (auto block = read_block(); !block) return block.error();
      } else if (line_.starts_with("ledger ")) {
        if (auto ledger = read_ledger(); !ledger) return ledger.error();
      } else {
        return fail("expected 'block' or 'ledger', found '" + excerpt() + "'");
      }
    }
    return std::move(file_);
  }

 private:
  Result<void> read_header() {
    if (!next_line()) return at_end() && line_number_ == 0 ? fail("empty file") : broken_end();
    constexpr std::string_view kFormat = "isobit-golden ";
    if (line_ != std::string(kFormat) + "1") {
      if (line_.starts_with(kFormat)) {
        return fail("golden format '" + std::string(line_.substr(kFormat.size())) +
                    "' is not known to this program, which reads format 1");
      }
      return fail("not a golden file: the first line must be 'isobit-golden 1'");
    }
    if (!next_line()) return broken_end();
    if (!line_.starts_with("scenario ")) return fail("expected 'scenario \"name\"'");
    line_.remove_prefix(9);
    if (!take_quoted(file_.scenario) || !line_.empty()) {
      return fail("the scenario's name must be one quoted text");
    }
    return {};
  }

  Result<void> read_block() {
    GoldenBlock block;
    line_.remove_prefix(6);
    if (!take_key(block.key) || !line_.empty()) {
      return fail("expected 'block CLASS PROMPT', each 64 lower-case hex digits");
    }
    if (!file_.blocks.empty() && !(file_.blocks.rbegin()->first < block.key)) {
      return fail(file_.blocks.rbegin()->first == block.key
                      ? "the same class and prompt twice (a merge that kept both sides?)"
                      : "blocks are not sorted by class and prompt (a merge out of order?)");
    }
    if (!next_line()) return broken_end();
    if (!line_.starts_with("prompt ")) return fail("expected 'prompt \"id\"'");
    line_.remove_prefix(7);
    if (!take_quoted(block.prompt_id) || !line_.empty()) {
      return fail("the prompt's id must be one quoted text");
    }
    if (auto body = read_body(block); !body) return body;
    file_.blocks.emplace(block.key, std::move(block));
    return {};
  }

  /// Recipe lines, token lines, and the end line with the block's hash.
  Result<void> read_body(GoldenBlock& block) {
    while (true) {
      if (!next_line()) return broken_end();
      if (line_.starts_with("recipe ")) {
        if (!block.rows.empty()) return fail("a recipe line after the first token");
        const auto text = unescape(line_.substr(7));
        if (!text || text->find('\n') != std::string::npos) return fail("bad escape in a recipe");
        block.class_recipe += *text + "\n";
      } else if (line_.starts_with("end ")) {
        const std::string hash = block.block_hash();
        if (line_.substr(4) == hash) return {};
        return fail("the block's hash is " + hash + ", not '" + std::string(line_.substr(4)) +
                    "': a token line was edited by hand or merged from two sides");
      } else if (auto row = read_row(block); !row) {
        return row;
      }
    }
  }

  Result<void> read_row(GoldenBlock& block) {
    if (line_.starts_with("<<<<<<<") || line_.starts_with("=======") ||
        line_.starts_with(">>>>>>>")) {
      return fail("an unresolved merge conflict");
    }
    GoldenRow row;
    const std::size_t first = line_.find(' ');
    const std::size_t second = line_.rfind(' ');
    const char* const shape = "expected 'POSITION DIGEST ID', found '";
    if (first == std::string_view::npos || second <= first) return fail(shape + excerpt() + "'");
    const std::string_view digest = line_.substr(first + 1, second - first - 1);
    if (!read_integer(line_.substr(0, first), row.position) || row.position < 0) {
      return fail("a position is a number from 0 on, found '" + excerpt() + "'");
    }
    if (!is_hex(digest, 32) || !from_hex(digest, row.digest)) {
      return fail("a digest is 32 lower-case hex digits, found '" + excerpt() + "'");
    }
    if (!read_integer(line_.substr(second + 1), row.id) || row.id < -1) {
      return fail("a token id is a number from -1 on, found '" + excerpt() + "'");
    }
    if (!block.rows.empty() && row.position <= block.rows.back().position) {
      return fail("positions must ascend");
    }
    block.rows.push_back(row);
    return {};
  }

  Result<void> read_ledger() {
    while (true) {
      LedgerEntry entry;
      if (!line_.starts_with("ledger ")) return fail("only ledger lines may follow the ledger");
      line_.remove_prefix(7);
      if (!take_key(entry.key) || !take_space() || !take_word(entry.block_hash) ||
          !is_hash_or_retired(entry.block_hash) || !take_space() || !take_word(entry.parent_hash) ||
          !is_hash_or_dash(entry.parent_hash) || !take_space() || !take_quoted(entry.prompt_id) ||
          !take_space() || !take_quoted(entry.by) || !take_space() || !take_quoted(entry.reason) ||
          !line_.empty()) {
        return fail("expected 'ledger CLASS PROMPT BLOCK PARENT \"id\" \"by\" \"reason\"'");
      }
      if (!file_.ledger.empty() && entry.key < file_.ledger.back().key) {
        return fail("ledger lines are not sorted by class and prompt (a merge out of order?)");
      }
      file_.ledger.push_back(std::move(entry));
      if (at_end()) return {};
      if (!next_line()) return broken_end();
    }
  }

  static bool is_hash_or_retired(const std::string& text) {
    return text == kRetired || is_hash_or_dash(text);
  }
  static bool is_hash_or_dash(const std::string& text) {
    return text == "-" || is_hex(text, kBlockDigits);
  }

  bool take_space() {
    if (!line_.starts_with(' ')) return false;
    line_.remove_prefix(1);
    return true;
  }
  bool take_word(std::string& out) {
    const std::size_t size = std::min(line_.find(' '), line_.size());
    out = std::string(line_.substr(0, size));
    line_.remove_prefix(size);
    return size > 0;
  }
  bool take_key(GoldenKey& key) {
    return take_word(key.class_hash) && is_hex(key.class_hash, kClassDigits) && take_space() &&
           take_word(key.prompt_digest) && is_hex(key.prompt_digest, kClassDigits);
  }
  bool take_quoted(std::string& out) {
    if (!line_.starts_with('"')) return false;
    std::size_t end = 1;
    while (end < line_.size() && line_[end] != '"') end += line_[end] == '\\' ? 2 : 1;
    if (end >= line_.size()) return false;
    const auto text = unescape(line_.substr(1, end - 1));
    if (!text) return false;
    out = *text;
    line_.remove_prefix(end + 1);
    return true;
  }

  [[nodiscard]] bool at_end() const { return rest_.empty(); }
  /// The next line without its newline; false at the end or when the newline is missing.
  bool next_line() {
    const std::size_t size = rest_.find('\n');
    if (size == std::string_view::npos) return false;
    line_ = rest_.substr(0, size);
    rest_.remove_prefix(size + 1);
    ++line_number_;
    return true;
  }
  Error broken_end() {
    ++line_number_;
    return fail("the file ends inside a line or a block (truncated?)");
  }
  [[nodiscard]] std::string excerpt() const {
    std::string text = golden_text::escape(line_.substr(0, 60));
    return line_.size() > 60 ? text + "..." : text;
  }
  [[nodiscard]] Error fail(const std::string& message) const {
    return Error{message, place_ + ":" + std::to_string(line_number_)};
  }

  std::string_view rest_;
  const std::string& place_;
  std::string_view line_;
  int line_number_ = 0;
  GoldenFile file_;
};

}  // namespace

Result<GoldenFile> parse_golden(const std::string& text, const std::string& place) {
  return GoldenParser(text, place).parse();
}

}  // namespace isobit
