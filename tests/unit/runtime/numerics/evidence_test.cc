// Digests of lesser evidence against bytes written out by hand, and apart from those of rows.
#include "runtime/numerics/evidence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

namespace isobit {
namespace {

using Top = std::vector<std::pair<std::int32_t, double>>;

Digest digest_of(const std::string& bytes) {
  return digest_bytes(std::as_bytes(std::span(bytes)));
}

TEST(Evidence, IsTheDigestOfTheBytesThatThePageSays) {
  using namespace std::string_literals;
  // 258 is 02 01 00 00; -0.5 is BFE0…; 3 and -2.0 (C000…) follow.
  const std::string logprobs = "isobit logprobs 1\n"s + "\x02\x01\x00\x00"s +
                               "\x00\x00\x00\x00\x00\x00\xE0\xBF"s + "\x02\x00\x00\x00"s +
                               "\x02\x01\x00\x00"s + "\x00\x00\x00\x00\x00\x00\xE0\xBF"s +
                               "\x03\x00\x00\x00"s + "\x00\x00\x00\x00\x00\x00\x00\xC0"s;
  EXPECT_EQ(digest_logprobs(258, -0.5, Top{{258, -0.5}, {3, -2.0}}), digest_of(logprobs));
  EXPECT_EQ(digest_token(258), digest_of("isobit token 1\n"s + "\x02\x01\x00\x00"s));
  EXPECT_EQ(to_hex(digest_token(258)), "45c411e490f02c09a91d7d8ec6e835c6");
  EXPECT_EQ(to_hex(digest_logprobs(258, -0.5, Top{{258, -0.5}, {3, -2.0}})),
            "2607c1dff29454a7a619fb075e2f165b");
}

TEST(Evidence, SeesOrderCountAndEveryBit) {
  const double next = std::nextafter(-0.5, 0.0);
  std::set<Digest> seen;
  const std::vector<Digest> all = {
      digest_token(7),
      digest_token(8),
      digest_token(-1),
      digest_logprobs(7, -0.5, {}),
      digest_logprobs(7, next, {}),
      digest_logprobs(8, -0.5, {}),
      digest_logprobs(7, 0.0, {}),
      digest_logprobs(7, -0.0, {}),
      digest_logprobs(7, -0.5, Top{{7, -0.5}}),
      digest_logprobs(7, -0.5, Top{{7, -0.5}, {9, -1.0}}),
      digest_logprobs(7, -0.5, Top{{9, -1.0}, {7, -0.5}}),
      digest_logprobs(7, -0.5, Top{{7, next}, {9, -1.0}}),
      digest_logprobs(7, -std::numeric_limits<double>::infinity(), {}),
      digest_row(std::span<const float>()),
      digest_row(std::vector<float>{7}),
  };
  seen.insert(all.begin(), all.end());
  EXPECT_EQ(seen.size(), all.size());
}

TEST(Evidence, MakesNaNCanonical) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(digest_logprobs(1, nan, Top{{2, -nan}}), digest_logprobs(1, -nan, Top{{2, nan}}));
  EXPECT_NE(digest_logprobs(1, nan, {}), digest_logprobs(1, 0.0, {}));
}

}  // namespace
}  // namespace isobit
