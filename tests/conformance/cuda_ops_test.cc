// Every operation of backend.h on the GPU against the literal CPU text, bit for bit, on plain, wide
// (60 binades), cancelling and special (NaN, infinite, subnormal, -0) data.
#include "runtime/numerics/formats.h"
#include "runtime/numerics/order.h"
#include "tests/conformance/cuda_pair.h"

namespace isobit::cuda_test {
namespace {

class CudaOpsGpu : public CudaOps {};
INSTANTIATE_TEST_SUITE_P(Precision, CudaOpsGpu, ::testing::Range(0, kPrecisions), precision_name);

struct Shape {
  std::int64_t m, n, k;
  int segments;         // V
  int first = 0, last;  // owned segments
  Data data;
};

MatrixSource source_of(const Shape& s, const Mode& mode, std::uint64_t seed) {
  MatrixSource source;
  source.outputs = s.n;
  source.inputs = segment_begin(s.k, s.last, s.segments) - segment_begin(s.k, s.first, s.segments);
  for (int i = s.first; i <= s.last; ++i) {
    source.bounds.push_back(segment_begin(s.k, i, s.segments) -
                            segment_begin(s.k, s.first, s.segments));
  }
  source.format = mode.matrix;
  const std::int64_t k = source.inputs;
  const auto values = std::make_shared<std::vector<float>>(make_data<float>(s.data, s.n * k, seed));
  source.read = [values, k](std::int64_t row, std::span<float> out) {
    std::copy_n(values->begin() + row * k, k, out.begin());
  };
  source.amax = [values, k](std::int64_t row) {
    float m = 0;
    for (std::int64_t i = 0; i < k; ++i) {
      m = max_nan(m, float_of(bits_of((*values)[std::size_t(row * k + i)]) & 0x7fffffffu));
    }
    return is_finite(m) ? m : 1.0f;
  };
  return source;
}

void check_gemm(Pair& pair, const Shape& s, std::uint64_t seed) {
  SCOPED_TRACE(::testing::Message()
               << "M " << s.m << " N " << s.n << " K " << s.k << " segments " << s.first << ".."
               << s.last << " of " << s.segments << " data " << int(s.data) << " seed " << seed);
  const Mode& mode = pair.mode();
  const MatrixSource source = source_of(s, mode, seed);
  const std::int64_t k = source.inputs;
  const Array x = pair.random(s.data, s.m * k, seed + 1, mode.gemm_input);
  const Array part = pair.empty(s.m * s.n),
              second = pair.random(s.data, s.m * s.n, seed + 2, Format::f32);
  const Array bias = pair.random(Data::plain, s.n, seed + 3, mode.weight);
  const Array row_scale = pair.put(std::vector<double>(std::size_t(s.m), 0.25), Format::f32);
  const Array plain = pair.empty(s.m * s.n), full = pair.empty(s.m * s.n);
  pair.both([&](Backend& b, bool gpu) {
    const auto at = [&](const Array& a) { return gpu ? a.gpu : a.cpu; };
    const auto w = b.load_matrix(source);
    const Rows out = rows_of(part, gpu, s.m, s.n);
    b.gemm(rows_of(x, gpu, s.m, k), *w, out);
    b.finish({&out, 1}, *w, nullptr, nullptr, mode.stored, rows_of(plain, gpu, s.m, s.n));
    const Rows parts[2] = {out, rows_of(second, gpu, s.m, s.n)};
    b.finish(parts, *w, mode.scaled() ? at(row_scale) : nullptr, at(bias), mode.stored,
             rows_of(full, gpu, s.m, s.n));
  });
  const bool may_be_empty = s.k < 8 || s.data != Data::plain || s.first == s.last;
  EXPECT_TRUE(pair.same(part, may_be_empty));
  EXPECT_TRUE(pair.same(plain, may_be_empty));
  EXPECT_TRUE(pair.same(full, true));
}

TEST_P(CudaOpsGpu, GemmOfEveryShape) {
  std::uint64_t seed = 1;
  for (const Data data : kEveryData) {
    for (const std::int64_t m : {1, 2, 3, 5, 8, 32, 33, 64}) {
      Pair pair(precision());
      for (const auto& [n, k] : {std::pair<int, int>{1, 1},
                                 {33, 63},
                                 {40, 64},
                                 {70, 65},
                                 {129, 200},
                                 {31, 577},
                                 {260, 131}}) {
        check_gemm(pair, {m, n, k, k < 64 ? 1 : 8, 0, k < 64 ? 1 : 8, data}, seed += 10);
      }
    }
  }
}

TEST_P(CudaOpsGpu, GemmOfManyRowsAndLongK) {
  std::uint64_t seed = 100000;
  for (const Data data : kEveryData) {
    Pair pair(precision());
    check_gemm(pair, {300, 130, 515, 8, 0, 8, data}, seed += 10);
    check_gemm(pair, {1, 96, 4099, 8, 0, 8, data}, seed += 10);
    check_gemm(pair, {8, 32, 4096, 8, 0, 8, data}, seed += 10);
  }
}

TEST_P(CudaOpsGpu, GemmWithMoreOutputsAWarp) {
  std::uint64_t seed = 200000;
  for (const std::int64_t m : {1, 2, 4, 7, 16}) {
    Pair pair(precision());
    check_gemm(pair, {m, 8200, 80, 8, 0, 8, Data::wide}, seed += 10);
  }
}

/// Segments of whole words and one length: the paths for narrow, middle and wide matrices.
TEST_P(CudaOpsGpu, GemmOfWholeWords) {
  std::uint64_t seed = 250000;
  for (const std::int64_t m : {1, 2, 4, 7, 12, 16, 21, 32, 33, 70}) {
    Pair pair(precision());
    check_gemm(pair, {m, 1000, 576, 8, 0, 8, Data::wide}, seed += 10);
    check_gemm(pair, {m, 2100, 192, 8, 0, 8, Data::special}, seed += 10);
    check_gemm(pair, {m, 8500, 128, 8, 0, 8, Data::wide}, seed += 10);
    check_gemm(pair, {m, 130, 1024, 32, 0, 32, Data::wide}, seed += 10);
    check_gemm(pair, {m, 130, 1024, 16, 4, 8, Data::cancelling}, seed += 10);
  }
}

/// Each product reads what the one before has just written: a kernel that starts early waits.
TEST_P(CudaOpsGpu, GemmAfterGemm) {
  for (const std::int64_t m : {1, 2, 3, 8, 16, 32, 50}) {
    Pair pair(precision());
    const std::int64_t d = 512;
    const MatrixSource source = source_of({m, d, d, 8, 0, 8, Data::plain}, pair.mode(), 5);
    const Array x = pair.random(Data::plain, m * d, 6, pair.mode().gemm_input);
    const Array y = pair.empty(m * d);
    pair.both([&](Backend& b, bool gpu) {
      const auto w = b.load_matrix(source);
      for (int i = 0; i < 4; ++i) {
        b.gemm(rows_of(x, gpu, m, d), *w, rows_of(y, gpu, m, d));
        b.gemm(rows_of(y, gpu, m, d), *w, rows_of(x, gpu, m, d));
      }
    });
    EXPECT_TRUE(pair.same(x, true));
    EXPECT_TRUE(pair.same(y, true));
  }
}

TEST_P(CudaOpsGpu, GemmOfRanksAndOfMoreSegments) {
  std::uint64_t seed = 300000;
  for (const int v : {8, 16, 32}) {
    for (const std::int64_t m : {1, 3, 40}) {
      Pair pair(precision());
      for (int ranks = 1; ranks <= 8; ranks *= 2) {
        const int each = v / ranks, r = ranks / 2;
        check_gemm(pair, {m, 50, 333, v, r * each, (r + 1) * each, Data::wide}, seed += 10);
      }
      check_gemm(pair, {m, 50, 333, v, 1, 1, Data::plain}, seed += 10);  // owns nothing
    }
  }
}

TEST_P(CudaOpsGpu, GemmReadsRowsThatAreFartherApart) {
  Pair pair(precision());
  const Mode& mode = pair.mode();
  for (const std::int64_t m : {1, 4, 50}) {
    const Shape shape{m, 37, 203, 8, 0, 8, Data::wide};
    const MatrixSource source = source_of(shape, mode, 7);
    const std::int64_t stride = 211, offset = 5, out_stride = 41;
    const Array x = pair.random(Data::wide, m * stride + offset, 8, mode.gemm_input);
    const Array out = pair.put(std::vector<double>(std::size_t(m * out_stride), 7.0), Format::f32);
    pair.both([&](Backend& b, bool gpu) {
      const auto w = b.load_matrix(source);
      char* from = static_cast<char*>(gpu ? x.gpu : x.cpu) + std::size_t(offset) * b.real_size();
      b.gemm({from, m, 203, stride}, *w, {gpu ? out.gpu : out.cpu, m, 37, out_stride});
    });
    EXPECT_TRUE(pair.same(out));
  }
}

TEST_P(CudaOpsGpu, NormAddActivationsAndRounding) {
  std::uint64_t seed = 400000;
  for (const Data data : kEveryData) {
    for (const std::int64_t d : {1, 8, 255, 256, 257, 576, 3001}) {
      Pair pair(precision());
      const Mode& mode = pair.mode();
      SCOPED_TRACE(::testing::Message() << "d " << d << " data " << int(data));
      const std::int64_t rows = 5;
      const Array x = pair.random(data, rows * d, ++seed, mode.stored);
      const Array y = pair.random(data, rows * d, ++seed, mode.stored);
      const Array w = pair.random(Data::plain, d, ++seed, mode.weight);
      const Array normed = pair.empty(rows * d), act = pair.empty(rows * d);
      const Array rounded = pair.empty(rows * d), largest = pair.empty(rows);
      pair.both([&](Backend& b, bool gpu) {
        const auto r = [&](const Array& a) { return rows_of(a, gpu, rows, d); };
        b.rms_norm(r(x), gpu ? w.gpu : w.cpu, 1e-5, r(normed));
        b.gated(Activation::silu, r(x), r(y), r(act));
        b.quantize(r(x), nullptr, mode.gemm_input, r(rounded));
        b.amax(r(x), gpu ? largest.gpu : largest.cpu);
        b.add(r(y), r(x));
        b.rms_norm(r(x), gpu ? w.gpu : w.cpu, 1e-6, r(x));  // in place
      });
      for (const Array& a : {x, y, normed, act, rounded, largest}) {
        EXPECT_TRUE(pair.same(a, data != Data::plain));
      }
    }
  }
}

/// What only some families do with rows.
TEST_P(CudaOpsGpu, LayerNormGeluCapsScalesAndWeightedSums) {
  std::uint64_t seed = 450000;
  for (const Data data : kEveryData) {
    for (const std::int64_t d : {1, 8, 255, 256, 257, 576, 3001}) {
      Pair pair(precision());
      const Mode& mode = pair.mode();
      SCOPED_TRACE(::testing::Message() << "d " << d << " data " << int(data));
      const std::int64_t rows = 5;
      const auto random = [&] { return pair.random(data, rows * d, ++seed, mode.stored); };
      const Array x = random(), y = random(), scaled = random(), capped = random();
      const Array active = random(), sum = random();
      const Array w = pair.random(Data::plain, d, ++seed, mode.weight);
      const Array bias = pair.random(Data::plain, d, ++seed, mode.weight);
      const Array normed = pair.empty(rows * d), act = pair.empty(rows * d);
      const std::vector<std::int32_t> ids = {3, 0, 4};
      const std::vector<double> factors = {0.5, 0.3125, -1.75};
      pair.both([&](Backend& b, bool gpu) {
        const auto r = [&](const Array& a) { return rows_of(a, gpu, rows, d); };
        const auto at = [&](const Array& a) { return gpu ? a.gpu : a.cpu; };
        b.layer_norm(r(x), at(w), at(bias), 1e-5, r(normed));
        b.gated(Activation::gelu_tanh, r(x), r(y), r(act));
        b.activate(Activation::gelu_tanh, r(active));
        b.scale(r(scaled), 25.25);
        b.softcap(r(capped), 30.0);
        b.add_scaled(rows_of(y, gpu, 3, d), ids, factors, r(sum));
        b.layer_norm(r(x), at(w), at(bias), 1e-6, r(x));  // in place
      });
      for (const Array& a : {x, normed, act, active, scaled, capped, sum}) {
        EXPECT_TRUE(pair.same(a, data != Data::plain || d == 1));
      }
    }
  }
}

TEST_P(CudaOpsGpu, ScalesOfEightBitRows) {
  if (mode_of(precision()).wide()) return;
  for (const Format format : {Format::e4m3, Format::e5m2}) {
    Pair pair(precision());
    const std::int64_t rows = 40, d = 100, ranks = 4;
    std::vector<double> amax;
    Random random(9);
    for (std::int64_t i = 0; i < rows * ranks; ++i) {
      const double size = double_of(std::uint64_t(1023 - 100 + i) << 52);
      amax.push_back(i % 37 == 0   ? 0.0
                     : i % 41 == 0 ? double_of(0x7ff0000000000000ull)
                                   : std::abs(random.unit()) * size);
    }
    const Array a = pair.put(amax, Format::f32), scale = pair.empty(rows);
    const Array x = pair.random(Data::special, rows * d, 10, Format::bf16);
    const Array out = pair.empty(rows * d);
    pair.both([&](Backend& b, bool gpu) {
      void* s = gpu ? scale.gpu : scale.cpu;
      b.scales(gpu ? a.gpu : a.cpu, ranks, rows, format, s);
      b.quantize(rows_of(x, gpu, rows, d), s, format, rows_of(out, gpu, rows, d));
    });
    EXPECT_TRUE(pair.same(scale));
    EXPECT_TRUE(pair.same(out));
  }
}

TEST_P(CudaOpsGpu, RopeGatherAndCopy) {
  std::uint64_t seed = 500000;
  for (const Data data : kEveryData) {
    for (const std::int64_t d : {8, 24, 64, 128, 256}) {
      Pair pair(precision());
      const Mode& mode = pair.mode();
      const std::int64_t rows = 7, heads = 3, positions = 50, width = heads * d;
      const Array x = pair.random(data, rows * width, ++seed, mode.stored);
      const Array partial = pair.random(data, rows * width, ++seed, mode.stored);
      const Array cosine = pair.random(Data::plain, positions * d / 2, ++seed, Format::f32);
      const Array sine = pair.random(Data::plain, positions * d / 2, ++seed, Format::f32);
      const Array table = pair.random(data, 20 * width, ++seed, mode.stored);
      const Array rows_out = pair.empty(rows * width);
      const Array copied =
          pair.put(std::vector<double>(std::size_t(rows * 2 * width), 1.0), Format::f32);
      const std::vector<std::int64_t> at = {0, 49, 3, 3, 17, 48, 1};
      const std::vector<std::int32_t> ids = {19, 0, 5, 5, 7, 18, 2};
      pair.both([&](Backend& b, bool gpu) {
        const void *c = gpu ? cosine.gpu : cosine.cpu, *s = gpu ? sine.gpu : sine.cpu;
        b.rope(rows_of(x, gpu, rows, width), heads, at, {c, s, d});
        b.rope(rows_of(partial, gpu, rows, width), heads, at, {c, s, d / 4 * 3});
        b.gather(rows_of(table, gpu, 20, width), ids, rows_of(rows_out, gpu, rows, width));
        b.copy(rows_of(rows_out, gpu, rows, width),
               {gpu ? copied.gpu : copied.cpu, rows, width, 2 * width});
      });
      for (const Array& a : {x, partial, rows_out, copied})
        EXPECT_TRUE(pair.same(a, data != Data::plain));
    }
  }
}

TEST_P(CudaOpsGpu, DigestsAndBestEntries) {
  std::uint64_t seed = 600000;
  for (const Data data : kEveryData) {
    for (const std::int64_t n :
         {1,   2,   3,   7,   8,   9,   16,   17,   31,   40,   64,   100,   128,   200,
          256, 257, 300, 480, 481, 500, 1000, 2047, 2048, 2049, 8192, 49152, 128256}) {
      Pair pair(precision());
      SCOPED_TRACE(::testing::Message() << "n " << n << " data " << int(data));
      const std::int64_t rows = n > 4096 ? 2 : 5;
      const Format format = n % 2 == 0 ? Format::bf16 : Format::f32;  // coarse: ties
      const Array x = pair.random(data, rows * n, ++seed, format);
      std::vector<Digest> want(static_cast<std::size_t>(rows)), got(static_cast<std::size_t>(rows));
      pair.cpu().digests(rows_of(x, false, rows, n), want);
      pair.gpu().digests(rows_of(x, true, rows, n), got);
      EXPECT_EQ(want, got);
      for (const int count : {1, 2, 8}) {
        const TopEntries a = pair.cpu().top(rows_of(x, false, 1, n), count);
        const TopEntries b = pair.gpu().top(rows_of(x, true, 1, n), count);
        EXPECT_EQ(a.count, b.count);
        EXPECT_EQ(a.ids, b.ids);
        EXPECT_EQ(a.non_finite, b.non_finite);
        ASSERT_EQ(a.values.size(), b.values.size());
        for (std::size_t i = 0; i < a.values.size(); ++i) {
          EXPECT_TRUE(same_bits(a.values[i], b.values[i]));
        }
      }
    }
  }
}

/// Every fp32 number through silu (exp and a division) and through every narrowing.
TEST(CudaExhaustiveGpu, SiluAndRoundingOfEveryNumber) {
  BackendOptions options;
  options.device = "cuda";
  if (const auto why = unsupported_reason(options, mode_of(Precision::fp32)); !why.empty()) {
    if (gpu_is_there()) FAIL() << "a GPU is there and cannot be used: " << why;
    GTEST_SKIP() << why;
  }
  Pair pair(Precision::fp32, "auto", 16);
  constexpr std::int64_t kChunk = 1 << 24;
  const Array x = pair.empty(kChunk), out = pair.empty(kChunk);
  const Array one = pair.put(std::vector<double>(std::size_t(kChunk), 1.0), Format::f32);
  std::vector<float> values(static_cast<std::size_t>(kChunk)), want = values, got = values;
  for (std::uint32_t chunk = 0; chunk < 256; ++chunk) {
    for (std::uint32_t i = 0; i < std::uint32_t(kChunk); ++i) {
      values[i] = float_of(chunk * std::uint32_t(kChunk) + i);
    }
    pair.fill(x, values);
    for (int what = 0; what < 6; ++what) {
      pair.both([&](Backend& b, bool gpu) {
        const auto r = [&](const Array& a) { return rows_of(a, gpu, 1024, kChunk / 1024); };
        if (what == 0) b.gated(Activation::silu, r(x), r(one), r(out));
        if (what > 0) b.quantize(r(x), nullptr, Format(int(Format::f32) + what), r(out));
        b.download(gpu ? got.data() : want.data(), gpu ? out.gpu : out.cpu,
                   std::size_t(kChunk) * sizeof(float));
      });
      ASSERT_EQ(std::memcmp(want.data(), got.data(), std::size_t(kChunk) * sizeof(float)), 0)
          << "chunk " << chunk << " operation " << what;
    }
  }
}

}  // namespace
}  // namespace isobit::cuda_test
