// Runs the shipped caches for tests/integration/check_kv_shipped.py, which builds and drives it.
//
//   kv_shipped updates KV R BATCH HEADS HEAD_DIM
//     Each update: int64 tokens, then of each sequence K and V, (tokens, heads * head_dim) doubles.
//     Answers each with what every sequence's earlier positions are seen as: K and V, doubles. An
//     error of the cache goes to stderr, exit 3.
//   kv_shipped quanto BITS ALONG R GROUP CHANNELS
//     Each tensor: int64 values, then doubles. Answers codes (bytes), scales, shifts (doubles).
//   kv_shipped hqq BITS ALONG R GROUP CHANNELS
//     The same; answers int64 rounds, codes, scales, zeros (before they are inverted or rounded).
//   kv_shipped hqq_given BITS ALONG R GROUP CHANNELS
//     Each tensor is followed by scales and zeros; answers codes, and the zeros and the mean error
//     after one round of the optimiser.
// ALONG: neighbours, strided, channel. R: fp64, fp32, bf16, fp16.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "runtime/cache/policy.h"
#include "runtime/cache/shipped.h"
#include "runtime/numerics/kv/hqq.h"
#include "runtime/numerics/kv/quanto.h"

namespace {

using namespace isobit;

template <class T>
bool read(std::vector<T>& out, std::size_t count) {
  out.resize(count);
  return std::fread(out.data(), sizeof(T), count, stdin) == count;
}
template <class T>
void write(const std::vector<T>& x) {
  std::fwrite(x.data(), sizeof(T), x.size(), stdout);
}

Format format_of(const std::string& name) {
  for (const Mode& mode : kModes) {
    if (name == mode.name) return mode.cache;
  }
  std::exit(2);
}

int updates(const std::string& kv, Format stored, int batch, std::int64_t heads, std::int64_t d) {
  const auto spec = parse_kv_policy(kv);
  if (!spec || spec->shipped == nullptr) return 2;
  const auto cache = spec->shipped->open({1, heads, heads, d, stored});
  std::int64_t past = 0;
  std::vector<std::int64_t> tokens;
  while (read(tokens, 1)) {
    std::vector<std::vector<double>> k(static_cast<std::size_t>(batch)), v(k);
    std::vector<ShippedRows> rows;
    for (int b = 0; b < batch; ++b) {
      const auto at = std::size_t(b);
      read(k[at], std::size_t(tokens[0] * heads * d));
      read(v[at], k[at].size());
      rows.push_back({b, past, k[at], v[at]});
    }
    const auto seen = cache->update(0, rows);
    if (!seen) {
      std::fprintf(stderr, "%s\n", seen.error().text().c_str());
      return 3;
    }
    for (const ShippedSeen& each : *seen) write(each.k), write(each.v);
    std::fflush(stdout);
    past += tokens[0];
  }
  return 0;
}

template <class T>
void quanto(std::span<const double> x, const Grouping& groups, int bits, Format stored) {
  std::vector<std::uint8_t> codes;
  std::vector<double> scales, shifts;
  for (std::int64_t g = 0; g < groups.groups; ++g) {
    const auto at = [&](std::int64_t i) { return T(x[std::size_t(groups.place(g, i))]); };
    const auto group = QuantoGroup<T>::measure(stored, bits, groups.size, at);
    for (std::int64_t i = 0; i < groups.size; ++i) {
      codes.push_back(std::uint8_t(group.code(at(i), bits)));
    }
    scales.push_back(group.scale);
    shifts.push_back(group.shift);
  }
  write(codes), write(scales), write(shifts);
}

void hqq(std::span<const double> x, const Grouping& groups, int bits, bool given) {
  const std::vector<float> values(x.begin(), x.end());
  if (!given) {
    const HqqTensor tensor = hqq_encode(values, groups, bits);
    write(std::vector<std::int64_t>{tensor.rounds});
    write(tensor.codes), write(tensor.scale), write(tensor.zero);
    return;
  }
  HqqTensor tensor;
  read(tensor.scale, std::size_t(groups.groups));
  read(tensor.zero, std::size_t(groups.groups));
  hqq_codes(values, groups, bits, tensor);
  const float error = hqq_next_zeros(values, groups, bits, tensor);
  write(tensor.codes), write(tensor.zero), write(std::vector<float>{error});
}

int tensors(char** words) {
  const std::string what = words[1], along = words[3];
  const int bits = std::atoi(words[2]);
  const Format stored = format_of(words[4]);
  const auto way = along == "neighbours" ? Grouping::Along::neighbours
                   : along == "strided"  ? Grouping::Along::strided
                                         : Grouping::Along::channel;
  std::vector<std::int64_t> count;
  std::vector<double> x;
  while (read(count, 1) && read(x, std::size_t(count[0]))) {
    const Grouping groups = Grouping::of(way, count[0], std::atoi(words[5]), std::atoi(words[6]));
    if (what != "quanto") {
      hqq(x, groups, bits, what == "hqq_given");
    } else if (stored == Format::f64) {
      quanto<double>(x, groups, bits, stored);
    } else {
      quanto<float>(x, groups, bits, stored);
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int count, char** words) {
  if (count == 7 && std::string(words[1]) == "updates") {
    return updates(words[2], format_of(words[3]), std::atoi(words[4]), std::atoi(words[5]),
                   std::atoi(words[6]));
  }
  if (count == 7) return tensors(words);
  std::fprintf(stderr, "usage: kv_shipped updates|quanto|hqq|hqq_given …\n");
  return 2;
}
