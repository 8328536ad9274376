// safetensors reader (see runtime/checkpoint/weights.h).
//
// Layout: u64 little-endian header length N (at most 100 MB), N bytes of JSON that begin with '{',
// then the data. Each key of the header is a tensor {dtype, shape, data_offsets}, offsets counted
// from the start of the data; "__metadata__" maps strings to strings, or is null. The tensors must
// tile the data: no overlap, no hole, nothing left over.
#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "runtime/checkpoint/json.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kMaxDimensions = 8;
constexpr std::int64_t kMaxElements = std::int64_t{1} << 48;

/// What the header says of one tensor, and where its data lies in the file.
struct Entry {
  Tensor tensor;
  std::string dtype;
  bool opaque = false;      // the tensor's type means nothing
  std::string place;        // of its key
  std::uint64_t begin = 0;  // relative to the data
  std::uint64_t end = 0;
};

std::optional<TensorType> type_of(const std::string& dtype) {
  for (const TensorType type : {TensorType::f64, TensorType::f32, TensorType::f16, TensorType::bf16,
                                TensorType::f8_e4m3, TensorType::f8_e5m2}) {
    if (dtype == name_of(type)) return type;
  }
  return std::nullopt;
}

/// Bytes of an element of the dtypes that are no numbers of a model; 0 for an unknown dtype.
std::int64_t opaque_bytes(const std::string& dtype) {
  for (const char* one : {"BOOL", "U8", "I8", "F8_E8M0"}) {
    if (dtype == one) return 1;
  }
  if (dtype == "I16" || dtype == "U16") return 2;
  if (dtype == "I32" || dtype == "U32") return 4;
  return dtype == "I64" || dtype == "U64" || dtype == "C64" ? 8 : 0;
}

std::optional<std::uint64_t> unsigned_of(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

/// Sets shape, rows and cols. False when `value` is no shape or has too many elements.
bool read_shape(const json& value, Tensor& tensor) {
  if (!value.is_array() || value.size() > kMaxDimensions) return false;
  std::int64_t elements = 1;
  for (const json& item : value) {
    const std::optional<std::uint64_t> size = unsigned_of(item);
    if (!size || *size > static_cast<std::uint64_t>(kMaxElements)) return false;
    const auto extent = static_cast<std::int64_t>(*size);
    if (extent != 0 && elements > kMaxElements / extent) return false;
    elements *= extent;
    tensor.shape.push_back(extent);
  }
  tensor.cols = tensor.shape.empty() ? 1 : tensor.shape.back();
  tensor.rows = 1;
  // With a zero among them the product of the other sizes is not bounded by `elements`.
  for (std::size_t i = 0; i + 1 < tensor.shape.size(); ++i) {
    if (tensor.shape[i] != 0 && tensor.rows > kMaxElements / tensor.shape[i]) return false;
    tensor.rows *= tensor.shape[i];
  }
  return true;
}

/// Errors have no place yet.
Result<Entry> read_entry(const std::string& name, const json& value, std::uint64_t data_size) {
  const auto bad = [&](const std::string& what) {
    return Error{"tensor " + shown(name) + ": " + what, ""};
  };
  if (!value.is_object()) return bad("must be an object");
  for (const auto& item : value.items()) {
    if (item.key() != "dtype" && item.key() != "shape" && item.key() != "data_offsets") {
      return bad("unknown key " + shown(item.key()));
    }
  }
  if (value.size() != 3) return bad("needs dtype, shape and data_offsets");
  if (!value["dtype"].is_string()) return bad("dtype must be a string");
  Entry entry;
  entry.tensor.name = name;
  const std::string dtype = value["dtype"].get<std::string>();
  const std::optional<TensorType> type = type_of(dtype);
  const std::int64_t element = type ? layout_of(*type).bytes : opaque_bytes(dtype);
  if (element == 0) {
    return bad("dtype " + shown(dtype) +
               " is not supported (F64, F32, F16, BF16, F8_E4M3, F8_E5M2)");
  }
  entry.dtype = dtype;
  entry.opaque = !type;
  entry.tensor.type = type.value_or(TensorType::f32);
  if (!read_shape(value["shape"], entry.tensor)) {
    return bad("shape must be a list of at most 8 sizes with at most 2^48 elements together");
  }
  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !unsigned_of(offsets[0]) ||
      !unsigned_of(offsets[1])) {
    return bad("data_offsets must be two non-negative integers");
  }
  entry.begin = *unsigned_of(offsets[0]);
  entry.end = *unsigned_of(offsets[1]);
  const std::string range = std::to_string(entry.begin) + " to " + std::to_string(entry.end);
  if (entry.begin > entry.end) return bad("data_offsets run backwards: " + range);
  if (entry.end > data_size) {
    return bad("data_offsets " + range + " leave the file's " + std::to_string(data_size) +
               " bytes of data; is the file truncated?");
  }
  const auto bytes = static_cast<std::uint64_t>(entry.tensor.rows * entry.tensor.cols * element);
  if (entry.end - entry.begin != bytes) {
    return bad("data_offsets " + range + " hold " + std::to_string(entry.end - entry.begin) +
               " bytes but dtype and shape need " + std::to_string(bytes));
  }
  return entry;
}

Result<void> check_metadata(const json& value, const std::string& place) {
  const bool strings =
      value.is_null() ||
      (value.is_object() &&
       std::all_of(value.begin(), value.end(), [](const json& item) { return item.is_string(); }));
  if (!strings) return Error{"__metadata__ must map strings to strings", place};
  return {};
}

/// The tensors must lie one behind the other and fill the data.
Result<void> check_tiling(std::vector<Entry>& entries, std::uint64_t data_begin,
                          std::uint64_t data_size, const std::string& place) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t at = 0;
  const Entry* before = nullptr;
  for (const Entry& entry : entries) {
    const std::string byte = place + ": byte " + std::to_string(data_begin + entry.begin);
    if (entry.begin < at) {
      return Error{"tensor " + shown(entry.tensor.name) + " overlaps tensor " +
                       shown(before == nullptr ? "" : before->tensor.name),
                   byte};
    }
    if (entry.begin > at) {
      return Error{"a hole of " + std::to_string(entry.begin - at) + " bytes lies before tensor " +
                       shown(entry.tensor.name),
                   byte};
    }
    at = entry.end;
    before = &entry;
  }
  if (at == data_size) return {};
  return Error{std::to_string(data_size - at) + " bytes after the last tensor belong to none",
               place + ": byte " + std::to_string(data_begin + at)};
}

/// Checks the frame and gives the header's text.
Result<std::string_view> read_frame(std::span<const std::byte> file, const std::string& place) {
  const auto short_by = [&](const std::string& what) {
    return Error{what + "; is the file truncated, or not safetensors?",
                 place + ": byte " + std::to_string(file.size())};
  };
  if (file.size() < 8) return short_by("the file ends inside the 8 bytes of the header length");
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  if (length > kMaxHeaderBytes) {
    return Error{"header length " + std::to_string(length) + " is above the format's limit of " +
                     std::to_string(kMaxHeaderBytes) + " bytes; is this a safetensors file?",
                 place + ": byte 0"};
  }
  if (length > file.size() - 8) {
    return short_by("the file ends inside its header of " + std::to_string(length) + " bytes");
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8,
                              static_cast<std::size_t>(length));
  if (text.empty() || text[0] != '{') {
    return Error{"the header must begin with '{'; is this a safetensors file?", place + ": byte 8"};
  }
  return text;
}

}  // namespace

Result<void> read_safetensors(std::span<const std::byte> file, const std::string& place,
                              Weights& weights) {
  const Result<std::string_view> text = read_frame(file, place);
  ISOBIT_TRY(text);
  const Result<json> header = parse_strict_json(*text, JsonPlace{place, 8});
  ISOBIT_TRY(header);
  const std::uint64_t data_begin = 8 + text->size();
  const std::uint64_t data_size = file.size() - data_begin;
  std::vector<Entry> entries;
  for (const auto& item : header->items()) {
    if (item.key() == "__metadata__") {
      const Result<void> valid = check_metadata(item.value(), place);
      ISOBIT_TRY(valid);
      continue;
    }
    Result<Entry> entry = read_entry(item.key(), item.value(), data_size);
    // A key written with escapes is not found; then the header as a whole is the place.
    const std::size_t at = std::min(text->find("\"" + item.key() + "\""), text->size());
    const std::size_t byte = at == text->size() ? 8 : 8 + at;
    const std::string written = place + ": byte " + std::to_string(byte);
    if (!entry) return Error{entry.error().message, written};
    entry->place = written;
    if (weights.find(item.key()) != nullptr || weights.opaque().count(item.key()) != 0) {
      return Error{"tensor " + shown(item.key()) + " is in another file of this model too", place};
    }
    entries.push_back(std::move(entry).value());
  }
  const Result<void> tiled = check_tiling(entries, data_begin, data_size, place);
  ISOBIT_TRY(tiled);
  for (Entry& entry : entries) {
    if (entry.opaque) {
      weights.add_opaque(entry.tensor.name,
                         {entry.dtype, entry.tensor.shape, entry.end - entry.begin, entry.place});
      continue;
    }
    entry.tensor.bytes = file.subspan(static_cast<std::size_t>(data_begin + entry.begin),
                                      static_cast<std::size_t>(entry.end - entry.begin));
    weights.add(std::move(entry.tensor));
  }
  return {};
}

}  // namespace isobit
