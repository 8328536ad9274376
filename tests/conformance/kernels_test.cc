// Every leaf of every SIMD table against the literal scalar table, bit for bit.
#include "runtime/backends/cpu/kernels/kernels.h"

#include <algorithm>

#include "runtime/backends/cpu/packed.h"
#include "tests/conformance/kernel_data.h"

namespace isobit::cpu::testing {
namespace {

INSTANTIATE_TEST_SUITE_P(Isa, KernelTable, ::testing::ValuesIn(kSimdIsas),
                         [](const auto& isa) { return std::string(isa.param); });

TEST_P(KernelTable, RunsTheTableItNames) {
  const Kernels& scalar = scalar_kernels();
  const Kernels& table = *simd_kernels(GetParam());
  EXPECT_STREQ(table.isa, GetParam());
  EXPECT_STREQ(scalar.isa, "scalar");
  const auto differ = [](const auto& a, const auto& b) {
    EXPECT_NE(a.gemm, b.gemm);
    EXPECT_NE(a.finish, b.finish);
    EXPECT_NE(a.rms_norm, b.rms_norm);
    EXPECT_NE(a.rope, b.rope);
    EXPECT_NE(a.gated_silu, b.gated_silu);
    EXPECT_NE(a.add, b.add);
    EXPECT_NE(a.round, b.round);
    EXPECT_NE(a.quantize, b.quantize);
    EXPECT_NE(a.amax, b.amax);
    EXPECT_NE(a.attention, b.attention);
    EXPECT_NE(a.exp, b.exp);
  };
  differ(table.f32, scalar.f32);
  differ(table.f64, scalar.f64);
}

struct GemmCase {
  std::int64_t rows, n, k;
  int segments;
  Format rounded;
  std::vector<std::int64_t> bounds = {};  // instead of equal segments
};

/// Runs one share (rows [1, rows), all panels but the first when there are several) and all of it.
template <class T>
void compare_gemm(const KernelsOf<T>& want, const KernelsOf<T>& got, const GemmCase& c, Data data,
                  std::uint64_t seed) {
  SCOPED_TRACE(::testing::Message() << c.rows << "x" << c.n << "x" << c.k << " V=" << c.segments
                                    << " format " << int(c.rounded) << " seed " << seed);
  PackSpec spec;
  spec.n = c.n;
  spec.k = c.k;
  spec.rounded = c.rounded;
  spec.bounds = c.bounds;
  for (int s = 0; s <= c.segments && c.bounds.empty(); ++s) {
    spec.bounds.push_back(c.k * s / c.segments);
  }
  const std::vector<float> w = make_data<float>(data, c.n * c.k, seed);
  const PackedMatrix packed = pack(spec, [&](std::int64_t row, std::span<float> out) {
    std::copy_n(w.begin() + row * c.k, c.k, out.begin());
  });
  const std::int64_t x_stride = c.k + 3, out_stride = c.n + 5;
  const std::vector<T> x = make_data<T>(data, c.rows * x_stride, seed + 1);
  for (const bool share : {false, true}) {
    std::vector<T> a(std::size_t(c.rows * out_stride), T(7)), b = a;
    GemmArgs<T> args{x.data(), x_stride, &packed, a.data(),       out_stride,
                     0,        c.rows,   0,       packed.panels()};
    if (share && c.rows > 1) args.row_begin = 1;
    if (share && packed.panels() > 1) args.panel_begin = 1;
    want.gemm(args);
    args.out = b.data();
    got.gemm(args);
    EXPECT_TRUE(same(a, b));
    EXPECT_TRUE(canonical_nans(b));
    EXPECT_TRUE(has_substance(a));
  }
}

template <class T>
std::vector<Format> weight_formats() {
  std::vector<Format> all = {Format::f32,  Format::tf32, Format::bf16,
                             Format::fp16, Format::e4m3, Format::e5m2};
  if (sizeof(T) == 8) all.push_back(Format::f64);
  return all;
}

template <class T>
void gemm_over_shapes(const KernelsOf<T>& want, const KernelsOf<T>& got) {
  std::uint64_t seed = 1;
  for (std::int64_t rows = 1; rows <= 13; ++rows) {
    for (const std::int64_t k : {64, 129, 576}) {
      compare_gemm(want, got, {rows, 33, k, 8, Format::bf16}, Data::wide, ++seed);
    }
  }
  for (const std::int64_t n : {1, 15, 16, 17, 31, 32, 63, 70}) {
    compare_gemm(want, got, {3, n, 100, 8, Format::f32}, Data::plain, ++seed);
  }
  for (const std::int64_t k : {1, 7, 8, 9, 63, 65, 127, 1000}) {
    compare_gemm(want, got, {2, 40, k, 8, Format::fp16}, Data::cancelling, ++seed);
    compare_gemm(want, got, {1, 40, k, 1, Format::f32}, Data::cancelling, ++seed);
  }
  for (const int segments : {1, 2, 4, 8, 16, 32}) {
    for (const std::int64_t rows : {1, 2, 3, 4, 7, 29}) {
      compare_gemm(want, got, {rows, 48, 259, segments, Format::f32}, Data::wide, ++seed);
    }
  }
}

TEST_P(KernelTable, Gemm) {
  gemm_over_shapes<float>(scalar<float>(), simd<float>());
  gemm_over_shapes<double>(scalar<double>(), simd<double>());
}

template <class T>
void gemm_over_formats(const KernelsOf<T>& want, const KernelsOf<T>& got) {
  std::uint64_t seed = 1000;
  for (const Format format : weight_formats<T>()) {
    for (const Data data : kEveryData) {
      for (const std::int64_t rows : {1, 5, 30}) {
        compare_gemm(want, got, {rows, 37, 200, 8, format}, data, ++seed);
      }
    }
  }
}

TEST_P(KernelTable, GemmFormatsAndSpecialValues) {
  gemm_over_formats<float>(scalar<float>(), simd<float>());
  gemm_over_formats<double>(scalar<double>(), simd<double>());
}

TEST_P(KernelTable, GemmManyRowBlocks) {  // rows and k beyond one cache block of rows
  compare_gemm<float>(scalar<float>(), simd<float>(), {401, 33, 1031, 8, Format::bf16}, Data::plain,
                      5);
}

/// Every count of rows around the tiles and strips, in every way that weights are read.
TEST_P(KernelTable, GemmEveryCountOfRows) {
  std::uint64_t seed = 2000;
  for (std::int64_t rows = 1; rows <= 40; ++rows) {
    for (const Format format : {Format::f32, Format::bf16, Format::fp16}) {
      const std::int64_t n = 1 + std::int64_t(seed * 7 % 70), k = 64 + std::int64_t(seed % 29);
      compare_gemm<float>(scalar<float>(), simd<float>(), {rows, n, k, 8, format}, Data::wide,
                          ++seed);
    }
    compare_gemm<double>(scalar<double>(), simd<double>(), {rows, 37, 101, 8, Format::f64},
                         Data::wide, ++seed);
  }
}

/// One row: panels that go together as runs, and those left over; the last panel half empty.
template <class T>
void gemm_of_one_row(const KernelsOf<T>& want, const KernelsOf<T>& got) {
  std::uint64_t seed = 2500;
  for (const Format format : weight_formats<T>()) {
    for (const std::int64_t n : {32, 64, 90, 96, 128, 150, 161, 192, 300}) {
      for (const int segments : {1, 8, 32}) {
        compare_gemm<T>(want, got, {1, n, 77, segments, format}, Data::wide, ++seed);
      }
    }
  }
}

TEST_P(KernelTable, GemmOneRowManyPanels) {
  gemm_of_one_row<float>(scalar<float>(), simd<float>());
  gemm_of_one_row<double>(scalar<double>(), simd<double>());
}

/// Segments that a block holds by the dozen, one at a time, or in parts.
TEST_P(KernelTable, GemmBlocksCutSegments) {
  std::uint64_t seed = 3000;
  for (const std::int64_t k : {64, 290, 700, 2311, 3001, 6007}) {
    for (const int segments : {1, 8, 16, 32}) {
      for (const std::int64_t rows : {5, 14, 27}) {
        const Format format = seed % 2 == 0 ? Format::f32 : Format::bf16;
        compare_gemm<float>(scalar<float>(), simd<float>(), {rows, 35, k, segments, format},
                            Data::cancelling, ++seed);
      }
    }
    compare_gemm<double>(scalar<double>(), simd<double>(), {14, 35, k, 8, Format::f64},
                         Data::cancelling, ++seed);
  }
}

TEST_P(KernelTable, GemmUnevenSegments) {
  const std::vector<std::vector<std::int64_t>> every = {{0, 700},
                                                        {0, 1, 700},
                                                        {0, 0, 350, 351, 700, 700, 700, 700, 700},
                                                        {0, 400, 403, 404, 408, 415, 431, 463, 700},
                                                        {0, 0, 0, 0, 0, 0, 0, 0, 700}};
  std::uint64_t seed = 4000;
  for (const auto& bounds : every) {
    for (const std::int64_t rows : {1, 2, 3, 6, 9, 13, 25}) {
      for (const Format format : {Format::f32, Format::bf16, Format::fp16}) {
        compare_gemm<float>(scalar<float>(), simd<float>(), {rows, 64, 700, 8, format, bounds},
                            Data::wide, ++seed);
      }
    }
  }
}

TEST_P(KernelTable, GemmOfARankWithoutSegmentsIsZero) {
  PackSpec spec;
  spec.n = 40;
  const PackedMatrix packed = pack(spec, [](std::int64_t, std::span<float>) {});
  std::vector<float> x(1), out(80, 1.0f);
  const GemmArgs<float> args{x.data(), 0, &packed, out.data(), 40, 0, 2, 0, 2};
  simd<float>().gemm(args);
  EXPECT_TRUE(same(std::vector<float>(80, 0.0f), out));
}

/// The same row alone, in a crowd, and at another place of the crowd.
TEST_P(KernelTable, GemmRowDoesNotDependOnItsNeighbours) {
  PackSpec spec;
  spec.n = 64;
  spec.k = 640;
  for (int s = 0; s <= 8; ++s) spec.bounds.push_back(spec.k * s / 8);
  const std::vector<float> w = make_data<float>(Data::wide, spec.n * spec.k, 3);
  const PackedMatrix packed = pack(spec, [&](std::int64_t row, std::span<float> out) {
    std::copy_n(w.begin() + row * spec.k, spec.k, out.begin());
  });
  constexpr std::int64_t kRows = 37;
  const std::vector<float> x = make_data<float>(Data::wide, kRows * spec.k, 4);
  std::vector<float> crowd(std::size_t(kRows * spec.n)), alone(std::size_t(spec.n));
  simd<float>().gemm({x.data(), spec.k, &packed, crowd.data(), spec.n, 0, kRows, 0, 2});
  for (const std::int64_t r : {std::int64_t(0), std::int64_t(11), kRows - 1}) {
    simd<float>().gemm({x.data() + r * spec.k, spec.k, &packed, alone.data(), spec.n, 0, 1, 0, 2});
    const auto at = crowd.begin() + r * spec.n;
    EXPECT_TRUE(same(std::vector<float>(at, at + spec.n), alone)) << "row " << r;
  }
}

template <class T>
void compare_finish(const KernelsOf<T>& want, const KernelsOf<T>& got, Data data) {
  constexpr std::int64_t kRows = 3;
  for (const std::int64_t n : {1, 16, 37, 64}) {
    for (const int ranks : {1, 2, 4, 8, 16, 32}) {
      const std::vector<T> sums = make_data<T>(data, ranks * kRows * n, 17);
      const std::vector<T> row_scale = make_data<T>(data, kRows, 18),
                           bias = make_data<T>(data, n, 19);
      const std::vector<float> output_scale = make_data<float>(data, n, 20);
      for (int use = 0; use < 8; ++use) {
        for (const Format format : formats<T>()) {
          std::vector<const T*> parts;
          for (int i = 0; i < ranks; ++i) parts.push_back(sums.data() + i * kRows * n);
          std::vector<T> a(sums.begin(), sums.begin() + kRows * n), b = a;
          FinishArgs<T> args{parts.data(),
                             ranks,
                             n,
                             use & 1 ? row_scale.data() : nullptr,
                             use & 2 ? output_scale.data() : nullptr,
                             use & 4 ? bias.data() : nullptr,
                             format,
                             a.data(),
                             0,
                             kRows};
          parts[0] = a.data();  // in place
          want.finish(args);
          parts[0] = b.data();
          args.out = b.data();
          got.finish(args);
          ASSERT_TRUE(same(a, b)) << "n " << n << " ranks " << ranks << " use " << use;
          ASSERT_TRUE(canonical_nans(b));
        }
      }
    }
  }
}

TEST_P(KernelTable, Finish) {
  for (const Data data : kEveryData) {
    compare_finish<float>(scalar<float>(), simd<float>(), data);
    compare_finish<double>(scalar<double>(), simd<double>(), data);
  }
}

template <class T>
void compare_rows(const KernelsOf<T>& want, const KernelsOf<T>& got, Data data, std::int64_t d) {
  constexpr std::int64_t kRows = 3;
  const std::vector<T> x = make_data<T>(data, kRows * d, 31), w = make_data<T>(data, d, 32);
  const std::vector<T> scale = make_data<T>(data, kRows, 33);
  for (const Format format : formats<T>()) {
    SCOPED_TRACE(::testing::Message() << "d " << d << " format " << int(format));
    std::vector<T> a(x.size()), b(x.size());
    want.rms_norm(x.data(), w.data(), T(1e-5f), kRows, d, format, a.data());
    got.rms_norm(x.data(), w.data(), T(1e-5f), kRows, d, format, b.data());
    ASSERT_TRUE(same(a, b)) << "rms_norm";
    ASSERT_TRUE(canonical_nans(b));
    want.quantize(x.data(), kRows, d, scale.data(), format, a.data());
    got.quantize(x.data(), kRows, d, scale.data(), format, b.data());
    ASSERT_TRUE(same(a, b)) << "quantize";
    const std::vector<T> nan_scale(std::size_t(kRows), canonical_nan(T(0)));
    got.quantize(x.data(), kRows, d, nan_scale.data(), format, b.data());
    ASSERT_TRUE(same(std::vector<T>(x.size(), canonical_nan(T(0))), b)) << "NaN scale";
  }
  std::vector<T> a(std::size_t(kRows), T(-1)), b = a;
  want.amax(x.data(), kRows, d, a.data());
  got.amax(x.data(), kRows, d, b.data());
  ASSERT_TRUE(same(a, b)) << "amax";
}

TEST_P(KernelTable, NormQuantizeAmax) {
  for (const Data data : kEveryData) {
    for (const std::int64_t d : {1, 7, 8, 64, 255, 256, 257, 511, 576, 1000}) {
      compare_rows<float>(scalar<float>(), simd<float>(), data, d);
      compare_rows<double>(scalar<double>(), simd<double>(), data, d);
    }
  }
}

template <class T>
void compare_elementwise(const KernelsOf<T>& want, const KernelsOf<T>& got, Data data,
                         std::int64_t n) {
  std::vector<T> x = make_data<T>(data, n, 41), y = make_data<T>(data, n, 42);
  for (T& value : x) value = value * T(8);  // into the range where exp matters
  for (const Format format : formats<T>()) {
    SCOPED_TRACE(::testing::Message() << "n " << n << " format " << int(format));
    std::vector<T> a(x.size()), b(x.size());
    want.gated_silu(x.data(), y.data(), n, format, a.data());
    got.gated_silu(x.data(), y.data(), n, format, b.data());
    ASSERT_TRUE(same(a, b)) << "gated_silu";
    ASSERT_TRUE(canonical_nans(b));
    want.round(x.data(), n, format, a.data());
    got.round(x.data(), n, format, b.data());
    ASSERT_TRUE(same(a, b)) << "round";
    a = x;
    b = x;
    want.add(a.data(), y.data(), n, format);
    got.add(b.data(), y.data(), n, format);
    ASSERT_TRUE(same(a, b)) << "add";
  }
  std::vector<T> a(x.size()), b(x.size());
  want.exp(x.data(), n, a.data());
  got.exp(x.data(), n, b.data());
  ASSERT_TRUE(same(a, b)) << "exp";
}

TEST_P(KernelTable, Elementwise) {
  for (const Data data : kEveryData) {
    for (const std::int64_t n : {1, 3, 4, 8, 15, 16, 17, 33, 5000}) {
      compare_elementwise<float>(scalar<float>(), simd<float>(), data, n);
      compare_elementwise<double>(scalar<double>(), simd<double>(), data, n);
    }
  }
}

template <class T>
void compare_rope(const KernelsOf<T>& want, const KernelsOf<T>& got, Data data, int d, int dims) {
  constexpr std::int64_t kRows = 3, kHeads = 2, kPositions = 9;
  const std::int64_t positions[kRows] = {8, 0, 5};
  const std::vector<T> cosine = make_data<T>(data, kPositions * dims / 2, 51);
  const std::vector<T> sine = make_data<T>(data, kPositions * dims / 2, 52);
  const std::vector<T> x = make_data<T>(data, kRows * kHeads * d, 53);
  for (const Format format : formats<T>()) {
    std::vector<T> a = x, b = x;
    want.rope(a.data(), kRows, kHeads, d, dims, positions, cosine.data(), sine.data(), format);
    got.rope(b.data(), kRows, kHeads, d, dims, positions, cosine.data(), sine.data(), format);
    ASSERT_TRUE(same(a, b)) << "d " << d << " dims " << dims << " format " << int(format);
    if (dims == d) {
      ASSERT_TRUE(canonical_nans(b));
    }
    for (std::size_t i = 0; i < x.size(); ++i) {  // what does not turn is left alone
      if (int(i % std::size_t(d)) < dims) continue;
      ASSERT_TRUE(same_bits(x[i], b[i])) << "d " << d << " dims " << dims << " element " << i;
    }
  }
}

TEST_P(KernelTable, Rope) {
  for (const Data data : kEveryData) {
    for (const int d : {8, 16, 24, 64, 80, 96, 128, 256}) {
      for (const int dims : {d, d / 4 * 3, d / 2, 2}) {
        compare_rope<float>(scalar<float>(), simd<float>(), data, d, dims);
        compare_rope<double>(scalar<double>(), simd<double>(), data, d, dims);
      }
    }
  }
}

}  // namespace
}  // namespace isobit::cpu::testing
