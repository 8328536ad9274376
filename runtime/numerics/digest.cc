// The row digest on the host: XXH3-128, seed 0, canonical bytes (numerics page, "Digest of a row").
//
// The only file that includes xxhash.h. Values are hashed as they lie in memory, which the page
// defines to be little-endian; NaNs must already be canonical (family F) or are hashed raw.
#include "runtime/numerics/digest.h"

#include <xxhash.h>

#include <bit>
#include <cstring>

#include "runtime/numerics/order.h"

namespace isobit {
namespace {

static_assert(std::endian::native == std::endian::little, "rows are hashed little-endian");
static_assert(sizeof(XXH128_canonical_t) == sizeof(Digest));

template <class T>
Digest row_of(std::span<const T> row) {
  SegmentDigests segments;
  const auto n = static_cast<std::int64_t>(row.size());
  for (int s = 0; s < kDigestSegments; ++s) {
    const std::int64_t begin = segment_begin(n, s, kDigestSegments);
    const std::int64_t end = segment_begin(n, s + 1, kDigestSegments);
    segments[std::size_t(s)] =
        digest_segment(row.subspan(std::size_t(begin), std::size_t(end - begin)));
  }
  return join_segments(segments);
}

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::uint64_t hash64(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

Digest digest_bytes(std::span<const std::byte> bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  Digest digest;
  std::memcpy(digest.bytes.data(), canonical.digest, digest.bytes.size());
  return digest;
}

Digest digest_segment(std::span<const float> values) {
  return digest_bytes(std::as_bytes(values));
}
Digest digest_segment(std::span<const double> values) {
  return digest_bytes(std::as_bytes(values));
}

Digest join_segments(const SegmentDigests& segments) {
  static_assert(sizeof(SegmentDigests) == kDigestSegments * sizeof(Digest));
  return digest_bytes(std::as_bytes(std::span(segments)));
}

Digest digest_row(std::span<const float> row) {
  return row_of(row);
}
Digest digest_row(std::span<const double> row) {
  return row_of(row);
}

std::string to_hex(const Digest& digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * digest.bytes.size());
  for (const std::uint8_t byte : digest.bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

bool from_hex(std::string_view text, Digest& out) {
  if (text.size() != 2 * out.bytes.size()) return false;
  Digest digest;
  for (std::size_t i = 0; i < digest.bytes.size(); ++i) {
    const int high = nibble(text[2 * i]);
    const int low = nibble(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    digest.bytes[i] = static_cast<std::uint8_t>(16 * high + low);
  }
  out = digest;
  return true;
}

}  // namespace isobit
