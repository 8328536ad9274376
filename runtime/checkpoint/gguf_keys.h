// Typed access to a GGUF file's metadata. Callers: gguf_metadata.cc and the families of model/arch.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/gguf_metadata.h"
#include "runtime/checkpoint/json.h"

namespace isobit {

/// The first problem is kept; later reads give their fallback.
class GgufKeys {
 public:
  GgufKeys(const GgufMetadata& metadata, const std::string& place)
      : metadata_(metadata), place_(place) {}

  [[nodiscard]] const GgufValue* find(const std::string& key) const {
    const auto found = metadata_.find(key);
    return found == metadata_.end() ? nullptr : &found->second;
  }

  std::int64_t integer(const std::string& key) {
    require(key);
    return integer_or(key, 0);
  }
  std::int64_t integer_or(const std::string& key, std::int64_t fallback) {
    const GgufValue* value = find(key);
    if (value == nullptr) return fallback;
    const bool fits =
        value->is_integer() &&
        value->unsigned_value <= std::uint64_t{std::numeric_limits<std::int64_t>::max()};
    if (!fits) return fail_type(key, *value, "one integer"), fallback;
    // One of the two is zero, whichever the stored type.
    return value->signed_value + static_cast<std::int64_t>(value->unsigned_value);
  }
  double real(const std::string& key) {
    require(key);
    return real_or(key, 1.0);
  }
  double real_or(const std::string& key, double fallback) {
    const GgufValue* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_real()) return fail_type(key, *value, "one float"), fallback;
    return value->real_value;
  }
  bool boolean_or(const std::string& key, bool fallback) {
    const GgufValue* value = find(key);
    if (value == nullptr) return fallback;
    if (value->type != GgufType::boolean) return fail_type(key, *value, "a boolean"), fallback;
    return value->unsigned_value != 0;
  }
  std::string string_or(const std::string& key, const std::string& fallback) {
    const GgufValue* value = find(key);
    if (value == nullptr) return fallback;
    if (value->type != GgufType::string) return fail_type(key, *value, "a string"), fallback;
    return std::string(value->string_value);
  }
  std::vector<std::string> strings(const std::string& key) {
    const GgufValue* value = find(key);
    if (value == nullptr) return {};
    if (value->type != GgufType::array || value->element_type != GgufType::string) {
      return fail_type(key, *value, "an array of strings"), std::vector<std::string>{};
    }
    return {value->strings.begin(), value->strings.end()};
  }
  std::vector<float> reals(const std::string& key) {
    const GgufValue* value = find(key);
    if (value == nullptr) return {};
    if (value->type != GgufType::array || value->element_type != GgufType::f32) {
      return fail_type(key, *value, "an array of f32"), std::vector<float>{};
    }
    std::vector<float> out(static_cast<std::size_t>(value->count));
    if (!out.empty()) std::memcpy(out.data(), value->elements.data(), value->elements.size());
    return out;
  }
  std::vector<std::int32_t> integers(const std::string& key) {
    const GgufValue* value = find(key);
    if (value == nullptr) return {};
    if (value->type != GgufType::array ||
        (value->element_type != GgufType::i32 && value->element_type != GgufType::u32)) {
      return fail_type(key, *value, "an array of 32-bit integers"), std::vector<std::int32_t>{};
    }
    std::vector<std::int32_t> out(static_cast<std::size_t>(value->count));
    if (!out.empty()) std::memcpy(out.data(), value->elements.data(), value->elements.size());
    return out;
  }
  /// A token id; -1 when the key is absent. Writers use the largest u32 for "none" too.
  std::int32_t token(const std::string& key) {
    const std::int64_t id = integer_or(key, -1);
    if (id == std::numeric_limits<std::uint32_t>::max()) return -1;
    if (id < -1 || id > std::numeric_limits<std::int32_t>::max()) {
      fail(key, "is " + std::to_string(id) + "; it must be a token id");
      return -1;
    }
    return static_cast<std::int32_t>(id);
  }

  void require(const std::string& key) {
    if (find(key) == nullptr) fail(key, "is missing");
  }
  void fail(const std::string& key, const std::string& what) {
    if (!error) error = Error{"metadata key " + shown(key) + " " + what, place_};
  }
  void fail_type(const std::string& key, const GgufValue& value, const std::string& expected) {
    fail(key, "is " + shown(value.text()) + "; it must be " + expected);
  }

  std::optional<Error> error;

 private:
  const GgufMetadata& metadata_;
  const std::string& place_;
};

}  // namespace isobit
