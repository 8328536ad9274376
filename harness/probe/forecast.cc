// Rules by kind of kernel (forecast.h). NUMERICS.md, "Products of libraries", has them in words.
#include "harness/probe/forecast.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <vector>

#include "harness/probe/search.h"
#include "runtime/base/interrupt.h"

namespace isobit::probe {
namespace {

using Meet = ProductOrder::Meet;
using Forecast = std::optional<ProductOrder>;

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}
/// The whole number at the start of a text, 0 where there is none above it, or one that is no size.
std::int64_t number_at(std::string_view text) {
  constexpr std::int64_t kMost = std::int64_t{1} << 24;
  std::int64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out < 0 || out > kMost ? 0 : out;
}
/// The whole number that follows a word, 0 where there is none.
std::int64_t number_after(std::string_view text, std::string_view word) {
  const std::size_t at = text.find(word);
  return at == std::string_view::npos ? 0 : number_at(text.substr(at + word.size()));
}

struct Started {
  std::string_view name;
  std::int64_t width = 0, slices = 1;  // first size of a block, third of the grid
};

/// "memset + NAME b128 z4 + NAME b32 ; configuration", taken apart, memory that is set left out.
struct Said {
  std::vector<Started> kernels;
  std::string_view configuration;

  explicit Said(std::string_view text) {
    if (const std::size_t at = text.find(" ; "); at != std::string_view::npos) {
      configuration = text.substr(at + 3);
      text = text.substr(0, at);
    }
    constexpr std::string_view between = " + ";
    while (!text.empty()) {
      const std::size_t end = text.find(between);
      add(text.substr(0, end));
      text = end == std::string_view::npos ? "" : text.substr(end + between.size());
    }
  }
  void add(std::string_view text) {
    if (text == "memset") return;
    Started kernel{text.substr(0, text.find(' ')), number_after(text, " b"), 1};
    if (has(text, " z")) kernel.slices = number_after(text, " z");
    kernels.push_back(kernel);
  }
  [[nodiscard]] const Started& first() const { return kernels[0]; }
  /// Whether a second kernel adds what blocks have left.
  [[nodiscard]] bool reduces() const {
    return kernels.size() > 1 && has(kernels[1].name, "splitKreduce");
  }
};

/// n slices of whole multiples.
void cut(ProductOrder& order, std::int64_t k, std::int64_t n, std::int64_t multiple) {
  if (n > 1) order.slice = slice_columns(k, n, multiple);
}
/// Single columns dealt to n lanes.
ProductOrder lanes(std::int64_t k, std::int64_t n, std::int64_t block) {
  ProductOrder order;
  order.deal = 1;
  order.lanes = std::int32_t(std::min(n, k));
  order.block = block < k ? block : 0;
  return order;
}

/// Slices begin at multiples of 128 bytes. Sums of 8-bit operands are promoted after 128 columns.
Forecast nvjet(const Said& said, TensorCore chip, Format operand, std::int64_t k) {
  const bool fp8 = operand == Format::e4m3;
  ProductOrder order;
  order.chip = chip;
  if (fp8 && k > kPromotedColumns) order.block = kPromotedColumns;
  if (has(said.first().name, "splitK")) {
    const std::int64_t n = number_after(said.configuration, "split_k ");
    if (n < 2) return std::nullopt;
    cut(order, k, n, fp8 ? 128 : 64);
  }
  return order;
}

/// Columns of a CUTLASS kernel's tile: "…_128x64_32x6_tn…"; 32 where its name has only one pair.
std::int64_t cutlass_tile(std::string_view name) {
  const std::size_t end = name.find("_tn_");
  if (end == std::string_view::npos) return 0;
  const std::size_t last = name.rfind('_', end - 1);
  const std::size_t before = name.rfind('_', last - 1);
  const std::string_view pair = name.substr(before + 1, last - before - 1);
  return has(pair, "x") && number_at(pair) > 0 ? number_at(name.substr(last + 1)) : 32;
}

Forecast cutlass(const Said& said, TensorCore chip, Format operand, std::int64_t k) {
  const std::string_view name = said.first().name;
  const bool narrow = operand == Format::bf16 || operand == Format::fp16;
  ProductOrder order;
  std::int64_t tile = 0;
  if (has(name, "tensorop_s")) {
    tile = cutlass_tile(name);
    if (tile == 0) return std::nullopt;
    order.chip = chip;
    if (narrow && has(name, "_s1688gemm")) order.group = 8;
    if (operand == Format::f32) order.operands = ProductOrder::Operands::tf32;
  } else if (!has(name, "simt_sgemm")) {
    return std::nullopt;
  }
  // Slices begin at multiples of 128 bytes where rows do, else of 16.
  const std::int64_t line = narrow ? 64 : 32, vector = narrow ? 8 : 4;
  cut(order, k, said.first().slices, k % line == 0 ? line : vector);
  const bool even = tile == 0 || (k % tile == 0 && order.slice % tile == 0);
  if (!even) order.tile = std::int32_t(tile);
  return order;
}

/// FMAs in tiles of 8 columns, dealt to blocks.
Forecast xmma_simt(const Said& said, TensorCore /*chip*/, Format /*operand*/, std::int64_t k) {
  constexpr std::int64_t kTile = 8;
  const std::int64_t n = said.first().slices, tiles = (k + kTile - 1) / kTile;
  const bool alone = said.kernels.size() == 1;
  if (alone && n > 2 && said.configuration.empty()) return std::nullopt;
  const bool paired = alone && number_after(said.configuration, "custom ") == 1;
  ProductOrder order;
  if (std::min(n, tiles) < 2) return order;
  order.deal = std::int32_t(kTile);
  order.meet = paired && n > 2 ? Meet::paired : Meet::ascending;
  order.lanes = std::int32_t(order.meet == Meet::paired ? n : std::min(n, tiles));
  return order;
}

/// "segment_k_on": blocks share the columns of a tile, which has no one order for all outputs.
Forecast xmma_tensor(const Said& said, TensorCore chip, Format operand, std::int64_t /*k*/) {
  const std::string_view name = said.first().name;
  if (!has(name, "segment_k_off") && !has(name, "sm80_xmma")) return std::nullopt;
  ProductOrder order;
  order.chip = chip;
  if (operand == Format::f32) order.operands = ProductOrder::Operands::tf32;
  return order;
}

Forecast gemm_sn(const Said& /*said*/, TensorCore /*chip*/, Format /*operand*/, std::int64_t k) {
  return lanes(k, 16, 256);
}

Forecast gemv2t(const Said& said, TensorCore /*chip*/, Format /*operand*/, std::int64_t k) {
  const std::int64_t block = has(said.first().name, "Li128ELi16ELi2E") ? 256 : 512;
  if (!said.reduces()) return lanes(k, 16, block);
  ProductOrder order;
  cut(order, k, said.first().slices, 1);
  order.deal = 1;
  order.lanes = 16;
  order.block = block < order.slice ? block : 0;
  return order;
}

Forecast gemvx(const Said& said, TensorCore /*chip*/, Format /*operand*/, std::int64_t k) {
  const bool dealt = number_after(said.configuration, "custom ") % 2 == 1;
  if (said.configuration.empty() || (said.reduces() && !dealt)) return std::nullopt;
  ProductOrder order;
  if (dealt) {
    order = lanes(k, said.first().width, k);
    if (said.reduces()) cut(order, k, said.first().slices, 1);
  } else {
    cut(order, k, said.first().width, 1);
  }
  if (said.first().width > 2) order.meet = Meet::halves;
  return order;
}

Forecast dot(const Said& said, TensorCore /*chip*/, Format /*operand*/, std::int64_t k) {
  // More than 32 blocks meet otherwise.
  const std::int64_t blocks = number_after(said.configuration, "split_k ");
  if (blocks < 1 || blocks > 32) return std::nullopt;
  ProductOrder order = lanes(k, 256 * blocks, k);
  order.meet = Meet::nested;
  return order;
}

/// Slices of ⌊k / n⌋ rounded up to 8; columns that this leaves are a slice more.
Forecast large_k(const Said& said, TensorCore /*chip*/, Format /*operand*/, std::int64_t k) {
  if (said.configuration.empty()) return std::nullopt;
  const std::int64_t n = number_after(said.configuration, "split_k ");
  ProductOrder order;
  if (n > 1) order.slice = (std::max<std::int64_t>(k / n, 1) + 7) / 8 * 8;
  if (order.slice >= k) order.slice = 0;
  return order;
}

struct Rule {
  std::string_view part;  // of a kernel's name
  const char* kind;
  Forecast (*order)(const Said&, TensorCore, Format, std::int64_t k);
};
/// The first that fits counts.
constexpr std::array<Rule, 9> kRules = {{
    {"nvjet_", "nvjet", nvjet},
    {"cutlass_", "cutlass", cutlass},
    {"_xmma_gemm_f32f32_f32f32_", "xmma, FMAs", xmma_simt},
    {"_xmma_gemm_", "xmma, tensor cores", xmma_tensor},
    {"gemmSN_TN_kernel", "gemmSN", gemm_sn},
    {"gemv2T_kernel", "gemv2T", gemv2t},
    {"gemvx", "gemvx", gemvx},
    {"dot_kernel", "dot", dot},
    {"sgemm_largek", "largek", large_k},
}};

/// Whether a book takes it, whatever numbers a choice had.
bool can_be(const ProductOrder& order, Format operand, std::int64_t k) {
  constexpr std::int32_t kMostTile = 4096;
  if (order.lanes < 1 || order.slice < 0 || order.tile < 0 || order.tile > kMostTile) return false;
  const std::int64_t slices = order.slice > 0 ? (k + order.slice - 1) / order.slice : 1;
  if (slices * order.lanes > kMostLanes) return false;
  return !order.chip || unit_of(order, operand);
}

const Rule* rule_of(const Said& said) {
  for (const Rule& rule : kRules) {
    for (const Started& kernel : said.kernels) {
      if (has(kernel.name, rule.part)) return &rule;
    }
  }
  return nullptr;
}

}  // namespace

std::optional<ProductOrder> forecast_order(const std::string& choice, TensorCore chip,
                                           Format operand, std::int64_t k) {
  const Said said(choice);
  const Rule* rule = rule_of(said);
  if (rule == nullptr) return std::nullopt;
  auto order = rule->order(said, chip, operand, k);
  return order && can_be(*order, operand, k) ? order : std::nullopt;
}

std::string kind_of_kernel(const std::string& choice) {
  const Rule* rule = rule_of(Said(choice));
  return rule == nullptr ? "other" : rule->kind;
}

std::vector<ProductLine> forecast_lines(const MatrixCapture& matrix, TensorCore chip) {
  const Mode* mode = operand_of(matrix.precision);
  ISOBIT_CHECK(mode != nullptr);
  std::vector<ProductLine> out;
  for (const Choice& choice : matrix.choices) {
    const auto order = forecast_order(choice.text, chip, mode->gemm_input, matrix.inputs);
    if (!order) continue;
    if (!out.empty() && out.back().order == *order && out.back().to_rows + 1 == choice.from) {
      out.back().to_rows = choice.to;
      continue;
    }
    ProductLine& line = out.emplace_back();
    line.operand = mode->gemm_input;
    line.outputs = matrix.outputs;
    line.inputs = matrix.inputs;
    line.from_rows = choice.from;
    line.to_rows = choice.to;
    line.order = *order;
    line.evidence = ProductLine::Evidence::forecast;
  }
  return out;
}

std::map<std::pair<std::string, std::string>, ForecastCount> judge_forecasts(const Capture& capture,
                                                                             TensorCore chip) {
  std::map<std::pair<std::string, std::string>, ForecastCount> out;
  for (const MatrixCapture& matrix : capture.matrices) {
    if (interrupted != 0) break;
    const Mode* mode = operand_of(matrix.precision);
    ISOBIT_CHECK(mode != nullptr);
    Values values(matrix.inputs, *mode, matrix.rounded);
    for (const Choice& choice : matrix.choices) {
      const auto order = forecast_order(choice.text, chip, mode->gemm_input, matrix.inputs);
      ForecastCount& count = out[{matrix.precision, kind_of_kernel(choice.text)}];
      for (const Call& call : matrix.calls) {
        if (call.rows < choice.from || call.rows > choice.to) continue;
        const auto places = kept_places(call.rows, matrix.outputs);
        const bool right =
            order && values.fitting(*order, call, places, true) == std::int64_t(places.size());
        (!order ? count.none : right ? count.right : count.wrong) += 1;
      }
    }
  }
  return out;
}

}  // namespace isobit::probe
