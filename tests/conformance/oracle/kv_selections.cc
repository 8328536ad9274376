// What cache policies select, for tests/integration/check_kv_evictions.py, which builds and drives
// it from the sources of runtime/cache/policies.
//
//   kv_selections choose POLICY HEADS KV_HEADS POSITIONS < scores > masks
//   kv_selections score POLICY HEADS KV_HEADS POSITIONS DIM R < cases > results
//   kv_selections sees POLICY POSITIONS > masks
// choose: reads fp64 scores (heads, positions), writes what is kept after the last position of a
// prompt, a byte each (KV heads or 1, positions). score: R is fp32 or fp64, the type of a case:
// queries before RoPE and after, (positions, heads, dim) each, K and V, (KV heads, positions, dim)
// each; writes fp64 scores (heads, positions), then the mask as above. RoPE has base 10000. sees:
// writes what queries 0, 1, … see by position, a byte each (positions, positions).
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "runtime/cache/policy.h"
#include "runtime/model/rope.h"
#include "runtime/numerics/order.h"

namespace {

using namespace isobit;

struct Shape {
  std::int64_t heads, kv_heads, positions, dim;
};

template <class T>
bool read(std::vector<T>& out) {
  return std::fread(out.data(), sizeof(T), out.size(), stdin) == out.size();
}
template <class T>
void write(const std::vector<T>& all) {
  std::fwrite(all.data(), sizeof(T), all.size(), stdout);
}

std::vector<std::uint8_t> choose(const CachePolicy& policy, const Shape& s, bool wide,
                                 const std::vector<double>& scores) {
  const std::int64_t masks = policy.selects_by_head() ? s.kv_heads : 1;
  std::vector<std::uint8_t> keep(std::size_t(masks * s.positions), 1);
  const std::int64_t n = s.positions;
  if (policy.selects(n, n - 1)) {
    policy.select({n, n - 1, s.heads, s.kv_heads, n, wide, scores}, keep);
  }
  return keep;
}

/// What query q of a head gives to keys [0, q]. REQUIRES: they are one split.
template <class T>
std::vector<double> weights_of(const T* query, const T* keys, std::int64_t q, std::int64_t d) {
  T p[kSplit], m = T(0);
  const auto all = [](std::int64_t) { return true; };
  const auto key = [&](std::int64_t j, int i) { return keys[j * d + i]; };
  split_scores(query, int(d), T(1.0 / sqrt_(double(d))), T(0), 0, q, all, key, p, m);
  const std::vector<T> scores(p, p + q + 1);
  AttentionState<T> state;
  state.merge(m, split_terms(0, q, all, m, p));
  std::vector<double> weights;
  for (const T score : scores) weights.push_back(double(attention_weight(score, state)));
  return weights;
}

template <class T>
std::vector<double> widened(const T* from, std::int64_t count) {
  return {from, from + count};
}

template <class T>
struct Case {
  explicit Case(const Shape& s)
      : plain(std::size_t(s.positions * s.heads * s.dim)),
        turned(plain.size()),
        keys(std::size_t(s.kv_heads * s.positions * s.dim)),
        values(keys.size()) {}
  bool next() { return read(plain) && read(turned) && read(keys) && read(values); }
  std::vector<T> plain, turned, keys, values;
};

/// The scores of one query head after the prompt's last row.
template <class T>
std::vector<double> head_scores(const CachePolicy& policy, const Shape& s, const Case<T>& c,
                                std::int64_t head, const RopeTables& future) {
  const std::int64_t n = s.positions, d = s.dim, at = head * s.kv_heads / s.heads * n * d;
  std::vector<double> scores(std::size_t(n), 0.0);
  std::vector<double> state(std::size_t(policy.query_state({1, s.heads, s.kv_heads, d})), 0.0);
  for (std::int64_t q = 0; q < n; ++q) {
    const std::int64_t row = (q * s.heads + head) * d;
    if (policy.observes_query(n, q)) {
      policy.observe_query(n, q, widened(c.plain.data() + row, d), state);
    }
    if (!policy.observes(n, q)) continue;
    policy.observe(n, q, weights_of(c.turned.data() + row, c.keys.data() + at, q, d),
                   std::span(scores).first(std::size_t(q) + 1));
  }
  const auto keys = widened(c.keys.data() + at, n * d);
  const auto values = widened(c.values.data() + at, n * d);
  policy.score({n, n - 1, 0, d, keys, values, state, future.cosine, future.sine}, scores);
  return scores;
}

template <class T>
int score_all(const CachePolicy& policy, const Shape& s) {
  ModelConfig config;
  config.head_dim = s.dim;
  const RopeTables future =
      make_rope_tables(config, config.ropes[0], s.positions, policy.future_positions());
  for (Case<T> c(s); c.next();) {
    std::vector<double> scores;
    for (std::int64_t h = 0; h < s.heads; ++h) {
      const std::vector<double> one = head_scores(policy, s, c, h, future);
      scores.insert(scores.end(), one.begin(), one.end());
    }
    write(scores);
    write(choose(policy, s, sizeof(T) == sizeof(double), scores));
  }
  return 0;
}

}  // namespace

int main(int count, char** words) {
  const std::string task = count > 1 ? words[1] : "";
  const auto number = [&](int i) { return i < count ? std::atoll(words[i]) : 0; };
  const auto spec = parse_kv_policy(count > 2 ? words[2] : "");
  const bool known = (task == "choose" && count == 6) || (task == "score" && count == 8) ||
                     (task == "sees" && count == 4);
  const Shape shape{number(3), number(4), number(5), number(6)};
  if (!spec || spec->policy == nullptr || !known || shape.positions > kSplit) {
    std::fprintf(stderr, "usage: kv_selections choose|score|sees POLICY …\n");
    return 2;
  }
  const CachePolicy& policy = *spec->policy;
  if (task == "sees") {
    std::vector<std::uint8_t> row(std::size_t(number(3)));
    for (std::int64_t q = 0; q < number(3); ++q) {
      for (std::int64_t j = 0; j < number(3); ++j) {
        row[std::size_t(j)] = j <= q && policy.pattern(q).sees(j) ? 1 : 0;
      }
      write(row);
    }
    return 0;
  }
  if (task == "score") {
    const bool wide = std::string(words[7]) == "fp64";
    return wide ? score_all<double>(policy, shape) : score_all<float>(policy, shape);
  }
  std::vector<double> one(std::size_t(shape.heads * shape.positions));
  while (read(one)) write(choose(policy, shape, true, one));
  return 0;
}
