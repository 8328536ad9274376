// Names, and where watched rows stand.
#include "runtime/run/operation.h"

#include <algorithm>

#include "runtime/base/result.h"

namespace isobit {

const char* name_of(OperationKind kind) {
  static const char* const kNames[] = {"none", "gemm", "attention", "rms_norm", "softmax"};
  return kNames[static_cast<int>(kind)];
}
const char* name_of(RowPlace place) {
  static const char* const kNames[] = {"first", "middle", "last", "scattered"};
  return kNames[static_cast<int>(place)];
}
const char* name_of(Neighbours neighbours) {
  static const char* const kNames[] = {"random", "zeros", "huge", "nan"};
  return kNames[static_cast<int>(neighbours)];
}
const char* name_of(OperandData data) {
  static const char* const kNames[] = {"random", "cancelling", "subnormal", "wide"};
  return kNames[static_cast<int>(data)];
}

std::string text_of(OperationKind kind, const OperationShape& shape) {
  std::string out = std::string(name_of(kind)) + " " + shape.id;
  const auto add = [&out](const char* name, std::int64_t value) {
    out += std::string(" ") + name + "=" + std::to_string(value);
  };
  if (kind == OperationKind::gemm) {
    add("n", shape.n), add("k", shape.k);
    return out + " bias=" + (shape.bias ? "true" : "false");
  }
  if (kind == OperationKind::attention) {
    add("heads", shape.heads), add("kv_heads", shape.kv_heads), add("head_dim", shape.head_dim);
    add("keys", shape.keys);
    return out + " phase=" + (shape.prefill ? "prefill" : "decode");
  }
  add("width", shape.width);
  return out;
}

std::int64_t watched_at_once(std::int64_t rows) {
  return std::clamp<std::int64_t>(rows / 2, 1, kWatchedRows);
}

std::vector<std::int64_t> places_of(std::int64_t rows, RowPlace place, std::int64_t count) {
  ISOBIT_CHECK(count >= 1 && count <= rows);
  std::vector<std::int64_t> out;
  const std::int64_t others = rows - count;
  for (std::int64_t i = 0; i < count; ++i) {
    if (place == RowPlace::scattered) {
      out.push_back(count == 1 ? others / 2 : i * (rows - 1) / (count - 1));
    } else {
      out.push_back(i + (place == RowPlace::last     ? others
                         : place == RowPlace::middle ? others / 2
                                                     : 0));
    }
  }
  return out;
}

RowPlace place_of(std::int64_t rows, const std::vector<std::int64_t>& places) {
  const bool together =
      places.back() - places.front() + 1 == static_cast<std::int64_t>(places.size());
  if (!together) return RowPlace::scattered;
  if (places.front() == 0) return RowPlace::first;
  return places.back() == rows - 1 ? RowPlace::last : RowPlace::middle;
}

std::int64_t least_rows_for(RowPlace place) {
  constexpr std::int64_t kLeast[] = {1, 3, 2, 4};
  return kLeast[static_cast<int>(place)];
}

}  // namespace isobit
