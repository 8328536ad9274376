// How keys lie in the exact cache: the store sizes its pages by it, every backend reads by it.
// Constants alone, so that files with instruction sets of their own can include it.
#pragma once

namespace isobit {

/// Keys of a page are stored transposed in blocks of this many positions, values row by row.
constexpr int kKeyBlock = 16;

}  // namespace isobit
