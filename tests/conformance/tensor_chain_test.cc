// Chains of tensor-core groups: every SIMD table against the literal text, bit for bit. Each case
// says which way its lanes must go, through the registers or one by one, and is held to it.
#include <cmath>
#include <functional>
#include <limits>

#include "runtime/backends/cpu/packed.h"
#include "runtime/numerics/formats.h"
#include "tests/conformance/kernel_data.h"

namespace isobit::cpu::testing {
namespace {

/// Lanes of groups that must be left to the literal text.
enum class Literal { none, some, all };

using Value = std::function<float(Random&, std::int64_t row, std::int64_t column)>;

struct ChainCase {
  std::int64_t rows = 5, n = 40, k = 64;
  std::int64_t begin = 0, end = -1;  // -1: k
  std::int64_t lead = 0;             // columns of a first tile
  Value x, w;
  Literal literal = Literal::none;
  Format rounded = Format::f32;  // both operands; f32: the unit's own
};

std::vector<float> matrix(Random& random, std::int64_t rows, std::int64_t k, std::int64_t stride,
                          Format format, const Value& value) {
  // What a row has past its columns must never be read.
  std::vector<float> all(std::size_t(rows * stride), std::numeric_limits<float>::quiet_NaN());
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < k; ++i) {
      const float v = value(random, r, i);
      // R makes an infinity of an 8-bit format finite; the registers must see it.
      all[std::size_t(r * stride + i)] = is_finite(v) ? round_to(format, v) : v;
    }
  }
  return all;
}

void check_literal(Literal expected, std::int64_t groups, std::int64_t all) {
  switch (expected) {
    case Literal::none:
      EXPECT_EQ(groups, 0);
      break;
    case Literal::some:
      EXPECT_GT(groups, 0);
      EXPECT_LT(groups, all);
      break;
    case Literal::all:
      EXPECT_EQ(groups, all);
  }
}

/// All of a product, and a share of it: rows from 1 on, panels from 1 on.
void compare(const KernelsOf<float>& want, const KernelsOf<float>& got, const TensorUnit& unit,
             const ChainCase& c, std::uint64_t seed = 1) {
  const std::int64_t end = c.end < 0 ? c.k : c.end;
  SCOPED_TRACE(::testing::Message()
               << c.rows << "x" << c.n << "x" << c.k << " columns " << c.begin << " to " << end
               << " g " << unit.group << " F " << unit.fraction << " operand " << int(unit.operand)
               << " split " << unit.split_fp8 << " seed " << seed);
  Random random(seed);
  const Format format = c.rounded == Format::f32 ? unit.operand : c.rounded;
  const std::vector<float> w = matrix(random, c.n, c.k, c.k, format, c.w);
  PackSpec spec;
  spec.n = c.n;
  spec.k = c.k;
  spec.rounded = format;
  spec.bounds = {0, c.k};
  const PackedMatrix packed = pack(spec, [&](std::int64_t row, std::span<float> out) {
    std::copy_n(w.begin() + row * c.k, c.k, out.begin());
  });
  const std::int64_t x_stride = c.k + 3, out_stride = c.n + 5;
  const std::vector<float> x = matrix(random, c.rows, c.k, x_stride, format, c.x);
  for (const bool share : {false, true}) {
    std::vector<float> a(std::size_t(c.rows * out_stride), 7.0f), b = a;
    TensorArgs args{&unit,      x.data(), x_stride, &packed, c.begin,         end,   a.data(),
                    out_stride, 0,        c.rows,   0,       packed.panels(), c.lead};
    if (share && c.rows > 1) args.row_begin = 1;
    if (share && packed.panels() > 1) args.panel_begin = 1;
    want.tensor_chain(args);
    args.out = b.data();
    const std::int64_t before = literal_tensor_groups();
    got.tensor_chain(args);
    EXPECT_TRUE(same(a, b));
    EXPECT_EQ(a[std::size_t(c.n)], 7.0f);  // beyond the outputs
    const std::int64_t tile = c.begin + c.lead;
    const std::int64_t steps =
        (c.lead + unit.group - 1) / unit.group + (end - tile + unit.group - 1) / unit.group;
    const std::int64_t outputs = c.n - args.panel_begin * kPanel;
    check_literal(c.literal, literal_tensor_groups() - before,
                  steps * outputs * (c.rows - args.row_begin) * (unit.split_fp8 ? 2 : 1));
    EXPECT_TRUE(c.literal != Literal::none || has_substance(a));
  }
}

class TensorChain : public KernelTable {
 protected:
  void check(const TensorUnit& unit, const ChainCase& c, std::uint64_t seed = 1) const {
    compare(scalar<float>(), simd<float>(), unit, c, seed);
  }
};

INSTANTIATE_TEST_SUITE_P(Isa, TensorChain, ::testing::ValuesIn(kSimdIsas),
                         [](const auto& isa) { return std::string(isa.param); });

float normal(Random& random, std::int64_t, std::int64_t) {
  return float(random.unit() + random.unit() + random.unit());
}

/// Over binades [low, high].
Value wide(int low, int high) {
  return [=](Random& random, std::int64_t, std::int64_t) {
    const int e = low + int(random.below(high - low + 1));
    const double sign = random.below(2) == 0 ? 1 : -1;
    return float(sign * (1 + std::abs(random.unit()) * 0.99) * std::ldexp(1.0, e));
  };
}

Value everywhere(float x) {
  return [=](Random&, std::int64_t, std::int64_t) { return x; };
}

std::vector<TensorUnit> every_unit() {
  std::vector<TensorUnit> all;
  using enum TensorCore;
  for (const TensorCore chip : {sm70, sm75, sm80, sm89, sm90, sm100}) {
    for (const Format f : {Format::fp16, Format::bf16, Format::tf32, Format::e4m3, Format::e5m2}) {
      for (const auto& unit : {tensor_unit(chip, f), mma_sync_unit(chip, f)}) {
        if (unit && std::find(all.begin(), all.end(), *unit) == all.end()) all.push_back(*unit);
      }
    }
  }
  return all;
}

TensorUnit hopper(Format format) {
  return tensor_unit(TensorCore::sm90, format).value();
}
TensorUnit ampere(Format format) {
  return tensor_unit(TensorCore::sm80, format).value();
}

TEST_P(TensorChain, AFirstTileEndsItsLastGroup) {
  for (const TensorUnit& unit : every_unit()) {
    for (const std::int64_t lead : {1, 11, 16, 45}) {
      ChainCase c;
      c.k = 133;
      c.lead = lead;
      c.x = c.w = normal;
      check(unit, c);
    }
  }
}

TEST_P(TensorChain, NormalDataOfEveryUnit) {
  std::uint64_t seed = 0;
  EXPECT_EQ(every_unit().size(), 14u);
  for (const TensorUnit& unit : every_unit()) {
    check(unit, {.rows = 9, .n = 70, .k = 160, .x = normal, .w = normal}, ++seed);
  }
}

TEST_P(TensorChain, SplitUnitsOverEightBitWeights) {
  // Held as bf16, seen as fp16: e5m2's smallest numbers are subnormal there.
  for (const Format f : {Format::e4m3, Format::e5m2}) {
    const TensorUnit unit = mma_sync_unit(TensorCore::sm90, f).value();
    for (const Value& w : {Value(normal), wide(-16, -14)}) {
      check(unit, {.rows = 6, .n = 40, .k = 135, .x = normal, .w = w, .rounded = f});
      check(unit, {.rows = 6, .n = 40, .k = 135, .x = w, .w = normal, .rounded = f});
    }
  }
}

TEST_P(TensorChain, ShapesAndColumns) {
  std::uint64_t seed = 100;
  const TensorUnit split = mma_sync_unit(TensorCore::sm90, Format::e4m3).value();
  for (const TensorUnit& unit :
       {hopper(Format::bf16), ampere(Format::tf32), hopper(Format::e5m2), split}) {
    for (const std::int64_t rows : {1, 2, 3, 4, 5, 6, 7, 63, 64, 65, 131}) {
      check(unit, {.rows = rows, .n = 33, .k = 40, .x = normal, .w = normal}, ++seed);
    }
    for (const std::int64_t n : {1, 31, 32, 64, 65}) {
      check(unit, {.rows = 6, .n = n, .k = 50, .x = normal, .w = normal}, ++seed);
    }
    for (std::int64_t end = 8; end < 75; ++end) {
      check(unit, {.rows = 2, .n = 9, .k = 80, .begin = 7, .end = end, .x = normal, .w = normal},
            ++seed);
    }
  }
}

TEST_P(TensorChain, NoColumnsGiveZero) {
  const TensorUnit unit = hopper(Format::bf16);
  std::vector<float> x(8, 1.0f), out(3, 7.0f);
  PackSpec spec;
  spec.n = 3;
  spec.k = 8;
  spec.rounded = Format::bf16;
  spec.bounds = {0, 8};
  const PackedMatrix w = pack(
      spec, [](std::int64_t, std::span<float> row) { std::fill(row.begin(), row.end(), 1.0f); });
  simd<float>().tensor_chain({&unit, x.data(), 8, &w, 5, 5, out.data(), 3, 0, 1, 0, 1});
  EXPECT_TRUE(same(out, {0.0f, 0.0f, 0.0f}));
}

TEST_P(TensorChain, WideExponents) {
  // All of fp16, its subnormal numbers too, stays in the registers.
  for (const Format f : {Format::fp16, Format::e4m3, Format::e5m2}) {
    const int low = f == Format::e4m3 ? -9 : f == Format::e5m2 ? -16 : -24;
    const int high = f == Format::e4m3 ? 8 : 15;
    check(hopper(f), {.k = 256, .x = wide(low, high), .w = wide(low, high)});
  }
  check(ampere(Format::tf32), {.k = 256, .x = wide(-30, 30), .w = wide(-30, 30)});
  check(hopper(Format::bf16), {.k = 256, .x = wide(-30, 30), .w = wide(-30, 30)});
  // Over 200 binades some groups leave them.
  for (const Format f : {Format::bf16, Format::tf32}) {
    check(ampere(f), {.k = 256, .x = wide(-60, 60), .w = wide(-60, 60), .literal = Literal::some});
    check(hopper(f),
          {.k = 256, .x = wide(-126, 127), .w = wide(-126, 127), .literal = Literal::some});
  }
}

TEST_P(TensorChain, SubnormalOperandsDecideTheUnit) {
  struct Range {
    Format format;
    int low, high;  // of its subnormal numbers
    int from, to;   // of the other operand
  };
  for (const Range& r :
       {Range{Format::fp16, -24, -15, -3, 3}, Range{Format::e4m3, -9, -7, -3, 3},
        Range{Format::e5m2, -16, -15, -3, 3}, Range{Format::bf16, -133, -127, 60, 66},
        Range{Format::tf32, -136, -127, 60, 66}}) {
    const Value tiny = wide(r.low, r.high), other = wide(r.from, r.to);
    for (const TensorCore chip : {TensorCore::sm89, TensorCore::sm90}) {
      const TensorUnit unit = tensor_unit(chip, r.format).value();
      check(unit, {.rows = 8, .k = 192, .x = tiny, .w = other});
      check(unit, {.rows = 8, .k = 192, .x = other, .w = tiny});
    }
  }
}

TEST_P(TensorChain, TheEdgesOfTheRegisters) {
  const TensorUnit unit = hopper(Format::bf16);
  const auto at = [&](float x, float w, Literal literal) {
    check(unit, {.k = 16, .x = everywhere(x), .w = everywhere(w), .literal = literal});
  };
  at(0x1p-38f, 0x1.8p-38f, Literal::none);
  at(0x1p-39f, 0x1.8p-38f, Literal::all);
  at(0x1p+50f, 0x1.8p+50f, Literal::none);
  at(0x1p+51f, 0x1.8p+50f, Literal::all);
  at(0x1p-126f, 0x1p+60f, Literal::none);
  at(0x1p-130f, 0x1p+60f, Literal::none);  // subnormal in bf16
  at(0x1p-130f, 0x1p-1f, Literal::all);
  // The accumulator outgrows them.
  check(unit,
        {.k = 64, .x = everywhere(0x1p+50f), .w = everywhere(0x1p+50f), .literal = Literal::some});
}

TEST_P(TensorChain, Cancellation) {
  const Value pairs = [](Random& random, std::int64_t row, std::int64_t column) {
    Random own(std::uint64_t(row * 1000 + column / 2));
    const float x = float(own.unit() * 1e4);
    return column % 2 == 1 && random.below(8) != 0 ? -x : x;
  };
  const Value twice = [](Random&, std::int64_t row, std::int64_t column) {
    Random own(std::uint64_t(row * 77 + column / 2 + 5));
    return float(own.unit());
  };
  for (const TensorUnit& unit : every_unit()) {
    check(unit, {.k = 192, .x = pairs, .w = twice});
  }
}

TEST_P(TensorChain, EqualMaximalProducts) {
  // Sixteen of them at F = 25 come within 2^27 of 2^31 units: left to the literal text. The second
  // group's E is the accumulator's, and its products are cut.
  const float most = 0x1.fep+0f;
  check(hopper(Format::bf16),
        {.k = 16, .x = everywhere(most), .w = everywhere(most), .literal = Literal::all});
  check(hopper(Format::bf16),
        {.k = 512, .x = everywhere(most), .w = everywhere(-most), .literal = Literal::some});
  check(hopper(Format::fp16), {.k = 16,
                               .x = everywhere(0x1.ffcp+0f),
                               .w = everywhere(-0x1.ffcp+0f),
                               .literal = Literal::all});
  // Eight of them fit.
  check(ampere(Format::fp16),
        {.k = 512, .x = everywhere(0x1.ffcp+0f), .w = everywhere(0x1.ffcp+0f)});
  // 32 of them at F = 25 leave 32 bits, of either sign; at F = 13 they do not.
  const TensorUnit blackwell = tensor_unit(TensorCore::sm100, Format::e4m3).value();
  for (const float sign : {1.0f, -1.0f}) {
    check(blackwell,
          {.k = 32, .x = everywhere(448), .w = everywhere(sign * 448), .literal = Literal::all});
    check(hopper(Format::e4m3), {.k = 512, .x = everywhere(448), .w = everywhere(sign * 448)});
  }
}

TEST_P(TensorChain, Zeros) {
  const Value thin = [](Random& random, std::int64_t row, std::int64_t column) {
    if (row % 3 == 1 || column / 16 % 2 == 0 || random.below(3) == 0) {
      return random.below(2) == 0 ? 0.0f : -0.0f;
    }
    return float(random.unit());
  };
  for (const TensorUnit& unit : every_unit()) {
    check(unit, {.rows = 7, .k = 192, .x = thin, .w = thin});
  }
  // A zero beside small products, with a large number on its other side.
  const Value large = [](Random& random, std::int64_t, std::int64_t column) {
    return column % 2 == 0 ? 60000.0f : float(random.unit() * 0x1p-8);
  };
  const Value none = [](Random& random, std::int64_t, std::int64_t column) {
    return column % 2 == 0 ? 0.0f : float(random.unit() * 0x1p-8);
  };
  check(hopper(Format::fp16), {.k = 64, .x = large, .w = none});
  check(hopper(Format::fp16), {.k = 64, .x = none, .w = large});
}

TEST_P(TensorChain, InfinityAndNaN) {
  const float infinity = std::numeric_limits<float>::infinity();
  const Value rare = [=](Random& random, std::int64_t row, std::int64_t) {
    const std::int64_t kind = row % 3 == 0 ? random.below(300) : 9;
    if (kind == 0) return std::numeric_limits<float>::quiet_NaN();
    if (kind == 1) return infinity;
    if (kind == 2) return -infinity;
    if (kind < 9) return 0.0f;  // times an infinity: NaN
    return float(random.unit());
  };
  const TensorUnit split = mma_sync_unit(TensorCore::sm90, Format::e5m2).value();
  for (const TensorUnit& unit :
       {hopper(Format::fp16), hopper(Format::bf16), hopper(Format::tf32), split}) {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      const ChainCase c{.rows = 9, .k = 192, .x = rare, .w = normal, .literal = Literal::some};
      check(unit, c, seed);
      ChainCase turned = c;
      std::swap(turned.x, turned.w);
      check(unit, turned, seed);
    }
  }
  // Infinities beside the smallest of numbers, and beside zeros alone. Two of them, since the
  // integers that registers make of them cancel.
  const Value two = [=](Random&, std::int64_t, std::int64_t column) {
    return column == 3 || column == 5 ? infinity : 1.0f;
  };
  for (const float small : {0x1p-133f, 0.0f}) {
    for (const bool turned : {false, true}) {
      check(hopper(Format::bf16), {.k = 16,
                                   .x = turned ? everywhere(small) : two,
                                   .w = turned ? two : everywhere(small),
                                   .literal = Literal::all});
    }
  }
}

TEST(TensorChainTables, EveryTableHasTheLeafInFp32Alone) {
  for (const Kernels* table :
       {&scalar_kernels(), avx2_kernels(), avx512_kernels(), neon_kernels()}) {
    if (table == nullptr) continue;
    EXPECT_NE(table->f32.tensor_chain, nullptr) << table->isa;
    EXPECT_EQ(table->f64.tensor_chain, nullptr) << table->isa;
    if (table != &scalar_kernels()) {
      EXPECT_NE(table->f32.tensor_chain, scalar_kernels().f32.tensor_chain) << table->isa;
    }
  }
}

}  // namespace
}  // namespace isobit::cpu::testing
