// Files of rows by their kind, and rows as numbers (rows.h).
#include "harness/import/rows.h"

#include <cstring>

#include "runtime/base/words.h"
#include "runtime/checkpoint/weights.h"
#include "runtime/numerics/formats.h"

namespace isobit {
namespace {

template <class T>
T number_at(const std::byte* at) {
  T out;
  std::memcpy(&out, at, sizeof out);
  return out;
}

const std::byte* start_of(const RowTable& table, std::int64_t row) {
  ISOBIT_CHECK(row >= 0 && row < table.rows);
  return table.bytes.data() + row * table.cols * bytes_of(table.type);
}

/// The rows of a tensor, or why it has none.
Result<RowTable> table_of(const Tensor& tensor) {
  RowTable out;
  switch (tensor.type) {
    case TensorType::f16:
      out.type = RowType::f16;
      break;
    case TensorType::bf16:
      out.type = RowType::bf16;
      break;
    case TensorType::f32:
      out.type = RowType::f32;
      break;
    case TensorType::f64:
      out.type = RowType::f64;
      break;
    default:
      return Error{std::string("is ") + name_of(tensor.type) + "; rows are F16, BF16, F32 or F64",
                   ""};
  }
  if (tensor.shape.size() != 2) {
    return Error{"has " + std::to_string(tensor.shape.size()) +
                     " dimensions; rows of logits have two, (rows, vocabulary)",
                 ""};
  }
  out.rows = tensor.rows;
  out.cols = tensor.cols;
  out.bytes = tensor.bytes;
  return out;
}

}  // namespace

const char* name_of(RowType type) {
  static constexpr const char* kNames[] = {"F16", "BF16", "F32", "F64"};
  return kNames[int(type)];
}

std::int64_t bytes_of(RowType type) {
  return type == RowType::f64 ? 8 : type == RowType::f32 ? 4 : 2;
}

void read_row(const RowTable& table, std::int64_t row, std::vector<float>& out) {
  ISOBIT_CHECK(table.type != RowType::f64);
  const std::byte* at = start_of(table, row);
  out.resize(std::size_t(table.cols));
  for (float& value : out) {
    if (table.type == RowType::f32) {
      value = canonical(number_at<float>(at));
    } else if (table.type == RowType::f16) {
      value = float_from_fp16(number_at<std::uint16_t>(at));
    } else {
      value = canonical(float_from_bf16(number_at<std::uint16_t>(at)));
    }
    at += bytes_of(table.type);
  }
}

void read_row(const RowTable& table, std::int64_t row, std::vector<double>& out) {
  ISOBIT_CHECK(table.type == RowType::f64);
  const std::byte* at = start_of(table, row);
  out.resize(std::size_t(table.cols));
  for (double& value : out) {
    value = canonical(number_at<double>(at));
    at += sizeof value;
  }
}

Result<RowFile> RowFile::open(const std::string& path) {
  const bool npy = path.ends_with(".npy");
  if (!npy && !path.ends_with(".safetensors")) {
    return Error{"rows are in a .npy or a .safetensors file", path};
  }
  auto mapped = MappedFile::open(path);
  ISOBIT_TRY(mapped);
  RowFile out;
  out.path_ = path;
  out.owner_ = *mapped;
  if (npy) {
    const auto table = read_npy((*mapped)->bytes(), path);
    ISOBIT_TRY(table);
    out.tables_[""] = *table;
    return out;
  }
  Weights tensors;
  if (auto ok = read_safetensors((*mapped)->bytes(), path, tensors); !ok) return ok.error();
  for (const auto& [name, tensor] : tensors.all()) {
    const auto table = table_of(tensor);
    if (table) {
      out.tables_[name] = *table;
    } else {
      out.unusable_[name] = table.error().message;
    }
  }
  for (const auto& [name, tensor] : tensors.opaque()) {
    out.unusable_[name] = "is " + tensor.type + "; rows are F16, BF16, F32 or F64";
  }
  return out;
}

Result<RowTable> RowFile::of_prompt(const std::string& prompt) const {
  auto at = tables_.find(prompt);
  if (path_.ends_with(".npy")) at = tables_.begin();
  if (at != tables_.end()) return at->second;
  const auto unusable = unusable_.find(prompt);
  if (unusable != unusable_.end()) {
    return Error{"tensor " + in_quotes(prompt) + " " + unusable->second, path_};
  }
  std::vector<std::string> names;
  for (const auto& [name, table] : tables_) names.push_back(name);
  return Error{
      "has no tensor named after prompt " + in_quotes(prompt) + did_you_mean(prompt, names), path_};
}

}  // namespace isobit
