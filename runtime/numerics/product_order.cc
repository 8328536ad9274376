// Orders as operations (product_order.h).
#include "runtime/numerics/product_order.h"

#include <algorithm>

namespace isobit {
namespace {

/// The `lanes` that have columns in 256s (ProductOrder::Meet::nested). `add(to, from)`.
template <class Add>
void meet_nested(std::int32_t lanes, const Add& add) {
  constexpr std::int32_t kGroup = 256, kBuckets = 4;
  for (std::int32_t group = 0; group < lanes; group += kGroup) {
    const std::int32_t end = std::min(group + kGroup, lanes);
    for (std::int32_t i = group; i + 1 < end; i += 2) add(i, i + 1);
    for (std::int32_t half = kGroup / 2; half >= 2; half /= 2) {
      for (std::int32_t i = group; i < group + half && i + half < end; i += 2) add(i, i + half);
    }
  }
  const auto take = [&](std::int32_t to, std::int32_t from) {
    for (; from < lanes; from += kBuckets * kGroup) add(to, from);
  };
  for (std::int32_t i = 0; i < kBuckets; ++i) take(i * kGroup, (i + kBuckets) * kGroup);
  for (std::int32_t i = 1; i < kBuckets && i * kGroup < lanes; ++i) add(0, i * kGroup);
}

/// Lanes first, first + apart, …, of `all` as many as have columns: how they meet in the first.
void meet(ProductOrder::Meet how, std::int32_t all, std::int32_t lanes, std::int32_t first,
          std::int32_t apart, ProductSteps& out) {
  const auto add = [&](std::int32_t to, std::int32_t from) {
    out.steps.push_back({first + to * apart, first + from * apart, 0, 0, false, 0});
  };
  switch (how) {
    case ProductOrder::Meet::ascending:
      for (std::int32_t i = 1; i < lanes; ++i) add(0, i);
      return;
    case ProductOrder::Meet::halves: {
      std::int32_t half = 1;
      while (2 * half < lanes) half *= 2;
      for (; half >= 1; half /= 2) {
        for (std::int32_t i = 0; i + half < lanes && i < half; ++i) add(i, i + half);
        lanes = std::min(lanes, half);
      }
      return;
    }
    case ProductOrder::Meet::paired: {
      const std::int32_t buffers = (all + 1) / 2, to_buffers = std::min(lanes, all - 1);
      for (std::int32_t i = 0; i + buffers < to_buffers; ++i) add(i, i + buffers);
      if (lanes == all && all > 1) add(0, all - 1);
      for (std::int32_t i = 1; i < std::min(buffers, lanes); ++i) add(0, i);
      return;
    }
    case ProductOrder::Meet::nested:
      return meet_nested(lanes, add);
  }
}

/// Dealt lanes of one block: chains into lanes from `first` on. Gives how many have columns.
std::int32_t deal_block(const ProductOrder& order, std::int64_t begin, std::int64_t end,
                        std::int32_t first, ProductSteps& out) {
  const std::int64_t tiles = (end - begin + order.deal - 1) / order.deal;
  const auto used = std::int32_t(std::min<std::int64_t>(tiles, order.lanes));
  for (std::int32_t lane = 0; lane < used; ++lane) {
    bool fresh = true;
    for (std::int64_t t = lane; t < tiles; t += order.lanes) {
      const std::int64_t from = begin + t * order.deal;
      out.steps.push_back({first + lane, 0, from, std::min(from + order.deal, end), fresh, 0});
      fresh = false;
    }
  }
  return used;
}

/// Dealt lanes of columns [begin, end), which meet in lane `first`; it uses 2 * order.lanes of
/// them.
void deal(const ProductOrder& order, std::int64_t begin, std::int64_t end, std::int32_t first,
          ProductSteps& out) {
  const std::int64_t block = order.block > 0 ? order.block : end - begin;
  std::int32_t lanes = 0;
  for (std::int64_t at = begin; at < end; at += block) {
    const std::int32_t to = at == begin ? first : first + order.lanes;
    const std::int32_t used = deal_block(order, at, std::min(at + block, end), to, out);
    if (at == begin) lanes = used;
    for (std::int32_t i = 0; to != first && i < used; ++i) {
      out.steps.push_back({first + i, to + i, 0, 0, false, 0});
    }
  }
  meet(order.meet, order.lanes, lanes, first, 1, out);
}

/// One lane's columns [begin, end), its blocks added in lane `first`; it uses the next one too.
void chain(const ProductOrder& order, std::int64_t begin, std::int64_t end, std::int32_t first,
           ProductSteps& out) {
  const std::int64_t lead = order.tile > 0 ? (end - begin) % order.tile : 0;
  const std::int64_t block = order.block > 0 ? order.block : end - begin;
  for (std::int64_t at = begin; at < end; at += block) {
    const std::int32_t to = at == begin ? first : first + 1;
    out.steps.push_back({to, 0, at, std::min(at + block, end), true, at == begin ? lead : 0});
    if (to != first) out.steps.push_back({first, to, 0, 0, false, 0});
  }
}

}  // namespace

std::optional<TensorUnit> unit_of(const ProductOrder& order, Format operand) {
  if (!order.chip) return std::nullopt;
  const bool rounded = order.operands != ProductOrder::Operands::exact;
  if (rounded && operand != Format::f32) return std::nullopt;
  auto unit = tensor_unit(*order.chip, rounded ? Format::tf32 : operand);
  if (unit && order.group > 0) unit->group = order.group;
  return unit;
}

Format library_operand(const Mode& mode) {
  switch (mode.gemm_input) {
    case Format::f32:
    case Format::tf32:
    case Format::fp16:
      return mode.gemm_input;
    default:
      return Format::bf16;
  }
}

ProductSteps product_steps(const ProductOrder& order, std::int64_t k) {
  ProductSteps out;
  if (k == 0) return out;
  const bool dealt = order.deal > 0;
  const std::int32_t apart = (order.block > 0 ? 2 : 1) * (dealt ? order.lanes : 1);
  const std::int64_t slice = order.slice > 0 ? order.slice : k;
  std::int32_t slices = 0;
  for (std::int64_t begin = 0; begin < k; begin += slice, ++slices) {
    const std::int64_t end = std::min(begin + slice, k);
    if (dealt) {
      deal(order, begin, end, slices * apart, out);
    } else {
      chain(order, begin, end, slices * apart, out);
    }
  }
  out.lanes = slices * apart;
  meet(dealt ? ProductOrder::Meet::ascending : order.meet, slices, slices, 0, apart, out);
  return out;
}

}  // namespace isobit
