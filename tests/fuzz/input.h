// What several fuzz targets do with their bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/result.h"

namespace isobit::fuzz {

inline std::string text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Takes the text up to `separator`, or all of it, from the front of `rest`.
inline std::string take_part(std::string_view& rest, char separator) {
  const std::size_t end = rest.find(separator);
  const std::string part(rest.substr(0, end));
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return part;
}

/// An error says what is wrong. Gives whether there is a value.
template <class T>
bool accepted(const Result<T>& result) {
  if (!result) ISOBIT_CHECK(!result.error().message.empty());
  return result.has_value();
}

}  // namespace isobit::fuzz
