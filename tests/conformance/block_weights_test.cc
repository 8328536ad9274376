// Weights kept in the checkpoint's blocks: the product of every table, and whole models, have the
// bits of the same weights expanded.
#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/backends/cpu/cpu_backend.h"
#include "runtime/backends/cpu/packed.h"
#include "runtime/backends/cpu/packed_blocks.h"
#include "runtime/run/generate.h"
#include "tests/conformance/block_data.h"
#include "tests/conformance/kernel_data.h"
#include "tests/fakes/model.h"

namespace isobit::cpu::testing {
namespace {

/// The scalar table is compared too: it reads blocks element by element.
constexpr const char* kTables[] = {"scalar", "avx2", "avx512", "neon"};

const Kernels* table_of(const std::string& isa) {
  return isa == "scalar" ? &scalar_kernels() : simd_kernels(isa);
}

struct Shape {
  std::int64_t rows, n, k, first;  // `first`: the slice's first column of the tensor
  std::vector<std::int64_t> bounds;
};

void compare_product(const Kernels& table, const blocks::Kind& kind, Format rounded,
                     const Shape& shape, std::uint64_t seed) {
  const std::int64_t whole = kind.columns();
  const std::int64_t cols = (shape.first + shape.k + whole - 1) / whole * whole;
  const blocks::Matrix source = blocks::random_matrix(kind.type, shape.n, cols, seed);
  PackSpec spec;
  spec.n = shape.n;
  spec.k = shape.k;
  spec.rounded = rounded;
  spec.bounds = shape.bounds;
  const PackedMatrix expanded = pack(spec, [&](std::int64_t row, std::span<float> out) {
    source.tensor.read_row(row, shape.first, shape.first + shape.k, out);
  });
  PackedMatrix kept = make_packed_blocks(spec, kind.format, shape.first % whole);
  ASSERT_TRUE(
      pack_block_panels([&](std::int64_t row) { return source.tensor.stored(row, shape.first); }, 0,
                        kept.panels(), kept));
  const std::vector<float> x = make_data<float>(Data::wide, shape.rows * shape.k, seed + 1);
  std::vector<float> want(std::size_t(shape.rows * shape.n), 7.0F), got = want;
  GemmArgs<float> args{x.data(), shape.k,    &expanded, want.data(),      shape.n,
                       0,        shape.rows, 0,         expanded.panels()};
  scalar_kernels().f32.gemm(args);
  args.w = &kept;
  args.out = got.data();
  table.f32.gemm(args);
  EXPECT_TRUE(same(want, got)) << table.isa << ", " << name_of(kind.type) << ", R " << int(rounded)
                               << ", " << shape.rows << " x " << shape.n << " x " << shape.k
                               << " from " << shape.first << ", seed " << seed;
  EXPECT_TRUE(has_substance(want));
}

std::vector<std::int64_t> equal_bounds(std::int64_t k, int segments) {
  std::vector<std::int64_t> bounds;
  for (int s = 0; s <= segments; ++s) bounds.push_back(k * s / segments);
  return bounds;
}

class BlockWeights : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (table_of(GetParam()) == nullptr) {
      GTEST_SKIP() << "no " << GetParam() << " on this machine";
    }
    EXPECT_STREQ(table().isa, GetParam());
  }
  static const Kernels& table() { return *table_of(GetParam()); }
};

TEST_P(BlockWeights, EveryCountOfRowsAndFormat) {
  std::uint64_t seed = 1;
  for (const blocks::Kind& kind : blocks::kKinds) {
    for (const Format rounded : {Format::f32, Format::tf32, Format::bf16, Format::fp16}) {
      for (const std::int64_t rows : {1, 2, 3, 4, 5, 7, 12, 13, 31}) {
        compare_product(table(), kind, rounded, {rows, 70, 128, 0, equal_bounds(128, 8)}, ++seed);
      }
    }
  }
}

/// Segments that begin and end anywhere in a block, and slices that do.
TEST_P(BlockWeights, SegmentsAndSlicesCutBlocks) {
  std::uint64_t seed = 500;
  for (const blocks::Kind& kind : blocks::kKinds) {
    for (const std::int64_t rows : {1, 2, 3, 6, 14}) {
      for (const std::int64_t first : {0, 4, 16, 19, 31, 77, 250}) {
        if (first >= kind.columns()) continue;
        compare_product(table(), kind, Format::f32, {rows, 33, 576, first, equal_bounds(576, 8)},
                        ++seed);
        compare_product(table(), kind, Format::bf16,
                        {rows, 16, 203, first, {0, 0, 1, 3, 70, 70, 101, 202, 203}}, ++seed);
      }
    }
  }
}

TEST_P(BlockWeights, SharesOfRowsAndPanels) {
  const blocks::Matrix source = blocks::random_matrix(TensorType::q4_1, 130, 320, 77);
  PackSpec spec;
  spec.n = 130;
  spec.k = 320;
  spec.bounds = equal_bounds(320, 8);
  PackedMatrix kept = make_packed_blocks(spec, BlockFormat::q4_1, 0);
  ASSERT_TRUE(pack_block_panels([&](std::int64_t row) { return source.tensor.stored(row, 0); }, 0,
                                kept.panels(), kept));
  for (const std::int64_t rows : {2, 300}) {
    const std::vector<float> x = make_data<float>(Data::plain, rows * 320, 78);
    std::vector<float> whole(std::size_t(rows * 130)), parts(whole.size());
    GemmArgs<float> args{x.data(), 320, &kept, whole.data(), 130, 0, rows, 0, 5};
    table().f32.gemm(args);
    args.out = parts.data();
    for (const auto& [row_begin, row_end] :
         {std::pair{std::int64_t(0), rows / 2}, {rows / 2, rows}}) {
      for (const auto& [begin, end] : {std::pair{0, 2}, {2, 5}}) {
        args.row_begin = row_begin;
        args.row_end = row_end;
        args.panel_begin = begin;
        args.panel_end = end;
        table().f32.gemm(args);
      }
    }
    EXPECT_TRUE(same(whole, parts)) << rows << " rows";
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, BlockWeights, ::testing::ValuesIn(kTables),
                         [](const auto& isa) { return std::string(isa.param); });

/// The worked example, or a wider one whose rows are whole super-blocks, which ranks cut.
ModelConfig example_of(const blocks::Kind& kind) {
  ModelConfig config = fakes::worked_example();
  if (kind.columns() <= 32) return config;
  config.hidden_size = 256;
  config.heads = 16;
  config.kv_heads = 4;
  config.intermediate_size = 768;
  return config;
}

/// That model with every matrix whose rows are whole blocks in `kind`, and the same numbers as
/// fp32.
std::pair<LoadedModel, LoadedModel> models(const blocks::Kind& kind) {
  LoadedModel kept = fakes::toy_model(example_of(kind)),
              expanded = fakes::toy_model(example_of(kind));
  std::uint64_t seed = 40;
  for (const auto& [name, tensor] : expanded.weights.all()) {
    if (tensor.shape.size() < 2 || tensor.cols % kind.columns() != 0) continue;
    blocks::Matrix matrix = blocks::random_matrix(kind.type, tensor.rows, tensor.cols, ++seed);
    matrix.tensor.name = name;
    auto values = std::make_shared<std::vector<float>>(std::size_t(tensor.rows * tensor.cols));
    for (std::int64_t r = 0; r < tensor.rows; ++r) {
      matrix.tensor.read_row(
          r, 0, tensor.cols,
          std::span(*values).subspan(std::size_t(r * tensor.cols), std::size_t(tensor.cols)));
    }
    Tensor wide = tensor;
    wide.bytes = std::as_bytes(std::span(*values));
    kept.weights.add(std::move(matrix.tensor));
    kept.weights.keep(matrix.bytes);
    expanded.weights.keep(values);
    expanded.weights.add(std::move(wide));
  }
  return {std::move(kept), std::move(expanded)};
}

TEST(BlockModelsWide, HaveTheBitsOfTheirExpandedTwins) {
  for (const blocks::Kind& kind : blocks::kKinds) {
    auto [kept, expanded] = models(kind);
    Runtime blocks_runtime(std::move(kept)), wide_runtime(std::move(expanded));
    for (const Mode& mode : kModes) {
      GenerateRequest request;
      request.precision = mode.precision;
      request.max_new_tokens = 6;
      for (const int length : {9, 4, 17}) {
        request.prompts.emplace_back();
        request.prompts.back().tokens = fakes::prompt(length);
      }
      const auto want = wide_runtime.generate(request);
      ASSERT_TRUE(want) << want.error().text();
      ASSERT_EQ(want->trace.status, CellStatus::ok) << want->trace.reason;
      for (const int ranks : {1, 4}) {
        for (const char* isa : {"auto", "scalar"}) {
          request.ranks = ranks;
          request.backend.isa = isa;
          const auto got = blocks_runtime.generate(request);
          ASSERT_TRUE(got) << got.error().text();
          EXPECT_EQ(cell_root(got->trace), cell_root(want->trace))
              << name_of(kind.type) << " " << mode.name << " ranks " << ranks << " isa " << isa;
        }
      }
    }
  }
}

/// What the backend keeps: blocks where it can, expanded weights where a field is not finite.
TEST(BlockModels, ABackendKeepsBlocksUnlessAFieldIsNotFinite) {
  for (const bool finite : {true, false}) {
    blocks::Matrix source = blocks::random_matrix(TensorType::q4_1, 40, 64, 3);
    if (!finite) (*source.bytes)[21] = std::byte{0x7e};  // the second block's scale
    for (const Mode& mode : kModes) {
      CpuBackend backend(mode, scalar_kernels(), 2);
      MatrixSource matrix;
      matrix.outputs = 40;
      matrix.inputs = 64;
      matrix.bounds = {0, 64};
      matrix.format = mode.matrix;
      matrix.read = [&](std::int64_t row, std::span<float> out) {
        source.tensor.read_row(row, 0, 64, out);
      };
      matrix.amax = [](std::int64_t) { return 1.0F; };
      matrix.blocks = {BlockFormat::q4_1, 0,
                       [&](std::int64_t row) { return source.tensor.stored(row, 0); }};
      const auto loaded = backend.load_matrix(matrix);
      const PackedMatrix& packed = static_cast<const CpuMatrix&>(*loaded).packed;
      const bool kept = finite && keeps_blocks(mode.matrix);
      EXPECT_EQ(packed.blocks, kept ? BlockFormat::q4_1 : BlockFormat::none) << mode.name;
    }
  }
}

}  // namespace
}  // namespace isobit::cpu::testing
