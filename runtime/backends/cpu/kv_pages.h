// Where one head's keys and values lie in a page of the exact pools. Callers: this folder.
#pragma once

#include "runtime/backends/cpu/kernels/kernels.h"

namespace isobit::cpu {

/// Strides of a pool's pages, in elements.
struct PageShape {
  std::int64_t k_head, v_head, k_page, v_page;
};
inline PageShape page_shape(std::int64_t kv_heads, std::int64_t d, std::int32_t page_size) {
  const std::int64_t blocks = (page_size + kKeyBlock - 1) / kKeyBlock;
  const std::int64_t k_head = blocks * kKeyBlock * d;
  const std::int64_t v_head = std::int64_t(page_size) * d;
  return {k_head, v_head, k_head * kv_heads, v_head * kv_heads};
}
/// Offset of a key of one head in its page: channel i is kKeyBlock * i elements on.
inline std::int64_t key_offset(std::int64_t o, std::int64_t d) {
  return o / kKeyBlock * kKeyBlock * d + o % kKeyBlock;
}

}  // namespace isobit::cpu
