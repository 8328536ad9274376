// The rules of numerics/order.h, each against numbers that only the right order gives, and the
// invariances that follow from them: GPU count, sliding window, position in a row.
#include "runtime/numerics/order.h"

#include <gtest/gtest.h>

#include "runtime/backends/cpu/packed.h"
#include "tests/conformance/kernel_data.h"

namespace isobit::cpu::testing {
namespace {

constexpr float kBig = 0x1p+24f;  // kBig + 1 is kBig again

TEST(Order, SegmentsAreFloors) {
  EXPECT_EQ(segment_begin(100, 0, 8), 0);
  EXPECT_EQ(segment_begin(100, 1, 8), 12);
  EXPECT_EQ(segment_begin(100, 3, 8), 37);
  EXPECT_EQ(segment_begin(100, 8, 8), 100);
  EXPECT_EQ(segments_of(63, 8), 1);
  EXPECT_EQ(segments_of(64, 8), 8);
  EXPECT_EQ(segments_of(64, 16), 16);
}

TEST(Order, NeighbourTreePairsNeighbours) {
  float s[8] = {kBig, 1, 1, -kBig, 1, 1, 1, 1};
  // (kBig + 1) + (1 - kBig) = kBig - (kBig - 1); ascending order would give another sum.
  EXPECT_TRUE(same_bits(neighbour_tree(s, 8), (kBig + (1 - kBig)) + 4.0f));
  float one[1] = {3};
  EXPECT_TRUE(same_bits(neighbour_tree(one, 1), 3.0f));
}

TEST(Order, LaneTreeAddsHalves) {
  float lane[4] = {kBig, 1, -kBig, 1};
  EXPECT_TRUE(same_bits(lane_tree(lane, 4), 2.0f));  // (kBig - kBig) + (1 + 1)
  float other[4] = {kBig, -kBig, 1, 1};
  EXPECT_TRUE(same_bits(lane_tree(other, 4), (kBig + 1) + (-kBig + 1)));
}

TEST(Order, DotChainAscendsAndFuses) {
  // Fused: 1 + 2^-23 squared minus its rounded square leaves 2^-46.
  const float a[2] = {0x1.000002p+0f, 1}, b[2] = {0x1.000002p+0f, -0x1.000004p+0f};
  const auto at = [](const float* x) { return [x](std::int64_t k) { return x[k]; }; };
  EXPECT_TRUE(same_bits(dot_chain<float>(at(a), at(b), 0, 2), 0.0f));
  const float c[2] = {1, 0x1.000002p+0f}, d[2] = {-0x1.000004p+0f, 0x1.000002p+0f};
  EXPECT_TRUE(same_bits(dot_chain<float>(at(c), at(d), 0, 2), 0x1p-46f));
}

TEST(Order, SumOfSquaresUsesLanesOf256) {
  std::vector<float> x(257, 0.0f);
  x[0] = 0x1p+12f;  // squares to 2^24
  x[256] = 1;       // the same lane: lost
  EXPECT_TRUE(same_bits(sum_of_squares(x.data(), 257), kBig));
  x[256] = 0;
  x[1] = 1;
  x[129] = 1;  // lane 1 + 128: joined before it meets lane 0
  EXPECT_TRUE(same_bits(sum_of_squares(x.data(), 257), kBig + 2));
}

/// The subtrees of 1, 2, 4 and 8 ranks, finished, are the same row.
template <class T>
void expect_rank_invariance(Data data) {
  constexpr std::int64_t kRows = 3, kN = 40, kK = 331;
  const std::vector<float> w = make_data<float>(data, kN * kK, 61);
  const std::vector<T> x = make_data<T>(data, kRows * kK, 62);
  std::vector<T> first;
  for (const int ranks : {1, 2, 4, 8}) {
    std::vector<std::vector<T>> sums;
    std::vector<const T*> parts;
    for (int rank = 0; rank < ranks; ++rank) {
      const int owned = 8 / ranks;
      const std::int64_t begin = segment_begin(kK, rank * owned, 8);
      PackSpec spec;
      spec.n = kN;
      spec.k = segment_begin(kK, (rank + 1) * owned, 8) - begin;
      for (int s = 0; s <= owned; ++s) {
        spec.bounds.push_back(segment_begin(kK, rank * owned + s, 8) - begin);
      }
      const PackedMatrix packed = pack(spec, [&](std::int64_t row, std::span<float> out) {
        std::copy_n(w.begin() + row * kK + begin, out.size(), out.begin());
      });
      std::vector<T> sum(std::size_t(kRows * kN));
      const GemmArgs<T> args{x.data() + begin, kK, &packed, sum.data(), kN, 0, kRows, 0, 2};
      typed<T>(scalar_kernels()).gemm(args);
      for (const char* isa : kSimdIsas) {
        const Kernels* fast = simd_kernels(isa);
        if (fast == nullptr) continue;
        std::vector<T> again(sum.size());
        GemmArgs<T> other = args;
        other.out = again.data();
        typed<T>(*fast).gemm(other);
        EXPECT_TRUE(same(sum, again)) << isa;
      }
      sums.push_back(std::move(sum));
    }
    for (const auto& sum : sums) parts.push_back(sum.data());
    std::vector<T> out(std::size_t(kRows * kN));
    typed<T>(scalar_kernels())
        .finish({parts.data(), ranks, kN, nullptr, nullptr, nullptr, Format::f32, out.data(), 0,
                 kRows});
    if (first.empty()) first = out;
    EXPECT_TRUE(same(first, out)) << ranks << " ranks";
  }
  EXPECT_TRUE(has_substance(first));
}

TEST(Order, RankCountDoesNotMatter) {
  for (const Data data : {Data::plain, Data::wide, Data::cancelling}) {
    expect_rank_invariance<float>(data);
    expect_rank_invariance<double>(data);
  }
}

/// p·V of one head over constant values: what the split boundaries do.
std::vector<float> attend(std::int64_t first, std::int64_t last, const std::vector<float>& k,
                          const std::vector<float>& v) {
  const float q[2] = {1, 0.5f};
  std::vector<float> out(2);
  attention_row(
      q, 2, 1.0f, 0.0f, first, last, [](std::int64_t) { return true; },
      [&](std::int64_t p, int i) { return k[std::size_t(p * 2 + i)]; },
      [&](std::int64_t p, int i) { return v[std::size_t(p * 2 + i)]; }, Format::f32, out.data());
  return out;
}

TEST(Order, AttentionSplitsAreAtAbsolutePositions) {
  const std::vector<float> k = make_data<float>(Data::plain, 2 * 700, 71);
  const std::vector<float> v = make_data<float>(Data::plain, 2 * 700, 72);
  // The same keys 37 positions later: another grouping, so other bits.
  std::vector<float> k_moved(2 * 37, 0.0f), v_moved = k_moved;
  k_moved.insert(k_moved.end(), k.begin(), k.end());
  v_moved.insert(v_moved.end(), v.begin(), v.end());
  EXPECT_FALSE(same(attend(0, 600, k, v), attend(37, 637, k_moved, v_moved)));
  // Moved by a whole split the grouping is the same.
  std::vector<float> k_split(2 * 256, 0.0f), v_split = k_split;
  k_split.insert(k_split.end(), k.begin(), k.end());
  v_split.insert(v_split.end(), v.begin(), v.end());
  EXPECT_TRUE(same(attend(0, 600, k, v), attend(256, 856, k_split, v_split)));
}

TEST(Order, AttentionOfOneKeyIsItsValue) {
  const std::vector<float> k = {3, 4}, v = {0.1f, -0.0f};
  EXPECT_TRUE(same(attend(0, 0, k, v), {0.1f, 0.0f}));  // -0 is removed at the end
}

TEST(Order, LogSumExp) {
  std::vector<float> x(3000, 1.0f);
  // log(3000) + 1 = 9.006367567650246
  EXPECT_TRUE(same_bits(log_sum_exp(x.data(), 3000), float(9.006367567650246)));
  x[17] = canonical_nan(0.0f);
  EXPECT_TRUE(same_bits(log_sum_exp(x.data(), 3000), canonical_nan(0.0f)));
  const std::vector<float> empty(100, float_of(0xff800000u));  // -inf - -inf
  EXPECT_TRUE(is_nan(log_sum_exp(empty.data(), 100)));
}

}  // namespace
}  // namespace isobit::cpu::testing
