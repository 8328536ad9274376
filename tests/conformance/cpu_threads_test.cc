// The CPU backend cuts work by threads in several ways: by outputs, by rows, by splits of one
// query. None may show in the bits.
#include <algorithm>
#include <numeric>

#include "runtime/backends/cpu/cpu_backend.h"
#include "tests/conformance/kernel_data.h"

namespace isobit::cpu::testing {
namespace {

class Threads : public KernelTable {
 protected:
  [[nodiscard]] const Kernels& kernels() const {
    return *(std::string(GetParam()) == "avx2" ? avx2_kernels() : avx512_kernels());
  }
};
INSTANTIATE_TEST_SUITE_P(Isa, Threads, ::testing::Values("avx2", "avx512"),
                         [](const auto& isa) { return std::string(isa.param); });

std::vector<float> gemm(CpuBackend& backend, std::int64_t rows, std::int64_t n, std::int64_t k) {
  const std::vector<float> w = make_data<float>(Data::wide, n * k, 1);
  MatrixSource source;
  source.outputs = n;
  source.inputs = k;
  for (int s = 0; s <= 8; ++s) source.bounds.push_back(k * s / 8);
  source.format = Format::bf16;
  source.read = [&](std::int64_t row, std::span<float> out) {
    std::copy_n(w.begin() + row * k, k, out.begin());
  };
  const auto matrix = backend.load_matrix(source);
  std::vector<float> x = make_data<float>(Data::wide, rows * k, 2), out(std::size_t(rows * n));
  backend.gemm({x.data(), rows, k, k}, *matrix, {out.data(), rows, n, n});
  return out;
}

TEST_P(Threads, GemmIsCutByOutputsOrRows) {
  const Mode& mode = mode_of(Precision::fp32);
  for (const std::int64_t rows : {1, 2, 8, 40, 300, 530}) {
    for (const std::int64_t n : {1, 33, 200, 290}) {
      CpuBackend scalar(mode, scalar_kernels(), 1);
      const std::vector<float> want = gemm(scalar, rows, n, 150);
      ASSERT_TRUE(has_substance(want));
      for (const int threads : {1, 2, 3}) {
        CpuBackend backend(mode, kernels(), threads);
        ASSERT_TRUE(same(want, gemm(backend, rows, n, 150)))
            << rows << " rows, " << n << " outputs, " << threads << " threads";
      }
    }
  }
}

std::vector<float> attention(CpuBackend& backend, std::int64_t rows, std::int64_t first) {
  constexpr std::int64_t kPositions = 2100, kHeads = 5, kKvHeads = 2, kDim = 16;
  constexpr std::int32_t kPage = 256;
  const std::int64_t pages = (kPositions + kPage - 1) / kPage;
  std::vector<float> k = make_data<float>(Data::plain, pages * kPage * kKvHeads * kDim, 3);
  std::vector<float> v = make_data<float>(Data::plain, pages * kPage * kKvHeads * kDim, 4);
  std::vector<float> q = make_data<float>(Data::plain, rows * kHeads * kDim, 5), out = q;
  std::vector<std::int32_t> table(static_cast<std::size_t>(pages));
  std::iota(table.begin(), table.end(), 0);
  std::vector<AttentionRows::Row> places;
  for (std::int64_t r = 0; r < rows; ++r) {
    places.push_back({kPositions - rows + r, first, table.data(), nullptr});
  }
  AttentionRows args;
  args.rows = places;
  args.heads = kHeads;
  args.head_dim = kDim;
  args.kv_heads = kKvHeads;
  args.kv_of_head = {0, 0, 0, 1, 1};
  args.scale = 0.25;
  args.page_size = kPage;
  backend.attention({q.data(), rows, kHeads * kDim, kHeads * kDim}, args, k.data(), v.data(),
                    {out.data(), rows, kHeads * kDim, kHeads * kDim});
  return out;
}

TEST_P(Threads, AttentionIsCutByQueriesOrSplits) {
  const Mode& mode = mode_of(Precision::fp32);
  for (const std::int64_t rows : {1, 2, 9}) {
    for (const std::int64_t first : {0, 300, 1990}) {
      CpuBackend scalar(mode, scalar_kernels(), 1);
      const std::vector<float> want = attention(scalar, rows, first);
      ASSERT_TRUE(has_substance(want));
      for (const int threads : {1, 2, 3}) {
        CpuBackend backend(mode, kernels(), threads);
        ASSERT_TRUE(same(want, attention(backend, rows, first)))
            << rows << " rows from " << first << ", " << threads << " threads";
      }
    }
  }
}

}  // namespace
}  // namespace isobit::cpu::testing
