// Orders as operations (product_order.h).
#include "runtime/numerics/product_order.h"

#include <algorithm>

namespace isobit {
namespace {

/// Dealt lanes of one block: chains into lanes [first, first + lanes). Gives how many have columns.
std::int32_t deal_block(const ProductOrder& order, std::int64_t begin, std::int64_t end,
                        std::int32_t first, ProductSteps& out) {
  const std::int64_t tiles = (end - begin + order.deal - 1) / order.deal;
  const auto used = std::int32_t(std::min<std::int64_t>(tiles, order.lanes));
  for (std::int32_t lane = 0; lane < used; ++lane) {
    bool fresh = true;
    for (std::int64_t t = lane; t < tiles; t += order.lanes) {
      const std::int64_t from = begin + t * order.deal;
      out.steps.push_back({first + lane, 0, from, std::min(from + order.deal, end), fresh});
      fresh = false;
    }
  }
  return used;
}

void meet(ProductOrder::Meet how, std::int32_t lanes, ProductSteps& out) {
  if (how == ProductOrder::Meet::ascending) {
    for (std::int32_t i = 1; i < lanes; ++i) out.steps.push_back({0, i, 0, 0, false});
    return;
  }
  std::int32_t power = 1;
  while (power < lanes) power *= 2;
  for (std::int32_t h = power / 2; h >= 1; h /= 2) {
    for (std::int32_t i = 0; i + h < lanes && i < h; ++i) {
      out.steps.push_back({i, i + h, 0, 0, false});
    }
    lanes = std::min(lanes, h);
  }
}

}  // namespace

std::optional<TensorUnit> unit_of(const ProductOrder& order, Format operand) {
  if (!order.chip) return std::nullopt;
  auto unit = tensor_unit(*order.chip, operand);
  if (unit && order.group > 0) unit->group = order.group;
  return unit;
}

ProductSteps product_steps(const ProductOrder& order, std::int64_t k) {
  ProductSteps out;
  if (k == 0) return out;
  std::int32_t lanes = 0;
  if (order.deal > 0) {
    const std::int64_t block = order.block > 0 ? order.block : k;
    for (std::int64_t begin = 0; begin < k; begin += block) {
      const std::int32_t first = begin == 0 ? 0 : order.lanes;
      const std::int32_t used = deal_block(order, begin, std::min(begin + block, k), first, out);
      if (begin == 0) lanes = used;
      for (std::int32_t i = 0; first > 0 && i < used; ++i) {
        out.steps.push_back({i, first + i, 0, 0, false});
      }
    }
    out.lanes = order.block > 0 ? 2 * order.lanes : order.lanes;
  } else {
    const std::int64_t slice = order.slice > 0 ? order.slice : k;
    for (std::int64_t begin = 0; begin < k; begin += slice) {
      out.steps.push_back({lanes++, 0, begin, std::min(begin + slice, k), true});
    }
    out.lanes = lanes;
  }
  meet(order.meet, lanes, out);
  return out;
}

}  // namespace isobit
