// safetensors: every way in which a file can be wrong, and the few in which it is right.
#include <gtest/gtest.h>

#include "tests/unit/runtime/checkpoint/load_test_files.h"

namespace isobit {
namespace {

using namespace test_files;  // NOLINT: helpers of these tests

std::string read_error(const std::string& file) {
  Weights weights;
  return error_of(read_safetensors(as_bytes(file), "m", weights));
}

void expect_error(const std::string& file, const std::string& part) {
  const std::string text = read_error(file);
  EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

/// A file with one entry "a" and eight bytes of data.
std::string one(const std::string& entry) {
  return safetensors("{\"a\": " + entry + "}", "12345678");
}

TEST(Safetensors, ReadsTypesShapesAndMetadata) {
  std::string data;
  put(data, 1.5);
  put(data, 2.5F);
  data += std::string("\x00\x3c\x80\x3f\x38\x3c", 6);
  const std::string file = safetensors(
      R"({"__metadata__": {"format": "pt"},
          "e5": {"dtype": "F8_E5M2", "shape": [1, 1, 1], "data_offsets": [17, 18]},
          "d": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
          "f": {"dtype": "F32", "shape": [], "data_offsets": [8, 12]},
          "h": {"dtype": "F16", "shape": [1, 1], "data_offsets": [12, 14]},
          "none": {"dtype": "F16", "shape": [3, 0], "data_offsets": [14, 14]},
          "b": {"dtype": "BF16", "shape": [1], "data_offsets": [14, 16]},
          "e4": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [16, 17]}}   )",
      data);
  Weights weights;
  const Result<void> read = read_safetensors(as_bytes(file), "m", weights);
  ASSERT_TRUE(read.has_value()) << error_of(read);
  EXPECT_EQ(weights.all().size(), 7u);
  EXPECT_EQ(all_bits(*weights.find("d")), std::vector<std::uint32_t>{bits(1.5F)});
  EXPECT_EQ(all_bits(*weights.find("f")), std::vector<std::uint32_t>{bits(2.5F)});
  for (const char* name : {"h", "b", "e4", "e5"}) {
    EXPECT_EQ(all_bits(*weights.find(name)), std::vector<std::uint32_t>{bits(1.0F)}) << name;
  }
  EXPECT_EQ(weights.find("none")->rows, 3);
  EXPECT_EQ(weights.find("none")->cols, 0);
  EXPECT_TRUE(weights.find("f")->shape.empty());
  EXPECT_EQ(weights.find("e5")->shape, (std::vector<std::int64_t>{1, 1, 1}));
}

TEST(Safetensors, TruncatedAndHugeHeaders) {
  expect_error("", "m: byte 0: the file ends inside the 8 bytes of the header length");
  expect_error("1234567", "m: byte 7: the file ends inside");
  std::string huge;
  put(huge, std::uint64_t{100'000'001});
  expect_error(huge + "{}", "m: byte 0: header length 100000001 is above the format's limit");
  std::string overflow;
  put(overflow, ~std::uint64_t{0});
  expect_error(overflow + "{}", "header length 18446744073709551615 is above");
  std::string longer;
  put(longer, std::uint64_t{3});
  expect_error(longer + "{}", "m: byte 10: the file ends inside its header of 3 bytes");
  expect_error(safetensors("", ""), "m: byte 8: the header must begin with '{'");
  expect_error(safetensors(" {}", ""), "m: byte 8: the header must begin with '{'");
  expect_error(safetensors("{\"a\": ", ""), "m: byte 14: invalid JSON");
  expect_error(safetensors("{\"a\": 1, \"a\": 2}", ""), "m: byte 17: duplicate key \"a\"");
  expect_error(safetensors("{} {}", ""), "m: byte 11: invalid JSON");
}

TEST(Safetensors, RefusesBadEntries) {
  const auto entry = [](const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
    return one("{\"dtype\": " + dtype + ", \"shape\": " + shape + ", \"data_offsets\": " + offsets +
               "}");
  };
  EXPECT_EQ(read_error(entry("\"F32\"", "[2]", "[0, 8]")), "no error");
  expect_error(one("7"), "m: byte 9: tensor \"a\": must be an object");
  expect_error(one("{\"dtype\": \"F32\", \"shape\": [2]}"), "needs dtype, shape and data_offsets");
  expect_error(one(R"({"dtype": "F32", "shape": [2], "data_offsets": [0, 8], "x": 1})"),
               "tensor \"a\": unknown key \"x\"");
  expect_error(entry("4", "[2]", "[0, 8]"), "tensor \"a\": dtype must be a string");
  for (const char* dtype : {"F8_E4M3FNUZ", "f32", "Q4_1", "F4"}) {
    expect_error(entry(std::string("\"") + dtype + "\"", "[2]", "[0, 8]"),
                 std::string("tensor \"a\": dtype \"") + dtype + "\" is not supported");
  }
  for (const char* shape :
       {"2", "[-1]", "[2.0]", "[\"2\"]", "[[2]]", "[1,1,1,1,1,1,1,1,2]", "[4294967296, 4294967296]",
        "[9223372036854775807, 2]", "[18446744073709551615]"}) {
    expect_error(entry("\"F32\"", shape, "[0, 8]"), "tensor \"a\": shape must be a list");
  }
  for (const char* offsets : {"8", "[0]", "[0, 8, 8]", "[-8, 0]", "[0.0, 8]", "[\"0\", 8]"}) {
    expect_error(entry("\"F32\"", "[2]", offsets),
                 "data_offsets must be two non-negative integers");
  }
  expect_error(entry("\"F32\"", "[2]", "[8, 0]"), "data_offsets run backwards: 8 to 0");
  expect_error(entry("\"F8_E4M3\"", "[9]", "[0, 9]"),
               "data_offsets 0 to 9 leave the file's 8 bytes");
  expect_error(entry("\"F32\"", "[4]", "[0, 16]"), "leave the file's 8 bytes of data; is the file");
  expect_error(entry("\"F32\"", "[2]", "[18446744073709551608, 18446744073709551615]"),
               "leave the");
  expect_error(entry("\"F32\"", "[1]", "[0, 8]"), "hold 8 bytes but dtype and shape need 4");
  expect_error(safetensors(R"({"__metadata__": {"a": 1}})", ""), "__metadata__ must map strings");
  expect_error(safetensors(R"({"__metadata__": []})", ""), "__metadata__ must map strings");
}

/// What is no number is placed and measured like everything else, and kept apart.
TEST(Safetensors, OtherTypesAreKeptApart) {
  const std::string header = R"({"ids": {"dtype": "I64", "shape": [1, 2], "data_offsets": [0, 16]},
    "mask": {"dtype": "BOOL", "shape": [3], "data_offsets": [16, 19]}})";
  const std::string file = safetensors(header, std::string(19, '\1'));
  Weights weights;
  ASSERT_TRUE(read_safetensors(as_bytes(file), "m", weights).has_value());
  EXPECT_TRUE(weights.all().empty());
  ASSERT_EQ(weights.opaque().size(), 2u);
  const OpaqueTensor& ids = weights.opaque().at("ids");
  EXPECT_EQ(ids.type, "I64");
  EXPECT_EQ(ids.shape, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(ids.bytes, 16u);
  EXPECT_EQ(ids.place, "m: byte 9");
  expect_error(safetensors(R"({"a": {"dtype": "I64", "shape": [2], "data_offsets": [0, 8]}})",
                           std::string(8, '0')),
               "hold 8 bytes but dtype and shape need 16");
}

TEST(Safetensors, MetadataMayBeNull) {
  EXPECT_EQ(read_error(safetensors(R"({"__metadata__": null})", "")), "no error");
}

TEST(Safetensors, TensorsTileTheData) {
  const auto two = [](const std::string& a, const std::string& b, const std::string& data) {
    return safetensors(
        "{\"a\": {\"dtype\": \"F8_E4M3\", " + a + "}, \"b\": {\"dtype\": \"F8_E4M3\", " + b + "}}",
        data);
  };
  const std::string first = R"("shape": [2], "data_offsets": [0, 2])";
  EXPECT_EQ(read_error(two(first, R"("shape": [2], "data_offsets": [2, 4])", "1234")), "no error");
  expect_error(two(first, R"("shape": [2], "data_offsets": [1, 3])", "123"),
               "tensor \"b\" overlaps tensor \"a\"");
  expect_error(two(first, first, "12"), "tensor \"b\" overlaps tensor \"a\"");
  expect_error(two(first, R"("shape": [1], "data_offsets": [3, 4])", "1234"),
               "a hole of 1 bytes lies before tensor \"b\"");
  expect_error(two(first, R"("shape": [1], "data_offsets": [2, 3])", "1234"),
               "1 bytes after the last tensor belong to none");
  expect_error(safetensors("{}", "x"), "m: byte 10: 1 bytes after the last tensor");
}

TEST(Safetensors, NamesInTwoFilesAreRefused) {
  const std::string file = one(R"({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]})");
  Weights weights;
  ASSERT_TRUE(read_safetensors(as_bytes(file), "m1", weights).has_value());
  EXPECT_NE(error_of(read_safetensors(as_bytes(file), "m2", weights))
                .find("m2: tensor \"a\" is in another file of this model too"),
            std::string::npos);
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const std::string file = tiny_safetensors(tiny_tensors(false));
  EXPECT_EQ(read_error(file), "no error");
  for (std::size_t size = 0; size < file.size(); size += size < 3000 ? 1 : 97) {
    Weights weights;
    ASSERT_FALSE(read_safetensors(as_bytes(file).first(size), "m", weights).has_value()) << size;
    ASSERT_TRUE(weights.all().empty());
  }
}

}  // namespace
}  // namespace isobit
