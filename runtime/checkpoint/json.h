// Strict JSON for the model loaders: what nlohmann-json accepts, minus duplicate keys.
//
// Promise: bad text is an Error with its line and column (or byte), never an exception; nesting is
// limited, so that no input exhausts the stack. Called by the config, safetensors and index
// readers.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/base/result.h"

namespace isobit {

/// Where a JSON text comes from. With `first_byte`, errors say "file: byte N", N counted from the
/// start of the file; without, "file:line:column".
struct JsonPlace {
  std::string file;
  std::optional<std::size_t> first_byte;

  /// The place of the character at `offset` of `text`.
  [[nodiscard]] std::string at(std::string_view text, std::size_t offset) const;
};

/// Parses one JSON value that fills `text`. Duplicate keys and nesting beyond 64 are refused.
Result<nlohmann::json> parse_strict_json(std::string_view text, const JsonPlace& place);

/// `text` in double quotes for an error message: control bytes escaped, cut after 80 bytes.
std::string shown(std::string_view text);

}  // namespace isobit
