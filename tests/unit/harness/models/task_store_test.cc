// Stores of task vectors and their merge: bits against NumPy's, bounds, order, bad values.
#include "harness/models/task_store.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

namespace isobit::models {
namespace {

using Kind = TaskStore::Kind;
using Bits = std::vector<std::uint32_t>;

std::vector<float> from_bits(const Bits& bits) {
  std::vector<float> out;
  for (const std::uint32_t each : bits) out.push_back(std::bit_cast<float>(each));
  return out;
}

std::string refused(const Result<StoredTensor>& result) {
  return result ? "stored" : result.error().message;
}

// Inputs and results made with NumPy 2.4 from NUMERICS.md, "Task vectors".
const Bits kPre = {0xbd92857aU, 0xbd3fce13U, 0x3ca15b6eU, 0xbcd6aa77U, 0x3cd74adbU, 0x3d255702U};
const Bits kTuned[] = {
    {0xbd9e58c8U, 0xbd2f2433U, 0x3c8dd6c4U, 0xbc920c02U, 0x3cef2b8bU, 0x3d1c8252U},
    {0xbd90deedU, 0xbd3c4864U, 0x3cac27a1U, 0xbca902f3U, 0x3ce8c0adU, 0x3d408c3aU},
    {0xbd8d536cU, 0xbd42b793U, 0x3c5ecf8aU, 0xbd04e69cU, 0x3cde00bdU, 0x3d30a92fU}};

std::vector<std::vector<float>> tuned() {
  std::vector<std::vector<float>> out;
  for (const Bits& bits : kTuned) out.push_back(from_bits(bits));
  return out;
}

void expect_vectors(const TaskStore& store, const std::vector<Bits>& expected) {
  const std::vector<float> pre = from_bits(kPre);
  const auto stored = store_tensor(store, pre, tuned());
  ASSERT_TRUE(stored) << stored.error().message;
  ASSERT_EQ(stored->tasks.size(), expected.size());
  for (std::size_t t = 0; t < expected.size(); ++t) {
    for (std::size_t i = 0; i < pre.size(); ++i) {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(stored->vector_at(t, i, pre[i])), expected[t][i])
          << text_of(store) << ", task " << t << ", element " << i;
    }
  }
}

TEST(TaskStore, GivesNumPysBits) {
  expect_vectors({Kind::tvq, 3, 0},
                 {{0xbbc6b896U, 0x3b847b0fU, 0xbb047b0fU, 0x3c047b0fU, 0x3b047b0fU, 0xbb047b0fU},
                  {0x3a5a935bU, 0x3a5a935bU, 0x3ada935bU, 0x3bbf40f0U, 0x3b23ee84U, 0x3bda935bU},
                  {0x3b28a287U, 0xbaa8a287U, 0xbbd2cb29U, 0xbbd2cb29U, 0x3aa8a287U, 0x3b28a287U}});
  expect_vectors({Kind::rtn, 4, 0},
                 {{0xbbb367c0U, 0x3a2187c0U, 0xbb8cadd8U, 0x3c30f4feU, 0x3b945454U, 0xbaf36180U},
                  {0x3a6ad380U, 0xb98e2e00U, 0x3b7c7808U, 0x3b2e0040U, 0x3ba7b6e4U, 0x3bdc9b68U},
                  {0x3b8ba450U, 0x3b014770U, 0xbb9b7ec2U, 0xbb726820U, 0x3b6d6500U, 0x3b9314d0U}});
  expect_vectors({Kind::rtvq, 2, 3},
                 {{0xbb8b17c7U, 0x3ba24b76U, 0xbb0b361cU, 0x3c224b76U, 0x3b0b361cU, 0xbab92428U},
                  {0x3a80e763U, 0x3ab99d7aU, 0x3aa50008U, 0x3bcba9cdU, 0x3b0b361cU, 0x3bebe3a6U},
                  {0x3b5eb782U, 0xbb305023U, 0xbbcc2a7eU, 0xbbb05023U, 0x3b0b361cU, 0x3b0b361cU}});
}

TEST(TaskStore, MergesToNumPysBits) {
  const std::vector<float> pre = from_bits(kPre);
  const auto stored = store_tensor({Kind::rtvq, 2, 3}, pre, tuned());
  ASSERT_TRUE(stored);
  std::vector<double> sum(pre.size(), 0.0);
  for (std::size_t t = 0; t < 3; ++t) add_stored(*stored, t, pre, sum);
  const auto merged = merged_tensor(pre, 0.4, sum);
  ASSERT_TRUE(merged);
  const Bits expected = {0xbd9268bbU, 0xbd39c723U, 0x3c8a1ae0U,
                         0xbcb378ceU, 0x3cec2c92U, 0x3d324ce4U};
  for (std::size_t i = 0; i < pre.size(); ++i) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>((*merged)[i]), expected[i]) << i;
  }
}

// What no store holds is added in fp64: one fine-tuned model at scale 1 comes back, also where the
// base's weight is up to 2^28 times its own.
TEST(TaskStore, OneTaskAtScaleOneIsTheFineTunedModel) {
  std::mt19937 draw(7);
  std::vector<float> pre(2000), own(2000);
  for (std::size_t i = 0; i < pre.size(); ++i) {
    for (float* value : {&pre[i], &own[i]}) {
      const float digits = 1.0F + float(draw() % (1U << 23)) * 0x1p-23F;
      *value = std::ldexp(draw() % 2 == 0 ? digits : -digits, int(draw() % 28) - 30);
    }
  }
  std::vector<double> sum(pre.size(), 0.0);
  add_difference(pre, own, sum);
  const auto merged = merged_tensor(pre, 1.0, sum);
  ASSERT_TRUE(merged);
  for (std::size_t i = 0; i < pre.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>((*merged)[i]), std::bit_cast<std::uint32_t>(own[i]));
  }
}

TEST(TaskStore, TheSumIsMadeInTheOrderOfTheTasks) {
  const std::vector<float> pre = {0.0F}, large = {0x1p60F}, one = {1.0F}, small = {-0x1p60F};
  std::vector<double> first(1, 0.0), last(1, 0.0);
  for (const auto* each : {&large, &small, &one}) add_difference(pre, *each, first);
  for (const auto* each : {&large, &one, &small}) add_difference(pre, *each, last);
  EXPECT_TRUE(first[0] == 1.0 && last[0] == 0.0);  // 2^60 + 1 is 2^60 in fp64
}

// rtvq's own bound: half a step of the offset, and a rounding of base + value and of pre + base.
TEST(TaskStore, AnOffsetAbsorbsTheErrorOfTheSharedBase) {
  std::mt19937 draw(99);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  std::vector<float> pre(5000);
  std::vector<std::vector<float>> own(4, pre);
  for (std::size_t i = 0; i < pre.size(); ++i) {
    pre[i] = 0.05F * normal(draw);
    const float shared = 0.003F * normal(draw);
    for (auto& values : own) values[i] = pre[i] + shared + 0.001F * normal(draw);
  }
  const auto rms = [&](const TaskStore& store) {
    const auto stored = store_tensor(store, pre, own);
    ISOBIT_CHECK(stored.has_value());
    double sum = 0;
    for (std::size_t t = 0; t < own.size(); ++t) {
      for (std::size_t i = 0; i < pre.size(); ++i) {
        const double wanted = double(own[t][i]) - double(pre[i]);
        const double apart = std::fabs(wanted - double(stored->vector_at(t, i, pre[i])));
        const double step = double(stored->tasks[t].grid.step);
        EXPECT_LE(apart, step * (0.5 + 0x1p-16) + 0x1p-22 * std::fabs(double(own[t][i])));
        sum += apart * apart;
      }
    }
    return std::sqrt(sum / double(pre.size() * own.size()));
  };
  // The paper's claim at one budget: 2 + 4/4 bits with a shared base beat 3 bits without.
  const double shared = rms({Kind::rtvq, 2, 4}), own_bits = rms({Kind::tvq, 3, 0});
  EXPECT_LT(shared, own_bits);
  EXPECT_GT(own_bits, 0.0005);
}

TEST(TaskStore, CountsBits) {
  // The paper's 2.375 bits of 8 tasks and 2.15 of 20 (3 shared, 2 own).
  EXPECT_TRUE(stored_bits({Kind::rtvq, 2, 3}, 8, 1000, 1).codes == 2.375);
  EXPECT_TRUE(stored_bits({Kind::rtvq, 2, 3}, 20, 1000, 1).codes == 2 + 3 * (1.0 / 20));
  EXPECT_TRUE(stored_bits({Kind::tvq, 4, 0}, 8, 1000, 1).codes == 4);
  EXPECT_TRUE(stored_bits({Kind::tvq, 4, 0}, 8, 1024, 2).all == 4.125);
  EXPECT_TRUE(stored_bits({Kind::rtvq, 2, 4}, 4, 1024, 2).all == 3.15625);
}

TEST(TaskStore, BadValuesAreErrors) {
  const std::vector<float> pre = {0, 0};
  const std::vector<std::vector<float>> whole = {{1, 2}};
  const std::vector<std::vector<float>> broken = {{1, 2}, {INFINITY, 0}};
  EXPECT_EQ(refused(store_tensor({Kind::tvq, 4, 0}, pre, whole)), "stored");
  EXPECT_EQ(refused(store_tensor({Kind::tvq, 4, 0}, pre, broken)),
            "task 2: element 0 is not finite");
  EXPECT_EQ(refused(store_tensor({Kind::rtvq, 4, 4}, pre, broken)),
            "the shared base: element 0 is not finite");
  const auto merged = [&](double scale, double sum) {
    const std::vector<double> sums(2, sum);
    const auto result = merged_tensor(pre, scale, sums);
    return result ? std::string("merged") : result.error().message;
  };
  EXPECT_EQ(merged(1.0, 1.0), "merged");
  EXPECT_EQ(merged(1e6, 1e38), "element 0 is not finite after the merge");
  EXPECT_EQ(merged(1e-6, 1e-38), "element 0 underflows after the merge");
}

}  // namespace
}  // namespace isobit::models
