// The file's 32-bit words go to their places as they are, transposed in registers; only
// block_values decodes.

#include "runtime/backends/cpu/packed_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "runtime/backends/cpu/packed.h"
#include "runtime/base/result.h"
#include "runtime/numerics/formats.h"

namespace isobit::cpu {
namespace {

template <class T>
T get(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

const char* panel_block(const PackedMatrix& m, std::int64_t panel, std::int64_t block) {
  return static_cast<const char*>(m.data.get()) +
         (panel * panel_blocks(m.skip, m.k) + block) * panel_block_bytes(m.blocks);
}

using Words4 = std::uint32_t __attribute__((vector_size(16)));
using Words8 = std::uint32_t __attribute__((vector_size(32)));

/// Four words of eight outputs to their places, 128 bytes apart: two 4 x 4 transposes side by side.
void write_words(const std::byte* const* from, std::size_t at, char* to) {
  Words8 r[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const auto low = get<Words4>(from[i] + at), high = get<Words4>(from[i + 4] + at);
    r[i] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
  }
  const Words8 a = __builtin_shufflevector(r[0], r[1], 0, 8, 1, 9, 4, 12, 5, 13);
  const Words8 b = __builtin_shufflevector(r[2], r[3], 0, 8, 1, 9, 4, 12, 5, 13);
  const Words8 c = __builtin_shufflevector(r[0], r[1], 2, 10, 3, 11, 6, 14, 7, 15);
  const Words8 d = __builtin_shufflevector(r[2], r[3], 2, 10, 3, 11, 6, 14, 7, 15);
  const Words8 out[4] = {__builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13),
                         __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15),
                         __builtin_shufflevector(c, d, 0, 1, 8, 9, 4, 5, 12, 13),
                         __builtin_shufflevector(c, d, 2, 3, 10, 11, 6, 7, 14, 15)};
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) std::memcpy(to + i * kWordBytes, &out[i], sizeof out[i]);
}

/// The blocks of 32 outputs, `at` bytes into their rows, as one panel block.
template <BlockFormat kFormat>
bool write_block(const std::byte* const* rows, std::size_t at, char* block) {
  constexpr int kFields = has_offset(kFormat) ? 2 : 1;
  std::uint32_t wrong = 0;
  std::uint16_t fields[kFields][kPanel];
  for (int i = 0; i < kPanel; ++i) {
    for (int f = 0; f < kFields; ++f) {
      fields[f][i] = get<std::uint16_t>(rows[i] + at + 2 * f);
      // Bit 15 after the sum: the exponent is all ones.
      wrong |= (fields[f][i] & 0x7fffU) + 0x0400U;
    }
  }
  std::memcpy(block, fields, sizeof fields);
  char* const words = block + codes_at(kFormat);
  for (int w = 0; w < words_of(kFormat); w += 4) {
    for (int i = 0; i < kPanel; i += 8) {
      write_words(rows + i, at + std::size_t(2 * kFields + 4 * w), words + w * kWordBytes + i * 4);
    }
  }
  return (wrong & 0x8000U) == 0;
}

template <BlockFormat kFormat>
bool write_panel(const BlockRow& row, std::int64_t panel, PackedMatrix& m) {
  constexpr std::size_t kStored = panel_block_bytes(kFormat) / kPanel;
  const std::int64_t blocks = panel_blocks(m.skip, m.k);
  const bool ragged = (panel + 1) * kPanel > m.n;
  const std::vector<std::byte> nothing(ragged ? std::size_t(blocks) * kStored : 0);  // past the end
  const std::byte* rows[kPanel];
  for (int i = 0; i < kPanel; ++i) {
    const std::int64_t n = panel * kPanel + i;
    rows[i] = n < m.n ? row(n) : nothing.data();
  }
  char* const first = const_cast<char*>(panel_block(m, panel, 0));
  bool finite = true;
  for (std::int64_t b = 0; b < blocks; ++b) {
    finite = write_block<kFormat>(rows, std::size_t(b) * kStored,
                                  first + b * panel_block_bytes(kFormat)) &&
             finite;
  }
  return finite;
}

}  // namespace

bool keeps_blocks(Format rounded) {
  return rounded == Format::f32 || rounded == Format::tf32 || rounded == Format::bf16 ||
         rounded == Format::fp16;
}

PackedMatrix make_packed_blocks(const PackSpec& spec, BlockFormat format, std::int64_t skip) {
  ISOBIT_CHECK(format != BlockFormat::none && keeps_blocks(spec.rounded));
  ISOBIT_CHECK(spec.scale.empty() && 0 <= skip && skip < kBlock);
  PackedMatrix m = describe_packed(spec);
  m.blocks = format;
  m.rounded = spec.rounded;
  m.skip = skip;
  m.data = packed_memory(std::size_t(m.panels()) * panel_bytes(m));
  return m;
}

bool pack_block_panels(const BlockRow& row, std::int64_t begin, std::int64_t end, PackedMatrix& m) {
  ISOBIT_CHECK(0 <= begin && begin <= end && end <= m.panels());
  take_pages(m, begin, end);
  bool finite = true;
  for (std::int64_t panel = begin; panel < end; ++panel) {
    const bool good = m.blocks == BlockFormat::q4_0 ? write_panel<BlockFormat::q4_0>(row, panel, m)
                      : m.blocks == BlockFormat::q4_1
                          ? write_panel<BlockFormat::q4_1>(row, panel, m)
                          : write_panel<BlockFormat::q8_0>(row, panel, m);
    finite = good && finite;
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

}  // namespace isobit::cpu
