// Orders of products: their steps, against loops written out by hand; their texts and books.
#include "runtime/numerics/product_order.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/numerics/product_book.h"
#include "runtime/numerics/random.h"

namespace isobit {
namespace {

/// Numbers of both signs over eight binades, whose sums round.
float number(std::int64_t i, std::uint32_t side) {
  const PhiloxBlock block = philox4x32({{std::uint32_t(i), side, 0, 0}}, 7);
  const float size =
      (1.0F + float(block.word[0] >> 9) * 0x1p-23F) * std::ldexp(1.0F, int(block.word[1] & 7));
  return block.word[2] % 2 == 0 ? size : -size;
}
float a(std::int64_t i) {
  return number(i, 1);
}
float b(std::int64_t i) {
  return number(i, 2);
}

float chain(std::int64_t begin, std::int64_t end, std::int64_t by = 1) {
  float sum = 0;
  for (std::int64_t i = begin; i < end; i += by) sum = std::fma(a(i), b(i), sum);
  return sum;
}

float value(const std::string& text, std::int64_t k) {
  const auto order = parse_product_order(text);
  EXPECT_TRUE(order) << (order ? "" : order.error().text());
  const ProductSteps steps = product_steps(*order, k);
  std::vector<float> sums(std::size_t(steps.lanes));
  const auto unit = unit_of(*order, Format::bf16);
  return ordered_product(steps.steps, unit ? &*unit : nullptr, a, b, sums.data());
}

TEST(ProductOrder, OneChain) {
  EXPECT_EQ(value("fma", 100), chain(0, 100));
}

TEST(ProductOrder, SlicesMeetAscending) {
  EXPECT_EQ(value("fma+slice:40", 100), (chain(0, 40) + chain(40, 80)) + chain(80, 100));
  EXPECT_NE(value("fma+slice:40", 100), chain(0, 100));
}

TEST(ProductOrder, ThreeLanesInHalvesSkipTheAbsentFourth) {
  EXPECT_EQ(value("fma+slice:40+meet:halves", 100),
            (chain(0, 40) + chain(80, 100)) + chain(40, 80));
}

TEST(ProductOrder, DealtTilesGoToTheLanesInTurn) {
  // Tiles of 8: lane 0 has 0, 2, …, lane 1 has 1, 3, …; each is one chain.
  float lane[2] = {0, 0};
  for (std::int64_t i = 0; i < 100; ++i) {
    lane[i / 8 % 2] = std::fma(a(i), b(i), lane[i / 8 % 2]);
  }
  EXPECT_EQ(value("fma+deal:8+lanes:2", 100), lane[0] + lane[1]);
}

TEST(ProductOrder, MoreLanesThanTilesAreThoseThatHaveColumns) {
  EXPECT_EQ(value("fma+deal:8+lanes:9", 20), (chain(0, 8) + chain(8, 16)) + chain(16, 20));
}

TEST(ProductOrder, BlocksOfDealtLanesAreAddedLaneByLane) {
  float sum = 0;
  for (std::int64_t lane = 0; lane < 16; ++lane) {
    float of_lane = 0;
    for (std::int64_t block = 0; block < 600; block += 256) {
      const float part = chain(block + lane, std::min<std::int64_t>(block + 256, 600), 16);
      of_lane = block == 0 ? part : of_lane + part;
    }
    sum = lane == 0 ? of_lane : sum + of_lane;
  }
  EXPECT_EQ(value("fma+deal:1+lanes:16+block:256", 600), sum);
  EXPECT_NE(value("fma+deal:1+lanes:16", 600), sum);
}

TEST(ProductOrder, PairedLanesMeetInTheLast) {
  const auto lane = [](std::int64_t i) { return chain(20 * i, 20 * i + 20); };
  EXPECT_EQ(value("fma+slice:20+meet:paired", 60), (lane(2) + lane(0)) + lane(1));
  EXPECT_EQ(value("fma+slice:20+meet:paired", 80), (lane(3) + (lane(0) + lane(2))) + lane(1));
  EXPECT_EQ(
      value("fma+slice:20+meet:paired", 160),
      (((lane(7) + (lane(0) + lane(4))) + (lane(1) + lane(5))) + (lane(2) + lane(6))) + lane(3));
}

TEST(ProductOrder, AChainBeginsAnewEveryBlock) {
  EXPECT_EQ(value("fma+block:32", 80), (chain(0, 32) + chain(32, 64)) + chain(64, 80));
  EXPECT_EQ(value("fma+slice:64+block:32", 80), (chain(0, 32) + chain(32, 64)) + chain(64, 80));
  EXPECT_EQ(value("fma+slice:80+block:32", 140),
            ((chain(0, 32) + chain(32, 64)) + chain(64, 80)) + (chain(80, 112) + chain(112, 140)));
  // As libraries promote 8-bit sums.
  const auto x = [](std::int64_t i) { return round_to(Format::e4m3, a(i)); };
  const auto y = [](std::int64_t i) { return round_to(Format::e4m3, b(i)); };
  const auto unit = unit_of(*parse_product_order("sm90+block:128"), Format::e4m3);
  ASSERT_TRUE(unit);
  EXPECT_EQ(unit->kept, 13);
  const ProductSteps steps = product_steps(*parse_product_order("sm90+block:128"), 300);
  std::vector<float> sums(std::size_t(steps.lanes));
  EXPECT_EQ(ordered_product(steps.steps, &*unit, x, y, sums.data()),
            (tensor_chain(*unit, x, y, 0, 128) + tensor_chain(*unit, x, y, 128, 256)) +
                tensor_chain(*unit, x, y, 256, 300));
}

TEST(ProductOrder, OperandsAreTakenAsTf32) {
  using Operands = ProductOrder::Operands;
  const float half = 1.0F + 0x1p-11F, above = 1.0F + 0x1p-11F + 0x1p-23F;
  EXPECT_EQ(taken(Operands::exact, half), half);
  EXPECT_EQ(taken(Operands::tf32, half), 1.0F);  // to the even one
  EXPECT_EQ(taken(Operands::tf32_away, half), 1.0F + 0x1p-10F);
  EXPECT_EQ(taken(Operands::tf32_away, -half), -1.0F - 0x1p-10F);
  EXPECT_EQ(taken(Operands::tf32, above), 1.0F + 0x1p-10F);
  EXPECT_EQ(taken(Operands::tf32_away, 1.0F + 0x1p-12F), 1.0F);
  EXPECT_TRUE(std::isnan(taken(Operands::tf32_away, std::nanf(""))));
  EXPECT_TRUE(std::isinf(taken(Operands::tf32_away, HUGE_VALF)));
  // What rounds is a tensor core, and its unit is that of tf32.
  const auto order = parse_product_order("sm90+operands:tf32-away");
  ASSERT_TRUE(order);
  EXPECT_EQ(unit_of(*order, Format::f32), tensor_unit(TensorCore::sm90, Format::tf32));
  EXPECT_FALSE(unit_of(*order, Format::bf16));
  EXPECT_FALSE(unit_of(*parse_product_order("sm90"), Format::f32));
  EXPECT_FALSE(parse_product_order("fma+operands:tf32"));
  EXPECT_FALSE(parse_product_order("sm90+tile:64+block:40"));
  EXPECT_FALSE(parse_product_order("sm90+operands:tf33"));
}

TEST(ProductOrder, NestedLanesMeetInNeighboursThenHalvesThenFours) {
  // 256 lanes: neighbours, then 128 in halves.
  const auto group = [](std::int64_t begin, std::int64_t end, std::int64_t every) {
    std::vector<float> sums;
    for (std::int64_t i = begin; i < begin + 256; i += 2) {
      float pair = 0;
      if (i < end) pair = chain(i, end, every);
      if (i + 1 < end) pair = pair + chain(i + 1, end, every);
      sums.push_back(pair);
    }
    for (std::size_t half = 64; half >= 1; half /= 2) {
      for (std::size_t i = 0; i < half; ++i) sums[i] = sums[i] + sums[i + half];
    }
    return sums[0];
  };
  EXPECT_EQ(value("fma+deal:1+lanes:8192+meet:nested", 200), group(0, 200, 8192));
  // 1,500 columns: six groups, the first and the fifth meet first.
  const auto sum = [&](std::int64_t i) { return group(256 * i, 1500, 8192); };
  EXPECT_EQ(value("fma+deal:1+lanes:8192+meet:nested", 1500),
            (((sum(0) + sum(4)) + (sum(1) + sum(5))) + sum(2)) + sum(3));
  // 512 lanes: columns 512 later go on in their lanes.
  EXPECT_EQ(value("fma+deal:1+lanes:512+meet:nested", 1500),
            group(0, 1500, 512) + group(256, 1500, 512));
}

TEST(ProductOrder, LanesOfASliceMeetBeforeTheSlices) {
  const auto slice = [](std::int64_t begin) {
    return chain(begin, begin + 50, 2) + chain(begin + 1, begin + 50, 2);
  };
  EXPECT_EQ(value("fma+slice:50+deal:1+lanes:2", 150), (slice(0) + slice(50)) + slice(100));
}

TEST(ProductOrder, WhatIsNoWholeTileComesFirst) {
  const auto unit = *tensor_unit(TensorCore::sm90, Format::bf16);
  const auto x = [](std::int64_t i) { return round_to(Format::bf16, a(i)); };
  const auto y = [](std::int64_t i) { return round_to(Format::bf16, b(i)); };
  // 75 = 11 + 2 * 32: a group of 11, then four of 16.
  float c = 0;
  for (const auto& [begin, n] : {std::pair{0, 11}, {11, 16}, {27, 16}, {43, 16}, {59, 16}}) {
    const int first = begin;
    c = tensor_group(
        unit, [&](int i) { return x(first + i); }, [&](int i) { return y(first + i); }, n, c);
  }
  const auto value_of = [&](const char* text, std::int64_t k) {
    float sum = 0;
    const ProductSteps steps = product_steps(*parse_product_order(text), k);
    return ordered_product(steps.steps, &unit, x, y, &sum);
  };
  EXPECT_EQ(value_of("sm90+tile:32", 75), c);
  int differing = 0;
  for (std::int64_t k = 65; k < 96; ++k) {
    differing += value_of("sm90", k) != value_of("sm90+tile:32", k) ? 1 : 0;
  }
  EXPECT_GT(differing, 3);
  EXPECT_EQ(value_of("sm90+tile:32", 64), value_of("sm90", 64));
}

TEST(ProductOrder, GroupsOfATensorCoreChainWithinASlice) {
  const auto bf16 = [](float x) { return round_to(Format::bf16, x); };
  const auto x = [&](std::int64_t i) { return bf16(a(i)); };
  const auto y = [&](std::int64_t i) { return bf16(b(i)); };
  const auto unit = *tensor_unit(TensorCore::sm90, Format::bf16);
  const auto order = parse_product_order("sm90+slice:64");
  ASSERT_TRUE(order);
  const ProductSteps steps = product_steps(*order, 150);
  std::vector<float> sums(std::size_t(steps.lanes));
  const float got = ordered_product(steps.steps, &unit, x, y, sums.data());
  EXPECT_EQ(got, (tensor_chain(unit, x, y, 0, 64) + tensor_chain(unit, x, y, 64, 128)) +
                     tensor_chain(unit, x, y, 128, 150));
  const auto halved = unit_of(*parse_product_order("sm90+group:8"), Format::bf16);
  ASSERT_TRUE(halved);
  EXPECT_EQ(halved->group, 8);
  EXPECT_EQ(halved->fraction, unit.fraction);
}

TEST(ProductOrder, WaysToMeetDiffer) {
  // Of 40 sums some must differ, or the tests above could not fail.
  const auto differing = [](const char* one, const char* other) {
    int count = 0;
    for (std::int64_t k = 100; k < 140; ++k) count += value(one, k) != value(other, k) ? 1 : 0;
    return count;
  };
  EXPECT_GT(differing("fma+slice:20", "fma+slice:20+meet:halves"), 5);
  EXPECT_GT(differing("fma+slice:20", "fma+slice:20+meet:paired"), 5);
  EXPECT_GT(differing("fma+slice:20+meet:halves", "fma+slice:20+meet:paired"), 5);
}

TEST(ProductOrder, NothingIsZero) {
  float sum = 7;
  EXPECT_EQ(ordered_product({}, nullptr, a, b, &sum), 0.0F);
}

TEST(ProductOrder, TextsReadBack) {
  for (const char* text : {"fma", "sm90", "sm80+slice:1408", "sm90+group:8+slice:64+meet:halves",
                           "fma+deal:8+lanes:9", "fma+deal:1+lanes:16+block:256"}) {
    const auto order = parse_product_order(text);
    ASSERT_TRUE(order) << text;
    EXPECT_EQ(text_of(*order), text);
  }
}

TEST(ProductOrder, WrongTextsAreRefused) {
  for (const auto& [text, says] :
       {std::pair{"sm91", "begins with fma or a tensor core"},
        std::pair{"fma+slise:4", "did you mean \"slice\""},
        std::pair{"fma+slice:4+slice:8", "given twice"}, std::pair{"fma+slice:0", "slice"},
        std::pair{"fma+lanes:4", "dealt"}, std::pair{"sm90+deal:8+lanes:2", "not dealt"},
        std::pair{"fma+group:8", "tensor core's"}, std::pair{"fma+tile:8", "tensor core's"},
        std::pair{"", "begins with fma"}}) {
    const auto order = parse_product_order(text);
    ASSERT_FALSE(order) << text;
    EXPECT_NE(order.error().message.find(says), std::string::npos) << order.error().message;
  }
}

constexpr const char* kBook =
    "isobit products 1\n"
    "key engine cublas\n"
    "key variant NVIDIA H200\n"
    "fp32 576 1536 1 fma+deal:1+lanes:32+meet:halves proved 2 136\n"
    "bf16 576 1536 1..32 sm90+slice:512 proved 4 272\n"
    "bf16 576 1536 33..64 sm90 forecast\n"
    "bf16 576 1536 65 sm90 open 12 136  # a tile of its own\n";

TEST(ProductBook, FindsTheLineOfAProduct) {
  const auto book = parse_product_book(kBook, "b");
  ASSERT_TRUE(book) << book.error().text();
  EXPECT_EQ(book->keys.at("variant"), "NVIDIA H200");
  const auto order = [&](Format operand, std::int64_t rows) {
    const ProductLine* line = book->find(operand, 576, 1536, rows);
    return line == nullptr ? "none" : text_of(line->order);
  };
  EXPECT_EQ(order(Format::bf16, 1), "sm90+slice:512");
  EXPECT_EQ(order(Format::bf16, 32), "sm90+slice:512");
  EXPECT_EQ(order(Format::bf16, 33), "sm90");
  EXPECT_EQ(order(Format::bf16, 66), "none");
  EXPECT_EQ(order(Format::f32, 1), "fma+deal:1+lanes:32+meet:halves");
  EXPECT_EQ(order(Format::f32, 2), "none");
  EXPECT_EQ(book->find(Format::bf16, 577, 1536, 1), nullptr);
}

TEST(ProductBook, ReadsBackWhatItWrote) {
  const auto book = parse_product_book(kBook, "b");
  ASSERT_TRUE(book);
  const auto again = parse_product_book(text_of(*book), "b");
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(again->lines, book->lines);
  EXPECT_EQ(again->keys, book->keys);
}

TEST(ProductBook, SaysTheLineOfAMistake) {
  const std::string head = "isobit products 1\nkey engine cublas\n";
  for (const auto& [line, says] :
       {std::pair{"bf16 576 1536 1..32 sm90", "a line is PRECISION"},
        std::pair{"bf15 576 1536 1..32 sm90 forecast", "unknown precision \"bf15\""},
        std::pair{"bf16 0 1536 1 sm90 forecast", "above 0"},
        std::pair{"bf16 576 1536 9..8 sm90 forecast", "M is n or n..m"},
        std::pair{"bf16 576 1536 1 sm91 forecast", "tensor core"},
        std::pair{"bf16 576 1536 1 sm70 forecast", "sm70 has no tensor core for bf16"},
        std::pair{"fp32 576 99999 1 fma+slice:1 forecast", "at most 8192 lanes"},
        std::pair{"bf16 576 1536 1 sm90 proven 1 1", "did you mean \"proved\""},
        std::pair{"bf16 576 1536 1 sm90 proved 0 0", "two whole numbers"},
        std::pair{"bf16 576 1536 1 sm90 forecast 3", "nothing follows"},
        std::pair{"key engine openblas", "given twice"}}) {
    const auto book = parse_product_book(head + line + "\n", "b");
    ASSERT_FALSE(book) << line;
    EXPECT_EQ(book.error().place, "b:3") << line;
    EXPECT_NE(book.error().message.find(says), std::string::npos) << book.error().message;
  }
  EXPECT_FALSE(parse_product_book("", "b"));
  EXPECT_FALSE(parse_product_book(head, "b"));
  EXPECT_FALSE(parse_product_book("isobit schedules 1\n", "b"));
}

TEST(ProductBook, TwoLinesForOneProductAreRefused) {
  const auto book = parse_product_book(
      "isobit products 1\nbf16 8 8 1..5 sm90 forecast\nbf16 8 8 5..9 sm90 forecast\n", "b");
  ASSERT_FALSE(book);
  EXPECT_NE(book.error().message.find("two lines speak of one product: bf16 8 8 5..9"),
            std::string::npos)
      << book.error().message;
}

constexpr const char* kAttention =
    "attention bf16 9:3 64 causal 1..8 2..128 2..128 cudnn:sm90 proved 4 2304\n"
    "attention bf16 9:3 64 free 1..8 1 65..8192 cudnn:sm80:64 forecast\n";

TEST(ProductBook, HasLinesAboutAttention) {
  // Anywhere between the products; written behind them, sorted.
  const std::string lines = kAttention, second = lines.substr(lines.find('\n') + 1);
  const std::string first = lines.substr(0, lines.find('\n') + 1);
  std::string text = kBook;
  text.insert(text.find("fp32"), second.substr(0, second.size() - 1) + "  # later\n");
  const auto book = parse_product_book(text + first, "b");
  ASSERT_TRUE(book) << book.error().text();
  ASSERT_EQ(book->attention.size(), 2U);
  EXPECT_EQ(book->lines, parse_product_book(kBook, "b")->lines);
  EXPECT_TRUE(text_of(*book).ends_with(second + first)) << text_of(*book);
  const auto again = parse_product_book(text_of(*book), "b");
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(again->attention, book->attention);
  EXPECT_EQ(again->lines, book->lines);
  const AttentionLine* found =
      find_attention(book->attention, Format::bf16, {8, 9, 3, 1, 8192, 64, FusedMask::free});
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->choice.block, 64);
}

TEST(ProductBook, SaysWhatIsWrongWithAttention) {
  const auto wrong = parse_product_book(
      std::string(kBook) + "attention bf16 9:3 64 free 1 1 1 fa4 forecast\n", "b");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().place, "b:8");
  EXPECT_NE(wrong.error().message.find("unknown kernel \"fa4\""), std::string::npos);
  const auto twice = parse_product_book(std::string(kBook) + kAttention + kAttention, "b");
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().place, "b");
  EXPECT_NE(twice.error().message.find("two lines speak of one call: attention bf16 9:3 64"),
            std::string::npos);
  // A word that only begins so is a product's, and a book without products has no line.
  const auto other = parse_product_book(std::string(kBook) + "attentions 1\n", "b");
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("a line is PRECISION"), std::string::npos);
  EXPECT_FALSE(parse_product_book(std::string("isobit products 1\n") + kAttention, "b"));
}

}  // namespace
}  // namespace isobit
