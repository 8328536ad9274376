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
struct OrderChanges {
  std::vector<OrderChange> changes;  // ascending; adjoining rows of the same two lines are one
  std::int64_t compared = 0;         // numbers of rows of which both books know the order
};

/// Whether two lines of products of k columns do the same operations with the same operands.
bool same_operations(const ProductLine& a, const ProductLine& b, std::int64_t k);

/// A product's orders with 1 to `most` rows, matrices `scaled` or not. Rows of which neither book
/// knows an order are no change. REQUIRES: the books outlive the result.
OrderChanges order_changes(const ProductBook& a, const ProductBook& b, const Mode& mode,
                           bool scaled, std::int64_t outputs, std::int64_t inputs,
                           std::int64_t most);

}  // namespace isobit::probe
