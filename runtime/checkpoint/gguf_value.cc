// Metadata values of GGUF as text and as numbers (see runtime/checkpoint/gguf_reader.h).
#include <charconv>
#include <cmath>

#include "runtime/checkpoint/gguf_reader.h"

namespace isobit {

double shortest_decimal(float value) {
  if (!std::isfinite(value)) return static_cast<double>(value);
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  double decimal = 0.0;
  std::from_chars(text, end, decimal);
  return decimal;
}

bool GgufValue::is_integer() const {
  return type != GgufType::boolean && type != GgufType::string && type != GgufType::array &&
         !is_real();
}

std::string GgufValue::text() const {
  switch (type) {
    case GgufType::u8:
    case GgufType::u16:
    case GgufType::u32:
    case GgufType::u64:
      return std::to_string(unsigned_value);
    case GgufType::i8:
    case GgufType::i16:
    case GgufType::i32:
    case GgufType::i64:
      return std::to_string(signed_value);
    case GgufType::boolean:
      return unsigned_value != 0 ? "true" : "false";
    case GgufType::string:
      return std::string(string_value);
    case GgufType::array:
      return "[" + std::to_string(count) +
             (element_type == GgufType::string ? " strings]" : " elements]");
    case GgufType::f32:
    case GgufType::f64:
      break;
  }
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, real_value).ptr;
  return {text, end};
}

}  // namespace isobit
