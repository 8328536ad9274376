// Implementation of runtime/checkpoint/gguf_reader.h. Little-endian, as the format.
#include "runtime/checkpoint/gguf_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <utility>

#include "runtime/checkpoint/json.h"

namespace isobit {
namespace {

constexpr std::uint64_t kMaxKeyBytes = 65535;
constexpr std::uint64_t kMaxNameBytes = 64;
constexpr std::uint64_t kMaxDimensions = 4;
constexpr std::int64_t kMaxElements = std::int64_t{1} << 48;
constexpr std::uint64_t kMaxAlignment = 1u << 20;
constexpr int kMaxNesting = 8;

/// Reads forward through the file. After the first failure every read gives zero.
class Cursor {
 public:
  Cursor(std::span<const std::byte> file, const std::string& place) : file_(file), place_(place) {}

  [[nodiscard]] std::uint64_t at() const { return at_; }
  [[nodiscard]] std::uint64_t left() const { return file_.size() - at_; }
  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] const Error& error() const { return error_; }

  void fail(const std::string& what) { fail_at(what, at_); }
  void fail_at(const std::string& what, std::uint64_t byte) {
    if (failed_) return;
    failed_ = true;
    error_ = Error{what, place_ + ": byte " + std::to_string(byte)};
  }

  /// An empty span on failure.
  std::span<const std::byte> take(std::uint64_t bytes, const std::string& what) {
    if (failed_) return {};
    if (bytes > left()) {
      fail("the file ends inside " + what + "; is it truncated?");
      return {};
    }
    const auto taken =
        file_.subspan(static_cast<std::size_t>(at_), static_cast<std::size_t>(bytes));
    at_ += bytes;
    return taken;
  }

  template <class T>
  T number(const std::string& what) {
    T value{};
    const std::span<const std::byte> bytes = take(sizeof value, what);
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  std::string_view string(const std::string& what) {
    const auto length = number<std::uint64_t>(what);
    const std::span<const std::byte> bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  static_assert(std::endian::native == std::endian::little);
  std::span<const std::byte> file_;
  const std::string& place_;
  std::uint64_t at_ = 0;
  bool failed_ = false;
  Error error_;
};

/// Bytes of one element; 0 for strings, arrays and unknown types.
std::uint64_t scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    case GgufType::string:
    case GgufType::array:
      return 0;
  }
  return 0;
}

GgufType read_type(Cursor& cursor, const std::string& what) {
  const std::uint64_t at = cursor.at();
  const auto number = cursor.number<std::uint32_t>(what);
  if (number > static_cast<std::uint32_t>(GgufType::f64)) {
    cursor.fail_at(what + " has the unknown value type " + std::to_string(number), at);
    return GgufType::u8;
  }
  return static_cast<GgufType>(number);
}

/// Reads an array's head and elements; nested arrays are checked and not kept.
void read_array(Cursor& cursor, const std::string& what, int depth, GgufValue& value) {
  if (depth > kMaxNesting) return cursor.fail(what + " nests arrays too deeply");
  value.element_type = read_type(cursor, what);
  value.count = cursor.number<std::uint64_t>(what);
  const std::uint64_t bytes = scalar_bytes(value.element_type);
  const bool nested = value.element_type == GgufType::array;
  // A string takes at least its length, an array its type and count.
  const std::uint64_t least = bytes != 0 ? bytes : nested ? 12 : 8;
  if (!cursor.failed() && value.count > cursor.left() / least) {
    return cursor.fail(what + " claims " + std::to_string(value.count) +
                       " elements, more than the file can hold; is it truncated?");
  }
  if (bytes != 0) {
    value.elements = cursor.take(value.count * bytes, what);
    if (value.element_type == GgufType::boolean &&
        std::any_of(value.elements.begin(), value.elements.end(),
                    [](std::byte b) { return b > std::byte{1}; })) {
      cursor.fail(what + " has a boolean that is neither 0 nor 1");
    }
    return;
  }
  if (!nested) value.strings.reserve(static_cast<std::size_t>(value.count));
  for (std::uint64_t i = 0; i < value.count && !cursor.failed(); ++i) {
    if (nested) {
      GgufValue inner;
      read_array(cursor, what, depth + 1, inner);
    } else {
      value.strings.push_back(cursor.string(what));
    }
  }
}

GgufValue read_value(Cursor& cursor, const std::string& what) {
  GgufValue value;
  value.type = read_type(cursor, what);
  switch (value.type) {
    case GgufType::u8:
      value.unsigned_value = cursor.number<std::uint8_t>(what);
      break;
    case GgufType::u16:
      value.unsigned_value = cursor.number<std::uint16_t>(what);
      break;
    case GgufType::u32:
      value.unsigned_value = cursor.number<std::uint32_t>(what);
      break;
    case GgufType::u64:
      value.unsigned_value = cursor.number<std::uint64_t>(what);
      break;
    case GgufType::i8:
      value.signed_value = cursor.number<std::int8_t>(what);
      break;
    case GgufType::i16:
      value.signed_value = cursor.number<std::int16_t>(what);
      break;
    case GgufType::i32:
      value.signed_value = cursor.number<std::int32_t>(what);
      break;
    case GgufType::i64:
      value.signed_value = cursor.number<std::int64_t>(what);
      break;
    case GgufType::f32:
      value.real_value = shortest_decimal(cursor.number<float>(what));
      break;
    case GgufType::f64:
      value.real_value = cursor.number<double>(what);
      break;
    case GgufType::boolean:
      value.unsigned_value = cursor.number<std::uint8_t>(what);
      if (value.unsigned_value > 1) cursor.fail(what + " is a boolean that is neither 0 nor 1");
      break;
    case GgufType::string:
      value.string_value = cursor.string(what);
      break;
    case GgufType::array:
      read_array(cursor, what, 1, value);
      break;
  }
  return value;
}

void read_metadata(Cursor& cursor, std::uint64_t count, GgufContainer& out) {
  for (std::uint64_t i = 0; i < count && !cursor.failed(); ++i) {
    const std::uint64_t at = cursor.at();
    const std::string_view key = cursor.string("the key of metadata entry " + std::to_string(i));
    if (cursor.failed()) return;
    if (key.empty() || key.size() > kMaxKeyBytes) {
      return cursor.fail_at(
          "a metadata key of " + std::to_string(key.size()) + " bytes; it must have 1 to 65535",
          at);
    }
    GgufValue value = read_value(cursor, "metadata key " + shown(key));
    if (!out.metadata.emplace(key, std::move(value)).second) {
      return cursor.fail_at("duplicate metadata key " + shown(key), at);
    }
  }
}

/// A tensor record with its offset, before the data section's place is known.
struct Pending {
  GgufTensorRecord record;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint64_t written_at = 0;  // byte of the record
};

/// Fills record.shape from the file's innermost-first sizes.
void read_shape(Cursor& cursor, const std::string& what, Pending& pending) {
  const auto dimensions = cursor.number<std::uint32_t>(what);
  if (cursor.failed()) return;
  if (dimensions < 1 || dimensions > kMaxDimensions) {
    return cursor.fail(what + " has " + std::to_string(dimensions) +
                       " dimensions; 1 to 4 are valid");
  }
  std::int64_t elements = 1;
  for (std::uint32_t i = 0; i < dimensions; ++i) {
    const auto size = cursor.number<std::uint64_t>(what);
    if (cursor.failed()) return;
    if (size == 0 || size > static_cast<std::uint64_t>(kMaxElements / elements)) {
      return cursor.fail(what + " has the size " + std::to_string(size) +
                         " in its shape; it is zero or gives more than 2^48 elements");
    }
    elements *= static_cast<std::int64_t>(size);
    pending.record.shape.insert(pending.record.shape.begin(), static_cast<std::int64_t>(size));
  }
}

Pending read_tensor(Cursor& cursor, std::uint64_t index) {
  Pending pending;
  pending.written_at = cursor.at();
  const std::string_view name = cursor.string("the name of tensor " + std::to_string(index));
  const std::string what = "tensor " + shown(name);
  if (name.empty() || name.size() > kMaxNameBytes) {
    cursor.fail_at(
        what + " has a name of " + std::to_string(name.size()) + " bytes; it must have 1 to 64",
        pending.written_at);
  }
  pending.record.name = std::string(name);
  read_shape(cursor, what, pending);
  const std::uint64_t type_at = cursor.at();
  const auto number = cursor.number<std::uint32_t>(what);
  pending.offset = cursor.number<std::uint64_t>(what);
  if (cursor.failed()) return pending;
  const std::optional<GgmlType> type = ggml_type(number);
  if (!type) {
    cursor.fail_at(what + " has type " + std::to_string(number) + ", which ggml does not have",
                   type_at);
    return pending;
  }
  pending.record.type = *type;
  pending.record.type_at = type_at;
  const TypeLayout layout = type->layout;
  if (pending.record.shape.back() % layout.elements != 0) {
    cursor.fail(what + " has rows of " + std::to_string(pending.record.shape.back()) +
                " elements; " + type->name + " needs a multiple of " +
                std::to_string(layout.elements));
    return pending;
  }
  std::int64_t elements = 1;
  for (const std::int64_t size : pending.record.shape) elements *= size;
  pending.size = static_cast<std::uint64_t>(elements / layout.elements * layout.bytes);
  return pending;
}

std::uint64_t alignment_of(Cursor& cursor, const GgufContainer& container) {
  const auto found = container.metadata.find("general.alignment");
  if (found == container.metadata.end()) return 32;
  const GgufValue& value = found->second;
  const std::uint64_t alignment = value.unsigned_value;
  if (value.type != GgufType::u32 || alignment == 0 || alignment % 8 != 0 ||
      alignment > kMaxAlignment) {
    cursor.fail("general.alignment is " + value.text() +
                "; it must be a u32, a multiple of 8 and at most 1048576");
  }
  return alignment;
}

/// Checks places and overlaps, and gives every record its bytes.
void place_tensors(Cursor& cursor, std::span<const std::byte> file, std::uint64_t alignment,
                   std::vector<Pending>& tensors) {
  const std::uint64_t padding = (alignment - cursor.at() % alignment) % alignment;
  const std::uint64_t data_begin = cursor.at() + padding;
  const std::uint64_t data_size = data_begin > file.size() ? 0 : file.size() - data_begin;
  std::vector<const Pending*> order;
  for (Pending& tensor : tensors) {
    const std::string what = "tensor " + shown(tensor.record.name);
    if (tensor.offset % alignment != 0) {
      return cursor.fail_at(what + " has offset " + std::to_string(tensor.offset) +
                                ", no multiple of the alignment " + std::to_string(alignment),
                            tensor.written_at);
    }
    if (tensor.offset > data_size || tensor.size > data_size - tensor.offset) {
      return cursor.fail_at(what + " needs " + std::to_string(tensor.size) + " bytes at offset " +
                                std::to_string(tensor.offset) + " but the file has " +
                                std::to_string(data_size) + " bytes of data; is it truncated?",
                            tensor.written_at);
    }
    tensor.record.bytes = file.subspan(static_cast<std::size_t>(data_begin + tensor.offset),
                                       static_cast<std::size_t>(tensor.size));
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(),
            [](const Pending* a, const Pending* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (order[i]->offset < order[i - 1]->offset + order[i - 1]->size) {
      return cursor.fail_at("tensor " + shown(order[i]->record.name) + " overlaps tensor " +
                                shown(order[i - 1]->record.name),
                            data_begin + order[i]->offset);
    }
  }
}

/// Checks magic and version; gives the numbers of tensors and metadata entries.
std::pair<std::uint64_t, std::uint64_t> read_head(Cursor& cursor) {
  const std::span<const std::byte> magic = cursor.take(4, "the magic number");
  if (!magic.empty() && std::memcmp(magic.data(), "GGUF", 4) != 0) {
    cursor.fail_at("the file does not begin with \"GGUF\"; is it a GGUF file?", 0);
  }
  const auto version = cursor.number<std::uint32_t>("the version");
  if (version != 0 && (version & 0xffffu) == 0) {  // a small number, its bytes turned round
    cursor.fail_at(
        "the file is big-endian GGUF, which is not supported; convert it with gguf-py's "
        "gguf-convert-endian",
        4);
  }
  if (version != 2 && version != 3) {
    cursor.fail_at("GGUF version " + std::to_string(version) + " is not supported (2, 3)", 4);
  }
  const auto tensors = cursor.number<std::uint64_t>("the number of tensors");
  const auto entries = cursor.number<std::uint64_t>("the number of metadata entries");
  // A tensor record takes at least 33 bytes, a metadata entry 14.
  if (!cursor.failed() && (tensors > cursor.left() / 33 || entries > cursor.left() / 14)) {
    cursor.fail_at(std::to_string(tensors) + " tensors and " + std::to_string(entries) +
                       " metadata entries are more than the file can hold; is it truncated?",
                   8);
  }
  return {tensors, entries};
}

}  // namespace

Result<GgufContainer> read_gguf_container(std::span<const std::byte> file,
                                          const std::string& place) {
  Cursor cursor(file, place);
  GgufContainer container;
  const auto [tensor_count, entry_count] = read_head(cursor);
  read_metadata(cursor, entry_count, container);
  const std::uint64_t alignment = alignment_of(cursor, container);
  std::vector<Pending> tensors;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < tensor_count && !cursor.failed(); ++i) {
    tensors.push_back(read_tensor(cursor, i));
    if (!names.insert(tensors.back().record.name).second) {
      cursor.fail_at("duplicate tensor " + shown(tensors.back().record.name),
                     tensors.back().written_at);
    }
  }
  if (!cursor.failed()) place_tensors(cursor, file, alignment, tensors);
  if (cursor.failed()) return cursor.error();
  for (Pending& tensor : tensors) container.tensors.push_back(std::move(tensor.record));
  return container;
}

}  // namespace isobit
