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

bool same_operations(const ProductOrder& a, const ProductOrder& b, Format operand, std::int64_t k) {
  if (a == b) return true;
  const auto unit_a = unit_of(a, operand), unit_b = unit_of(b, operand);
  return unit_a == unit_b && product_steps(a, k).steps == product_steps(b, k).steps;
}

std::vector<OrderChange> order_changes(const ProductBook& a, const ProductBook& b, Format operand,
                                       std::int64_t outputs, std::int64_t inputs,
                                       std::int64_t most) {
  std::vector<OrderChange> out;
  std::map<std::pair<const ProductLine*, const ProductLine*>, bool> same;
  for (std::int64_t rows = 1; rows <= most; ++rows) {
    const ProductLine* of_a = known(a, operand, outputs, inputs, rows);
    const ProductLine* of_b = known(b, operand, outputs, inputs, rows);
    const auto [at, fresh] = same.try_emplace({of_a, of_b}, of_a == of_b);
    if (fresh && of_a != nullptr && of_b != nullptr) {
      at->second = same_operations(of_a->order, of_b->order, operand, inputs);
    }
    if (at->second) continue;
    const bool more = !out.empty() && out.back().to_rows + 1 == rows && out.back().a == of_a &&
                      out.back().b == of_b;
    if (more) {
      out.back().to_rows = rows;
    } else {
      out.push_back({rows, rows, of_a, of_b});
    }
  }
  return out;
}

}  // namespace isobit::probe
