// Where the fields of block weights are in a panel.
//
// A panel is a row of panel blocks, each 32 outputs by 32 columns, with the fields of 32 outputs
// side by side so that kernels vectorise over outputs: fp16 scales [32], fp16 offsets [32] where
// the format has them, then 32-bit words [word][32]. A word has the codes of columns c to c + 3 in
// its bytes: of q8_0 word c / 4 alone; of the 4-bit formats word (c % 16) / 4 the low halves for
// c < 16 and the high ones for c >= 16. These are the words of the file (llama.cpp's
// ggml-common.h), transposed. Callers: packed_blocks.cc, kernels_simd_*.h.
#pragma once

#include <cstdint>

#include "runtime/backends/cpu/kernels/kernels.h"

namespace isobit::cpu {

constexpr int kBlock = 32;  // columns of a block

/// Bytes of the fields of one panel block.
constexpr int kFieldBytes = kPanel * 2;  // fp16 scales, or offsets
constexpr int kWordBytes = kPanel * 4;   // one word of every output
constexpr bool has_offset(BlockFormat format) {
  return format == BlockFormat::q4_1;
}
constexpr int words_of(BlockFormat format) {
  return format == BlockFormat::q8_0 ? 8 : 4;
}
constexpr int codes_at(BlockFormat format) {
  return has_offset(format) ? 2 * kFieldBytes : kFieldBytes;
}
constexpr int panel_block_bytes(BlockFormat format) {
  return codes_at(format) + words_of(format) * kWordBytes;
}
/// Panel blocks of one panel.
constexpr std::int64_t panel_blocks(std::int64_t skip, std::int64_t k) {
  return (skip + k + kBlock - 1) / kBlock;
}

}  // namespace isobit::cpu
