#include "runtime/base/text.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace isobit::text {
namespace {

using std::string_literals::operator""s;

TEST(Text, LinesKeepTheirEndsAndNothingElseThatATerminalObeys) {
  EXPECT_EQ(printable_lines("a\x1b\n\u061c\u2066\xff\u0085\n"),
            "a\\x1b\n\\u{061c}\\u{2066}\\xff\\u{0085}\n");
  EXPECT_TRUE(is_printable("a ü…"));
  for (const char* text : {"\n", "\x1b", "\u0085", "\u061c", "\u202e", "\xff"}) {
    EXPECT_FALSE(is_printable(text)) << quoted(text);
  }
  EXPECT_EQ(xml("\u202e\u061c"), "\\u{202e}\\u{061c}");
}

TEST(Text, KeepsValidUtf8AndEscapesTheRest) {
  EXPECT_EQ(valid_utf8("aé→😀"), "aé→😀");
  EXPECT_EQ(valid_utf8("\xF0\x9F\x98"), "\\xf0\\x9f\\x98");                      // a cut emoji
  EXPECT_EQ(valid_utf8("\xC0\xAF|\xE0\x80\xAF"), "\\xc0\\xaf|\\xe0\\x80\\xaf");  // overlong
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), "\\xed\\xa0\\x80");                      // surrogate
  EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");             // above U+10FFFF
  EXPECT_EQ(valid_utf8("\xFF"
                       "a\x80"),
            "\\xffa\\x80");
  EXPECT_EQ(valid_utf8("a\0b"s), "a\0b"s);
}

TEST(Text, PrintableHasNoControlCharacter) {
  EXPECT_EQ(printable("a\n\t\r\x1b[31m\x7f"), "a\\n\\t\\r\\x1b[31m\\x7f");
  EXPECT_EQ(printable("\0"s), "\\x00");
  EXPECT_EQ(printable("a\u202eb\ufeff\u0085"), "a\\u{202e}b\\u{feff}\\u{0085}");
  EXPECT_EQ(quoted("say \"hi\"\\"), "\"say \\\"hi\\\"\\\\\"");
}

TEST(Text, TruncatesByCodePoint) {
  EXPECT_EQ(truncate("äöü", 3), "äöü");
  EXPECT_EQ(truncate("äöüß", 3), "äö…");
  EXPECT_EQ(truncate("abc", 1), "…");
  EXPECT_EQ(truncate("abc", 0), "");
  EXPECT_EQ(printable("😀😀😀😀", 2), "😀…");
  EXPECT_EQ(length("äöü😀"), 4u);
}

TEST(Text, XmlHoldsNothingThatXmlForbids) {
  EXPECT_EQ(xml("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
  EXPECT_EQ(xml("\n\t\r"), "&#10;&#9;&#13;");
  EXPECT_EQ(xml("\0\x01\x1b\x7f"s), "\\x00\\x01\\x1b\\u{007f}");
  EXPECT_EQ(xml("\xEF\xBF\xBE\xEF\xBF\xBF"), "\\u{fffe}\\u{ffff}");
  EXPECT_EQ(xml("\xFE"), "\\xfe");
  EXPECT_EQ(xml("]]>"), "]]&gt;");
}

TEST(Text, MarkdownIsInert) {
  EXPECT_EQ(markdown("a|b<c>&`*_[x]\n"), "a\\|b&lt;c&gt;&amp;\\`\\*\\_\\[x\\]\\n");
  EXPECT_EQ(markdown_code("a|b"), "`a\\|b`");
  EXPECT_EQ(markdown_code("a`b"), "`` a`b ``");
}

TEST(Text, CountsAndTimes) {
  EXPECT_EQ(count(0), "0");
  EXPECT_EQ(count(999), "999");
  EXPECT_EQ(count(1000), "1,000");
  EXPECT_EQ(count(-1234567), "-1,234,567");
  EXPECT_EQ(count(1, "cell"), "1 cell");
  EXPECT_EQ(count(2, "cell"), "2 cells");
  EXPECT_EQ(duration(0.123), "0.12 s");
  EXPECT_EQ(duration(12.34), "12.3 s");
  EXPECT_EQ(duration(59.96), "1:00");
  EXPECT_EQ(duration(3725), "1:02:05");
  EXPECT_EQ(duration(-1), "?");
  EXPECT_EQ(duration(std::numeric_limits<double>::quiet_NaN()), "?");
  EXPECT_EQ(with_bits(0.125), "0.125 (0x1p-3)");
}

}  // namespace
}  // namespace isobit::text
