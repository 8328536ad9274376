// Implementation of runtime/checkpoint/json.h on nlohmann's SAX interface.
#include "runtime/checkpoint/json.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace isobit {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxDepth = 64;

/// Hands out characters and counts them, so that a SAX event knows its place.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, std::size_t* count) : at_(at), count_(count) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*count_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) {
    return a.at_ == b.at_;
  }
  friend bool operator!=(const CountingIterator& a, const CountingIterator& b) { return !(a == b); }

 private:
  const char* at_;
  std::size_t* count_;
};

/// Cuts nlohmann's prefix off: the place is told by our own means.
std::string plain_message(std::string message) {
  const std::size_t column = message.find("column ");
  std::size_t start = column == std::string::npos ? message.find("] ") : message.find(": ", column);
  if (start != std::string::npos) message.erase(0, start + 2);
  return "invalid JSON: " + message;
}

/// Builds the value and stops at the first error.
class StrictBuilder : public nlohmann::json_sax<json> {
 public:
  StrictBuilder(std::string_view text, const JsonPlace& place) : text_(text), place_(place) {}

  bool null() override { return add(json(nullptr)); }
  bool boolean(bool value) override { return add(json(value)); }
  bool number_integer(number_integer_t value) override { return add(json(value)); }
  bool number_unsigned(number_unsigned_t value) override { return add(json(value)); }
  bool number_float(number_float_t value, const string_t&) override { return add(json(value)); }
  bool string(string_t& value) override { return add(json(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    json& object = *open_.back();
    if (object.contains(name)) {
      // The lexer has just consumed the closing quote.
      const std::size_t end = std::max<std::size_t>(read, 2) - 2;
      const std::size_t start = text_.rfind('"', end);
      return fail("duplicate key " + shown(name), start == std::string_view::npos ? end : start);
    }
    slot_ = &object[name];
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& problem) override {
    return fail(plain_message(problem.what()), position == 0 ? 0 : position - 1);
  }

  json root;
  std::size_t read = 0;  // characters consumed so far
  Error error;

 private:
  bool fail(std::string message, std::size_t offset) {
    error = Error{std::move(message), place_.at(text_, offset)};
    return false;
  }

  json* put(json value) {
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    *slot_ = std::move(value);
    return slot_;
  }

  bool add(json value) {
    put(std::move(value));
    return true;
  }

  bool open(json value) {
    if (open_.size() >= kMaxDepth) {
      return fail("nested deeper than " + std::to_string(kMaxDepth) + " levels",
                  read == 0 ? 0 : read - 1);
    }
    open_.push_back(put(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  const JsonPlace& place_;
  std::vector<json*> open_;  // containers around the current value, outermost first
  json* slot_ = nullptr;     // where the value of the last key goes
};

}  // namespace

std::string JsonPlace::at(std::string_view text, std::size_t offset) const {
  offset = std::min(offset, text.size());
  if (first_byte) return file + ": byte " + std::to_string(*first_byte + offset);
  const std::string_view before = text.substr(0, offset);
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const std::size_t newline = before.rfind('\n');
  const std::size_t column = newline == std::string_view::npos ? offset : offset - newline - 1;
  return file + ":" + std::to_string(lines + 1) + ":" + std::to_string(column + 1);
}

Result<json> parse_strict_json(std::string_view text, const JsonPlace& place) {
  // The parser takes a NUL for the end of its input and would ignore what follows.
  const std::size_t nul = text.find('\0');
  if (nul != std::string_view::npos) return Error{"invalid JSON: NUL byte", place.at(text, nul)};
  StrictBuilder builder(text, place);
  const CountingIterator first(text.data(), &builder.read);
  const CountingIterator last(text.data() + text.size(), &builder.read);
  if (!json::sax_parse(first, last, &builder)) return builder.error;
  return std::move(builder.root);
}

std::string shown(std::string_view text) {
  constexpr std::size_t kMaxShown = 80;
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text.substr(0, kMaxShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += "\\x";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + (text.size() > kMaxShown ? "...\"" : "\"");
}

}  // namespace isobit
