// What changes between two schedule books: the products whose order is another. Callers: cli,
// tests.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/numerics/product_book.h"

namespace isobit::probe {

/// A run of rows in which a product's order by one book is not that by the other.
struct OrderChange {
  std::int64_t from_rows = 0, to_rows = 0;
  const ProductLine* a = nullptr;  // of the books; nullptr: no line, or one whose order is open
  const ProductLine* b = nullptr;
};

/// Whether two orders do the same operations for a product of k columns.
bool same_operations(const ProductOrder& a, const ProductOrder& b, Format operand, std::int64_t k);

/// The changes of a product with 1 to `most` rows, ascending; adjoining rows of the same two lines
/// are one. Rows of which neither book knows an order are no change. REQUIRES: the books outlive
/// them.
std::vector<OrderChange> order_changes(const ProductBook& a, const ProductBook& b, Format operand,
                                       std::int64_t outputs, std::int64_t inputs,
                                       std::int64_t most);

}  // namespace isobit::probe
