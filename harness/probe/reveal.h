// Reveals in which order a product adds, for any kernel, from what it returns for masks.
//
// All terms are 1 but two, +B and -B, so large that a sum which holds one of them loses every 1
// that it meets. What comes back is the number of terms that meet neither, so that it tells how
// many terms stand below the node where the two meet; these numbers give the tree (FPRev, arXiv
// 2411.00442, algorithm 4). One product asks as many pairs as it has outputs. Callers: cli, tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/probe/products.h"

namespace isobit::probe {

/// A sum in the order of its additions: a term, then what is added to it, one after the other.
/// Terms that meet in one operation of more than two (a tensor core's group) are `together`.
struct SumTree {
  std::int64_t term = -1;      // of a leaf
  std::vector<SumTree> parts;  // of a node
  bool together = false;
};

/// The order of one output of a product. Throws BackendError, std::bad_alloc; an Error when the
/// answers are those of no tree.
Result<SumTree> reveal_product(Backend& backend, const ProductPlan& plan, std::int64_t rows);
/// "(0 16 .. 560) (1 17 .. 561) …": parts in order, runs of equal steps written short.
std::string text_of(const SumTree& tree);

}  // namespace isobit::probe
