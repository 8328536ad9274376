// The GGUF container (version 2 or 3, which have one layout): metadata and tensor records, before
// anything is interpreted.
//
// Promise: every record was bounds-checked against the file; keys and tensor names are unique;
// tensors lie inside the data section, aligned, and do not overlap. Views point into the file.
// Called by gguf.cc and survey.cc.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/gguf_names.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {

/// Value types as numbered in the file.
enum class GgufType : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

/// One metadata value. Which member holds it depends on `type`.
struct GgufValue {
  GgufType type = GgufType::u32;
  std::uint64_t unsigned_value = 0;  // u8 ... u64, boolean
  std::int64_t signed_value = 0;     // i8 ... i64
  double real_value = 0.0;           // f64, and f32 (see below)
  std::string_view string_value;
  // array:
  GgufType element_type = GgufType::u32;
  std::uint64_t count = 0;
  std::span<const std::byte> elements;    // the elements as stored
  std::vector<std::string_view> strings;  // of an array of strings

  [[nodiscard]] bool is_integer() const;
  [[nodiscard]] bool is_real() const { return type == GgufType::f32 || type == GgufType::f64; }
  /// For people: "576", "1e-05", "[49152 strings]".
  [[nodiscard]] std::string text() const;
};

/// An f32 in metadata stands for the shortest decimal that gives it (writers round a Python float:
/// 1e-05 is stored as 9.99999974e-06), so that GGUF and config.json name the same double.
double shortest_decimal(float value);

struct GgufTensorRecord {
  std::string name;
  GgmlType type;
  std::vector<std::int64_t> shape;  // outermost first
  std::span<const std::byte> bytes;
  std::uint64_t type_at = 0;  // byte of the file that names the type
};

struct GgufContainer {
  std::map<std::string, GgufValue> metadata;
  std::vector<GgufTensorRecord> tensors;  // in the file's order
};

Result<GgufContainer> read_gguf_container(std::span<const std::byte> file,
                                          const std::string& place);

}  // namespace isobit
