// Numbers that people write, and words for a shell.
#include "runtime/base/words.h"

#include <gtest/gtest.h>

namespace isobit {
namespace {

TEST(Words, IntegersHaveOneReading) {
  std::int64_t out = 7;
  for (const char* text : {"010", "00", "-01", "+3", "1e3", " 3", "3 ", "0x4", "1_000", "", "-"}) {
    EXPECT_FALSE(parse_integer(text, INT64_MIN, INT64_MAX, out)) << text;
  }
  EXPECT_EQ(out, 7);
  EXPECT_TRUE(parse_integer("0", 0, 9, out));
  EXPECT_TRUE(parse_integer("-10", -10, 9, out));
  EXPECT_EQ(out, -10);
  EXPECT_FALSE(parse_integer("10", 0, 9, out));
}

TEST(Words, SaysWhatANumberWasMeantToBe) {
  EXPECT_EQ(number_hint("010"), "; write 10, or 8 if it is octal");
  EXPECT_EQ(number_hint("08"), "; write 8");
  EXPECT_EQ(number_hint("007"), "; write 7");
  EXPECT_EQ(number_hint("1e3"), "; write 1000");
  EXPECT_EQ(number_hint("3.0"), "; write 3");
  EXPECT_EQ(number_hint("0x1F"), "; write 31");
  EXPECT_EQ(number_hint("0o17"), "; write 15");
  EXPECT_EQ(number_hint("1_000"), "; write 1000");
  EXPECT_EQ(number_hint("+3"), "; write 3");
  for (const char* text : {"3", "bf16", "", "1e400", "nan", "inf", "2.5", "0x", "0xzz", "_"}) {
    EXPECT_EQ(number_hint(text), "") << text;
  }
}

TEST(Words, AreOnePrintableLine) {
  EXPECT_EQ(in_quotes("a\x1b[31m\n\u202e"), "\"a\\x1b[31m\\n\\u{202e}\"");
  EXPECT_EQ(shell_line({"isobit", "a b", "it's"}), "isobit 'a b' 'it'\\''s'");
  EXPECT_EQ(shell_line({"a\x1b'\\\u202e"}), "$'a\\x1b\\'\\\\\\xe2\\x80\\xae'");
}

}  // namespace
}  // namespace isobit
