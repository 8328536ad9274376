// Tagged bytes, little-endian, to the digest (evidence.h).
#include "runtime/numerics/evidence.h"

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>

namespace isobit {
namespace {

void append(std::string& bytes, std::uint64_t bits, int size) {
  for (int i = 0; i < size; ++i) bytes.push_back(static_cast<char>((bits >> (8 * i)) & 0xFF));
}

void append_id(std::string& bytes, std::int32_t id) {
  append(bytes, static_cast<std::uint32_t>(id), 4);
}

void append_real(std::string& bytes, double value) {
  const double canonical = std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : value;
  append(bytes, std::bit_cast<std::uint64_t>(canonical), 8);
}

Digest digest_of(std::string_view bytes) {
  return digest_bytes(std::as_bytes(std::span(bytes)));
}

}  // namespace

Digest digest_logprobs(std::int32_t token, double logprob,
                       std::span<const std::pair<std::int32_t, double>> top) {
  std::string bytes = "isobit logprobs 1\n";
  append_id(bytes, token);
  append_real(bytes, logprob);
  append(bytes, top.size(), 4);
  for (const auto& [id, value] : top) {
    append_id(bytes, id);
    append_real(bytes, value);
  }
  return digest_of(bytes);
}

Digest digest_token(std::int32_t token) {
  std::string bytes = "isobit token 1\n";
  append_id(bytes, token);
  return digest_of(bytes);
}

}  // namespace isobit
