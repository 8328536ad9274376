// .npy headers: every version that NumPy writes, and every way in which a file can be wrong.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "harness/import/rows.h"
#include "runtime/numerics/bits.h"

namespace isobit {
namespace {

constexpr const char* kGood = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n";

std::string npy(const std::string& header, const std::string& data, int version = 1) {
  std::string out = "\x93NUMPY";
  out += char(version);
  out += '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) out += char(header.size() >> (8 * i) & 0xFF);
  return out + header + data;
}

template <class T>
std::string bytes_of_values(const std::vector<T>& values) {
  std::string out(values.size() * sizeof(T), '\0');
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

Result<RowTable> read(const std::string& file) {
  return read_npy(std::as_bytes(std::span(file)), "x.npy");
}

void expect_error(const std::string& file, const std::string& text) {
  const auto table = read(file);
  ASSERT_FALSE(table) << text;
  EXPECT_EQ(table.error().text().substr(0, text.size()), text) << table.error().text();
}

TEST(Npy, ReadsEveryVersionAndType) {
  const std::string six = bytes_of_values<float>({1, 2, 3, -0.0F, 5, 6});
  for (const int version : {1, 2, 3}) {
    const std::string file = npy(kGood, six, version);
    const auto table = read(file);
    ASSERT_TRUE(table) << table.error().text();
    EXPECT_EQ(table->type, RowType::f32);
    EXPECT_EQ(table->rows, 2);
    EXPECT_EQ(table->cols, 3);
    std::vector<float> row;
    read_row(*table, 1, row);
    EXPECT_EQ(bits_of(row[0]), 0x80000000U) << "the sign of zero stays";
    EXPECT_EQ(row[2], 6.0F);
  }
  const std::string wide = npy("{\"shape\":(1,2),\"descr\":\"<f8\",\"fortran_order\":False}\n",
                               bytes_of_values<double>({0.1, std::nan("7")}));
  const auto table = read(wide);
  ASSERT_TRUE(table) << table.error().text();
  std::vector<double> row;
  read_row(*table, 0, row);
  EXPECT_EQ(row[0], 0.1);
  EXPECT_EQ(bits_of(row[1]), 0x7FF8000000000000U) << "a NaN is made canonical";
}

TEST(Npy, WidensHalfPrecisionExactly) {
  const std::string file = npy("{'descr': '<f2', 'fortran_order': False, 'shape': (1, 4)}\n",
                               bytes_of_values<std::uint16_t>({0x3C00, 0x0001, 0xFBFF, 0xFE00}));
  const auto table = read(file);
  ASSERT_TRUE(table) << table.error().text();
  std::vector<float> row;
  read_row(*table, 0, row);
  EXPECT_EQ(row[0], 1.0F);
  EXPECT_EQ(row[1], 0x1p-24F);
  EXPECT_EQ(row[2], -65504.0F);
  EXPECT_EQ(bits_of(row[3]), 0x7FC00000U);
}

TEST(Npy, NamesTheByteOfWhatIsWrong) {
  expect_error("", "x.npy: byte 0: the file ends inside its first 8 bytes");
  expect_error(std::string("\x93NUMPY\x01\x00\x10", 9),
               "x.npy: byte 9: the file ends inside the length of its header");
  expect_error("PK\x03\x04 an .npz", "x.npy: byte 0: the file does not begin with");
  expect_error(npy(kGood, "", 4), "x.npy: byte 6: format 4.0 is not known");
  expect_error(std::string("\x93NUMPY\x01\x00\x10\x00{", 11),
               "x.npy: byte 11: the file ends inside its header");
  expect_error(std::string("\x93NUMPY\x02\x00\xFF\xFF\xFF\x7F{", 13),
               "x.npy: byte 8: a header of 2147483647 bytes");
  const std::string data(24, 'x');
  expect_error(npy(kGood, data.substr(1)), "x.npy: byte 72: shape and type need 24 bytes, 23");
  expect_error(npy(kGood, data + "x"), "x.npy: byte 72: shape and type need 24 bytes, 25");
}

TEST(Npy, ReadsNoOtherArray) {
  const auto header = [](const std::string& type, const std::string& order,
                         const std::string& shape) {
    return npy("{'descr': " + type + ", 'fortran_order': " + order + ", 'shape': " + shape + "}\n",
               "");
  };
  expect_error(header("'>f4'", "False", "(2, 3)"), "x.npy: byte 20: descr is \">f4\"; rows are");
  expect_error(header("'<i4'", "False", "(2, 3)"), "x.npy: byte 20: descr is \"<i4\"; rows are");
  expect_error(header("[('a', '<f4')]", "False", "(2, 3)"),
               "x.npy: byte 20: descr is no simple type");
  expect_error(header("'<f4'", "True", "(2, 3)"),
               "x.npy: byte 44: the array is in Fortran order; numpy.ascontiguousarray()");
  expect_error(header("'<f4'", "0", "(2, 3)"), "x.npy: byte 44: fortran_order must be");
  expect_error(header("'<f4'", "False", "(3,)"), "x.npy: byte 60: the array has 1 dimensions");
  expect_error(header("'<f4'", "False", "()"), "x.npy: byte 60: the array has 0 dimensions");
  expect_error(header("'<f4'", "False", "(1, 2, 3)"), "x.npy: byte 60: the array has 3 dimensions");
  expect_error(header("'<f4'", "False", "(-1, 3)"), "x.npy: byte 61: a size from 0 to 2^48");
  expect_error(header("'<f4'", "False", "(99999999999999999999, 3)"),
               "x.npy: byte 61: a size from 0 to 2^48");
  expect_error(header("'<f4'", "False", "(4294967296, 4294967296)"),
               "x.npy: byte 60: the array has more than 2^48 elements");
  expect_error(header("'<f4'", "False", "[2, 3]"), "x.npy: byte 60: shape must be a tuple");
}

TEST(Npy, ReadsNoOtherDictionary) {
  expect_error(npy("[]\n", ""), "x.npy: byte 10: a dictionary was expected");
  expect_error(npy("{'descr': '<f4', 'descr': '<f4'}\n", ""),
               "x.npy: byte 27: key \"descr\" stands twice");
  expect_error(npy("{'descr': '<f4', 'order': 1}\n", ""), "x.npy: byte 27: unknown key \"order\"");
  expect_error(npy("{'descr': '<f4'}\n", ""), "x.npy: byte 26: the header needs descr");
  expect_error(npy("{'descr': '<f4' 'shape': (1, 1)}\n", ""), "x.npy: byte 26: ',' or '}'");
  expect_error(npy("{'descr': '<f4'", ""), "x.npy: byte 25: ',' or '}'");
  expect_error(npy("{'descr", ""), "x.npy: byte 11: 'KEY': was expected");
  const std::string good = kGood;
  expect_error(npy(good.substr(0, good.size() - 1), ""),
               "x.npy: byte 71: the header must end in spaces and one line end");
  expect_error(npy(good + good, ""), "x.npy: byte 71: the header must end in spaces");
}

}  // namespace
}  // namespace isobit
