// The joint operations of backend.h on the GPU against the plain ones on the CPU, bit for bit.
#include "tests/conformance/cuda_pair.h"

namespace isobit::cuda_test {
namespace {

constexpr std::int64_t kInputs = 64;

class CudaJointGpu : public CudaOps {
 protected:
  /// A small matrix of that many outputs on both sides: its scales are what the tests are after.
  struct Matrix {
    std::shared_ptr<WeightMatrix> cpu, gpu;
  };
  static Matrix matrix(Pair& pair, std::int64_t outputs) {
    const auto value = [](std::int64_t row, std::int64_t i) {
      return float((row * 31 + i * 17) % 23 - 11) / float(std::int64_t(1) << (row % 9));
    };
    MatrixSource source;
    source.outputs = outputs;
    source.inputs = kInputs;
    for (std::int64_t s = 0; s <= 8; ++s) source.bounds.push_back(s * kInputs / 8);
    source.format = pair.mode().matrix;
    source.read = [value](std::int64_t row, std::span<float> out) {
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = value(row, std::int64_t(i));
    };
    source.amax = [value](std::int64_t row) {
      float m = 0;
      for (std::int64_t i = 0; i < kInputs; ++i) m = std::max(m, std::abs(value(row, i)));
      return m;
    };
    return {pair.cpu().load_matrix(source), pair.gpu().load_matrix(source)};
  }

  /// A product with sums, scales and a bias, on both sides.
  struct Sums {
    Array sums, row_scale, bias;
    Matrix matrix;
    std::int64_t rows, n;
    bool scaled, biased;

    [[nodiscard]] Product of(bool gpu) const {
      const Rows out = rows_of(sums, gpu, rows, n);
      const auto at = [gpu](const Array& array) { return gpu ? array.gpu : array.cpu; };
      return {{out},
              gpu ? matrix.gpu.get() : matrix.cpu.get(),
              scaled ? at(row_scale) : nullptr,
              biased ? at(bias) : nullptr,
              out};
    }
  };
  static Sums sums(Pair& pair, Data data, std::int64_t rows, std::int64_t n, bool biased) {
    const Format real = pair.mode().wide() ? Format::f64 : Format::f32;
    Sums out{pair.random(data, rows * n, ++seed_, real),
             pair.random(Data::plain, rows, ++seed_, real),
             pair.random(data, n, ++seed_, pair.mode().stored),
             matrix(pair, n),
             rows,
             n,
             false,
             biased};
    out.scaled = out.matrix.cpu->scaled;
    return out;
  }
  inline static std::uint64_t seed_ = 900000;
};
INSTANTIATE_TEST_SUITE_P(Precision, CudaJointGpu, ::testing::Range(0, kPrecisions), precision_name);

TEST_P(CudaJointGpu, QueriesKeysAndValues) {
  for (const Data data : kEveryData) {
    for (const std::int64_t d : {8, 24, 64, 128}) {
      for (const std::int64_t rows : {1, 3, 8}) {
        Pair pair(precision());
        const Format real = pair.mode().wide() ? Format::f64 : Format::f32;
        const std::int64_t heads = 6, kv_heads = 2;
        const bool biased = rows == 3;
        const Sums q = sums(pair, data, rows, heads * d, biased);
        const Sums k = sums(pair, data, rows, kv_heads * d, biased);
        const Sums v = sums(pair, data, rows, kv_heads * d, biased);
        const Array cosine = pair.random(Data::plain, 32 * d / 2, ++seed_, real);
        const Array sine = pair.random(Data::plain, 32 * d / 2, ++seed_, real);
        std::vector<std::int64_t> positions;
        for (std::int64_t r = 0; r < rows; ++r) positions.push_back(r * 11 % 32);
        const Array q_norm = pair.random(Data::plain, d, ++seed_, pair.mode().weight);
        const Array k_norm = pair.random(Data::plain, d, ++seed_, pair.mode().weight);
        struct Case {
          bool with_q, normed;
          std::int64_t dims;  // that turn
        };
        const std::int64_t some = d / 4 * 3;
        for (const Case& each :
             {Case{true, false, d}, Case{true, false, some}, Case{true, false, 0},
              Case{false, false, some}, Case{true, true, d}, Case{false, true, some}}) {
          pair.both([&](Backend& backend, bool gpu) {
            const Product query = q.of(gpu);
            const HeadNorm norm{gpu ? q_norm.gpu : q_norm.cpu, gpu ? k_norm.gpu : k_norm.cpu, 1e-6};
            const Rotation rotation{gpu ? cosine.gpu : cosine.cpu, gpu ? sine.gpu : sine.cpu,
                                    each.dims};
            backend.finish_qkv(each.with_q ? &query : nullptr, k.of(gpu), v.of(gpu), heads,
                               kv_heads, positions, rotation, each.normed ? &norm : nullptr);
          });
          const bool odd = data != Data::plain;
          EXPECT_TRUE(pair.same(q.sums, odd)) << d << " " << rows;
          EXPECT_TRUE(pair.same(k.sums, odd)) << d << " " << rows;
          EXPECT_TRUE(pair.same(v.sums, odd)) << d << " " << rows;
        }
      }
    }
  }
}

TEST_P(CudaJointGpu, GateAddAndNorm) {
  for (const Data data : kEveryData) {
    for (const std::int64_t n : {1, 72, 255, 256, 257, 576, 2047, 4096, 5001}) {
      for (const std::int64_t rows : {1, 3}) {
        Pair pair(precision());
        SCOPED_TRACE(::testing::Message() << "n " << n << " rows " << rows);
        const bool odd = data != Data::plain;
        const Sums gate = sums(pair, data, rows, n, rows == 3);
        const Sums up = sums(pair, data, rows, n, rows == 3);
        const Sums y = sums(pair, data, rows, n, rows == 3);
        const Sums z = sums(pair, data, rows, n, rows == 1);
        const Array act = pair.empty(rows * n), x = pair.empty(rows * n);
        const Array h = pair.random(data, rows * n, ++seed_, pair.mode().stored);
        const Array w = pair.random(Data::plain, n, ++seed_, pair.mode().weight);
        pair.both([&](Backend& backend, bool gpu) {
          backend.finish_gated(Activation::silu, gate.of(gpu), up.of(gpu),
                               rows_of(act, gpu, rows, n));
          backend.finish_add(y.of(gpu), rows_of(h, gpu, rows, n));
        });
        for (const Array& a : {act, y.sums, h}) EXPECT_TRUE(pair.same(a, odd));
        pair.both([&](Backend& backend, bool gpu) {
          backend.finish_add_norm(z.of(gpu), rows_of(h, gpu, rows, n), gpu ? w.gpu : w.cpu, 1e-5,
                                  rows_of(x, gpu, rows, n));
        });
        for (const Array& a : {z.sums, h, x}) EXPECT_TRUE(pair.same(a, odd));
      }
    }
  }
}

TEST_P(CudaJointGpu, LogitsOfManyRowsAreReadAtOnce) {
  for (const Data data : kEveryData) {
    for (const std::int64_t n : {1, 7, 100, 513, 49152}) {
      for (const std::int64_t rows : {1, 3, 300}) {
        if (n * rows > 1'000'000) continue;
        Pair pair(precision());
        SCOPED_TRACE(::testing::Message() << "n " << n << " rows " << rows);
        const Array x = pair.random(data, rows * n, ++seed_, Format::bf16);  // coarse: ties
        std::vector<TopEntries> best[2];
        std::vector<Digest> digests[2];
        pair.both([&](Backend& backend, bool gpu) {
          best[gpu].resize(std::size_t(rows));
          digests[gpu].resize(std::size_t(rows));
          EXPECT_GE(backend.read_logits(rows_of(x, gpu, rows, n), 8, best[gpu], digests[gpu]), 0);
        });
        EXPECT_EQ(digests[0], digests[1]);
        for (std::size_t r = 0; r < std::size_t(rows); ++r) {
          EXPECT_EQ(best[0][r].count, best[1][r].count);
          EXPECT_EQ(best[0][r].ids, best[1][r].ids);
          EXPECT_EQ(best[0][r].non_finite, best[1][r].non_finite);
          ASSERT_EQ(best[0][r].values.size(), best[1][r].values.size());
          for (std::size_t i = 0; i < best[0][r].values.size(); ++i) {
            EXPECT_TRUE(same_bits(best[0][r].values[i], best[1][r].values[i]));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace isobit::cuda_test
