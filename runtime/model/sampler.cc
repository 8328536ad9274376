// Weights are integers, so every sum is exact and no order can matter.

#include "runtime/model/sampler.h"

#include <algorithm>
#include <vector>

#include "runtime/base/option_text.h"
#include "runtime/base/result.h"
#include "runtime/numerics/digest.h"
#include "runtime/numerics/functions.h"
#include "runtime/numerics/random.h"

namespace isobit {
namespace {

__extension__ typedef unsigned __int128 Wide;

template <class T>
struct Candidate {
  T logit;
  std::int32_t id;
  std::uint64_t weight;
};

/// Candidates in drawing order: logit descending (-0 equals +0), id ascending; top-k applied.
template <class T>
std::vector<Candidate<T>> ordered(std::span<const T> logits, const SamplerOptions& options) {
  std::vector<Candidate<T>> all;
  all.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    all.push_back({logits[i] / T(options.temperature), std::int32_t(i), 0});
  }
  const auto before = [](const Candidate<T>& a, const Candidate<T>& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  };
  std::size_t kept = all.size();
  if (options.top_k > 0) kept = std::min(kept, std::size_t(options.top_k));
  std::partial_sort(all.begin(), all.begin() + std::ptrdiff_t(kept), all.end(), before);
  all.resize(kept);
  return all;
}

}  // namespace

std::string text_of(const SamplerOptions& options) {
  if (options.temperature == 0.0) return "greedy";
  std::string text;
  const auto add = [&](const char* name, const std::string& value) {
    text += (text.empty() ? "" : "+") + std::string(name) + ":" + value;
  };
  if (options.seed != 0) add("seed", std::to_string(options.seed));
  if (options.temperature != 1.0) add("temperature", shortest_decimals(options.temperature));
  if (options.top_k != 0) add("top_k", std::to_string(options.top_k));
  if (options.top_p != 1.0) add("top_p", shortest_decimals(options.top_p));
  return text.empty() ? "sample" : text;
}

std::uint64_t prompt_hash(std::span<const std::int32_t> tokens) {
  return hash64(std::as_bytes(tokens));
}

template <class T>
std::int32_t sample(std::span<const T> logits, const SamplerOptions& options, std::uint64_t prompt,
                    std::int64_t position) {
  ISOBIT_CHECK(!logits.empty());
  if (options.temperature == 0.0) {
    return std::int32_t(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  ISOBIT_CHECK(options.temperature >= kLeastTemperature);
  std::vector<Candidate<T>> candidates = ordered(logits, options);
  const T max = candidates.front().logit;
  Wide total = 0;
  for (Candidate<T>& c : candidates) {
    // The largest has exp(0) = 1, also where the division overflowed and inf - inf would be NaN.
    c.weight =
        c.logit == max ? std::uint64_t{1} << 40 : std::uint64_t(exp_(c.logit - max) * T(0x1p+40));
    total += c.weight;
  }
  if (options.top_p < 1.0) {
    const auto p = Wide(std::uint64_t(options.top_p * 0x1p+53));
    Wide sum = 0;
    std::size_t kept = 0;
    while (kept < candidates.size()) {
      sum += candidates[kept++].weight;
      if ((sum << 53) >= p * total) break;
    }
    candidates.resize(kept);
    total = sum;
  }
  const Wide n = draw24(options.seed, prompt, std::uint32_t(position), options.stream);
  Wide sum = 0;
  for (const Candidate<T>& c : candidates) {
    sum += c.weight;
    if ((sum << 24) > n * total) return c.id;
  }
  return candidates.back().id;  // unreachable: n < 2^24, so the last sum exceeds
}

template std::int32_t sample<float>(std::span<const float>, const SamplerOptions&, std::uint64_t,
                                    std::int64_t);
template std::int32_t sample<double>(std::span<const double>, const SamplerOptions&, std::uint64_t,
                                     std::int64_t);

}  // namespace isobit
