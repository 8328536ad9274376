// Where the fields of block weights are in a panel.
//
// A panel is a row of panel blocks, each 32 outputs by the columns of one block (32 or 256), with
// the fields of 32 outputs side by side so that kernels vectorise over outputs: the block's 16-bit
// fields (scale, offset) as [field][32], then what else the file stores of a block, in its order,
// as 32-bit words [word][32]. Nothing but the order changes: a panel block has the file's bytes of
// 32 blocks (llama.cpp's ggml-common.h). Callers: packed_blocks.cc, kernels_simd_*.h.
#pragma once

#include <cstdint>

#include "runtime/backends/cpu/kernels/kernels.h"
#include "runtime/numerics/blocks.h"

namespace isobit::cpu {

constexpr int kFieldBytes = kPanel * 2;  // one 16-bit field of every output
constexpr int kWordBytes = kPanel * 4;   // one word of every output

/// Columns of a block.
constexpr int columns_of(BlockFormat format) {
  return block_shape(format).columns;
}
/// Scale and offset per block or per 32 columns, not the scale alone.
constexpr bool has_offset(BlockFormat format) {
  return format == BlockFormat::q4_1 || format == BlockFormat::q5_1 ||
         format == BlockFormat::q2_k || format == BlockFormat::q4_k || format == BlockFormat::q5_k;
}
/// 16-bit fields. All are fp16 but the second one of iq4_xs, which holds bits of scales.
constexpr int fields_of(BlockFormat format) {
  return has_offset(format) || format == BlockFormat::iq4_xs ? 2 : 1;
}
constexpr int fp16_fields_of(BlockFormat format) {
  return has_offset(format) ? 2 : 1;
}
/// Where they are in the file's block: behind all the rest, or before it.
constexpr bool fields_last(BlockFormat format) {
  return format == BlockFormat::q2_k || format == BlockFormat::q3_k || format == BlockFormat::q6_k;
}
constexpr int words_of(BlockFormat format) {
  return (block_shape(format).bytes - 2 * fields_of(format)) / 4;
}
constexpr int codes_at(BlockFormat format) {
  return fields_of(format) * kFieldBytes;
}
constexpr int panel_block_bytes(BlockFormat format) {
  return block_shape(format).bytes * kPanel;
}
/// Panel blocks of one panel.
constexpr std::int64_t panel_blocks(BlockFormat format, std::int64_t skip, std::int64_t k) {
  return (skip + k + columns_of(format) - 1) / columns_of(format);
}

}  // namespace isobit::cpu
