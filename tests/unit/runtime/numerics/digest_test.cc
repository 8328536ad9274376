// Row digests against vectors made by another implementation of XXH3 (numerics page).
#include "runtime/numerics/digest.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "runtime/numerics/order.h"

namespace isobit {
namespace {

template <class T>
std::vector<T> ramp(int n) {
  std::vector<T> row;
  for (int i = 0; i < n; ++i) row.push_back(static_cast<T>(i) / 2 - 3);
  return row;
}

template <class T>
std::string digest_of(int n) {
  const std::vector<T> row = ramp<T>(n);
  return to_hex(digest_row(std::span<const T>(row)));
}

TEST(Digest, EqualsVectors) {
  struct Vector {
    int n;
    const char* fp32;
    const char* fp64;
  };
  const Vector vectors[] = {
      {0, "9097375a1eda3634b3c566915f614da5", "9097375a1eda3634b3c566915f614da5"},
      {1, "52744a217cbbeed2c24be7971b452ecd", "863734a7ca3fdf82932e9a36da312133"},
      {7, "46c93ffb5e55f4508aa91c5458cc248d", "4f46ef4655eb46efbffd38a7d628a069"},
      {8, "4cd3c088029eafd4416abcf3ea645e68", "ce5dd247f0216fc5257c7679be62b87c"},
      {100, "11c1b305650a47e2fafc830e3a1fdce1", "fe7c9151f57674f3f13c20ce1e813d75"},
      {1000, "dfa5b3b98548528a0408d7aa55c6ab69", "395ce484f3bdd823a809fcac605b1e21"},
  };
  for (const Vector& vector : vectors) {
    EXPECT_EQ(digest_of<float>(vector.n), vector.fp32) << vector.n;
    EXPECT_EQ(digest_of<double>(vector.n), vector.fp64) << vector.n;
  }
  EXPECT_EQ(to_hex(digest_bytes({})), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(to_hex(digest_bytes(std::as_bytes(std::span("abc", 3)))),
            "06b05ab6733a618578af5f94892f3950");
}

TEST(Digest, SegmentsCoverEveryElementOnce) {
  for (std::int64_t n = 0; n < 300; ++n) {
    EXPECT_EQ(segment_begin(n, 0, kDigestSegments), 0);
    EXPECT_EQ(segment_begin(n, kDigestSegments, kDigestSegments), n);
    for (std::int64_t s = 0; s < kDigestSegments; ++s) {
      EXPECT_LE(segment_begin(n, s, kDigestSegments), segment_begin(n, s + 1, kDigestSegments));
    }
  }
}

TEST(Digest, SeesEveryBitAndTheSignOfZero) {
  const std::vector<float> row(64, 0.0F);
  const Digest whole = digest_row(std::span<const float>(row));
  for (std::size_t i = 0; i < row.size(); ++i) {
    std::vector<float> other = row;
    other[i] = -0.0F;
    EXPECT_NE(digest_row(std::span<const float>(other)), whole) << i;
  }
}

TEST(Digest, JoinedSegmentsAreTheRow) {
  const std::vector<float> row = ramp<float>(50);
  SegmentDigests segments;
  for (std::int64_t s = 0; s < kDigestSegments; ++s) {
    const auto begin = std::size_t(segment_begin(50, s, kDigestSegments));
    const auto end = std::size_t(segment_begin(50, s + 1, kDigestSegments));
    segments[std::size_t(s)] = digest_segment(std::span(row).subspan(begin, end - begin));
  }
  EXPECT_EQ(join_segments(segments), digest_row(std::span<const float>(row)));
}

TEST(Digest, HexRoundTripsAndRefusesTheRest) {
  Digest digest;
  EXPECT_TRUE(digest.none());
  ASSERT_TRUE(from_hex("00112233445566778899aabbccddeeFF", digest));
  EXPECT_EQ(to_hex(digest), "00112233445566778899aabbccddeeff");
  EXPECT_FALSE(digest.none());
  const Digest before = digest;
  for (const char* bad :
       {"", "0", "00112233445566778899aabbccddee", "g0112233445566778899aabbccddeeff",
        "00112233445566778899aabbccddeeff0", " 0112233445566778899aabbccddeeff"}) {
    EXPECT_FALSE(from_hex(bad, digest)) << bad;
    EXPECT_EQ(digest, before);
  }
}

}  // namespace
}  // namespace isobit
