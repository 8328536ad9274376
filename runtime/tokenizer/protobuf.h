// A bounded reader of protobuf's wire format: the fields of one message, one after the other.
//
// Promise: never reads beyond its bytes; a broken field ends the message with broken() true. Called
// by the reader of SentencePiece models only.
#pragma once

#include <cstdint>
#include <string_view>

namespace isobit {

struct ProtobufField {
  std::uint32_t number = 0;
  std::uint64_t value = 0;  // a varint, or the bits of a fixed field
  std::string_view bytes;   // of a string or message
  bool is_bytes = false;
};

class ProtobufReader {
 public:
  explicit ProtobufReader(std::string_view message) : rest_(message) {}

  /// The next field; false at the end, or when what follows is no field.
  bool next(ProtobufField& field) {
    if (rest_.empty() || broken_) return false;
    std::uint64_t key = 0;
    field = {};
    if (!varint(key) || key >> 3 == 0 || key >> 3 > 0x1fffffff) return fail();
    field.number = static_cast<std::uint32_t>(key >> 3);
    switch (key & 7) {
      case 0:
        return varint(field.value) || fail();
      case 1:
        return fixed(8, field.value) || fail();
      case 5:
        return fixed(4, field.value) || fail();
      case 2: {
        std::uint64_t size = 0;
        if (!varint(size) || size > rest_.size()) return fail();
        field.bytes = rest_.substr(0, size);
        field.is_bytes = true;
        rest_.remove_prefix(size);
        return true;
      }
      default:
        return fail();
    }
  }
  [[nodiscard]] bool broken() const { return broken_; }

 private:
  bool fail() {
    broken_ = true;
    return false;
  }
  bool varint(std::uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return false;
      const auto byte = static_cast<std::uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool fixed(std::size_t bytes, std::uint64_t& value) {
    if (rest_.size() < bytes) return false;
    for (std::size_t i = bytes; i-- > 0;) {
      value = value << 8 | static_cast<std::uint8_t>(rest_[i]);
    }
    rest_.remove_prefix(bytes);
    return true;
  }

  std::string_view rest_;
  bool broken_ = false;
};

}  // namespace isobit
