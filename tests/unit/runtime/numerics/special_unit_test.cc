// The special function unit: what follows from how it works, and results of an H200.
#include "runtime/numerics/special_unit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

namespace isobit {
namespace {

constexpr std::uint32_t kNan = 0x7fffffffu, kInfinity = 0x7f800000u, kSign = 0x80000000u;
constexpr std::uint32_t kFractions = 1u << 23;

std::uint32_t ex2(float x) {
  return bits_of(special_ex2(kHopperTables, x));
}
std::uint32_t rcp(float x) {
  return bits_of(special_rcp(kHopperTables, x));
}
std::uint32_t rsqrt(float x) {
  return bits_of(special_rsqrt(kHopperTables, x));
}
std::uint32_t lg2(float x) {
  return bits_of(special_lg2(kHopperTables, x));
}
/// 2^n, n from -126 to 127.
float power(int n) {
  return std::ldexp(1.0f, n);
}

// --- what a GPU returned -------------------------------------------------------------------------

struct Known {
  std::uint32_t in, out;
};
constexpr Known kEx2[] = {
    {0xc067dda0u, 0x3da63caeu}, {0xc0f7bcb8u, 0x3b991668u}, {0xc2c99724u, 0x0d138614u},
    {0xc2701db4u, 0x217ae77bu}, {0xc031a94eu, 0x3e15810eu}, {0xbf262334u, 0x3f23427fu},
    {0xbff350b6u, 0x3e8919f4u}, {0xc0e39f62u, 0x3becae15u}, {0xc01e053au, 0x3e38f136u},
    {0xc2c8c2f3u, 0x0d449dccu}, {0xc00686c0u, 0x3e6e879eu}, {0xc000d6ddu, 0x3e7daef8u},
    {0xc05a1f26u, 0x3dc0eb2cu}, {0xc1a174e4u, 0x3561a5a8u}, {0xbe236f50u, 0x3f653073u},
    {0xc2708e19u, 0x21688604u}, {0xbf9037afu, 0x3eea7a07u}, {0xbae8a400u, 0x3f7faf6bu},
    {0xc00d67bcu, 0x3e5d67a9u}, {0xbffae572u, 0x3e839644u}, {0x3f5f561eu, 0x3fea54e5u},
    {0x3e2a7af0u, 0x3f8fa832u}, {0x3e941fd0u, 0x3f9c6c30u}, {0x3ea096ecu, 0x3f9f15b0u},
    {0x3f76236cu, 0x3ff94141u}, {0x3e4ba9a8u, 0x3f92eb96u}, {0x3f0a0a8eu, 0x3fba0223u},
    {0x3f604956u, 0x3feaef69u}, {0x3f2d864eu, 0x3fccc408u}, {0x3f202fdcu, 0x3fc580c1u},
    {0x3e51b1c0u, 0x3f938575u}, {0x3e3a0760u, 0x3f912d4eu}, {0x3f70e3ceu, 0x3ff5bce1u},
    {0x3f77f358u, 0x3ffa7b1eu}, {0x3f30cdeau, 0x3fce979bu}, {0x3e499ab0u, 0x3f92b737u},
    {0x3f7770c4u, 0x3ffa229eu}, {0x3f771090u, 0x3ff9e17fu}, {0x3f64cc42u, 0x3fedd293u},
    {0x3ec435e0u, 0x3fa6f1c2u}};
constexpr Known kRcp[] = {
    {0xbfa63eb7u, 0xbf451b51u}, {0x3fb51baau, 0x3f34ee3fu}, {0xbfa1c497u, 0xbf4a8fd1u},
    {0x322692f0u, 0x4cc4b7a8u}, {0x404c490au, 0x3ea06733u}, {0xc027acb4u, 0xbec36d16u},
    {0x403d890fu, 0x3eace2ccu}, {0x413d9891u, 0x3dacd4a8u}, {0x40074bcfu, 0x3ef231d6u},
    {0xc079800fu, 0xbe8355a5u}, {0xb202500au, 0xccfb74f0u}, {0x412edf23u, 0x3dbb6217u},
    {0x3fb9f615u, 0x3f303570u}, {0x3fcfd5d5u, 0x3f1da9d0u}, {0xbfe0bbf9u, 0xbf11cec9u},
    {0xb22c14b5u, 0xccbe6c0du}, {0xb272445cu, 0xcc874177u}, {0x416346f6u, 0x3d902d27u},
    {0xc04b7d5eu, 0xbea107beu}, {0x4104b058u, 0x3df6f425u}, {0xc01aaf96u, 0xbed3d5f4u},
    {0xbff583e2u, 0xbf05775fu}, {0x3223495eu, 0x4cc8ad87u}, {0xc027fe60u, 0xbec30e14u},
    {0x3f96b798u, 0x3f5969f2u}, {0xc05c4e28u, 0xbe94bd32u}, {0x3f94ad00u, 0x3f5c6628u},
    {0xb27e4c29u, 0xcc80db61u}, {0xbf8412e4u, 0xbf781a8eu}, {0xc069c40eu, 0xbe8c2ca9u},
    {0x415352dfu, 0x3d9b0f89u}, {0xbf87216bu, 0xbf727dd0u}, {0x3faac696u, 0x3f3fe09cu},
    {0x327d9b42u, 0x4c813543u}, {0x4150b0edu, 0x3d9d0449u}, {0xc1159bedu, 0xbddb062eu},
    {0xbf931a79u, 0xbf5ec13fu}, {0xbfa5bc6fu, 0xbf45b642u}, {0x32760435u, 0x4c8531c1u},
    {0xb27cedd1u, 0xcc818dddu}};
constexpr Known kRsqrt[] = {
    {0x417ae596u, 0x3e814b92u}, {0x3f582be1u, 0x3f8b4b22u}, {0x3ebd5144u, 0x3fd27fb2u},
    {0x4125403bu, 0x3e9f50c5u}, {0x3c33af60u, 0x4118c85au}, {0x408e6861u, 0x3ef2b467u},
    {0x4469391au, 0x3d061ad2u}, {0x3c7adb40u, 0x41014e3bu}, {0x41504064u, 0x3e8deadfu},
    {0x3f6f140au, 0x3f8473d2u}, {0x40170e2fu, 0x3f26a220u}, {0x3ebef556u, 0x3fd197aau},
    {0x4441f162u, 0x3d130f3au}, {0x446f0688u, 0x3d047790u}, {0x402e3ff1u, 0x3f1b25adu},
    {0x3f649c64u, 0x3f877366u}, {0x3fd8e88cu, 0x3f44a7e3u}, {0x3ee13bd8u, 0x3fc0fcb0u},
    {0x442e84efu, 0x3d1b06ffu}, {0x3eda2c10u, 0x3fc415dfu}, {0x416ae8e6u, 0x3e859f59u},
    {0x3ea1e6e2u, 0x3fe39fdfu}, {0x3f7a7b39u, 0x3f816702u}, {0x3c53291du, 0x410cefbfu},
    {0x3fca5319u, 0x3f4b9ebeu}, {0x443cb5feu, 0x3d15158au}, {0x3ee30929u, 0x3fc0383bu},
    {0x3ea9b741u, 0x3fde529bu}, {0x3ebb4196u, 0x3fd3a778u}, {0x446888f6u, 0x3d064d93u},
    {0x3f52df37u, 0x3f8d086fu}, {0x3eac877bu, 0x3fdc80a7u}, {0x3f5270a9u, 0x3f8d2d76u},
    {0x40de7121u, 0x3ec231c3u}, {0x3c2cce48u, 0x411bcb45u}, {0x416f5941u, 0x3e8460a9u},
    {0x3f7cf193u, 0x3f80c560u}, {0x3f7a6f22u, 0x3f816a22u}, {0x3c425265u, 0x4112ea80u},
    {0x3c43c16bu, 0x41126085u}};
constexpr Known kLg2[] = {
    {0x41196d78u, 0x4050bb03u}, {0x4277fc20u, 0x40be880eu}, {0x45a434b3u, 0x4145bff2u},
    {0x458a1753u, 0x4141c06au}, {0x45d5deb0u, 0x414bd974u}, {0x40b5543fu, 0x40202869u},
    {0x43cef2aau, 0x410b1709u}, {0x45c21b35u, 0x41499c7au}, {0x4277dcfau, 0x40be8241u},
    {0x43a6bdc4u, 0x41061a7du}, {0x45c6cf84u, 0x414a29fdu}, {0x45a2a680u, 0x414587b3u},
    {0x407f7d7bu, 0x3fffa1c2u}, {0x40990963u, 0x40107eb5u}, {0x424b10bdu, 0x40b54e3cu},
    {0x45cfe196u, 0x414b31a0u}, {0x40972295u, 0x400f5729u}, {0x45e126d2u, 0x414d093au},
    {0x45971bb6u, 0x4143d4bdu}, {0x405bf693u, 0x3fe3fbaeu}, {0x427e4499u, 0x40bfafc4u},
    {0x40fd68c7u, 0x403f0f93u}, {0x40153726u, 0x3f9c5204u}, {0x40f226d4u, 0x403add77u},
    {0x410e2fa4u, 0x4049b46au}, {0x40fbe6cau, 0x403e8284u}, {0x40bdc7deu, 0x40245d38u},
    {0x40462f60u, 0x3fd0baecu}, {0x42352ec5u, 0x40b00aa9u}, {0x422cf0d7u, 0x40ade46du},
    {0x43d4cd97u, 0x410bbbe7u}, {0x4389368bu, 0x41019ab9u}, {0x409a28adu, 0x40112b67u},
    {0x415be7edu, 0x4071f7b1u}, {0x410015a6u, 0x40400f9cu}, {0x4133e35bu, 0x405f6bd3u},
    {0x426d8ca6u, 0x40bc8bf3u}, {0x406ee63du, 0x3ff33bb1u}, {0x43d82c6au, 0x410c18c3u},
    {0x402fdb4au, 0x3fbaa81fu}};

template <std::size_t N, class F>
void holds(const Known (&known)[N], const F& function) {
  static_assert(N == 40);
  for (const Known& one : known) {
    EXPECT_EQ(function(float_of(one.in)), one.out) << std::hex << one.in;
  }
}

TEST(SpecialUnit, GivesWhatAnH200Returned) {
  holds(kEx2, ex2);
  holds(kRcp, rcp);
  holds(kRsqrt, rsqrt);
  holds(kLg2, lg2);
}

std::string folder_of_results() {
  return std::string(ISOBIT_SOURCE_DIR) + "/../shared/data/mufu-h200";
}

/// One whole file: differences to the correctly rounded results, one for each fraction. Python
/// unpacks, since nothing that this program links reads zlib.
std::vector<std::int8_t> read_all(const std::string& name) {
  const std::string command =
      "python3 -c 'import sys, zlib; "
      "sys.stdout.buffer.write(zlib.decompress(open(sys.argv[1], \"rb\").read()))' '" +
      folder_of_results() + "/" + name + "'";
  std::vector<std::int8_t> out(kFractions + 1);
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return {};
  out.resize(std::fread(out.data(), 1, out.size(), pipe));
  EXPECT_EQ(pclose(pipe), 0) << command;
  return out;
}

/// Results that differ. in(i): the input of a fraction, right(i): its result before rounding.
template <class In, class Right, class F>
int misses(const std::string& name, const In& in, const Right& right, const F& function) {
  const std::vector<std::int8_t> delta = read_all(name);
  EXPECT_EQ(delta.size(), kFractions) << name;
  int count = 0;
  for (std::uint32_t i = 0; i < delta.size(); ++i) {
    const std::uint32_t wanted = bits_of(float(right(i))) + std::uint32_t(int(delta[i]));
    count += function(float(in(i))) != wanted ? 1 : 0;
  }
  return count;
}

TEST(SpecialUnit, GivesEveryResultOfAnH200) {
  const std::string folder = folder_of_results();
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << "there is no " << folder;
  using Wide = long double;  // whose own errors are far below half a place
  const auto fraction = [](std::uint32_t i) { return Wide(i) / Wide(kFractions); };
  const auto above = [&](std::uint32_t i) { return 1 + fraction(i); };
  EXPECT_EQ(misses(
                "ex2_pos_delta.z", fraction, [&](auto i) { return std::exp2(fraction(i)); }, ex2),
            0);
  EXPECT_EQ(misses(
                "ex2_delta.z", [&](auto i) { return -fraction(i); },
                [&](auto i) { return std::exp2(-fraction(i)); }, ex2),
            0);
  EXPECT_EQ(misses(
                "rcp_delta.z", above, [&](auto i) { return 1 / above(i); }, rcp),
            0);
  EXPECT_EQ(misses(
                "rsqrt_delta.z", above, [&](auto i) { return 1 / std::sqrt(above(i)); }, rsqrt),
            0);
  EXPECT_EQ(misses(
                "rsqrt_odd_delta.z", [&](auto i) { return 2 * above(i); },
                [&](auto i) { return 1 / std::sqrt(2 * above(i)); }, rsqrt),
            0);
}

/// Logarithms are rounded to 2^-27 there; with a whole part the unit cuts them to fp32. One that
/// was rounded up to the place of a result is one place higher than the unit's.
TEST(SpecialUnit, GivesEveryLogarithmOfAnH200) {
  const std::string folder = folder_of_results();
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << "there is no " << folder;
  const std::vector<std::int8_t> delta = read_all("lg2_y0.z");
  ASSERT_EQ(delta.size(), kFractions);
  for (const int whole : {1, 12}) {
    const int cut = whole == 1 ? 4 : 7;  // bits below the 24 of the result
    int rounded = 0;
    for (std::uint32_t i = 0; i < kFractions; ++i) {
      const long double exact = std::log2(1 + static_cast<long double>(i) / kFractions);
      const std::int64_t units =
          std::int64_t(std::nearbyint(exact * 0x1p27L)) + delta[i] + (std::int64_t(whole) << 27);
      const std::uint32_t wanted = bits_of(std::ldexp(float(units >> cut), cut - 27));
      const std::uint32_t got = lg2(float_of((std::uint32_t(127 + whole) << 23) + i));
      if (got == wanted) continue;
      ++rounded;
      ASSERT_EQ(units & ((1 << cut) - 1), 0) << i;
      ASSERT_EQ(got, wanted - 1) << i;
    }
    EXPECT_LT(rounded, 8000) << whole;
  }
}

// --- what follows from the form ------------------------------------------------------------------

TEST(SpecialUnit, WholePowersOfTwoAreExact) {
  for (int n = -126; n <= 127; ++n) {
    EXPECT_EQ(ex2(float(n)), bits_of(power(n))) << n;
    if (n >= 0) {
      EXPECT_EQ(lg2(power(n)), bits_of(float(n))) << n;
    }
    if (n > -126 && n < 127) {
      EXPECT_EQ(rcp(power(n)), bits_of(power(-n))) << n;
      EXPECT_EQ(rcp(-power(n)), bits_of(-power(-n))) << n;
    }
    if (n % 2 == 0) {
      EXPECT_EQ(rsqrt(power(n)), bits_of(power(-n / 2))) << n;
    }
  }
  EXPECT_EQ(rcp(1.0f), bits_of(1.0f));
  EXPECT_EQ(rsqrt(1.0f), bits_of(1.0f));
  EXPECT_EQ(rsqrt(4.0f), bits_of(0.5f));
}

/// -f has the result of the next fraction below 1 - f, halved: the fraction's one's complement.
TEST(SpecialUnit, ANegativePowerIsThatOfTheComplement) {
  for (std::uint32_t f = 1; f < kFractions; f += 40961) {
    const float x = float(f) * 0x1p-23f, other = float(kFractions - 1 - f) * 0x1p-23f;
    EXPECT_EQ(ex2(-x), ex2(other) - (1u << 23)) << f;
    if (f % 64 == 1) continue;  // below, inputs that fp32 holds with a whole part
    const float rounded = float(f & ~63u) * 0x1p-23f;
    EXPECT_EQ(ex2(-rounded - 3.0f), ex2(-rounded) - (3u << 23)) << f;
    EXPECT_EQ(ex2(rounded + 7.0f), ex2(rounded) + (7u << 23)) << f;
  }
}

TEST(SpecialUnit, InputsBelowTheUnitsPlaceCountAsZero) {
  for (const float x : {0.0f, 0x1p-24f, 0x1p-126f, float_of(1)}) {
    EXPECT_EQ(ex2(x), bits_of(1.0f));
    EXPECT_EQ(ex2(-x), bits_of(1.0f));
  }
  EXPECT_NE(ex2(-0x1p-23f), bits_of(1.0f));
}

TEST(SpecialUnit, ExponentsScaleAndSignsStay) {
  for (std::uint32_t f = 12345; f < kFractions; f += 70001) {
    const float x = float_of(0x3f800000u + f);
    for (const int n : {-100, -7, -2, 2, 8, 90}) {
      EXPECT_EQ(rcp(x * power(n)), rcp(x) - (std::uint32_t(n) << 23)) << f;
      EXPECT_EQ(rcp(-x * power(n)), rcp(x * power(n)) | kSign) << f;
      if (n % 2 != 0) continue;
      EXPECT_EQ(rsqrt(x * power(n)), rsqrt(x) - (std::uint32_t(n / 2) << 23)) << f;
    }
  }
}

TEST(SpecialUnit, ValuesAtTheEnds) {
  const float inf = float_of(kInfinity), tiny = float_of(1), nan = float_of(0x7fc00001u);
  for (const auto& function : {ex2, rcp, rsqrt, lg2}) {
    EXPECT_EQ(function(nan), kNan);
    EXPECT_EQ(function(-nan), kNan);
  }
  EXPECT_EQ(ex2(inf), kInfinity);
  EXPECT_EQ(ex2(-inf), 0u);
  EXPECT_EQ(ex2(128.0f), kInfinity);
  EXPECT_EQ(ex2(std::nextafter(128.0f, 0.0f)) >> 23, 254u);
  EXPECT_EQ(ex2(-126.5f), 0u);  // results below 2^-126 are zero
  EXPECT_EQ(ex2(-150.0f), 0u);
  EXPECT_EQ(rcp(0.0f), kInfinity);
  EXPECT_EQ(rcp(-0.0f), kInfinity | kSign);
  EXPECT_EQ(rcp(-tiny), kInfinity | kSign);
  EXPECT_EQ(rcp(inf), 0u);
  EXPECT_EQ(rcp(-inf), kSign);
  EXPECT_EQ(rcp(power(127)), 0u);
  EXPECT_EQ(rcp(-power(127)), kSign);
  EXPECT_EQ(rsqrt(0.0f), kInfinity);
  EXPECT_EQ(rsqrt(-0.0f), kInfinity | kSign);
  EXPECT_EQ(rsqrt(tiny), kInfinity);
  EXPECT_EQ(rsqrt(-1.0f), kNan);
  EXPECT_EQ(rsqrt(-inf), kNan);
  EXPECT_EQ(rsqrt(inf), 0u);
  EXPECT_EQ(lg2(0.0f), kInfinity | kSign);
  EXPECT_EQ(lg2(-0.0f), kInfinity | kSign);
  EXPECT_EQ(lg2(tiny), kInfinity | kSign);
  EXPECT_EQ(lg2(-1.0f), kNan);
  EXPECT_EQ(lg2(inf), kInfinity);
}

/// A segment's C1 x outweighs what a square can change: results go one way.
TEST(SpecialUnit, IsMonotoneOverASegment) {
  for (const std::uint32_t segment : {0u, 17u, 63u}) {
    const std::uint32_t first = segment << 17, last = first + (1u << 17) - 1;
    for (std::uint32_t f = first; f < last; ++f) {
      const float low = float_of(0x3f800000u + f), high = float_of(0x3f800001u + f);
      ASSERT_LE(ex2(float(f) * 0x1p-23f), ex2(float(f + 1) * 0x1p-23f)) << f;
      ASSERT_GE(rcp(low), rcp(high)) << f;
      ASSERT_GE(rsqrt(low), rsqrt(high)) << f;
      ASSERT_GE(rsqrt(2 * low), rsqrt(2 * high)) << f;
      ASSERT_LE(lg2(2 * low), lg2(2 * high)) << f;
    }
  }
}

TEST(SpecialUnit, SquaresLackTheColumnsBelowAndAreInMemoryAsComputed) {
  const SpecialTables& tables = hopper_tables();
  ASSERT_NE(tables.squares, nullptr);
  for (std::uint32_t x = 0; x < 1u << 17; ++x) {
    const std::uint32_t square = special_square(x);
    const auto exact = std::uint32_t(std::uint64_t(x) * x >> 19);
    ASSERT_LE(square, exact) << x;
    ASSERT_LE(exact - square, 17u) << x;  // each row loses less than one
    ASSERT_EQ(special_square(tables, x), square) << x;
  }
  EXPECT_EQ(special_square(1u << 16), 1u << 13);
  for (std::uint32_t f = 99; f < kFractions; f += 30011) {
    const float x = float_of(0x3f800000u + f);
    EXPECT_EQ(bits_of(special_ex2(tables, x)), ex2(x));
    EXPECT_EQ(bits_of(special_rcp(tables, x)), rcp(x));
    EXPECT_EQ(bits_of(special_rsqrt(tables, x)), rsqrt(x));
    EXPECT_EQ(bits_of(special_lg2(tables, x)), lg2(x));
  }
}

}  // namespace
}  // namespace isobit
