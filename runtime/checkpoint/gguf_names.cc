// Implementation of runtime/checkpoint/gguf_names.h.
#include "runtime/checkpoint/gguf_names.h"

#include <algorithm>
#include <string_view>

namespace isobit {
namespace {

struct TypeName {
  std::uint32_t number;
  const char* name;
};

constexpr TypeName kTypeNames[] = {
    {0, "F32"},     {1, "F16"},    {2, "Q4_0"},     {3, "Q4_1"},    {6, "Q5_0"},     {7, "Q5_1"},
    {8, "Q8_0"},    {9, "Q8_1"},   {10, "Q2_K"},    {11, "Q3_K"},   {12, "Q4_K"},    {13, "Q5_K"},
    {14, "Q6_K"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
    {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},      {25, "I16"},
    {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},  {30, "BF16"},    {34, "TQ1_0"},
    {35, "TQ2_0"},  {39, "MXFP4"}, {40, "NVFP4"},
};

/// The row with this stem; a bias only where the table has one.
const TensorRow* find_row(std::span<const TensorRow> rows, std::string_view stem, bool bias) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const TensorRow& row) {
    return stem == row.gguf && !stem.empty() && (!bias || row.bias != When::never);
  });
  return found == rows.end() ? nullptr : &*found;
}

/// "0" or digits without a leading zero.
bool is_layer_number(std::string_view text) {
  if (text.empty() || text.size() > 9 || (text[0] == '0' && text.size() > 1)) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::optional<TensorType> ggml_type(std::uint32_t number) {
  switch (number) {
    case 0:
      return TensorType::f32;
    case 1:
      return TensorType::f16;
    case 2:
      return TensorType::q4_0;
    case 3:
      return TensorType::q4_1;
    case 8:
      return TensorType::q8_0;
    case 30:
      return TensorType::bf16;
    default:
      return std::nullopt;
  }
}

std::string ggml_type_name(std::uint32_t number) {
  for (const TypeName& type : kTypeNames) {
    if (type.number == number) return type.name;
  }
  return "type " + std::to_string(number);
}

std::optional<GgufName> read_gguf_name(const Architecture& architecture,
                                       const std::string& gguf_name) {
  const std::string_view name = gguf_name;
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string suffix(name.substr(dot));
  const bool bias = suffix == ".bias";
  if (!bias && suffix != ".weight") return std::nullopt;
  const std::string_view stem = name.substr(0, dot);
  for (const auto& rows : {architecture.before, architecture.after}) {
    const TensorRow* row = find_row(rows, stem, bias);
    if (row != nullptr) return GgufName{row->name + suffix, -1};
  }
  constexpr std::string_view kPrefix = "blk.";
  if (stem.substr(0, kPrefix.size()) != kPrefix) return std::nullopt;
  const std::size_t end = stem.find('.', kPrefix.size());
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view digits = stem.substr(kPrefix.size(), end - kPrefix.size());
  if (!is_layer_number(digits)) return std::nullopt;
  const std::int64_t layer = std::stoll(std::string(digits));
  const std::string_view part = stem.substr(end + 1);
  const std::string before = layer_prefix(architecture, layer);
  for (const FusedRow& fused : architecture.fused) {
    if (part == fused.gguf) return GgufName{before + fused.name + suffix, layer};
  }
  if (const TensorRow* row = find_row(architecture.experts.rows, part, bias)) {
    return GgufName{row->name + suffix, layer, true};
  }
  const TensorRow* row = find_row(architecture.layer, part, bias);
  if (row == nullptr) return std::nullopt;
  return GgufName{before + row->name + suffix, layer};
}

std::vector<std::int64_t> interleaved_order(std::int64_t heads, std::int64_t head_dim) {
  std::vector<std::int64_t> order;
  order.reserve(static_cast<std::size_t>(heads * head_dim));
  const std::int64_t half = head_dim / 2;
  for (std::int64_t head = 0; head < heads; ++head) {
    for (std::int64_t a = 0; a < 2; ++a) {
      for (std::int64_t i = 0; i < half; ++i) order.push_back(head * head_dim + 2 * i + a);
    }
  }
  return order;
}

}  // namespace isobit
