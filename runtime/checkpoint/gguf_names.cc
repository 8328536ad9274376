// Implementation of runtime/checkpoint/gguf_names.h.
#include "runtime/checkpoint/gguf_names.h"

#include <algorithm>
#include <string_view>

namespace isobit {
namespace {

struct TypeRow {
  std::uint32_t number;
  const char* name;
  std::int64_t elements, bytes;  // of a block
};

constexpr TypeRow kTypes[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},
    {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},      {10, "Q2_K", 256, 84},
    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},  {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},   {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},    {40, "NVFP4", 64, 36},
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

std::optional<GgmlType> ggml_type(std::uint32_t number) {
  const auto row = std::find_if(std::begin(kTypes), std::end(kTypes),
                                [number](const TypeRow& each) { return each.number == number; });
  if (row == std::end(kTypes)) return std::nullopt;
  GgmlType type{number, row->name, {row->elements, row->bytes}, std::nullopt};
  for (std::size_t i = 0; i < kTensorTypes; ++i) {
    const auto candidate = static_cast<TensorType>(i);
    if (std::string_view(row->name) == name_of(candidate)) type.value = candidate;
  }
  return type;
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
