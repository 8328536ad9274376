// Fused attention of libraries: rows that an H200 returned, what a changed order would give, and
// the plans that kernels choose.
#include "runtime/numerics/fused.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "harness/probe/draw.h"
#include "runtime/numerics/attention_book.h"

namespace isobit {
namespace {

using probe::attention_rows;
using Side = probe::AttentionSide;
using Bits = std::vector<std::uint16_t>;

/// A row of a call by sequence, head and query.
struct Row {
  std::int64_t sequence, head, query;
  const char* hex;  // four digits each output
};
/// One call with drawn operands, and some of its rows.
struct Captured {
  Format format;
  std::int64_t draw;
  FusedShape shape;
  FusedChoice choice;
  std::vector<Row> rows;
};

// PyTorch 2.11 with cuDNN 9.19 on an H200.
const Captured kFa2 = {
    Format::fp16,
    17,
    {1, 6, 3, 121, 121, 64, FusedMask::causal},
    {FusedKernel::fa2, 0},
    {
        {0, 5, 120,
         "be10c23a3834bd793b03bc5e3d5c382d38a733e8b748aaebb827c0833c933cc1c050b8363dbb4050"
         "bcca3749409e362cbee634fcba683871ab033a68b910bc80385ebf82b2a2bd883c7fc049bc643cb6"
         "b813381a3e2730b0ae4e3841263fbe3e3a784146bd753960b94e390dbd1e4023bed0bbb02984b728"
         "2d0cbc5c38c5bdf7"},
        {0, 1, 64,
         "b808b44fbeb03c0d3cc3c040349f38ee3ccdb5a83e20b7303884b773bf0e3a0a3cfc3dd6ab42ba3c"
         "c0763f663ed04182b98db99da445c095c47daf15bce63c793aaf336cb8ed29cd315ebb4f3e703f55"
         "b9eabac9344cbcbeb978bb64bf693a3840adbca240ffacc33e6ebb5034103c03bd3ebb80bca3c17e"
         "3ca73d023959bc06"},
    }};
const Captured kFa2Split = {
    Format::bf16,
    9,
    {1, 2, 2, 1, 357, 64, FusedMask::free},
    {FusedKernel::fa2, 0},
    {
        {0, 0, 0,
         "3ffcbd00c0213f1540503f54bf693fefbe313f7f3d163f783e8c4016c003be00be803f40c04cbfbf"
         "bf4b408dbf993e183edabfa7bd8dc06f3fe2c0664016c070bf853fb2bfb3bfc53ffabc233e933f0e"
         "c014c020bf923e52bce7bfa6c0253f3c3e373efe3f5cc0033fe13e7c3f363f883f4c40023f413f0d"
         "4036bec33e243fbf"},
        {0, 1, 0,
         "bf8ebf613dda3fa04003bfaabe2e3f62bf77bf5ebe2bbf5abe284053bfccbff93f0f3e753f8ebeb8"
         "3fa73f88bfab4001402d3f1ac00d3fddbfd13fff3efa3fc43fa83f5e3fafbef0404e40003f123e48"
         "3f4fc0143fb53ffa3fe3bf4d3ed3c0013f31401d3f74405fbf413d843fc5406b3f7a3fe04001bff2"
         "bee9409b3ecfbf47"},
    }};
const Captured kSm90 = {
    Format::bf16,
    21,
    {1, 3, 3, 158, 158, 64, FusedMask::causal},
    {FusedKernel::cudnn_sm90, 0},
    {
        {0, 2, 157,
         "3f3e40223f84be94bf3dbf053f2cbe53bf9cbe113fd9bf0f3c733debbc2f3f884057bf5a402d401c"
         "bf3f3f513ed1bfd5c08d4004bf29bee03f613f97bfa13d9ac016bf28403bbf123e8f400dbf05bf0b"
         "c07fc00dbf8c4021bfaebf353e07bf5ebdbb3f9a3e7b3f89be7ebeecc0053fe540163e09bdc4bf48"
         "bee5bf4cbf2cbfb1"},
        {0, 0, 122,
         "3f9a3fdcbe533ffb3f213f0c3ed2be7ac012c05d3f9d3f2abebd3f853f103f25c020402540113fba"
         "3f72be6240263facbedb3e933fa0c0323e82bf67bf8e3e0bbfaebe9abf72bd28c00b3fc3bf224056"
         "bfa23f34c0313f663c4cbfdf3f22402a3ebfbf513e17c07abf24bf55c052bee3c0003e0c3f99c00a"
         "beb1c040bf5a3fa7"},
    }};
const Captured kSm90Left = {
    Format::fp16,
    33,
    {1, 2, 2, 138, 159, 64, FusedMask::left},
    {FusedKernel::cudnn_sm90, 0},
    {
        {0, 0, 137,
         "3d5e3cad3b5d3b65b937b436b5f043523986396aaee8bdb038783c97bd504079b7ceba91b41633c5"
         "bbde3eb3c0ee3dab397b39b6bd393b343d6ca661361abdf3ac69a6ab3d9c3dd2ba5fbd3fb6443171"
         "302abd77be742935bf029938be45390caebab844bb63b3e3b31d3989b6aa3b83b54aa7e92e643d74"
         "3e163a7abbc4bbcf"},
        {0, 1, 63,
         "3446bd0eb0b03e043a9bb51ea809c05b32babc2c3ae22e6d3d7736a22d44b9cd3838ba4536b63b8e"
         "39e8b62abb9d348835512f7cba6a3a3cb4a73ec4bfa03abdbe05375c31313df833acc0cbbf23b3d0"
         "c2cd344b3e1530a84047b8593b5c41dcb0c7bd86b84b38113020b49937f1b467bbc9c09b2cb33f93"
         "ba09407dbfad2804"},
    }};
const Captured kSm80Of32 = {
    Format::bf16,
    0,
    {1, 2, 2, 1, 17, 64, FusedMask::free},
    {FusedKernel::cudnn_sm80, 32},
    {
        {0, 0, 0,
         "3e983f09bf1bbeff3fc3bff3bf36bc9a3f6c3cc8bfe9bf8fbf2ec01c3f653f80c01540573d43bf95"
         "bf8cbfb03f653f493fdebf36be973ef03fad3f41bf4dc00abe053f61c0803f2f3f974024bfcfbd70"
         "3e73bf47bf7a400e3fe33feabf723f1dc001402a3fe1407dbf03be6c402b3fce3f283f444011bff6"
         "3f263dfa3fa73fde"},
        {0, 1, 0,
         "bf19bfb0bf333fd03de53f2f3f1b3f6a3fa03fee3f1dbe1abf79bfc93f263ec6bebb3e093f9f3f50"
         "3f833e0b3e8ebf413e67bf453e3b3d403edabf89bed73ef4bdc73e95bc03bfacbfb5be9bbf07be51"
         "3ea4bed8be7cbfb8be22bf603f7e3e9dbf96402cbea63fc8bebdbf24bfb63f4ebfaa3f323f34bfee"
         "bf663fbdbe944003"},
    }};
const Captured kSm80Of64 = {
    Format::fp16,
    59,
    {8, 16, 4, 1, 174, 64, FusedMask::free},
    {FusedKernel::cudnn_sm80, 64},
    {
        {1, 0, 0,
         "c1ee4147b5b4c02fc2e8b8063d3838ff3c7cbbb2bb352eb942123da53f7931debeabbe493f14ae27"
         "bedbb9fcb059b87a39b9bb873ef02abebe0f32bf38b03ceeb9fdc0e53ee0c0c242b132f3adf4c10e"
         "bc383bb2c3a83a363f58c3863d31c0a73d62b601bd57c4293ced41c5b021bd9c373e3d7536b8bbd8"
         "3f99bedabf2ebab5"},
        {5, 11, 0,
         "361dbce8bd0f3dc3b189ba72b162305c35a336fdb0983e44bb893b51b0adb91735f03d3d3eb4bfbb"
         "c025343f3c983d0139b5b4fa41f32efab96dbe4e30aa364b40abba50b680379f3b6e3f83bb3940b9"
         "b2e83d1d3324b2b3c0c5c04a3681b80c3f43bb9c353eb52ac02f3c16bb3b2e23375ebcd6b857bb55"
         "b9b7be21ae02b105"},
    }};
const Captured kEfficient = {
    Format::bf16,
    21,
    {1, 3, 3, 158, 158, 64, FusedMask::causal},
    {FusedKernel::efficient, 0},
    {
        {0, 2, 157,
         "3f3e40223f84be94bf3dbf053f2cbe53bf9cbe113fd9bf0f3c733debbc2f3f884057bf5a402d401c"
         "bf3f3f513ed1bfd5c08d4004bf29bee03f613f97bfa13d9ac016bf28403bbf123e8f400dbf05bf0b"
         "c07fc00dbf8c4021bfaebf353e07bf5ebdbb3f9a3e7b3f89be7ebeecc0053fe540163e09bdc4bf48"
         "bee5bf4cbf2cbfb1"},
        {0, 0, 122,
         "3f9a3fdcbe533ffb3f213f0c3ed2be7ac012c05d3f9d3f2abebd3f853f103f25c020402540113fba"
         "3f72be6240263facbedb3e933fa0c0323e82bf67bf8e3e0bbfaebe9abf72bd28c00b3fc3bf224056"
         "bfa23f34c0313f663c4cbfdf3f22402a3ebfbf513e17c07abf24bf55c052bee3c0003e0c3f99c00a"
         "beb1c040bf5a3fa7"},
    }};

const Captured* const kAll[] = {&kFa2,      &kFa2Split, &kSm90,     &kSm90Left,
                                &kSm80Of32, &kSm80Of64, &kEfficient};

FusedPlan plan_of(const Captured& call) {
  return fused_plan(call.choice, call.shape, kUsualMultiprocessors);
}
float scale_of(const FusedShape& shape) {
  return float(1.0 / std::sqrt(double(shape.head_dim)));
}

/// How a row is computed: as the kernel does, or wrongly.
struct Way {
  FusedPlan plan;
  FusedScale scale;
  bool rounds_p = true;
};
Way way_of(const Captured& call) {
  return {plan_of(call), fused_scale(scale_of(call.shape))};
}

/// Outputs of a row: rounded to the operands' format, or in fp32 as they were before that, where
/// one changed rounding shows in most. REQUIRES of the latter: one split.
std::vector<float> outputs(const Captured& call, const Way& way, std::int64_t sequence,
                           std::int64_t head, std::int64_t query, bool rounded) {
  const auto& [batch, heads, kv_heads, queries, keys, d, mask] = call.shape;
  const std::int64_t shared = sequence * kv_heads + head / (heads / kv_heads);
  const auto drawn = [&](Side side, std::int64_t number, std::int64_t first, std::int64_t rows) {
    return attention_rows(call.draw, side, number, first, rows, call.shape.head_dim, call.format);
  };
  const auto q = drawn(Side::queries, sequence * heads + head, query, 1);
  const auto k = drawn(Side::keys, shared, 0, keys), v = drawn(Side::values, shared, 0, keys);
  const std::int64_t last = mask == FusedMask::free ? keys - 1 : query + keys - queries;
  TensorUnit unit = *tensor_unit(TensorCore::sm90, call.format);
  if (!way.rounds_p) unit.operand = Format::f32;
  const auto width = std::size_t(d);
  const auto of_q = [&](auto i) { return q[std::size_t(i)]; };
  const auto of_k = [&](auto j, auto i) { return k[std::size_t(j) * width + std::size_t(i)]; };
  const auto of_v = [&](auto j, auto i) { return v[std::size_t(j) * width + std::size_t(i)]; };
  const auto seen = [last](auto j) { return j <= last; };
  std::vector<float> out(width);
  if (rounded) {
    fused_row(way.plan, unit, way.scale, keys, d, of_q, of_k, of_v, seen, out.data());
  } else {
    fused_split_row(way.plan, unit, way.scale, {0, keys}, d, of_q, of_k, of_v, seen,
                    [&](auto i, float value) { out[std::size_t(i)] = value; });
  }
  return out;
}

/// In 16 bits.
Bits computed(const Captured& call, const Row& row) {
  Bits bits;
  for (const float x : outputs(call, way_of(call), row.sequence, row.head, row.query, true)) {
    bits.push_back(call.format == Format::bf16 ? std::uint16_t(bits_of(x) >> 16)
                                               : fp16_from_float(x));
  }
  return bits;
}

Bits captured(const Row& row) {
  Bits bits;
  const std::string hex = row.hex;
  for (std::size_t i = 0; i < hex.size(); i += 4) {
    bits.push_back(std::uint16_t(std::stoul(hex.substr(i, 4), nullptr, 16)));
  }
  return bits;
}

TEST(FusedKernels, GiveWhatAnH200Returned) {
  for (const Captured* call : kAll) {
    for (const Row& row : call->rows) {
      EXPECT_EQ(computed(*call, row), captured(row))
          << text_of(call->choice) << " " << row.head << " " << row.query;
    }
  }
}

/// Outputs of some rows of a call that a change of the way alters; nothing is split.
int altered(const Captured& call, const std::function<void(Way&)>& change) {
  constexpr std::int64_t kRows = 12;
  Way right = way_of(call);
  right.plan = fused_plan(call.choice, call.shape, 1);  // no room for splits
  Way wrong = right;
  change(wrong);
  int count = 0;
  const std::int64_t queries = call.shape.queries, all = queries * call.shape.heads;
  for (std::int64_t i = 0; i < std::min(all, kRows); ++i) {
    const std::int64_t head = i % call.shape.heads;
    const std::int64_t query = queries - 1 - i / call.shape.heads;
    const auto a = outputs(call, right, 0, head, query, false);
    const auto b = outputs(call, wrong, 0, head, query, false);
    for (std::size_t j = 0; j < a.size(); ++j) count += same_bits(a[j], b[j]) ? 0 : 1;
  }
  return count;
}

/// The same kernel with several blocks, and a scale that is no power of two.
Captured wider(Captured call) {
  call.shape.keys = 300;
  call.shape.head_dim = 96;
  if (call.shape.queries > 1) call.shape.queries = 300;
  return call;
}

TEST(FusedKernels, EveryMistakeAltersOutputs) {
  using Scores = FusedOrder::Scores;
  using Sums = FusedOrder::Sums;
  for (const Captured* captured : {&kFa2, &kSm90, &kSm80Of64, &kEfficient}) {
    const Captured call = wider(*captured);
    SCOPED_TRACE(text_of(call.choice));
    const FusedOrder right = fused_plan(call.choice, call.shape, 1).order;
    const auto with = [&](const auto& set) {
      return altered(call, [&](Way& way) { set(way.plan.order); });
    };
    EXPECT_EQ(with([](FusedOrder&) {}), 0);
    EXPECT_GT(with([&](FusedOrder& order) { order.block = right.block / 2; }), 0);
    EXPECT_GT(with([&](FusedOrder& order) { order.last_first = !right.last_first; }), 0);
    EXPECT_GT(with([&](FusedOrder& order) { order.crossed = !right.crossed; }), 0);
    EXPECT_GT(with([&](FusedOrder& order) { order.divides = !right.divides; }), 0);
    EXPECT_GT(with([&](FusedOrder& order) { order.group = 24 - right.group; }), 0);
    for (const Scores scores : {Scores::raw, Scores::scaled, Scores::twice}) {
      EXPECT_EQ(with([&](FusedOrder& order) { order.scores = scores; }) > 0, scores != right.scores)
          << int(scores);
    }
    for (const Sums sums : {Sums::running, Sums::fused, Sums::warps}) {
      EXPECT_EQ(with([&](FusedOrder& order) { order.sums = sums; }) > 0, sums != right.sums)
          << int(sums);
    }
    EXPECT_GT(altered(call, [](Way& way) { way.rounds_p = false; }), 0);
  }
}

TEST(FusedKernels, SplitsAlterOutputs) {
  Captured call = kFa2Split;
  call.format = Format::fp16;  // with more digits than bf16
  call.shape.keys = 2048;
  const Way right = way_of(call);
  EXPECT_EQ(right.plan.splits, 8);
  Way one = right, four = right;
  one.plan = fused_plan(call.choice, call.shape, 1);
  EXPECT_EQ(one.plan.splits, 1);
  four.plan.splits = 4;
  four.plan.blocks_of_split = 2;
  int of_one = 0, of_four = 0;
  for (call.draw = 0; call.draw < 8; call.draw += 2) {
    const auto row = outputs(call, right, 0, 0, 0, true);
    of_one += row != outputs(call, one, 0, 0, 0, true) ? 1 : 0;
    of_four += row != outputs(call, four, 0, 0, 0, true) ? 1 : 0;
  }
  EXPECT_GT(of_one, 0);
  EXPECT_GT(of_four, 0);
}

/// The factor is one rounding of scale times log2 e. Where the scale is a power of two two give the
/// same; a head of 96 shows them.
TEST(FusedKernels, TheFactorIsRoundedOnce) {
  const auto twice = [](float scale) { return FusedScale{scale, scale * float(kLog2E)}; };
  EXPECT_EQ(bits_of(fused_scale(0.125f).factor), bits_of(twice(0.125f).factor));
  Captured call = kSm90;
  int differing = 0, seen = 0;
  for (std::int64_t d = 8; d <= 128; d += 8) {
    call.shape.head_dim = d;
    const FusedScale scale = twice(scale_of(call.shape));
    if (same_bits(scale.factor, fused_scale(scale.scale).factor)) continue;
    ++differing;
    seen += altered(call, [&](Way& w) { w.scale = scale; });
  }
  EXPECT_GT(differing, 2);
  EXPECT_GT(seen, 0);
}

/// {splits, block, blocks of a split} of FlashAttention-2 on 132 multiprocessors.
std::array<std::int64_t, 3> plan(std::int64_t batch, std::int64_t heads, std::int64_t kv_heads,
                                 std::int64_t queries, std::int64_t keys, std::int64_t d) {
  const FusedPlan plan = fa2_plan({batch, heads, kv_heads, queries, keys, d, FusedMask::free}, 132);
  return {plan.splits, plan.order.block, plan.blocks_of_split};
}

// Grids of splitkv kernels that an H200 started: batch, heads, KV heads, queries, keys, width.
TEST(Fa2Splits, AreThoseOfAnH200) {
  using Plan = std::array<std::int64_t, 3>;
  EXPECT_EQ(plan(1, 16, 4, 1, 4096, 64), (Plan{16, 256, 1}));
  EXPECT_EQ(plan(1, 6, 3, 1, 3735, 64), (Plan{15, 256, 1}));
  EXPECT_EQ(plan(2, 2, 1, 1, 3156, 64), (Plan{13, 256, 1}));
  EXPECT_EQ(plan(8, 4, 4, 359, 1059, 64), (Plan{5, 256, 1}));
  EXPECT_EQ(plan(1, 4, 1, 1510, 1833, 64), (Plan{8, 256, 1}));
  EXPECT_EQ(plan(2, 12, 3, 1, 488, 128), (Plan{4, 128, 1}));
  EXPECT_EQ(plan(1, 8, 2, 56, 4096, 128), (Plan{32, 128, 1}));
  EXPECT_EQ(plan(1, 6, 2, 455, 1507, 96), (Plan{4, 128, 3}));
  EXPECT_EQ(plan(1, 3, 3, 2048, 2048, 96), (Plan{8, 128, 2}));
  // One split: the usual kernel with its own block.
  EXPECT_EQ(plan(1, 6, 3, 121, 121, 64), (Plan{1, 128, 1}));
  EXPECT_EQ(plan(1, 1, 1, 1, 256, 64), (Plan{1, 128, 2}));
  EXPECT_EQ(plan(1, 1, 1, 1, 257, 64), (Plan{2, 256, 1}));
  EXPECT_EQ(plan(1, 1, 1, 1, 64, 128), (Plan{1, 64, 1}));
}

TEST(Fa2Splits, FillTheGpuTo85PerCentOfTheBest) {
  EXPECT_EQ(fa2_splits(1, 264, 16), 16);     // one head, 4096 keys of 64
  EXPECT_EQ(fa2_splits(1, 264, 1000), 112);  // 112 of at most 128 fill 85 % of what 128 fill
  EXPECT_EQ(fa2_splits(211, 264, 16), 6);    // below 0.8 of 264; 6 fill 0.959, 16 fill 0.984
  EXPECT_EQ(fa2_splits(212, 264, 16), 1);    // above it
  EXPECT_EQ(fa2_splits(1, 264, 1), 1);
  EXPECT_EQ(fa2_splits(1, 2, 16), 2);      // as many as there is room for
  EXPECT_EQ(fa2_splits(100, 264, 16), 2);  // 200 of 264; five would be 500 of 528
}

TEST(FusedPlans, OfCudnnAndTheEfficientKernel) {
  using Scores = FusedOrder::Scores;
  const FusedPlan sm90 = cudnn_plan(FusedKernel::cudnn_sm90, 0, 257, false);
  EXPECT_EQ(sm90.order.block, 128);
  EXPECT_EQ(sm90.blocks_of_split, 3);
  EXPECT_EQ(sm90.order.scores, Scores::scaled);
  EXPECT_EQ(cudnn_plan(FusedKernel::cudnn_sm90, 0, 257, true).order.scores, Scores::twice);
  const FusedPlan sm80 = cudnn_plan(FusedKernel::cudnn_sm80, 32, 257, false);
  EXPECT_EQ(sm80.order.block, 32);
  EXPECT_EQ(sm80.blocks_of_split, 9);
  EXPECT_EQ(sm80.order.scores, Scores::twice);
  EXPECT_EQ(efficient_plan(64, 257).order.block, 64);
  EXPECT_EQ(efficient_plan(65, 257).order.block, 128);
  EXPECT_EQ(efficient_plan(64, 257).order.group, 8);
  for (const FusedPlan& each : {sm90, sm80, efficient_plan(64, 257)}) EXPECT_EQ(each.splits, 1);
}

TEST(FusedPlans, SplitsShareTheBlocks) {
  FusedPlan plan;
  plan.order.block = 64;
  plan.splits = 3;
  plan.blocks_of_split = 2;  // of five
  const auto span = [&](std::int64_t keys, int split) {
    const FusedSpan found = fused_split(plan, keys, split);
    return std::pair(found.begin, found.end);
  };
  EXPECT_EQ(span(300, 0), std::pair(std::int64_t(0), std::int64_t(128)));
  EXPECT_EQ(span(300, 1), std::pair(std::int64_t(128), std::int64_t(256)));
  EXPECT_EQ(span(300, 2), std::pair(std::int64_t(256), std::int64_t(300)));
  EXPECT_EQ(span(100, 1), std::pair(std::int64_t(100), std::int64_t(100)));  // nothing
}

}  // namespace
}  // namespace isobit
