// The digest of a row of numbers: XXH3-128 over eight segments (NUMERICS.md, "Digest of a row").
//
// A difference between two rows is located to an eighth of the row by comparing the segment
// digests; a tensor-parallel rank hashes the segments it owns and no row has to move.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace isobit {

/// 128 bits in canonical (big-endian) byte order. All zero means "none".
struct Digest {
  std::array<std::uint8_t, 16> bytes{};
  auto operator<=>(const Digest&) const = default;
  [[nodiscard]] bool none() const { return *this == Digest{}; }
};

constexpr int kDigestSegments = 8;
using SegmentDigests = std::array<Digest, kDigestSegments>;

/// XXH3-64, seed 0: names a prompt in the sampler's counter.
std::uint64_t hash64(std::span<const std::byte> bytes);
/// XXH3-128, seed 0, canonical form.
Digest digest_bytes(std::span<const std::byte> bytes);
/// Digest of one segment's values, little-endian.
Digest digest_segment(std::span<const float> values);
Digest digest_segment(std::span<const double> values);
/// Joins eight segment digests into the digest of the row.
Digest join_segments(const SegmentDigests& segments);
/// The whole row at once.
Digest digest_row(std::span<const float> row);
Digest digest_row(std::span<const double> row);

/// 32 lower-case hex digits.
std::string to_hex(const Digest& digest);
/// Exactly 32 hex digits, either case; false otherwise.
bool from_hex(std::string_view text, Digest& out);

}  // namespace isobit
