// Texts of schedules and their books: what is read is written back, and what is wrong is named.
#include "runtime/numerics/schedule_text.h"

#include <gtest/gtest.h>

#include "tests/fakes/folder.h"

namespace isobit {
namespace {

TEST(ScheduleText, ReadsBackAsItself) {
  for (const char* text :
       {"split_k:1", "split_k:64", "split_k:3+slice:64", "split_k:2+combine:tree+out:bf16+slice:1",
        "split_k:4+out:fp16", "by_rows:(1:(split_k:4+slice:64))",
        "by_rows:(1:(split_k:4)+17:(split_k:2+out:bf16)+64:(split_k:1))"}) {
    const auto book = parse_schedules(text, "");
    ASSERT_TRUE(book.has_value()) << text << ": " << book.error().message;
    EXPECT_EQ((*book)->text, text);
  }
  // Defaults are left out, and the order is ours.
  EXPECT_EQ((*parse_schedules("out:fp32+slice:8+combine:ascending+split_k:2", ""))->text,
            "split_k:2");
}

TEST(ScheduleText, NamesWhatIsWrong) {
  const std::pair<const char*, const char*> wrong[] = {
      {"slice:8", "a schedule needs split_k"},
      {"split_k:0", "option split_k of gemm is a whole number from 1 to 64"},
      {"split_k:65", "option split_k of gemm is a whole number from 1 to 64"},
      {"split_k:2+slice:0", "option slice of gemm is a whole number from 1 to 65536"},
      {"split_k:2+out:bf32", "option out of gemm cannot be \"bf32\""},
      {"split_k:2+combine:up", "option combine of gemm cannot be \"up\""},
      {"split_k:2+split_k:3", "option \"split_k\" of gemm is given twice"},
      {"split_k:2+splice:8", "unknown option \"splice\" of a schedule; did you mean \"slice\"?"},
      {"by_rows:(2:(split_k:4))", "the rows of by_rows ascend from 1"},
      {"by_rows:(1:(split_k:4)+1:(split_k:2))", "the rows of by_rows ascend from 1"},
      {"by_rows:(one:(split_k:4))", "by_rows maps a number of rows"},
      {"by_rows:(1:(split_k:4))+slice:8", "by_rows stands alone"},
      {"by_rows:", "by_rows maps a number of rows"},
      {"book:a b", "a schedule book's name has letters"},
      {"book:", "a schedule book's name has letters"}};
  for (const auto& [text, why] : wrong) {
    const auto book = parse_schedules(text, "");
    ASSERT_FALSE(book.has_value()) << text;
    EXPECT_NE(book.error().message.find(why), std::string::npos)
        << text << ": " << book.error().message;
  }
}

TEST(ScheduleText, SlicesCoverK) {
  for (const std::int64_t k : {1, 7, 8, 63, 64, 576, 577, 1536, 4099}) {
    for (const int split : {1, 2, 3, 4, 6, 64}) {
      for (const int slice : {1, 8, 64}) {
        GemmSchedule s;
        s.split_k = split, s.slice = slice;
        const std::int64_t n = s.slices(k), length = s.slice_length(k);
        EXPECT_EQ(length % slice, 0);
        EXPECT_LE(n, split);
        EXPECT_GE(n * length, k);
        EXPECT_LT((n - 1) * length, k);
      }
    }
  }
  GemmSchedule h100;  // what cuBLAS does for N = 1024, K = 4096 and few rows (numerics.md)
  h100.split_k = 3, h100.slice = 64;
  EXPECT_EQ(h100.slice_length(4096), 1408);
}

constexpr const char* kBook = R"(isobit schedules 1
# few rows are cut

576 576 1..32 split_k:3+slice:64   # decode
576 *   33..  split_k:2
* 1536 7 split_k:4
* * * split_k:1+out:bf16
)";

TEST(ScheduleBooks, TheFirstLineThatFitsDecides) {
  auto lines = parse_schedule_lines(kBook, "b");
  ASSERT_TRUE(lines.has_value()) << lines.error().text();
  const ScheduleBook book{"b", *lines};
  EXPECT_TRUE(book.by_rows());
  const auto found = [&](std::int64_t n, std::int64_t k, std::int64_t m) {
    return text_of(*book.find(n, k, m));
  };
  EXPECT_EQ(found(576, 576, 1), "split_k:3+slice:64");
  EXPECT_EQ(found(576, 576, 32), "split_k:3+slice:64");
  EXPECT_EQ(found(576, 576, 33), "split_k:2");
  EXPECT_EQ(found(576, 1536, 33), "split_k:2");
  EXPECT_EQ(found(100, 1536, 7), "split_k:4");
  EXPECT_EQ(found(100, 1536, 8), "split_k:1+out:bf16");
  EXPECT_EQ((ScheduleBook{"b", {lines->front()}}).find(576, 577, 1), nullptr);
}

TEST(ScheduleBooks, AreNamedByTheirContent) {
  const fakes::Folder folder;
  folder.write("h200.book", kBook);
  auto book = parse_schedules("book:h200.book", folder.path());
  ASSERT_TRUE(book.has_value()) << book.error().message;
  EXPECT_EQ((*book)->text.size(), std::string("book:h200.book@").size() + 16);
  // Its text finds it again, without the file.
  auto again = parse_schedules((*book)->text, "");
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(*again, *book);
  folder.write("h200.book", std::string(kBook) + "# more\n");
  auto other = parse_schedules("book:h200.book", folder.path());
  ASSERT_TRUE(other.has_value());
  EXPECT_NE((*other)->text, (*book)->text);
}

TEST(ScheduleBooks, NameTheLineThatIsWrong) {
  const std::pair<const char*, const char*> wrong[] = {
      {"", "the schedule book has no line"},
      {"isobit schedules 1\n", "the schedule book has no line"},
      {"schedules\n", "b:1"},
      {"isobit schedules 2\n* * * split_k:1\n", "b:1"},
      {"isobit schedules 1\n\n* * split_k:1\n", "b:3"},
      {"isobit schedules 1\n* * * split_k:1 more\n", "b:2"},
      {"isobit schedules 1\n0 * * split_k:1\n", "b:2"},
      {"isobit schedules 1\n* * 5..4 split_k:1\n", "b:2"},
      {"isobit schedules 1\n* * ..4 split_k:1\n", "b:2"},
      {"isobit schedules 1\n* * 0 split_k:1\n", "b:2"},
      {"isobit schedules 1\n* * * split_k:99\n", "b:2"}};
  for (const auto& [text, place] : wrong) {
    const auto lines = parse_schedule_lines(text, "b");
    ASSERT_FALSE(lines.has_value()) << text;
    EXPECT_NE(lines.error().text().find(place), std::string::npos) << lines.error().text();
  }
  EXPECT_FALSE(parse_schedules("book:missing.book", "/nonexistent").has_value());
}

}  // namespace
}  // namespace isobit
