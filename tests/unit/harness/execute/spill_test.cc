// Spilled rows whose index does not fit them: an error, never a read outside the file.
#include "harness/execute/spill.h"

#include <gtest/gtest.h>

#include <array>
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
  for (const char* index : {"0 7 0 -1\n", "0 7 -4 16\n", "0 7 24 16\n", "0 7 33 0\n",
                            "0 7 0 9223372036854775807\n", "0 7 9223372036854775807 16\n"}) {
    folder.write("b.index", index);
    const auto compared = compare_spills(a, b, false);
    ASSERT_FALSE(compared) << index;
    EXPECT_NE(compared.error().message.find("a spill file is short"), std::string::npos);
  }
}

}  // namespace
}  // namespace isobit
