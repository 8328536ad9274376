// How keys lie in the exact cache: the store sizes its pages by it, every backend reads by it.
// Nothing here is compiled with an instruction set of its own: those files use the constant alone.
#pragma once

#include <cstdint>

namespace isobit {

/// Keys of a page are stored transposed in blocks of this many positions, values row by row.
constexpr int kKeyBlock = 16;

/// Strides of a pool's pages, in elements: of one head's keys or values, and of a whole page.
struct PageShape {
  std::int64_t k_head, v_head, k_page, v_page;
};
constexpr PageShape page_shape(std::int64_t kv_heads, std::int64_t d, std::int32_t page_size) {
  const std::int64_t blocks = (page_size + kKeyBlock - 1) / kKeyBlock;
  const std::int64_t k_head = blocks * kKeyBlock * d;
  const std::int64_t v_head = std::int64_t(page_size) * d;
  return {k_head, v_head, k_head * kv_heads, v_head * kv_heads};
}
/// Offset of a key of one head in its page: channel i is kKeyBlock * i elements on.
constexpr std::int64_t key_offset(std::int64_t o, std::int64_t d) {
  return o / kKeyBlock * kKeyBlock * d + o % kKeyBlock;
}

}  // namespace isobit
