// Books side by side (migration.h).
#include "harness/probe/migration.h"

#include <map>
#include <utility>

namespace isobit::probe {
namespace {

const ProductLine* known(const ProductBook& book, Format operand, std::int64_t outputs,
                         std::int64_t inputs, std::int64_t rows) {
  const ProductLine* line = book.find(operand, outputs, inputs, rows);
  return line == nullptr || line->evidence == ProductLine::Evidence::open ? nullptr : line;
}

}  // namespace

bool same_operations(const ProductLine& a, const ProductLine& b, std::int64_t k) {
  if (a.operand != b.operand || a.order.operands != b.order.operands) return false;
  return a.order == b.order || (unit_of(a.order, a.operand) == unit_of(b.order, b.operand) &&
                                product_steps(a.order, k).steps == product_steps(b.order, k).steps);
}

OrderChanges order_changes(const ProductBook& a, const ProductBook& b, const Mode& mode,
                           bool scaled, std::int64_t outputs, std::int64_t inputs,
                           std::int64_t most) {
  const Format operand_a = operand_of(a, mode, scaled), operand_b = operand_of(b, mode, scaled);
  OrderChanges out;
  std::map<std::pair<const ProductLine*, const ProductLine*>, bool> same;
  for (std::int64_t rows = 1; rows <= most; ++rows) {
    const ProductLine* of_a = known(a, operand_a, outputs, inputs, rows);
    const ProductLine* of_b = known(b, operand_b, outputs, inputs, rows);
    const bool both = of_a != nullptr && of_b != nullptr;
    const auto [at, fresh] = same.try_emplace({of_a, of_b}, of_a == of_b);
    if (fresh && both) at->second = same_operations(*of_a, *of_b, inputs);
    out.compared += both ? 1 : 0;
    if (at->second) continue;
    auto& last = out.changes;
    if (!last.empty() && last.back().to_rows + 1 == rows && last.back().a == of_a &&
        last.back().b == of_b) {
      last.back().to_rows = rows;
    } else {
      last.push_back({rows, rows, of_a, of_b});
    }
  }
  return out;
}

}  // namespace isobit::probe
