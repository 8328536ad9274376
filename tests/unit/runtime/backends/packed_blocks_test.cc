// Weights in blocks: every element is what the tensor says, rounded; what cannot stay is refused.
#include "runtime/backends/cpu/packed_blocks.h"

#include <gtest/gtest.h>

#include <cstring>

#include "runtime/backends/cpu/packed.h"
#include "runtime/numerics/formats.h"
#include "tests/conformance/block_data.h"

namespace isobit::cpu {
namespace {

constexpr Format kRounded[] = {Format::f32, Format::tf32, Format::bf16, Format::fp16};

PackSpec spec_of(std::int64_t n, std::int64_t k, Format rounded) {
  PackSpec spec;
  spec.n = n;
  spec.k = k;
  spec.bounds = {0, k};
  spec.rounded = rounded;
  return spec;
}

BlockRow rows_of(const Tensor& tensor, std::int64_t column) {
  return [&tensor, column](std::int64_t row) { return tensor.stored(row, column); };
}

TEST(PackedBlocks, AnElementIsTheTensorsRounded) {
  for (const blocks::Kind& kind : blocks::kKinds) {
    for (const Format rounded : kRounded) {
      for (const std::int64_t n : {1, 31, 33, 70}) {
        for (const std::int64_t first : {0, 4, 13, 32, 95}) {
          const std::int64_t cols = kind.columns() > 32 ? 512 : 160;
          const std::int64_t k = first == 13 ? 20 : cols - first;
          const blocks::Matrix source = blocks::random_matrix(kind.type, n, cols, 7);
          const PackSpec spec = spec_of(n, k, rounded);
          PackedMatrix m = make_packed_blocks(spec, kind.format, first % kind.columns());
          ASSERT_TRUE(pack_block_panels(rows_of(source.tensor, first), 0, m.panels(), m));
          std::vector<float> row(static_cast<std::size_t>(k));
          int wrong = 0;
          for (std::int64_t r = 0; r < n; ++r) {
            source.tensor.read_row(r, first, first + k, row);
            for (std::int64_t c = 0; c < k; ++c) {
              const float want = round_to(rounded, row[std::size_t(c)]);
              wrong += bits_of(m.at<float>(r, c)) != bits_of(want) ? 1 : 0;
            }
          }
          EXPECT_EQ(wrong, 0) << name_of(kind.type) << ", R " << int(rounded) << ", " << n
                              << " rows from column " << first;
        }
      }
    }
  }
}

/// A quantised row of a GGUF file that stores q and k permuted is found where it lies.
TEST(PackedBlocks, RowsMayBeStoredInAnotherOrder) {
  blocks::Matrix source = blocks::random_matrix(TensorType::q4_1, 40, 64, 8);
  for (std::int64_t r = 0; r < 40; ++r) source.tensor.row_order.push_back((r * 7 + 3) % 40);
  PackedMatrix m = make_packed_blocks(spec_of(40, 64, Format::f32), BlockFormat::q4_1, 0);
  ASSERT_TRUE(pack_block_panels(rows_of(source.tensor, 0), 0, m.panels(), m));
  std::vector<float> row(64);
  for (std::int64_t r = 0; r < 40; ++r) {
    source.tensor.read_row(r, 0, 64, row);
    for (std::int64_t c = 0; c < 64; ++c) EXPECT_EQ(m.at<float>(r, c), row[std::size_t(c)]);
  }
}

TEST(PackedBlocks, PanelsInAnyOrderGiveTheSameBytes) {
  const blocks::Matrix source = blocks::random_matrix(TensorType::q4_0, 150, 96, 9);
  const PackSpec spec = spec_of(150, 90, Format::bf16);
  PackedMatrix whole = make_packed_blocks(spec, BlockFormat::q4_0, 6);
  PackedMatrix parts = make_packed_blocks(spec, BlockFormat::q4_0, 6);
  ASSERT_TRUE(pack_block_panels(rows_of(source.tensor, 6), 0, whole.panels(), whole));
  for (const auto& [begin, end] : {std::pair{3, 5}, {2, 2}, {0, 1}, {1, 3}}) {
    ASSERT_TRUE(pack_block_panels(rows_of(source.tensor, 6), begin, end, parts));
  }
  const std::size_t bytes = std::size_t(5 * panel_blocks(BlockFormat::q4_0, 6, 90)) *
                            std::size_t(panel_block_bytes(BlockFormat::q4_0));
  EXPECT_EQ(std::memcmp(whole.data.get(), parts.data.get(), bytes), 0);
}

TEST(PackedBlocks, FieldsThatAreNotFiniteAreToldOf) {
  for (const blocks::Kind& kind : blocks::kKinds) {
    const std::int64_t cols = 2 * kind.columns();
    for (const std::size_t field : kind.fp16_fields) {
      for (const int bits : {0x7c00, 0xfc00, 0x7e00, 0xfd01}) {
        const auto half = std::uint16_t(bits);
        blocks::Matrix source = blocks::random_matrix(kind.type, 33, cols, 10);
        const std::size_t block = 32 * 2 + 1;  // of the last row
        std::memcpy(source.bytes->data() + block * std::size_t(layout_of(kind.type).bytes) + field,
                    &half, sizeof half);
        PackedMatrix m = make_packed_blocks(spec_of(33, cols, Format::f32), kind.format, 0);
        EXPECT_FALSE(pack_block_panels(rows_of(source.tensor, 0), 0, m.panels(), m));
        EXPECT_TRUE(pack_block_panels(rows_of(source.tensor, 0), 0, 1, m)) << "other panels";
      }
    }
  }
}

TEST(PackedBlocks, TakeTheFilesBytesAndNoMore) {
  for (const blocks::Kind& kind : blocks::kKinds) {
    EXPECT_EQ(panel_block_bytes(kind.format), kPanel * layout_of(kind.type).bytes);
  }
  for (const Format rounded : kRounded) EXPECT_TRUE(keeps_blocks(rounded));
  for (const Format other : {Format::f64, Format::e4m3, Format::e5m2}) {
    EXPECT_FALSE(keeps_blocks(other));
  }
}

}  // namespace
}  // namespace isobit::cpu
