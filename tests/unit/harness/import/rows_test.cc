// Files of rows by their kinds: one table for all prompts, or a tensor for each.
#include "harness/import/rows.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/fakes/folder.h"

namespace isobit {
namespace {

std::string safetensors(const std::string& header, const std::string& data) {
  std::string out(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(out.data(), &length, sizeof length);
  return out + header + data;
}

std::string error_of(const Result<RowTable>& table) {
  return table ? "" : table.error().text();
}

TEST(RowFile, FindsThePromptsTensor) {
  const fakes::Folder folder;
  const std::string path = folder.write(
      "r.safetensors",
      safetensors(R"({"p1": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]},)"
                  R"("p2": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},)"
                  R"("p3": {"dtype": "I32", "shape": [1, 2], "data_offsets": [16, 24]},)"
                  R"("p4": {"dtype": "F8_E4M3", "shape": [1, 2], "data_offsets": [24, 26]}})",
                  std::string("\x80\x3f\x01\x00\x00\x80\xff\xff", 8) + std::string(18, '\0')));
  const auto file = RowFile::open(path);
  ASSERT_TRUE(file) << file.error().text();
  const auto table = file->of_prompt("p1");
  ASSERT_TRUE(table) << table.error().text();
  EXPECT_EQ(table->rows, 2);
  std::vector<float> row;
  read_row(*table, 0, row);
  EXPECT_EQ(row, (std::vector<float>{1.0F, 0x1p-133F}));
  EXPECT_NE(error_of(file->of_prompt("p2")).find("has 1 dimensions"), std::string::npos);
  EXPECT_NE(error_of(file->of_prompt("p3")).find("is I32; rows are F16"), std::string::npos);
  EXPECT_NE(error_of(file->of_prompt("p4")).find("is F8_E4M3; rows are F16"), std::string::npos);
  EXPECT_NE(error_of(file->of_prompt("p11")).find("no tensor named after prompt \"p11\"; did you"),
            std::string::npos)
      << error_of(file->of_prompt("p11"));
}

TEST(RowFile, RefusesWhatItCannotRead) {
  const fakes::Folder folder;
  for (const char* name : {"r.npz", "r", "r.pt"}) {
    const auto file = RowFile::open(folder.write(name, "x"));
    ASSERT_FALSE(file) << name;
    EXPECT_EQ(file.error().message, "rows are in a .npy or a .safetensors file");
  }
  EXPECT_FALSE(RowFile::open(folder.file("absent.npy")));
  EXPECT_FALSE(RowFile::open(folder.write("short.npy", "")));
  EXPECT_FALSE(RowFile::open(folder.write("short.safetensors", "")));
}

}  // namespace
}  // namespace isobit
