// The file's 32-bit words go to their places as they are, transposed in registers. block_values
// puts a block together again and has it decoded by runtime/numerics/blocks.h, the definition.

#include "runtime/backends/cpu/packed_blocks.h"

#include <algorithm>
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
         (panel * panel_blocks(m.blocks, m.skip, m.k) + block) * panel_block_bytes(m.blocks);
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

/// Where a block's 16-bit fields are in the file, and all the rest.
constexpr std::size_t fields_in_file(BlockFormat format) {
  return fields_last(format) ? std::size_t(words_of(format)) * 4 : 0;
}
constexpr std::size_t words_in_file(BlockFormat format) {
  return fields_last(format) ? 0 : std::size_t(fields_of(format)) * 2;
}

/// The blocks of 32 outputs, `at` bytes into their rows, as one panel block.
template <BlockFormat kFormat>
bool write_block(const std::byte* const* rows, std::size_t at, char* block) {
  constexpr int kFields = fields_of(kFormat), kWords = words_of(kFormat);
  std::uint32_t wrong = 0;
  std::uint16_t fields[kFields][kPanel];
  for (int i = 0; i < kPanel; ++i) {
    for (int f = 0; f < kFields; ++f) {
      fields[f][i] = get<std::uint16_t>(rows[i] + at + fields_in_file(kFormat) + 2 * f);
      // Bit 15 after the sum: the exponent is all ones.
      if (f < fp16_fields_of(kFormat)) wrong |= (fields[f][i] & 0x7fffU) + 0x0400U;
    }
  }
  std::memcpy(block, fields, sizeof fields);
  char* const words = block + codes_at(kFormat);
  const std::size_t from = at + words_in_file(kFormat);
  for (int w = 0; w + 4 <= kWords; w += 4) {
    for (int i = 0; i < kPanel; i += 8) {
      write_words(rows + i, from + std::size_t(4 * w), words + w * kWordBytes + i * 4);
    }
  }
  for (int w = kWords / 4 * 4; w < kWords; ++w) {
    for (int i = 0; i < kPanel; ++i) {
      std::memcpy(words + w * kWordBytes + i * 4, rows[i] + from + 4 * w, 4);
    }
  }
  return (wrong & 0x8000U) == 0;
}

template <BlockFormat kFormat>
bool write_panel(const BlockRow& row, std::int64_t panel, PackedMatrix& m) {
  constexpr std::size_t kStored = block_shape(kFormat).bytes;
  const std::int64_t blocks = panel_blocks(kFormat, m.skip, m.k);
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

using WritePanel = bool (*)(const BlockRow& row, std::int64_t panel, PackedMatrix& m);

WritePanel panel_writer(BlockFormat format) {
  switch (format) {
    case BlockFormat::none:
      break;
    case BlockFormat::q4_0:
      return write_panel<BlockFormat::q4_0>;
    case BlockFormat::q4_1:
      return write_panel<BlockFormat::q4_1>;
    case BlockFormat::q8_0:
      return write_panel<BlockFormat::q8_0>;
    case BlockFormat::q5_0:
      return write_panel<BlockFormat::q5_0>;
    case BlockFormat::q5_1:
      return write_panel<BlockFormat::q5_1>;
    case BlockFormat::q2_k:
      return write_panel<BlockFormat::q2_k>;
    case BlockFormat::q3_k:
      return write_panel<BlockFormat::q3_k>;
    case BlockFormat::q4_k:
      return write_panel<BlockFormat::q4_k>;
    case BlockFormat::q5_k:
      return write_panel<BlockFormat::q5_k>;
    case BlockFormat::q6_k:
      return write_panel<BlockFormat::q6_k>;
    case BlockFormat::iq4_nl:
      return write_panel<BlockFormat::iq4_nl>;
    case BlockFormat::iq4_xs:
      return write_panel<BlockFormat::iq4_xs>;
  }
  return nullptr;
}

/// The block of one output as the file has it.
void gather_block(BlockFormat format, const char* panel_block, int output, std::byte* block) {
  for (int f = 0; f < fields_of(format); ++f) {
    std::memcpy(block + fields_in_file(format) + std::size_t(2 * f),
                panel_block + f * kFieldBytes + output * 2, 2);
  }
  for (int w = 0; w < words_of(format); ++w) {
    std::memcpy(block + words_in_file(format) + std::size_t(4 * w),
                panel_block + codes_at(format) + w * kWordBytes + output * 4, 4);
  }
}

}  // namespace

bool keeps_blocks(Format rounded) {
  return rounded == Format::f32 || rounded == Format::tf32 || rounded == Format::bf16 ||
         rounded == Format::fp16;
}

PackedMatrix make_packed_blocks(const PackSpec& spec, BlockFormat format, std::int64_t skip) {
  ISOBIT_CHECK(format != BlockFormat::none && keeps_blocks(spec.rounded));
  ISOBIT_CHECK(spec.scale.empty() && 0 <= skip && skip < columns_of(format));
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
  const WritePanel write = panel_writer(m.blocks);
  for (std::int64_t panel = begin; panel < end; ++panel) finite = write(row, panel, m) && finite;
  return finite;
}

void block_values(const PackedMatrix& m, std::int64_t row, std::int64_t begin, std::int64_t end,
                  float* out) {
  constexpr int kMostBytes = 256;
  const int columns = columns_of(m.blocks);
  ISOBIT_CHECK(block_shape(m.blocks).bytes <= kMostBytes);
  std::byte block[kMostBytes];
  float part[kPartColumns];
  std::int64_t gathered = -1;
  for (std::int64_t k = begin; k < end;) {
    const std::int64_t at = m.skip + k;
    if (at / columns != gathered) {
      gathered = at / columns;
      gather_block(m.blocks, panel_block(m, row / kPanel, gathered), int(row % kPanel), block);
    }
    block_part(m.blocks, block, int(at % columns) / kPartColumns, part);
    for (int c = int(at % kPartColumns); c < kPartColumns && k < end; ++c, ++k) {
      *out++ = round_to(m.rounded, part[c]);
    }
  }
}

}  // namespace isobit::cpu
