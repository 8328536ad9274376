// Sizes are checked here, so that no launch can be asked for what no backend has.
#include "harness/scenario/shapes.h"

#include <algorithm>
#include <map>

#include "harness/scenario/json_line.h"
#include "runtime/base/file.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLargestFile = std::size_t{1} << 24;
constexpr std::int64_t kMostColumns = 1 << 20;  // of a row
constexpr std::int64_t kMostHeads = 1024;
constexpr std::int64_t kMostHeadDim = 256;

/// A size of a shape: its key, its range, where it goes.
struct Size {
  const char* key;
  std::int64_t least, most;
  std::int64_t OperationShape::*field;
};

std::vector<Size> sizes_of(OperationKind kind) {
  using S = OperationShape;
  if (kind == OperationKind::gemm)
    return {{"n", 1, kMostColumns, &S::n}, {"k", 1, kMostColumns, &S::k}};
  if (kind == OperationKind::attention) {
    return {{"heads", 1, kMostHeads, &S::heads},
            {"kv_heads", 1, kMostHeads, &S::kv_heads},
            {"head_dim", 8, kMostHeadDim, &S::head_dim},
            {"keys", 1, kMostColumns, &S::keys}};
  }
  return {{"width", 1, kMostColumns, &S::width}};
}

std::vector<std::string> keys_of(OperationKind kind) {
  std::vector<std::string> keys = {"id"};
  for (const Size& size : sizes_of(kind)) keys.emplace_back(size.key);
  if (kind == OperationKind::gemm) keys.emplace_back("bias");
  if (kind == OperationKind::attention) keys.emplace_back("phase");
  return keys;
}

/// Reads one object; errors are of the line.
class ShapeReader {
 public:
  ShapeReader(const Json& object, OperationKind kind, const std::string& place)
      : object_(object), kind_(kind), place_(place) {}

  Result<OperationShape> read() {
    const std::vector<std::string> known = keys_of(kind_);
    for (const auto& item : object_.items()) {
      if (std::find(known.begin(), known.end(), item.key()) == known.end())
        return wrong("unknown key " + in_quotes(item.key()) + " of a shape of " + name_of(kind_) +
                     did_you_mean(item.key(), known));
    }
    if (!object_.contains("id") || !object_["id"].is_string()) return wrong("id must be a text");
    shape_.id = object_["id"].get<std::string>();
    if (shape_.id.empty() || !is_one_line(shape_.id)) return wrong("id must be one line of text");
    for (const Size& size : sizes_of(kind_)) {
      if (auto ok = number(size); !ok) return ok.error();
    }
    if (auto ok = flags(); !ok) return ok.error();
    if (kind_ == OperationKind::attention) {
      if (auto ok = attention(); !ok) return ok.error();
    }
    return shape_;
  }

 private:
  [[nodiscard]] Error wrong(const std::string& why) const { return {why, place_}; }

  Result<void> number(const Size& size) {
    const std::string range = std::string(size.key) + " must be a whole number from " +
                              std::to_string(size.least) + " to " + std::to_string(size.most);
    if (!object_.contains(size.key)) return wrong(range + "; it is missing");
    const Json& value = object_[size.key];
    const bool whole = value.is_number_unsigned();
    const std::uint64_t n = whole ? value.get<std::uint64_t>() : 0;
    if (!whole || n < std::uint64_t(size.least) || n > std::uint64_t(size.most)) {
      return wrong(range + ", not " + in_quotes(value.dump(-1, ' ', true)));
    }
    shape_.*size.field = std::int64_t(n);
    return {};
  }

  Result<void> flags() {
    if (object_.contains("bias")) {
      if (!object_["bias"].is_boolean()) return wrong("bias must be true or false");
      shape_.bias = object_["bias"].get<bool>();
    }
    if (!object_.contains("phase")) return {};
    const Json& phase = object_["phase"];
    if (phase != "decode" && phase != "prefill") return wrong("phase must be decode or prefill");
    shape_.prefill = phase == "prefill";
    return {};
  }

  Result<void> attention() const {
    if (shape_.heads % shape_.kv_heads != 0) {
      return wrong("heads must be a multiple of kv_heads: " + std::to_string(shape_.heads) +
                   " are shared by " + std::to_string(shape_.kv_heads));
    }
    if (shape_.head_dim % 8 != 0) return wrong("head_dim must be a multiple of 8");
    if (shape_.prefill && shape_.keys < kWatchedRows) {
      return wrong("a prefill needs at least " + std::to_string(kWatchedRows) +
                   " keys: each watched row is a query of its own");
    }
    return {};
  }

  const Json& object_;
  OperationKind kind_;
  const std::string& place_;
  OperationShape shape_;
};

}  // namespace

Result<std::vector<PlacedShape>> parse_shapes(const std::string& jsonl, const std::string& path,
                                              OperationKind kind) {
  std::vector<PlacedShape> shapes;
  std::map<std::string, std::size_t> lines;  // id -> line
  std::size_t begin = 0;
  for (std::size_t number = 1; begin < jsonl.size(); ++number) {
    const std::size_t end = std::min(jsonl.find('\n', begin), jsonl.size());
    const std::string line = jsonl.substr(begin, end - begin);
    const std::string place = path + ":" + std::to_string(number);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto object = parse_json_line(line, place);
    ISOBIT_TRY(object);
    if (!object->is_object()) return Error{"expected one JSON object a line", place};
    auto shape = ShapeReader(*object, kind, place).read();
    ISOBIT_TRY(shape);
    const auto [at, fresh] = lines.emplace(shape->id, number);
    if (!fresh) {
      return Error{"id " + in_quotes(shape->id) + " is that of line " + std::to_string(at->second),
                   place};
    }
    shapes.push_back({std::move(*shape), place});
  }
  if (shapes.empty()) return Error{"the file holds no shape", path};
  return shapes;
}

Result<std::vector<PlacedShape>> load_shapes(const std::string& path, OperationKind kind) {
  const auto text = read_file(path, kLargestFile, "larger than 16 MiB: not a file of shapes");
  ISOBIT_TRY(text);
  return parse_shapes(*text, path, kind);
}

}  // namespace isobit
