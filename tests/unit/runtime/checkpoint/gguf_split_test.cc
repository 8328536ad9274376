// GGUF version 2, and a model that is split into several files.
#include <gtest/gtest.h>

#include "tests/unit/runtime/checkpoint/load_test_files.h"

namespace isobit {
namespace {

using namespace test_files;  // NOLINT: helpers of these tests

/// Version 2 has the same layout.
TEST(Gguf, ReadsVersion2) {
  GgufMaker maker = tiny_gguf(false);
  maker.version = 2;
  const std::string file = maker.build();
  const Result<GgufFile> read = read_gguf(as_bytes(file), "m.gguf");
  ASSERT_TRUE(read.has_value()) << error_of(read);
  EXPECT_EQ(read->weights.all().size(), tiny_tensors(false).size());
}

/// The model in three parts, as llama.cpp's gguf-split writes them: all metadata in the first.
std::vector<std::string> tiny_parts(int tensors = int(tiny_tensors(true).size())) {
  const GgufMaker whole = tiny_gguf(true);
  std::vector<std::string> files;
  for (std::uint16_t no = 0; no < 3; ++no) {
    GgufMaker part;
    if (no == 0) part.entries = whole.entries;
    part.number("split.no", 2, no);
    part.number("split.count", 2, std::uint16_t{3});
    part.number("split.tensors.count", 5, tensors);
    for (std::size_t i = 0; i < whole.records.size(); ++i) {
      const GgufMaker::Record& r = whole.records[i];
      if (i % 3 != no) continue;
      std::uint64_t size = 4;
      for (const std::uint64_t extent : r.dims) size *= extent;
      part.tensor(r.name, r.dims, r.type, whole.data.substr(r.offset, size));
    }
    files.push_back(part.build());
  }
  return files;
}

Result<GgufFile> read_parts(const std::vector<std::string>& files) {
  std::vector<GgufPart> parts;
  for (std::size_t i = 0; i < files.size(); ++i) {
    parts.push_back({as_bytes(files[i]), "part" + std::to_string(i + 1)});
  }
  return read_gguf_parts(parts);
}

TEST(Gguf, ReadsASplitModel) {
  const std::vector<std::string> files = tiny_parts();
  const Result<GgufFile> split = read_parts(files);
  ASSERT_TRUE(split.has_value()) << error_of(split);
  const std::string file = tiny_gguf(true).build();
  const Result<GgufFile> whole = read_gguf(as_bytes(file), "m.gguf");
  ASSERT_TRUE(whole.has_value()) << error_of(whole);
  ASSERT_EQ(split->weights.all().size(), whole->weights.all().size());
  for (const auto& [name, tensor] : whole->weights.all()) {
    EXPECT_EQ(all_bits(*split->weights.find(name)), all_bits(tensor)) << name;
  }
}

TEST(Gguf, RefusesABadSplit) {
  const std::vector<std::string> files = tiny_parts();
  const auto expect = [](const std::vector<std::string>& parts, const std::string& what) {
    const std::string text = error_of(read_parts(parts));
    EXPECT_NE(text.find(what), std::string::npos) << text;
  };
  expect({files[1]}, "part1: the file says that it is one of 3 parts, not of 1");
  expect({files[0], files[2], files[1]},
         "part2: the file says that it is part 3, but its place among the files is 2");
  expect(tiny_parts(12), "part1: split.tensors.count is 12 but the 3 files have 11 tensors");
  GgufMaker twice;
  twice.number("split.no", 2, std::uint16_t{1});
  twice.number("split.count", 2, std::uint16_t{2});
  twice.tensor("output_norm.weight", {kHidden}, 0, std::string(kHidden * 4, '\0'));
  GgufMaker first = tiny_gguf(true);
  first.number("split.count", 2, std::uint16_t{2});
  expect({first.build(), twice.build()},
         "part2: tensor \"output_norm.weight\" is in another file of this model too");
  GgufMaker odd = tiny_gguf(true);
  odd.number("split.count", 6, 2.0F);
  expect({odd.build()}, "split.count is 2; it must be a count");
  GgufMaker negative = tiny_gguf(true);
  negative.number("split.no", 5, -1);
  expect({negative.build()}, "split.no is -1; it must be a count");
}

}  // namespace
}  // namespace isobit
