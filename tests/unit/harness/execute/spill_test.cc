// Spilled rows whose index does not fit them: an error, never a read outside the file.
#include "harness/execute/spill.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string>

#include "tests/fakes/folder.h"

namespace isobit {
namespace {

void spill(const std::string& path) {
  SpillWriter writer(path);
  const std::array<float, 4> row{0.5F, 2.0F, -1.0F, 0.0F};
  writer.add(0, 7, std::as_bytes(std::span(row)));
  writer.add(0, 8, std::as_bytes(std::span(row)));
  ASSERT_TRUE(writer.finish());
}

TEST(Spill, AnIndexThatLeavesTheFileIsAnError) {
  const fakes::Folder folder;
  const std::string a = folder.file("a"), b = folder.file("b");
  spill(a);
  spill(b);
  const auto equal = compare_spills(a, b, false);
  ASSERT_TRUE(equal) << equal.error().text();
  EXPECT_EQ(equal->tokens, 2);
  EXPECT_EQ(equal->equal_tokens, 2);
  for (const char* index :
       {"0 7 0 13 0 -1\n", "0 7 0 13 -4 16\n", "0 7 0 13 24 16\n", "0 7 0 13 33 0\n",
        "0 7 0 13 0 9223372036854775807\n", "0 7 0 13 9223372036854775807 16\n"}) {
    folder.write("b.index", index);
    const auto compared = compare_spills(a, b, false);
    ASSERT_FALSE(compared) << index;
    EXPECT_NE(compared.error().message.find("a spill file is short"), std::string::npos);
  }
}

TEST(Spill, InnerRowsLieBesideTheLogitsAndAreNotTakenForThem) {
  const fakes::Folder folder;
  const std::string path = folder.file("a");
  SpillWriter writer(path);
  const std::array<float, 2> row{0.5F, 2.0F}, inner{3.0F, 4.0F};
  writer.add({1, 5, 2, Site::h2}, std::as_bytes(std::span(inner)));
  writer.add(1, 5, std::as_bytes(std::span(row)));
  ASSERT_TRUE(writer.finish());
  const auto index = read_spill_index(path);
  ASSERT_TRUE(index);
  ASSERT_EQ(index->size(), 2U);
  EXPECT_EQ((*index)[0].key.site, Site::logits);  // of layer 0
  EXPECT_EQ((*index)[1].key, (ValueKey{1, 5, 2, Site::h2}));
  EXPECT_EQ(compare_spills(path, path, false)->tokens, 1);
  folder.write("a.index", "1 5 2 99 0 8\n");
  EXPECT_FALSE(read_spill_index(path));
}

TEST(Spill, AFullDiskIsToldWithItsCause) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full";
  const fakes::Folder folder;
  std::filesystem::create_symlink("/dev/full", folder.file("a"));
  SpillWriter writer(folder.file("a"));
  const std::vector<float> row(100000);
  writer.add(0, 1, std::as_bytes(std::span(row)));
  EXPECT_FALSE(writer.finish());
  EXPECT_NE(writer.problem().find("No space left"), std::string::npos) << writer.problem();
}

}  // namespace
}  // namespace isobit
