// Tests of the pre-tokenizers: pieces by hand, and every code point against digests of what
// Hugging Face tokenizers gives (tokenizer_vectors.inc).
#include "runtime/tokenizer/pretokenize.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "runtime/tokenizer/spec.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

#include "tests/unit/runtime/tokenizer/tokenizer_vectors.inc"

using Pieces = std::vector<std::string>;

constexpr SplitRule kAllRules[] = {SplitRule::gpt2,          SplitRule::llama3,
                                   SplitRule::qwen2,         SplitRule::digits_each,
                                   SplitRule::digits_runs,   SplitRule::number_runs,
                                   SplitRule::digit_triples, SplitRule::punctuation_runs};

Pieces cut(SplitRule rule, std::string_view text) {
  std::vector<std::string_view> views;
  split(rule, text, views);
  return Pieces(views.begin(), views.end());
}

std::string utf8(std::uint32_t code) {
  const auto byte = [](std::uint32_t value) { return static_cast<char>(value); };
  if (code < 0x80) return {byte(code)};
  if (code < 0x800) return {byte(0xc0 | code >> 6), byte(0x80 | (code & 0x3f))};
  const char last = byte(0x80 | (code & 0x3f));
  const char middle = byte(0x80 | (code >> 6 & 0x3f));
  if (code < 0x10000) return {byte(0xe0 | code >> 12), middle, last};
  return {byte(0xf0 | code >> 18), byte(0x80 | (code >> 12 & 0x3f)), middle, last};
}

TEST(PretokenizeTest, Gpt2CutsAsItsRegularExpression) {
  EXPECT_EQ(cut(SplitRule::gpt2, "I'm  here, 12 3!"),
            (Pieces{"I", "'m", " ", " here", ",", " 12", " 3", "!"}));
  EXPECT_EQ(cut(SplitRule::gpt2, "I'M"), (Pieces{"I", "'", "M"}));
  EXPECT_EQ(cut(SplitRule::gpt2, "a \n\n b"), (Pieces{"a", " \n\n", " b"}));
  EXPECT_EQ(cut(SplitRule::gpt2, "a\nb"), (Pieces{"a", "\n", "b"}));
  EXPECT_EQ(cut(SplitRule::gpt2, "a  "), (Pieces{"a", "  "}));
  EXPECT_EQ(cut(SplitRule::gpt2, "e\u0301"), (Pieces{"e", "\u0301"}));
}

TEST(PretokenizeTest, LlamaCutsAsItsRegularExpression) {
  EXPECT_EQ(cut(SplitRule::llama3, "I'LL 12345!\n\n x"),
            (Pieces{"I", "'LL", " ", "123", "45", "!\n\n", " x"}));
  EXPECT_EQ(cut(SplitRule::llama3, "'\u017fa"), (Pieces{"'\u017f", "a"}));
  EXPECT_EQ(cut(SplitRule::llama3, "a \n \n  b"), (Pieces{"a", " \n \n", " ", " b"}));
  EXPECT_EQ(cut(SplitRule::llama3, "\tx(y"), (Pieces{"\tx", "(y"}));
  EXPECT_EQ(cut(SplitRule::qwen2, "12"), (Pieces{"1", "2"}));
}

TEST(PretokenizeTest, IsolatingRulesKeepWhatTheyDoNotMatch) {
  EXPECT_EQ(cut(SplitRule::digits_each, "ab12c"), (Pieces{"ab", "1", "2", "c"}));
  EXPECT_EQ(cut(SplitRule::digits_runs, "ab12c"), (Pieces{"ab", "12", "c"}));
  EXPECT_EQ(cut(SplitRule::digit_triples, "12345678"), (Pieces{"123", "456", "78"}));
  EXPECT_EQ(cut(SplitRule::punctuation_runs, "a+b::c"), (Pieces{"a", "+", "b", "::", "c"}));
}

TEST(PretokenizeTestWide, EveryCodePointCutsAsHuggingFace) {
  constexpr std::uint64_t kPrime = 0x100000001b3;
  std::vector<std::string_view> pieces;
  for (const SplitRule rule : kAllRules) {
    std::uint64_t digest = 0xcbf29ce484222325;
    for (std::uint32_t code = 0; code < 0x110000; ++code) {
      if (code >= 0xd800 && code <= 0xdfff) continue;
      const std::string c = utf8(code);
      const std::string text = "a" + c + "b 1" + c + "2 " + c + " " + c + c + "\n";
      pieces.clear();
      split(rule, text, pieces);
      std::uint64_t end = 0;
      for (const std::string_view piece : pieces) {
        end += piece.size();
        digest = (digest ^ end) * kPrime;
      }
    }
    bool known = false;
    for (const RuleDigest& want : kRuleDigests) {
      if (want.rule != std::string(name_of(rule))) continue;
      EXPECT_EQ(digest, want.digest) << want.rule;
      known = true;
    }
    EXPECT_TRUE(known) << name_of(rule);
  }
}

TEST(NormalizeTest, KnownForms) {
  EXPECT_EQ(normalize_nfc("e\u0301 \u212b A\u030a"), "\u00e9 \u00c5 \u00c5");
  EXPECT_EQ(normalize_nfc("q\u0307\u0323"), "q\u0323\u0307");  // ordered by class
  EXPECT_EQ(normalize_nfc("\u1112\u1161\u11ab"), "\ud55c");
  EXPECT_EQ(normalize_nfc("\u0344 \u0958"), "\u0308\u0301 \u0915\u093c");  // never composed
  EXPECT_EQ(normalize_nfc("e\xff\u0301\xcc"), "e\xff\u0301\xcc");
  EXPECT_EQ(normalize_nfc(""), "");
}

TEST(NormalizeTestWide, EveryCodePointNormalizesAsHuggingFace) {
  std::uint64_t digest = 0xcbf29ce484222325;
  for (std::uint32_t code = 0; code < 0x110000; ++code) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const std::string c = utf8(code);
    const std::string text =
        normalize_nfc(c + "a" + c + "\u0301\u0327" + c + "\u1100" + c + "\u1161" + c + "\u11a8");
    for (std::size_t at = 0; at < text.size();) {
      const Char next = char_at(text, at);
      digest = (digest ^ next.code) * 0x100000001b3;
      at += next.bytes;
    }
  }
  const RuleDigest& want = *std::prev(std::end(kRuleDigests));
  EXPECT_STREQ(want.rule, "nfc");
  EXPECT_EQ(digest, want.digest);
}

TEST(PretokenizeTest, AnyBytesAreCutWithoutLoss) {
  std::uint32_t state = 1;
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int at = 0; at < 24; ++at) {
      state = state * 1664525 + 1013904223;
      const std::uint32_t high = state >> 24;
      text += round % 2 == 0 ? static_cast<char>(high) : "a 1'\n\xc3\xa9\xf0"[high % 8];
    }
    for (const SplitRule rule : kAllRules) {
      std::string joined;
      for (const std::string& piece : cut(rule, text)) {
        EXPECT_FALSE(piece.empty());
        joined += piece;
      }
      EXPECT_EQ(joined, text) << name_of(rule);
    }
  }
}

TEST(PretokenizeTest, RegularExpressionsAreRecognisedExactly) {
  const SplitRule* rule = split_rule_of_regex(
      "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+");
  ASSERT_NE(rule, nullptr);
  EXPECT_EQ(*rule, SplitRule::gpt2);
  EXPECT_EQ(split_rule_of_regex("\\s+"), nullptr);
  EXPECT_EQ(split_rule_of_regex(""), nullptr);
}

TEST(UnicodeTablesTest, ClassesAndVersion) {
  EXPECT_STREQ(kUnicodeVersion, "16.0.0");
  EXPECT_EQ(char_class('a'), kLetter | kLower | kWord);
  EXPECT_EQ(char_class('A'), kLetter | kUpper | kWord);
  EXPECT_EQ(char_class(0x1c5), kLetter | kUpper | kWord);  // a title case letter
  EXPECT_EQ(char_class('7'), kNumber | kDigitsNumber | kWord);
  EXPECT_EQ(char_class(0xb2), kNumber | kDigitsNumber);  // a superscript is in no word
  EXPECT_EQ(char_class(0x301), kMark | kWord);
  EXPECT_EQ(char_class('$'), kPunctuationStep);
  EXPECT_EQ(char_class(0x2e43), kPunctuation);  // newer than the Punctuation step
  EXPECT_EQ(char_class(0x85), kSpace);
  EXPECT_EQ(char_class(0x1c), 0);
  EXPECT_EQ(char_class('!'), kPunctuation | kPunctuationStep);
  EXPECT_EQ(char_class(0x11de0), kDigitsNumber);  // a number since Unicode 17 only
  EXPECT_EQ(char_class(0x10ffff), 0);
  EXPECT_EQ(char_class(0x110000), 0);
  EXPECT_EQ(char_class(kInvalidByte), 0);
}

TEST(UnicodeTablesTest, ReaderTakesExactlyValidUtf8) {
  for (std::uint32_t code = 0; code < 0x110000; ++code) {
    const Char c = char_at(utf8(code), 0);
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    ASSERT_EQ(c.code, surrogate ? kInvalidByte : code);
    ASSERT_EQ(c.bytes, surrogate ? 1 : utf8(code).size());
  }
  for (const char* bad : {"\x80", "\xc0\x80", "\xe0\x80\x80", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xff", "\xe2\x82", "\xf0\x9f\x98", "\xc3("}) {
    EXPECT_EQ(char_at(bad, 0).code, kInvalidByte) << bad;
    EXPECT_EQ(char_at(bad, 0).bytes, 1U);
  }
}

}  // namespace
}  // namespace isobit
