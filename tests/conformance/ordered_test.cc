// Sums of FMAs in the orders of libraries' kernels: every SIMD table against the scalar one, bit
// for bit.
#include "runtime/backends/cpu/packed.h"
#include "runtime/numerics/formats.h"
#include "runtime/numerics/product_book.h"
#include "tests/conformance/kernel_data.h"

namespace isobit::cpu::testing {
namespace {

constexpr std::int64_t kOutputs = 70, kColumns = 601;

class Ordered : public KernelTable {};

INSTANTIATE_TEST_SUITE_P(Isa, Ordered, ::testing::ValuesIn(kSimdIsas),
                         [](const auto& isa) { return std::string(isa.param); });

std::vector<float> values(Random& random, std::int64_t count) {
  std::vector<float> out;
  for (std::int64_t i = 0; i < count; ++i) {
    out.push_back(float(random.unit() * std::ldexp(1.0, int(random.below(17)) - 8)));
  }
  return out;
}

TEST_P(Ordered, EveryOrderHasTheLiteralBits) {
  Random random(5);
  for (const Format element : {Format::f32, Format::bf16, Format::fp16}) {
    const std::vector<float> w = values(random, kOutputs * kColumns);
    PackSpec spec;
    spec.n = kOutputs;
    spec.k = kColumns;
    spec.rounded = element;
    spec.bounds = {0, kColumns};
    const PackedMatrix packed = pack(spec, [&](std::int64_t row, std::span<float> out) {
      std::copy_n(w.begin() + row * kColumns, kColumns, out.begin());
    });
    for (const std::int64_t rows : {1, 3, 9}) {
      const std::vector<float> x = values(random, rows * kColumns);
      for (const char* text :
           {"fma", "fma+slice:64", "fma+slice:19+meet:halves", "fma+deal:8+lanes:9", "fma+block:64",
            "fma+deal:8+lanes:80+meet:paired", "fma+deal:1+lanes:16+block:256",
            "fma+deal:1+lanes:512+meet:nested", "fma+deal:1+lanes:8192+meet:nested",
            "fma+deal:1+lanes:32+meet:halves", "fma+slice:200+deal:1+lanes:16+block:64"}) {
        SCOPED_TRACE(text);
        const ProductSteps steps = product_steps(*parse_product_order(text), kColumns);
        std::vector<float> a(std::size_t(rows * (kOutputs + 2)), 7.0F), b = a;
        OrderedArgs args{steps.steps.data(),
                         std::int64_t(steps.steps.size()),
                         steps.lanes,
                         x.data(),
                         kColumns,
                         &packed,
                         a.data(),
                         kOutputs + 2,
                         0,
                         rows,
                         0,
                         packed.panels()};
        scalar<float>().ordered(args);
        args.out = b.data();
        simd<float>().ordered(args);
        EXPECT_TRUE(same(a, b));
        EXPECT_EQ(a[kOutputs], 7.0F);
        EXPECT_TRUE(has_substance(a));
      }
    }
  }
}

TEST_P(Ordered, OrdersDiffer) {
  // What the test above compares would be empty if all orders gave the same.
  Random random(6);
  const std::vector<float> x = values(random, kColumns), w = values(random, kColumns);
  const auto value = [&](const char* text) {
    const ProductSteps steps = product_steps(*parse_product_order(text), kColumns);
    std::vector<float> sums(std::size_t(steps.lanes));
    return ordered_product(
        steps.steps, nullptr, [&](std::int64_t i) { return x[std::size_t(i)]; },
        [&](std::int64_t i) { return w[std::size_t(i)]; }, sums.data());
  };
  EXPECT_NE(value("fma"), value("fma+slice:64"));
  EXPECT_NE(value("fma+deal:8+lanes:9"), value("fma+deal:8+lanes:9+meet:paired"));
}

}  // namespace
}  // namespace isobit::cpu::testing
