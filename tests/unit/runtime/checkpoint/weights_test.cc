// The fp32 value of every stored element of every tensor type, against hand-computed bits.
#include "runtime/checkpoint/weights.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "tests/fakes/folder.h"
#include "tests/unit/runtime/checkpoint/load_test_files.h"

namespace isobit {
namespace {

using namespace test_files;  // NOLINT: helpers of these tests

Tensor tensor_of(TensorType type, std::int64_t rows, std::int64_t cols, const std::string& data) {
  Tensor tensor;
  tensor.name = "t";
  tensor.type = type;
  tensor.rows = rows;
  tensor.cols = cols;
  tensor.shape = {rows, cols};
  tensor.bytes = as_bytes(data);
  return tensor;
}

template <class T>
std::string packed(const std::vector<T>& values) {
  std::string out;
  for (const T value : values) put(out, value);
  return out;
}

using Bits = std::vector<std::uint32_t>;

TEST(Values, F32AreTheStoredBits) {
  const Bits stored = {0x3f800000, 0x80000000, 0x7fa00001, 0x00000001, 0xff800000};
  const std::string data = packed(stored);
  EXPECT_EQ(all_bits(tensor_of(TensorType::f32, 1, 5, data)), stored);
}

TEST(Values, F64RoundToNearestEven) {
  const std::string data = packed<double>(
      {1.0 + 0x1p-24, 1.0 + 0x1.8p-23, 1.0 + 0x1.000002p-24, 1e300, -1e-60, 0x1p-149, 0x1p-150});
  EXPECT_EQ(all_bits(tensor_of(TensorType::f64, 1, 7, data)),
            (Bits{0x3f800000, 0x3f800002, 0x3f800001, 0x7f800000, 0x80000000, 1, 0}));
}

TEST(Values, Bf16AreTheUpperHalf) {
  const std::string data = packed<std::uint16_t>({0x3f80, 0x8001, 0x7f81, 0xff80});
  EXPECT_EQ(all_bits(tensor_of(TensorType::bf16, 1, 4, data)),
            (Bits{0x3f800000, 0x80010000, 0x7f810000, 0xff800000}));
}

TEST(Values, F16ByHand) {
  const std::string data =
      packed<std::uint16_t>({0x3c00, 0x0001, 0x83ff, 0x0400, 0x7bff, 0x7c00, 0x7d01, 0x8000});
  EXPECT_EQ(all_bits(tensor_of(TensorType::f16, 1, 8, data)),
            (Bits{0x3f800000, 0x33800000, 0xb87fc000, 0x38800000, 0x477fe000, 0x7f800000,
                  0x7fa02000, 0x80000000}));
}

/// sign * mantissa * 2^exponent of a small float, computed in double: an independent definition.
double small_float(unsigned code, int exponent_bits, int mantissa_bits, int bias) {
  const unsigned mantissa = code & ((1u << mantissa_bits) - 1);
  const unsigned exponent = (code >> mantissa_bits) & ((1u << exponent_bits) - 1);
  const bool negative = (code >> (mantissa_bits + exponent_bits)) != 0;
  const unsigned significand = exponent == 0 ? mantissa : mantissa + (1u << mantissa_bits);
  const int scale = static_cast<int>(exponent == 0 ? 1 : exponent) - bias - mantissa_bits;
  const double magnitude = std::ldexp(static_cast<double>(significand), scale);
  return negative ? -magnitude : magnitude;
}

TEST(Values, EveryFiniteF16) {
  std::vector<std::uint16_t> codes;
  for (unsigned code = 0; code < 65536; ++code) codes.push_back(static_cast<std::uint16_t>(code));
  const std::string data = packed(codes);
  const Bits got = all_bits(tensor_of(TensorType::f16, 256, 256, data));
  for (unsigned code = 0; code < 65536; ++code) {
    if ((code & 0x7c00u) == 0x7c00u) continue;
    const auto want = static_cast<float>(small_float(code, 5, 10, 15));
    ASSERT_EQ(got[code], bits(want)) << code;
  }
}

TEST(Values, EveryF8) {
  std::string data;
  for (unsigned code = 0; code < 256; ++code) data += static_cast<char>(code);
  const Bits e4m3 = all_bits(tensor_of(TensorType::f8_e4m3, 2, 128, data));
  const Bits e5m2 = all_bits(tensor_of(TensorType::f8_e5m2, 2, 128, data));
  for (unsigned code = 0; code < 256; ++code) {
    if ((code & 0x7fu) != 0x7fu) {
      ASSERT_EQ(e4m3[code], bits(static_cast<float>(small_float(code, 4, 3, 7)))) << code;
    }
    if ((code & 0x7cu) != 0x7cu) {
      ASSERT_EQ(e5m2[code], bits(static_cast<float>(small_float(code, 5, 2, 15)))) << code;
    }
  }
  EXPECT_EQ(e4m3[0x7f], 0x7fc00000u);
  EXPECT_EQ(e4m3[0xff], 0xffc00000u);
  EXPECT_EQ(e4m3[0x7e], bits(448.0F));
  EXPECT_EQ(e5m2[0x7c], 0x7f800000u);
  EXPECT_EQ(e5m2[0xfc], 0xff800000u);
  EXPECT_EQ(e5m2[0x7f], 0x7fe00000u);
}

/// A block with codes: byte j holds element j (low) and j + 16 (high).
std::string nibble_block(std::vector<std::uint16_t> halves, const std::array<int, 32>& codes) {
  std::string out = packed(halves);
  for (std::size_t j = 0; j < 16; ++j) out += static_cast<char>(codes[j] | (codes[j + 16] << 4));
  return out;
}

std::array<int, 32> counting_codes() {
  std::array<int, 32> codes;
  for (int i = 0; i < 32; ++i) codes[static_cast<std::size_t>(i)] = (i * 7 + 3) % 16;
  return codes;
}

TEST(Values, Q4_0) {
  const std::array<int, 32> codes = counting_codes();
  const std::string data = nibble_block({0x3555}, codes);  // d = 0x1.554p-2
  const Bits got = all_bits(tensor_of(TensorType::q4_0, 1, 32, data));
  for (std::size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(got[i], bits(static_cast<float>(codes[i] - 8) * 0x1.554p-2F)) << i;
  }
  EXPECT_EQ(got[0], 0xbfd54800u);  // code 3: -5 * 0x1.554p-2 = -0x1.aa9p+0
}

TEST(Values, Q4_1RoundsOnce) {
  std::array<int, 32> codes{};
  codes[0] = 1;
  codes[1] = 3;
  codes[16] = 5;
  codes[31] = 15;
  const std::string data = nibble_block({0x0001, 0x3c00}, codes);  // d = 2^-24, m = 1
  const Bits got = all_bits(tensor_of(TensorType::q4_1, 1, 32, data));
  EXPECT_EQ(got[0], 0x3f800000u);  // 1 + 0.5 ulp: to even
  EXPECT_EQ(got[1], 0x3f800002u);  // 1 + 1.5 ulp: to even
  EXPECT_EQ(got[2], 0x3f800000u);
  EXPECT_EQ(got[16], 0x3f800002u);  // 1 + 2.5 ulp: to even
  EXPECT_EQ(got[31], 0x3f800008u);  // 1 + 7.5 ulp: to even
}

TEST(Values, Q4_1EqualsOneFmaForEveryScale) {
  std::array<int, 32> codes;
  for (int i = 0; i < 32; ++i) codes[static_cast<std::size_t>(i)] = i % 16;
  for (unsigned d = 0; d < 0x7c00; d += 13) {
    const auto m = static_cast<std::uint16_t>((d * 2654435761u >> 16) & 0xfbffu);
    const std::string data = nibble_block({static_cast<std::uint16_t>(d), m}, codes);
    const Bits got = all_bits(tensor_of(TensorType::q4_1, 1, 32, data));
    const auto scale = static_cast<float>(small_float(d, 5, 10, 15));
    const std::string minimum = packed<std::uint16_t>({m});
    const float offset =
        std::bit_cast<float>(all_bits(tensor_of(TensorType::f16, 1, 1, minimum)).front());
    for (std::size_t i = 0; i < 16; ++i) {
      const float want = std::fma(scale, static_cast<float>(i), offset);
      if (std::isnan(want)) continue;
      ASSERT_EQ(got[i], bits(want)) << d << " " << i;
    }
  }
}

TEST(Values, Q8_0) {
  std::string data = packed<std::uint16_t>({0xbc01});  // d = -(1 + 2^-10)
  for (int i = 0; i < 32; ++i) data += static_cast<char>(i * 8 - 128);
  const Bits got = all_bits(tensor_of(TensorType::q8_0, 1, 32, data));
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(got[static_cast<std::size_t>(i)],
              bits(static_cast<float>(i * 8 - 128) * -0x1.004p0F));
  }
  EXPECT_EQ(got[0], 0x43002000u);   // 128 * (1 + 2^-10)
  EXPECT_EQ(got[16], 0x80000000u);  // 0 * -d is -0
}

TEST(ReadRow, CutsBlocksAnywhere) {
  for (const TensorType type : {TensorType::q8_0, TensorType::q4_0, TensorType::q4_1}) {
    const TypeLayout layout = layout_of(type);
    std::string data;
    for (std::int64_t i = 0; i < 2 * 3 * layout.bytes; ++i) data += static_cast<char>(i * 37 % 59);
    const Tensor tensor = tensor_of(type, 2, 96, data);
    const Bits whole = all_bits(tensor);
    for (std::int64_t begin = 0; begin <= 96; ++begin) {
      for (std::int64_t end = begin; end <= 96; ++end) {
        std::vector<float> part(static_cast<std::size_t>(end - begin), -1.0F);
        tensor.read_row(1, begin, end, part);
        for (std::size_t i = 0; i < part.size(); ++i) {
          ASSERT_EQ(bits(part[i]), whole[96 + static_cast<std::size_t>(begin) + i])
              << name_of(type) << " " << begin << " " << end;
        }
      }
    }
  }
}

TEST(ReadRow, FollowsTheRowOrder) {
  const std::string data = packed<float>({0, 1, 10, 11, 20, 21});
  Tensor tensor = tensor_of(TensorType::f32, 3, 2, data);
  tensor.row_order = {2, 0, 1};
  EXPECT_EQ(all_bits(tensor), (Bits{bits(20), bits(21), bits(0), bits(1), bits(10), bits(11)}));
}

TEST(ReadRow, OrdersTheElementsOfAVector) {
  const std::string data = packed<float>({0, 1, 2});
  Tensor tensor = tensor_of(TensorType::f32, 1, 3, data);
  tensor.shape = {3};
  tensor.row_order = {2, 0, 1};
  EXPECT_EQ(all_bits(tensor), (Bits{bits(2), bits(0), bits(1)}));
}

TEST(ReadRow, RefusesRowsAndColumnsOutside) {
  const std::string data = packed<float>({0, 1});
  const Tensor tensor = tensor_of(TensorType::f32, 1, 2, data);
  std::vector<float> out(2);
  EXPECT_DEATH(tensor.read_row(1, 0, 2, out), "ISOBIT_CHECK");
  EXPECT_DEATH(tensor.read_row(0, 1, 3, out), "ISOBIT_CHECK");
  EXPECT_DEATH(tensor.read_row(0, 0, 1, out), "ISOBIT_CHECK");
}

TEST(WeightsMap, FindsByName) {
  Weights weights;
  EXPECT_EQ(weights.find("t"), nullptr);
  weights.add(tensor_of(TensorType::bf16, 1, 0, ""));
  ASSERT_NE(weights.find("t"), nullptr);
  EXPECT_EQ(weights.find("t")->type, TensorType::bf16);
}

TEST(MappedFiles, TellWhenTheyWereWrittenTo) {
  const fakes::Folder folder;
  namespace fs = std::filesystem;
  const auto hour_old = fs::file_time_type::clock::now() - std::chrono::hours(1);
  const auto mapped_at = [&](const char* name) {
    const std::string path = folder.write(name, "abcdefgh");
    fs::last_write_time(path, hour_old);
    auto mapped = MappedFile::open(path);
    EXPECT_TRUE(mapped) << mapped.error().text();
    EXPECT_FALSE((*mapped)->changed());
    EXPECT_EQ(file_state(path), (*mapped)->state());
    return *mapped;
  };
  const auto written = mapped_at("written"), cut = mapped_at("cut"), replaced = mapped_at("old"),
             deleted = mapped_at("deleted");
  std::fstream(written->path(), std::ios::in | std::ios::out) << 'x';
  EXPECT_TRUE(written->changed());
  fs::resize_file(cut->path(), 4);
  fs::last_write_time(cut->path(), hour_old);
  EXPECT_TRUE(cut->changed());
  fs::rename(folder.write("new", "ABCDEFGH"), replaced->path());
  EXPECT_FALSE(replaced->changed()) << "the mapping keeps the file that it was made of";
  EXPECT_NE(file_state(replaced->path()), replaced->state());
  fs::remove(deleted->path());
  EXPECT_FALSE(deleted->changed());
  EXPECT_EQ(file_state(deleted->path()), std::nullopt);
}

TEST(MappedFiles, ErrorsNameThePath) {
  EXPECT_NE(error_of(MappedFile::open("/nonexistent/x")).find("/nonexistent/x: cannot read"),
            std::string::npos);
  const fakes::Folder folder;
  EXPECT_NE(error_of(MappedFile::open(folder.path())).find("not a regular file"),
            std::string::npos);
  const auto empty = MappedFile::open(folder.write("empty", ""));
  ASSERT_TRUE(empty.has_value());
  EXPECT_TRUE((*empty)->bytes().empty());
}

}  // namespace
}  // namespace isobit
