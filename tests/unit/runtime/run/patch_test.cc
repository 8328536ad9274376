// How a donor's value is rounded, and what a bank keeps.
#include "runtime/run/patch.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "runtime/run/generate.h"
#include "runtime/run/memory.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

/// The nearest of two neighbours in a 16-bit format by exact fp64 distances, ties to the even code.
double nearest(double x, double low, double high, bool low_is_even) {
  const double down = x - low, up = high - x;  // exact: all are near
  if (down != up) return down < up ? low : high;
  return low_is_even ? low : high;
}

TEST(RoundedOnce, IsTheNearestOf16BitValues) {
  std::uint64_t state = 1;
  int doubles_lie = 0;  // cases in which rounding to fp32 first would give another value
  for (int i = 0; i < 20000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    // bf16 with a fraction at, or next to, the middle between two of its values.
    const auto code = std::uint32_t(0x3f80u + (state >> 40) % 0x300u);
    const double low = double(std::bit_cast<float>(code << 16));
    const double high = double(std::bit_cast<float>((code + 1) << 16));
    const double middle = low + (high - low) / 2;
    for (const double x : {middle, std::nextafter(middle, 0.0), std::nextafter(middle, 100.0),
                           low + (high - low) * double(state >> 11) * 0x1p-53}) {
      const double want = nearest(x, low, high, code % 2 == 0);
      EXPECT_EQ(std::bit_cast<std::uint64_t>(rounded_once(Format::bf16, x)),
                std::bit_cast<std::uint64_t>(want));
      EXPECT_EQ(rounded_once(Format::bf16, -x), -want);
      doubles_lie += rounded_once(Format::bf16, double(float(x))) != want ? 1 : 0;
    }
  }
  EXPECT_GT(doubles_lie, 1000);
}

TEST(RoundedOnce, AtTheEnds) {
  EXPECT_EQ(rounded_once(Format::f64, 0.1), 0.1);
  EXPECT_EQ(rounded_once(Format::f32, 0.1), double(0.1f));
  EXPECT_EQ(rounded_once(Format::fp16, 65519.999999999), 65504.0);
  EXPECT_TRUE(std::isinf(rounded_once(Format::fp16, 65520.0)));
  EXPECT_TRUE(std::isinf(rounded_once(Format::bf16, 1e39)));
  EXPECT_EQ(rounded_once(Format::fp16, 0x1p-25), 0.0) << "half of the least, to even";
  EXPECT_EQ(rounded_once(Format::fp16, std::nextafter(0x1p-25, 1.0)), 0x1p-24);
  EXPECT_TRUE(std::signbit(rounded_once(Format::bf16, -0.0)));
  EXPECT_EQ(rounded_once(Format::bf16, 1e-300), 0.0);
}

TEST(RoundedOnce, WhichFormatHoldsWhich) {
  EXPECT_TRUE(holds(Format::f64, Format::f32) && holds(Format::f32, Format::bf16));
  EXPECT_TRUE(holds(Format::fp16, Format::fp16) && holds(Format::f32, Format::fp16));
  EXPECT_FALSE(holds(Format::bf16, Format::fp16) || holds(Format::fp16, Format::bf16));
  EXPECT_FALSE(holds(Format::f32, Format::f64) || holds(Format::bf16, Format::f32));
}

GenerateRequest request_of(PatchSpec spec) {
  GenerateRequest r;
  r.prompts = {{fakes::prompt(6), {1, 2, 3}, "a"}, {fakes::prompt(9), {1, 2, 3}, "b"}};
  r.max_new_tokens = 3;
  r.patch.spec = std::move(spec);
  r.patch.spec.text = "some";
  GenerateRequest donor = r;
  donor.patch = {};
  r.patch.donor = std::make_shared<const GenerateRequest>(donor);
  return r;
}

TEST(PatchBank, KeepsWhatIsPutInAndNothingElse) {
  const ModelConfig config = fakes::worked_example();
  PatchSpec spec;
  spec.sites[0].kind = PatchLayers::Kind::layers;
  spec.sites[2] = {PatchLayers::Kind::listed, {{1, 1}}};
  const GenerateRequest r = request_of(spec);
  ASSERT_TRUE(check_patch(r, config));
  PatchBank bank(r, config);
  const std::int64_t last = config.layers - 1;
  const auto row = [&](RowSite site, std::int64_t layer, int prompt, std::int64_t position) {
    return bank.row({site, int(layer), prompt, position}) != nullptr;
  };
  EXPECT_TRUE(row(RowSite::residual, 0, 0, 5) && row(RowSite::residual, last, 1, 10));
  EXPECT_FALSE(row(RowSite::residual, 0, 0, 4)) << "before the last prompt position";
  EXPECT_FALSE(row(RowSite::residual, 0, 0, 8)) << "drawn, and never fed";
  EXPECT_FALSE(row(RowSite::residual, config.layers, 0, 5)) << "layers leaves the last stream out";
  EXPECT_TRUE(row(RowSite::v, 1, 0, 5));
  EXPECT_FALSE(row(RowSite::v, 0, 0, 5) || row(RowSite::k, 1, 0, 5));
  const std::int64_t width = config.layers * config.hidden_size + config.kv_heads * config.head_dim;
  EXPECT_EQ(PatchBank::bytes(r, config), 6 * width * 8);
  EXPECT_EQ(*bank.source({RowSite::v, 1, 1, 9}), (PatchPlace{RowSite::v, 1, 1, 9}));
  EXPECT_FALSE(bank.source({RowSite::v, 1, 1, 7}));
}

TEST(PatchBank, LastGoesToLastBetweenPrompts) {
  PatchSpec spec;
  spec.sites[3].kind = PatchLayers::Kind::all;
  spec.prompt = "b";
  GenerateRequest r = request_of(spec);
  r.patch.donor_prompt = 1;
  const ModelConfig config = fakes::worked_example();
  ASSERT_TRUE(check_patch(r, config));
  PatchBank bank(r, config);
  EXPECT_EQ(*bank.source({RowSite::attn, 0, 0, 5}), (PatchPlace{RowSite::attn, 0, 1, 8}));
  EXPECT_EQ(*bank.source({RowSite::attn, 0, 1, 8}), (PatchPlace{RowSite::attn, 0, 1, 8}));
  EXPECT_FALSE(bank.source({RowSite::attn, 0, 0, 6})) << "generated by the recipient itself";
  EXPECT_EQ(PatchBank::bytes(r, config), config.layers * config.heads * config.head_dim * 8);
}

TEST(PatchBank, IsInTheMemoryEstimate) {
  const LoadedModel model = fakes::toy_model(fakes::worked_example());
  PatchSpec spec;
  spec.sites[0].kind = PatchLayers::Kind::all;
  GenerateRequest r = request_of(spec);
  GenerateRequest plain = r;
  plain.patch = {};
  const MemoryEstimate with = estimate_memory(model, r), without = estimate_memory(model, plain);
  EXPECT_EQ(with.cache - without.cache, PatchBank::bytes(r, model.config));
  EXPECT_EQ(with.weights, without.weights);
  GenerateRequest wide = plain;
  wide.precision = Precision::fp64;
  r.patch.donor = std::make_shared<const GenerateRequest>(wide);
  EXPECT_GT(estimate_memory(model, r).weights, 2 * without.weights) << "both sets may be kept";
}

}  // namespace
}  // namespace isobit
