// Names of sites and levels, and the Merkle roots of traces.
//
// Canonical bytes (integers little-endian, digests as their bytes):
//   token root        "isobit token root 1\n", then per row: position i64, id i32, digest 16
//   observation root  "isobit observation root 1\n", then per key: position i64, layer i32,
//                     site u8, digest 16
//   cell root         "isobit cell root 1\n", then per prompt: tokens_digest 32, token root 32
// A cell root says nothing about observations, so that every trace level gives the same one.
#include "runtime/trace.h"

#include <algorithm>
#include <numeric>
#include <string_view>
#include <tuple>

#include "runtime/base/result.h"

namespace isobit {
namespace {

class CanonicalBytes {
 public:
  explicit CanonicalBytes(std::string_view tag) : bytes_(tag) {}

  template <class T>
  void integer(T value) {
    const auto bits = static_cast<std::make_unsigned_t<T>>(value);
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      bytes_.push_back(static_cast<char>((bits >> (8 * i)) & 0xFF));
    }
  }
  template <std::size_t N>
  void raw(const std::array<std::uint8_t, N>& bytes) {
    bytes_.append(bytes.begin(), bytes.end());
  }
  void reserve(std::size_t size) { bytes_.reserve(size); }
  [[nodiscard]] Sha256 hash() const { return sha256(bytes_.data(), bytes_.size()); }

 private:
  std::string bytes_;
};

}  // namespace

const char* name_of(Site site) {
  static constexpr const char* kNames[kValueSites] = {
      "embed", "norm1", "q",    "k",  "v",          "attn",   "o",      "h1",
      "norm2", "act",   "down", "h2", "final_norm", "logits", "k_seen", "v_seen"};
  ISOBIT_CHECK(int(site) < kValueSites);
  return kNames[int(site)];
}

bool in_layers(Site site) {
  return site != Site::embed && site != Site::final_norm && site != Site::logits;
}

bool ValueChoice::wants(Site site, std::int32_t layer) const {
  if (std::find(sites.begin(), sites.end(), site) == sites.end()) return false;
  return layers.empty() || !in_layers(site) ||
         std::find(layers.begin(), layers.end(), layer) != layers.end();
}

const char* name_of(TraceLevel level) {
  static constexpr const char* kNames[] = {"logits", "layers", "ops"};
  ISOBIT_CHECK(int(level) < 3);
  return kNames[int(level)];
}

const char* name_of(Evidence evidence) {
  static constexpr const char* kNames[] = {"tokens", "logprobs", "logits"};
  ISOBIT_CHECK(int(evidence) < 3);
  return kNames[int(evidence)];
}

Evidence evidence_named(const std::string& name) {
  for (const Evidence known : {Evidence::logits, Evidence::logprobs}) {
    if (name == name_of(known)) return known;
  }
  return Evidence::tokens;
}

bool records(TraceLevel level, Site site) {
  if (site == Site::logits || level == TraceLevel::ops) return true;
  if (level == TraceLevel::logits) return false;
  return site == Site::embed || site == Site::h2 || site == Site::final_norm;
}

Sha256 token_root(const PromptTrace& prompt) {
  CanonicalBytes bytes("isobit token root 1\n");
  bytes.reserve(32 + prompt.tokens.size() * 28);
  for (const TokenRecord& token : prompt.tokens) {
    bytes.integer(token.position);
    bytes.integer(token.id);
    bytes.raw(token.digest.bytes);
  }
  return bytes.hash();
}

Sha256 cell_root(const CellTrace& trace) {
  std::vector<std::size_t> order(trace.prompts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return trace.prompts[a].tokens_digest < trace.prompts[b].tokens_digest;
  });
  CanonicalBytes bytes("isobit cell root 1\n");
  for (const std::size_t index : order) {
    bytes.raw(trace.prompts[index].tokens_digest);
    bytes.raw(token_root(trace.prompts[index]));
  }
  return bytes.hash();
}

Sha256 tokens_digest(std::span<const std::int32_t> tokens) {
  return sha256(tokens.data(), tokens.size_bytes());
}

}  // namespace isobit
