// Lines of a book about attention: their text, what is wrong with one, and which speaks of a call.
#include "runtime/numerics/attention_book.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace isobit {
namespace {

constexpr const char* kLine =
    "attention bf16 9:3 64 free 1..8 1 33..256 cudnn:sm80:64 proved 12 6912";

AttentionLine line(const std::string& text) {
  const auto parsed = parse_attention_line(text);
  EXPECT_TRUE(parsed) << text << ": " << (parsed ? "" : parsed.error().text());
  return parsed ? *parsed : AttentionLine{};
}

TEST(AttentionBook, EveryPartOfALineIsRead) {
  const AttentionLine read = line(kLine);
  EXPECT_EQ(read.format, Format::bf16);
  EXPECT_EQ(std::tuple(read.heads, read.kv_heads, read.head_dim), std::tuple(9, 3, 64));
  EXPECT_EQ(read.mask, FusedMask::free);
  EXPECT_EQ(read.batch, (BookRange{1, 8}));
  EXPECT_EQ(read.queries, (BookRange{1, 1}));
  EXPECT_EQ(read.keys, (BookRange{33, 256}));
  EXPECT_EQ(read.choice, (FusedChoice{FusedKernel::cudnn_sm80, 64}));
  EXPECT_EQ(read.evidence, BookEvidence::proved);
  EXPECT_EQ(std::pair(read.calls, read.outputs), std::pair(std::int64_t(12), std::int64_t(6912)));
}

TEST(AttentionBook, LinesReadBack) {
  for (const char* text :
       {kLine, "attention fp16 1:1 256 causal 1 2..8192 2..8192 fa2 forecast",
        "attention bf16 32:8 128 left 2..64 1..4096 1..4096 cudnn:sm90 open 0 64",
        "attention bf16 4:4 8 free 1 1 1..32 cudnn:sm80:32 proved 1 1",
        "attention fp16 16:16 96 left 65536 1 1..16777216 efficient open 40 64"}) {
    EXPECT_EQ(line_text(line(text)), std::string(text) + "\n");
  }
}

TEST(AttentionBook, KernelsHaveNames) {
  for (const char* name : {"fa2", "cudnn:sm90", "cudnn:sm80:32", "cudnn:sm80:64", "efficient"}) {
    const auto choice = parse_fused_choice(name);
    ASSERT_TRUE(choice) << name;
    EXPECT_EQ(text_of(*choice), name);
  }
  EXPECT_EQ(text_of(FusedChoice{}), "none");
  EXPECT_FALSE(parse_fused_choice("none"));
  const auto wrong = parse_fused_choice("cudnn:sm80:128");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("unknown kernel \"cudnn:sm80:128\""), std::string::npos);
  EXPECT_NE(wrong.error().message.find("known: fa2, cudnn:sm90"), std::string::npos)
      << wrong.error().message;
  EXPECT_NE(parse_fused_choice("fa3").error().message.find("did you mean \"fa2\""),
            std::string::npos);
  EXPECT_EQ(name_of_mask(FusedMask::left), "left");
}

TEST(AttentionBook, SaysWhatIsWrong) {
  struct Mistake {
    const char *from, *to, *says;
  };
  const std::string form = "a line is attention PRECISION HEADS:KV_HEADS D MASK BATCH QUERIES KEYS";
  const std::string heads = "heads are HEADS:KV_HEADS, the second divides the first";
  const std::string width = "a head's width is a multiple of 8, 256 at most";
  const std::string ranges = "batch, queries and keys are n or n..m";
  for (const Mistake& wrong : {
           Mistake{"attention ", "attentions ", form.c_str()},
           {" cudnn:sm80:64 proved 12 6912", "", form.c_str()},
           {"bf16", "fp32", "fused attention is in bf16 or fp16, not \"fp32\""},
           {"9:3", "9", heads.c_str()},
           {"9:3", "9:2", heads.c_str()},
           {"9:3", "0:3", heads.c_str()},
           {"9:3", "9:0", heads.c_str()},
           {"9:3", "3:9", heads.c_str()},
           {" 64 ", " 60 ", width.c_str()},
           {" 64 ", " 264 ", width.c_str()},
           {" 64 ", " 0 ", width.c_str()},
           {"free", "fre", "unknown mask \"fre\"; did you mean \"free\""},
           {"free", "right-hand", "unknown mask \"right-hand\"; known: free, causal, left"},
           {"1..8", "8..1", ranges.c_str()},
           {"1..8", "8..8", ranges.c_str()},
           {"1..8", "0", ranges.c_str()},
           {"1..8 1", "1..8 1..", ranges.c_str()},
           {"33..256", "33-256", ranges.c_str()},
           {"33..256", "33..16777217", ranges.c_str()},
           {"cudnn:sm80:64", "cudnn:sm90:64", "unknown kernel \"cudnn:sm90:64\""},
           {"proved", "proven", "unknown evidence \"proven\"; did you mean \"proved\""},
           {"proved 12 6912", "", "unknown evidence \"\""},
           {"proved 12 6912", "forecast 12", "nothing follows forecast"},
           {"12 6912", "12", "proved is followed by two whole numbers"},
           {"12 6912", "0 6912", "proved is followed by two whole numbers"},
           {"12 6912", "12 6912 3", "proved is followed by two whole numbers"},
           {"proved 12", "open -1", "open is followed by two whole numbers"},
       }) {
    std::string text = kLine;
    const std::size_t at = text.find(wrong.from);
    ASSERT_NE(at, std::string::npos) << wrong.from;
    text.replace(at, std::string(wrong.from).size(), wrong.to);
    const auto parsed = parse_attention_line(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_NE(parsed.error().message.find(wrong.says), std::string::npos)
        << text << ": " << parsed.error().message;
  }
}

TEST(AttentionBook, TwoLinesMayNotSpeakOfOneCall) {
  const std::string free = "attention bf16 4:4 64 free ", end = " fa2 forecast";
  const auto both = [&](const std::string& a, const std::string& b) {
    std::vector<AttentionLine> lines = {line(a), line(b)};
    const auto ordered = order_attention(lines);
    return ordered ? "" : ordered.error().message;
  };
  const std::string one = free + "1..8 1 33..64" + end;
  EXPECT_EQ(both(one, free + "1..8 1 65..99" + end), "");
  EXPECT_EQ(both(one, free + "9..12 1 33..64" + end), "");
  EXPECT_EQ(both(one, free + "1..8 2..4 33..64" + end), "");
  for (const char* other : {"attention fp16 4:4 64 free 1..8 1 33..64 fa2 forecast",
                            "attention bf16 8:4 64 free 1..8 1 33..64 fa2 forecast",
                            "attention bf16 4:2 64 free 1..8 1 33..64 fa2 forecast",
                            "attention bf16 4:4 72 free 1..8 1 33..64 fa2 forecast",
                            "attention bf16 4:4 64 left 1..8 1 33..64 cudnn:sm90 forecast"}) {
    EXPECT_EQ(both(one, other), "") << other;
  }
  // The later one is named, whatever the order, the kernel and the evidence.
  for (const std::string& other :
       {free + "8..9 1 64..99 fa2 forecast", free + "8..9 1 64..99 efficient open 1 2"}) {
    const std::string says = "two lines speak of one call: " + other;
    EXPECT_EQ(both(one, other), says);
    EXPECT_EQ(both(other, one), says);
  }
  EXPECT_EQ(both(one, one), "two lines speak of one call: " + one);
}

TEST(AttentionBook, HasALimitedNumberOfLines) {
  std::vector<AttentionLine> lines;
  for (int i = 0; i < 4097; ++i) {
    lines.push_back(line(kLine));
    lines.back().batch = {i + 1, i + 1};
  }
  const auto ordered = order_attention(lines);
  ASSERT_FALSE(ordered);
  EXPECT_EQ(ordered.error().message, "a book has at most 4096 lines about attention");
}

TEST(AttentionBook, ACallHasItsLine) {
  std::vector<AttentionLine> lines = {
      line("attention bf16 4:4 64 free 1..8 1 65..256 cudnn:sm80:64 proved 1 1"),
      line("attention bf16 4:4 64 free 1..8 1 1..64 cudnn:sm80:32 proved 1 1"),
      line("attention bf16 4:4 64 causal 1..8 2..256 2..256 cudnn:sm90 proved 1 1"),
      line("attention fp16 4:4 64 free 1..8 1 1..256 fa2 proved 1 1")};
  ASSERT_TRUE(order_attention(lines));
  EXPECT_TRUE(std::is_sorted(lines.begin(), lines.end(), [](const auto& a, const auto& b) {
    return std::tuple(a.format, a.mask, a.keys) < std::tuple(b.format, b.mask, b.keys);
  }));
  const FusedShape shape{3, 4, 4, 1, 64, 64, FusedMask::free};
  const auto found = [&](const FusedShape& of, Format format = Format::bf16) {
    const AttentionLine* at = find_attention(lines, format, of);
    return at == nullptr ? "" : text_of(at->choice);
  };
  EXPECT_EQ(found(shape), "cudnn:sm80:32");
  EXPECT_EQ(found(shape, Format::fp16), "fa2");
  const auto with = [&](auto member, auto value) {
    FusedShape changed = shape;
    changed.*member = value;
    return found(changed);
  };
  EXPECT_EQ(with(&FusedShape::keys, 65), "cudnn:sm80:64");
  EXPECT_EQ(with(&FusedShape::keys, 257), "");
  EXPECT_EQ(with(&FusedShape::batch, 8), "cudnn:sm80:32");
  EXPECT_EQ(with(&FusedShape::batch, 9), "");
  EXPECT_EQ(with(&FusedShape::queries, 2), "");
  EXPECT_EQ(with(&FusedShape::heads, 8), "");
  EXPECT_EQ(with(&FusedShape::kv_heads, 2), "");
  EXPECT_EQ(with(&FusedShape::head_dim, 72), "");
  EXPECT_EQ(with(&FusedShape::mask, FusedMask::left), "");
  EXPECT_EQ(found({1, 4, 4, 64, 64, 64, FusedMask::causal}), "cudnn:sm90");
}

}  // namespace
}  // namespace isobit
