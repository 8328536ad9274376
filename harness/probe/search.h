// Which order gives a capture's results? Candidates are tried until one reproduces every bit.
//
// The candidates are those of the libraries' kernels that are known: one chain; contiguous slices
// of a length that is a multiple of 1 to 256; tiles dealt in turn; the lanes of kernels for few
// rows; each as FMAs or as the groups of a tensor core. An order counts as found only when every
// kept result of every call of its rows is reproduced; nothing is near. Callers: cli, tests.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "harness/probe/capture.h"
#include "harness/probe/draw.h"
#include "runtime/numerics/product_book.h"

namespace isobit::probe {

/// Columns after which a library's 8-bit sums are promoted to fp32.
constexpr std::int64_t kPromotedColumns = 128;
/// Columns of n slices of k: ceil(k / n), rounded up to a multiple; 0: one slice holds them all.
std::int64_t slice_columns(std::int64_t k, std::int64_t n, std::int64_t multiple);

/// Orders to try for a product over k columns, the likeliest first. `chip`: whose groups; empty:
/// FMAs alone. `hint`: what the library said, whose numbers are tried as numbers of slices.
/// `rounds`: SearchPlan's.
std::vector<ProductOrder> candidates(std::optional<TensorCore> chip, Format operand, std::int64_t k,
                                     const std::string& hint, bool rounds = false);

/// Values of drawn products by order, computed once each.
class Values {
 public:
  /// Operands as a mode's products have them; `rounded`: results too. REQUIRES: the mode outlives
  /// the object.
  Values(std::int64_t inputs, const Mode& mode, bool rounded = false)
      : inputs_(inputs), mode_(mode), rounded_(rounded) {}
  /// Bits of one product of a draw.
  std::uint32_t bits(const ProductOrder& order, std::int64_t draw, Place place);
  /// How many of a call's results an order gives; stops at the first that it does not when `all`.
  std::int64_t fitting(const ProductOrder& order, const Call& call,
                       const std::vector<Place>& places, bool all);

 private:
  struct Table {
    ProductSteps steps;
    std::optional<TensorUnit> unit;
    std::vector<float> sums;
    std::map<std::int64_t, std::uint32_t> known;  // by draw, row and output of their periods
  };
  const Operands& operands(std::int64_t draw);

  std::int64_t inputs_;
  const Mode& mode_;
  bool rounded_;
  std::map<std::int64_t, Operands> drawn_;
  std::map<ProductOrder, Table> tables_;
};

struct SearchPlan {
  std::optional<TensorCore> chip;
  std::function<void(const std::string& line)> progress;  // one line a matrix; may be empty
  bool rounds = false;  // fp32 operands may be rounded to tf32: math tf32
};
/// Lines of a capture's matrices: one for each run of rows with one choice that one order explains;
/// where none does, one for each number of rows that was called. Ends early when interrupted. An
/// open line has the best of the likeliest orders alone. REQUIRES: operand_of() every precision.
std::vector<ProductLine> search_orders(const Capture& capture, const SearchPlan& plan);

}  // namespace isobit::probe
