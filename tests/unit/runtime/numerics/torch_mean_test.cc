// PyTorch's sums of rows: how many threads a row has, and the order of one.
#include "runtime/numerics/torch_mean.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/numerics/bits.h"
#include "runtime/numerics/random.h"

namespace isobit {
namespace {

/// Threads as "width x height", with v: they take vectors.
std::string threads(std::int64_t n, std::int64_t rows) {
  const TorchRows found = torch_rows(n, rows);
  return std::to_string(found.width) + "x" + std::to_string(found.height) +
         (found.vectors ? "v" : "");
}

// By setReduceConfig on paper. 576: 144 vectors, 128 threads at most; 512 threads a block, shared
// by up to 16 rows; a row has several groups only from 16 elements a thread and group on.
TEST(TorchRows, ThreadsOfARowDependOnTheRows) {
  struct Line {
    std::int64_t n;
    const char* of[5];  // 1, 2, 8, 16, 40 rows
  };
  for (const Line& line : {Line{256, {"64x1v", "64x1v", "64x1v", "32x1v", "32x1v"}},
                           {576, {"128x1v", "128x1v", "64x1v", "32x1v", "32x1v"}},
                           {2048, {"512x1v", "256x1v", "64x1v", "32x1v", "32x1v"}},
                           {8192, {"512x1v", "256x2v", "64x8v", "32x16v", "32x16v"}}}) {
    const std::int64_t rows[] = {1, 2, 8, 16, 40};
    for (std::size_t i = 0; i < 5; ++i) {
      EXPECT_EQ(threads(line.n, rows[i]), line.of[i]) << line.n << " " << rows[i];
    }
  }
  EXPECT_EQ(threads(2048, 3), threads(2048, 2));  // the power of two below
  EXPECT_EQ(threads(2048, 9999), threads(2048, 16));
  EXPECT_EQ(threads(124, 1), "64x1");
  EXPECT_EQ(threads(128, 1), "32x1v");
  EXPECT_EQ(threads(1, 1), "1x1");
}

TEST(TorchRows, LongRowsAreSharedByBlocksAndAreNotHere) {
  EXPECT_TRUE(torch_rows_known(576, 1));
  EXPECT_TRUE(torch_rows_known(8192, 16));
  EXPECT_TRUE(torch_rows_known(130560, 1));
  EXPECT_FALSE(torch_rows_known(131068, 1));
  EXPECT_FALSE(torch_rows_known(131072, 1));
  EXPECT_FALSE(torch_rows_known(577, 1));
  EXPECT_FALSE(torch_rows_known(578, 8));
}

float number(std::int64_t i) {
  const PhiloxBlock block = philox4x32({{std::uint32_t(i), 0, 0, 0}}, 11);
  const float size =
      std::ldexp(1.0F + float(block.word[0] >> 9) * 0x1p-23F, int(block.word[1] & 7));
  return block.word[2] % 2 == 0 ? size : -size;
}

float sum_of(std::int64_t n, std::int64_t rows) {
  std::vector<float> sums(3, 99.0F);  // whatever the memory held
  return torch_row_sum(torch_rows(n, rows), n, number, sums);
}

TEST(TorchRowSum, ThreadsMeetInHalves) {
  const auto x = number;
  EXPECT_EQ(sum_of(8, 1), ((x(0) + x(4)) + (x(2) + x(6))) + ((x(1) + x(5)) + (x(3) + x(7))));
  // 11 elements on eight threads: the first three have two, which join in turn.
  EXPECT_EQ(sum_of(11, 1), (((x(0) + x(8)) + x(4)) + ((x(2) + x(10)) + x(6))) +
                               (((x(1) + x(9)) + x(5)) + (x(3) + x(7))));
  // By hand: 2^24 takes no single 1, two that met before it do.
  const std::vector<float> given = {0x1p24F, 1, 1, 1, 1, 1, 1, 1};
  std::vector<float> sums;
  const auto at = [&](std::int64_t i) { return given[std::size_t(i)]; };
  // (2^24 + 1 = 2^24), + (1 + 1), + ((1 + 1) + (1 + 1)): 2^24 + 6.
  EXPECT_EQ(torch_row_sum(torch_rows(8, 1), 8, at, sums), 0x1p24F + 6);
}

/// Vectors of 128 and more: written again as loops over threads.
float by_loops(std::int64_t n, int width, int height) {
  std::vector<float> of_thread;
  for (int t = 0; t < width * height; ++t) {
    float four[4] = {0, 0, 0, 0};
    for (std::int64_t v = t; v < n / 4; v += std::int64_t(width) * height) {
      for (int place = 0; place < 4; ++place) four[place] += number(4 * v + place);
    }
    of_thread.push_back(((four[0] + four[1]) + four[2]) + four[3]);
  }
  std::vector<float> groups;
  for (int g = 0; g < height; ++g) {
    std::vector<float> s(of_thread.begin() + g * width, of_thread.begin() + (g + 1) * width);
    while (s.size() > 1) {
      const std::size_t half = s.size() / 2;
      for (std::size_t i = 0; i < half; ++i) s[i] += s[i + half];
      s.resize(half);
    }
    groups.push_back(s[0]);
  }
  while (groups.size() > 1) {
    const std::size_t half = groups.size() / 2;
    for (std::size_t i = 0; i < half; ++i) groups[i] += groups[i + half];
    groups.resize(half);
  }
  return groups[0];
}

TEST(TorchRowSum, VectorsHaveFourSumsEach) {
  EXPECT_EQ(sum_of(128, 1), by_loops(128, 32, 1));
  EXPECT_EQ(sum_of(576, 1), by_loops(576, 128, 1));
  EXPECT_EQ(sum_of(576, 8), by_loops(576, 64, 1));
  EXPECT_EQ(sum_of(2048, 16), by_loops(2048, 32, 1));
  EXPECT_EQ(sum_of(8192, 8), by_loops(8192, 64, 8));
}

TEST(TorchRowSum, CompanyChangesBits) {
  int differing = 0;
  for (const std::int64_t n : {576, 1024, 1536, 2048, 4096}) {
    differing += sum_of(n, 1) != sum_of(n, 8) ? 1 : 0;
    differing += sum_of(n, 8) != sum_of(n, 16) ? 1 : 0;
  }
  EXPECT_GT(differing, 5);
}

}  // namespace
}  // namespace isobit
