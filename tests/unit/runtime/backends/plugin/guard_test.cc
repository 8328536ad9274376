// A guarded block: what of it is written, what around it has changed.
#include "runtime/backends/plugin/guard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "runtime/backends/registry.h"

namespace isobit {
namespace {

class Guard : public ::testing::Test {
 protected:
  /// Bytes of the block after f wrote into it, looked at again.
  void write(std::ptrdiff_t at, unsigned char value) {
    static_cast<unsigned char*>(block_.data())[at] = value;
    block_.fetch(*memory_);
  }
  template <class T>
  void fill(T value) {
    auto* const values = static_cast<T*>(block_.data());
    for (int r = 0; r < 3; ++r) {
      for (int c = 0; c < 5; ++c) values[r * 8 + c] = value;
    }
    block_.fetch(*memory_);
  }

  [[nodiscard]] GuardedBlock::Count not_a_number(std::size_t bytes) const {
    return block_.not_a_number(bytes, [](std::int64_t) { return true; });
  }

  std::unique_ptr<Backend> memory_ = make_backend({}, mode_of(Precision::fp32)).value();
  GuardedBlock block_;
};

TEST_F(Guard, ValuesAreUnwrittenUntilTheyAreWritten) {
  block_.prepare(*memory_, 3, 5 * sizeof(float), 8 * sizeof(float));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block_.data()) % 64, 0u);
  block_.fetch(*memory_);
  EXPECT_EQ(block_.damage(), "");
  EXPECT_EQ(block_.unwritten(sizeof(float)).number, 15);
  fill(1.5f);
  EXPECT_EQ(block_.unwritten(sizeof(float)).number, 0);
  EXPECT_EQ(not_a_number(sizeof(float)).number, 0);
  static_cast<float*>(block_.data())[2 * 8 + 3] = NAN;
  block_.fetch(*memory_);
  const GuardedBlock::Count found = not_a_number(sizeof(float));
  EXPECT_EQ(found.number, 1);
  EXPECT_EQ(found.row, 2);
  EXPECT_EQ(found.col, 3);
  const auto others = [](std::int64_t row) { return row != 2; };
  EXPECT_EQ(block_.not_a_number(sizeof(float), others).number, 0);
  EXPECT_EQ(block_.unwritten(sizeof(float)).number, 0);  // another NaN
}

TEST_F(Guard, DoublesAreLookedAtAsDoubles) {
  block_.prepare(*memory_, 3, 5 * sizeof(double), 8 * sizeof(double));
  block_.fetch(*memory_);
  EXPECT_EQ(block_.unwritten(sizeof(double)).number, 15);
  EXPECT_EQ(not_a_number(sizeof(double)).number, 15);
  fill(-0.0);
  EXPECT_EQ(block_.unwritten(sizeof(double)).number, 0);
  EXPECT_EQ(not_a_number(sizeof(double)).number, 0);
  EXPECT_EQ(block_.damage(), "");
}

TEST_F(Guard, EveryByteAroundTheValuesIsACanary) {
  constexpr std::ptrdiff_t kRow = 5 * sizeof(float), kStride = 8 * sizeof(float);
  const auto damage = [&](std::ptrdiff_t at) {
    block_.prepare(*memory_, 3, kRow, kStride);
    write(at, 7);
    return block_.damage();
  };
  EXPECT_EQ(damage(-1), "1 byte before its begin");
  EXPECT_EQ(damage(-256), "256 bytes before its begin");
  EXPECT_EQ(damage(kRow), "1 byte behind the end of row 0");
  EXPECT_EQ(damage(kStride + kRow + 2), "3 bytes behind the end of row 1");
  EXPECT_EQ(damage(2 * kStride + kRow), "1 byte behind its end");
  EXPECT_EQ(damage(2 * kStride + kRow + 255), "256 bytes behind its end");
  EXPECT_EQ(damage(2 * kStride), "");
}

TEST_F(Guard, ABlockLiesWhereItIsAsked) {
  for (const std::size_t shift : {std::size_t{4}, std::size_t{60}}) {
    block_.prepare(*memory_, 3, 5 * sizeof(float), 8 * sizeof(float), shift);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block_.data()) % 64, shift);
    fill(1.0f);
    EXPECT_EQ(block_.damage(), "");
    write(-3, 1);
    EXPECT_EQ(block_.damage(), "3 bytes before its begin");
  }
}

TEST_F(Guard, ABlockIsUsedAgain) {
  block_.prepare(*memory_, 3, 5 * sizeof(float), 8 * sizeof(float));
  const void* const before = block_.data();
  fill(1.0f);
  block_.prepare(*memory_, 1, 7, 7);
  EXPECT_EQ(block_.data(), before);
  write(7, 1);
  EXPECT_EQ(block_.damage(), "1 byte behind its end");
  block_.prepare(*memory_, 1, 0, 0);
  block_.fetch(*memory_);
  EXPECT_EQ(block_.damage(), "");
}

}  // namespace
}  // namespace isobit
