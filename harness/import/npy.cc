// The header of a .npy file: magic, version, length, and a dictionary as Python prints it.
//
// NumPy reads the dictionary with Python's own parser; what is accepted here is what NumPy writes:
// the keys descr, fortran_order and shape, each once, spaces, and one line end behind.
#include <cstring>
#include <optional>
#include <string_view>

#include "harness/import/rows.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::int64_t kMostElements = std::int64_t{1} << 48;
constexpr std::size_t kLongestHeader = 1 << 16;

/// The dictionary's text and how far it has been read.
class Dictionary {
 public:
  Dictionary(std::string_view text, std::size_t first_byte, const std::string& place)
      : text_(text), first_byte_(first_byte), place_(place) {}

  Result<RowTable> read() {
    if (!take('{')) return wrong("a dictionary was expected");
    while (!take('}')) {
      const std::size_t key_at = at_;
      const auto key = quoted();
      if (!key || !take(':')) return wrong("'KEY': was expected");
      if (auto ok = read_value(*key, key_at); !ok) return ok.error();
      if (!take(',') && peek() != '}') return wrong("',' or '}' was expected");
    }
    skip_spaces();
    if (at_ + 1 != text_.size() || text_[at_] != '\n') {
      return wrong("the header must end in spaces and one line end");
    }
    if (!has_type_ || !has_order_ || !has_shape_) {
      return wrong("the header needs descr, fortran_order and shape");
    }
    return table_;
  }

 private:
  [[nodiscard]] Error wrong(const std::string& what, std::optional<std::size_t> at = {}) const {
    return Error{what, place_ + ": byte " + std::to_string(first_byte_ + at.value_or(at_))};
  }
  void skip_spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  char peek() {
    skip_spaces();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view word) {
    skip_spaces();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  /// A word in single or double quotes, without escapes.
  std::optional<std::string> quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') return std::nullopt;
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string word(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return word;
  }

  Result<void> read_value(const std::string& key, std::size_t key_at) {
    const auto once = [&](bool& has) { return !std::exchange(has, true); };
    skip_spaces();  // so that an error names the value's own byte
    const Error twice = wrong("key " + in_quotes(key) + " stands twice", key_at);
    if (key == "descr") return once(has_type_) ? read_type() : twice;
    if (key == "fortran_order") return once(has_order_) ? read_order() : twice;
    if (key == "shape") return once(has_shape_) ? read_shape() : twice;
    return wrong("unknown key " + in_quotes(key), key_at);
  }

  Result<void> read_type() {
    const std::size_t at = at_;
    const auto type = quoted();
    if (type == "<f2") {
      table_.type = RowType::f16;
    } else if (type == "<f4") {
      table_.type = RowType::f32;
    } else if (type == "<f8") {
      table_.type = RowType::f64;
    } else {
      const std::string found = type ? "descr is " + in_quotes(*type) : "descr is no simple type";
      return wrong(found + "; rows are '<f2', '<f4' or '<f8' (little-endian floats)", at);
    }
    return {};
  }

  Result<void> read_order() {
    const std::size_t at = at_;
    if (take("False")) return {};
    if (take("True")) {
      return wrong("the array is in Fortran order; numpy.ascontiguousarray() makes rows of it", at);
    }
    return wrong("fortran_order must be True or False", at);
  }

  Result<void> read_shape() {
    const std::size_t at = at_;
    std::vector<std::int64_t> sizes;
    if (!take('(')) return wrong("shape must be a tuple of sizes");
    while (!take(')')) {
      skip_spaces();
      const std::size_t end = std::min(text_.find_first_not_of("0123456789", at_), text_.size());
      std::int64_t size = 0;
      if (!parse_integer(std::string(text_.substr(at_, end - at_)), 0, kMostElements, size)) {
        return wrong("a size from 0 to 2^48 was expected");
      }
      at_ = end;
      sizes.push_back(size);
      if (!take(',') && peek() != ')') return wrong("',' or ')' was expected");
    }
    if (sizes.size() != 2) {
      return wrong("the array has " + std::to_string(sizes.size()) +
                       " dimensions; rows of logits have two, (rows, vocabulary)",
                   at);
    }
    if (sizes[1] != 0 && sizes[0] > kMostElements / sizes[1]) {
      return wrong("the array has more than 2^48 elements", at);
    }
    table_.rows = sizes[0];
    table_.cols = sizes[1];
    return {};
  }

  std::string_view text_;
  std::size_t first_byte_;
  const std::string& place_;
  std::size_t at_ = 0;
  bool has_type_ = false, has_order_ = false, has_shape_ = false;
  RowTable table_;
};

std::uint64_t little_endian(std::span<const std::byte> bytes) {
  std::uint64_t out = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) out = out << 8 | std::uint64_t(bytes[i]);
  return out;
}

}  // namespace

Result<RowTable> read_npy(std::span<const std::byte> file, const std::string& place) {
  const auto ends = [&](const std::string& where) {
    return Error{"the file ends inside " + where + "; is it truncated, or no .npy file?",
                 place + ": byte " + std::to_string(file.size())};
  };
  if (file.size() < kMagic.size() + 2) return ends("its first 8 bytes");
  if (std::memcmp(file.data(), kMagic.data(), kMagic.size()) != 0) {
    return Error{"the file does not begin with \\x93NUMPY: it is no .npy file", place + ": byte 0"};
  }
  const int major = int(file[6]), minor = int(file[7]);
  if (major < 1 || major > 3 || minor != 0) {
    return Error{"format " + std::to_string(major) + "." + std::to_string(minor) +
                     " is not known; 1.0, 2.0 and 3.0 are",
                 place + ": byte 6"};
  }
  const std::size_t width = major == 1 ? 2 : 4, begin = 8 + width;
  if (file.size() < begin) return ends("the length of its header");
  const std::uint64_t length = little_endian(file.subspan(8, width));
  if (length > kLongestHeader) {
    return Error{"a header of " + std::to_string(length) + " bytes; rows need less than 65536",
                 place + ": byte 8"};
  }
  if (length > file.size() - begin) return ends("its header");
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + begin,
                              std::size_t(length));
  auto table = Dictionary(text, begin, place).read();
  ISOBIT_TRY(table);
  const std::size_t data = begin + std::size_t(length);
  const auto wanted = std::uint64_t(table->rows * table->cols * bytes_of(table->type));
  if (file.size() - data != wanted) {
    return Error{"shape and type need " + std::to_string(wanted) + " bytes, " +
                     std::to_string(file.size() - data) +
                     " are there; is the file truncated, or written to twice?",
                 place + ": byte " + std::to_string(data)};
  }
  table->bytes = file.subspan(data);
  return table;
}

}  // namespace isobit
