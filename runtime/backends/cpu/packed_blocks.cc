// The file's 32-bit words go to their places as they are; nothing is decoded here but for `at`.

#include "runtime/backends/cpu/packed_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/backends/cpu/packed.h"
#include "runtime/numerics/formats.h"
#include "runtime/result.h"

namespace invar::cpu {
namespace {

template <class T>
T get(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

bool finite_fp16(std::uint16_t half) {
  return (half & 0x7c00U) != 0x7c00U;
}

const char* panel_block(const PackedMatrix& m, std::int64_t panel, std::int64_t block) {
  return static_cast<const char*>(m.data.get()) +
         (panel * panel_blocks(m.skip, m.k) + block) * panel_block_bytes(m.blocks);
}

/// One output's block of the file to its places in a panel block.
bool write_block(BlockFormat format, const std::byte* from, int output, char* block) {
  const auto field = [&](int index) {
    const auto half = get<std::uint16_t>(from + 2 * index);
    std::memcpy(block + index * kFieldBytes + output * 2, &half, sizeof half);
    return finite_fp16(half);
  };
  const int fields = has_offset(format) ? 2 : 1;
  bool finite = field(0);
  if (fields == 2) finite = field(1) && finite;
  char* const words = block + codes_at(format) + output * 4;
  for (int w = 0; w < words_of(format); ++w) {
    std::memcpy(words + w * kWordBytes, from + 2 * fields + 4 * w, 4);
  }
  return finite;
}

}  // namespace

bool keeps_blocks(Format rounded) {
  return rounded == Format::f32 || rounded == Format::tf32 || rounded == Format::bf16 ||
         rounded == Format::fp16;
}

PackedMatrix make_packed_blocks(const PackSpec& spec, BlockFormat format, std::int64_t skip) {
  INVAR_CHECK(format != BlockFormat::none && keeps_blocks(spec.rounded));
  INVAR_CHECK(spec.scale.empty() && 0 <= skip && skip < kBlock);
  PackedMatrix m = describe_packed(spec);
  m.blocks = format;
  m.rounded = spec.rounded;
  m.skip = skip;
  m.data = packed_memory(std::size_t(m.panels() * panel_blocks(skip, m.k)) *
                         std::size_t(panel_block_bytes(format)));
  return m;
}

bool pack_block_panels(const BlockRow& row, std::int64_t begin, std::int64_t end, PackedMatrix& m) {
  INVAR_CHECK(0 <= begin && begin <= end && end <= m.panels());
  const std::int64_t blocks = panel_blocks(m.skip, m.k);
  const int bytes = panel_block_bytes(m.blocks);
  const int stored = (has_offset(m.blocks) ? 4 : 2) + words_of(m.blocks) * 4;
  bool finite = true;
  for (std::int64_t panel = begin; panel < end; ++panel) {
    char* const first = const_cast<char*>(panel_block(m, panel, 0));
    const int outputs = int(std::min<std::int64_t>(kPanel, m.n - panel * kPanel));
    if (outputs < kPanel) std::memset(first, 0, std::size_t(blocks * bytes));
    const std::byte* rows[kPanel];
    for (int i = 0; i < outputs; ++i) rows[i] = row(panel * kPanel + i);
    for (std::int64_t b = 0; b < blocks; ++b) {
      for (int i = 0; i < outputs; ++i) {
        finite = write_block(m.blocks, rows[i] + b * stored, i, first + b * bytes) && finite;
      }
    }
  }
  return finite;
}

void block_values(const PackedMatrix& m, std::int64_t row, std::int64_t begin, std::int64_t end,
                  float* out) {
  const int output = int(row % kPanel);
  for (std::int64_t k = begin; k < end;) {
    const char* const block = panel_block(m, row / kPanel, (m.skip + k) / kBlock);
    const auto field = [&](int index) {
      return float_from_fp16(get<std::uint16_t>(block + index * kFieldBytes + output * 2));
    };
    const float scale = field(0), offset = has_offset(m.blocks) ? field(1) : 0.0F;
    const char* const codes = block + codes_at(m.blocks) + output * 4;
    const auto byte_of = [&](int word, int c) {
      return std::uint8_t(codes[word * kWordBytes + c % 4]);
    };
    for (int c = int((m.skip + k) % kBlock); c < kBlock && k < end; ++c, ++k) {
      if (m.blocks == BlockFormat::q8_0) {
        *out++ = round_to(m.rounded, scale * float(std::int8_t(byte_of(c / 4, c))));
        continue;
      }
      const int both = byte_of(c % 16 / 4, c), code = c < 16 ? both & 15 : both >> 4;
      *out++ = round_to(m.rounded, has_offset(m.blocks) ? std::fma(scale, float(code), offset)
                                                        : scale * float(code - 8));
    }
  }
}

}  // namespace invar::cpu
