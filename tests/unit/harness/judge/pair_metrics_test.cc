// The metrics of pairs, to the digits that NumPy gives in fp64 for the same arrays
// (tests/integration/check_pair_metrics.py), and what is exactly 0, infinite or not there.
#include "harness/judge/pair_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>

#include "harness/judge/compare.h"

namespace isobit {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// 24 bits of splitmix64(n), as a number in [0, 1).
double draw(std::uint64_t n) {
  std::uint64_t z = (n + 1) * 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return double((z ^ (z >> 31)) >> 40) * 0x1p-24;
}

using Row = std::vector<float>;

struct Both {
  Row a, b;
};

Both row_of(std::uint64_t number, std::size_t size, double noise) {
  Both out;
  for (std::size_t i = 0; i < size; ++i) {
    out.a.push_back(float(draw(1000 * number + i) * 16 - 8));
    out.b.push_back(out.a.back() + float((draw(500000 + 1000 * number + i) - 0.5) * noise));
  }
  return out;
}

PairRow pair_row(int prompt, int t, const Row& a, const Row& b) {
  const RowDistance d = value_distance(std::span(a), std::span(b));
  PairRow out;
  out.prompt = prompt;
  out.position = t;
  out.kl = d.kl, out.js = d.js, out.total_variation = d.total_variation;
  out.max_abs = d.max_abs, out.mean_abs = d.mean_abs, out.max_ulp = d.max_ulp;
  out.margin = d.margin_a;
  out.flip = d.argmax_a != d.argmax_b;
  return out;
}

void change(const std::string& name, Both& row) {
  if (name == "ties") {
    for (float& x : row.a) x = std::nearbyint(x);
    for (float& x : row.b) x = std::nearbyint(x);
  }
  for (std::size_t i = 5; name == "zeros" && i < 9; ++i) row.a[i] = 0.0F, row.b[i] = -0.0F;
  for (std::size_t i = 3; name == "masked" && i < 7; ++i) row.a[i] = row.b[i] = -kInfinity;
  for (std::size_t i = 0; name == "shifted" && i < row.a.size(); ++i) {
    row.b[i] = row.a[i] + (i % 3 == 0 ? 0.0625F : 0.0F);
  }
}

std::vector<PairRow> rows_of(const std::string& name) {
  std::vector<PairRow> out;
  const auto add = [&](int p, int t, std::uint64_t number, std::size_t size, double noise) {
    Both both = row_of(number, size, noise);
    change(name, both);
    out.push_back(pair_row(p, t, both.a, both.b));
  };
  const auto number = [](int base, int p, int t) { return std::uint64_t(base + 10 * p + t); };
  if (name == "one_row") {
    add(0, 0, 200, 2, 0.5);
  } else if (name == "random") {
    for (int p = 0; p < 3; ++p) {
      for (int t = 0; t < 5 - p; ++t) add(p, t, number(0, p, t), 33, 0.125);
    }
  } else if (name == "far") {
    for (int p = 0; p < 2; ++p) {
      for (int t = 0; t < 6; ++t) add(p, t, number(100, p, t), 40, 24);
    }
  } else {
    for (int p = 0; p < 2; ++p) {
      for (int t = 0; t < 3; ++t) add(p, t, number(300, p, t), 24, 0.5);
    }
  }
  return out;
}

std::string digits(const std::optional<double>& value) {
  if (!value) return "none";
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", *value);
  return text;
}

using Lines = std::map<std::string, std::string>;  // "case metric" to "value error"

Lines stored(const std::string& wanted) {
  std::ifstream file(ISOBIT_SOURCE_DIR "/tests/unit/harness/judge/data/pair_metrics.txt");
  Lines out;
  std::string name, metric, value, error;
  while (file >> name >> metric >> value >> error) {
    if (name == wanted) out[metric] = value + " " + error;
  }
  EXPECT_FALSE(out.empty()) << wanted;
  return out;
}

std::vector<MetricValue> measured(const std::vector<Metric>& metrics, const PairEvidence& of) {
  return measure_pair(metrics, of);
}

double part_of(const MetricValue& value, const std::string& name) {
  for (const auto& [part, number] : value.parts) {
    if (part == name) return number;
  }
  ADD_FAILURE() << value.metric << " has no " << name;
  return 0;
}

const std::vector<Metric> kOfRows = {
    Metric::kl,       Metric::kl_median, Metric::kl_p99,  Metric::kl_max,
    Metric::js,       Metric::max_abs,   Metric::max_ulp, Metric::total_variation,
    Metric::mean_abs, Metric::margin_law};

TEST(PairMetrics, OfRowsAreThoseOfNumpy) {
  for (const char* name : {"random", "far", "one_row", "ties", "zeros", "masked", "shifted"}) {
    PairEvidence evidence;
    evidence.rows = rows_of(name);
    Lines got;
    for (const MetricValue& value : measured(kOfRows, evidence)) {
      got[value.metric] = digits(value.value) + " " + digits(value.error);
      if (value.metric == "margin_law") {
        got["flips"] = digits(part_of(value, "flips")) + " none";
        EXPECT_EQ(part_of(value, "unexplained"), 0) << name;
      }
    }
    EXPECT_EQ(got, stored(name)) << name;
  }
}

PromptTrace prompt_of(int p, const std::vector<std::int32_t>& ids) {
  PromptTrace out;
  out.tokens_digest = sha256(&p, sizeof p);
  for (std::size_t t = 0; t < ids.size(); ++t) {
    TokenRecord& token = out.tokens.emplace_back();
    token.position = 7 + std::int64_t(t);
    token.id = token.top_ids[0] = ids[t];
    token.top_count = 1;
    token.fed = t + 1 < ids.size() ? ids[t] : -1;
  }
  return out;
}

struct TwoCells {
  CellTrace a, b;
  TwoCells() {
    const std::vector<std::vector<std::int32_t>> x = {{3, 4, 2, 8}, {5, 6, 7, 8}, {1}, {9, 9, 4}},
                                                 y = {{3, 4, 2, 8}, {5, 9, 7, 8}, {2}, {9, 9}};
    for (int p = 0; p < 4; ++p) {
      a.prompts.push_back(prompt_of(p, x[std::size_t(p)]));
      b.prompts.push_back(prompt_of(p, y[std::size_t(p)]));
    }
  }
};

TEST(PairMetrics, OfTokensAreThoseOfNumpy) {
  const TwoCells cells;
  PairEvidence evidence;
  evidence.traces = {{&cells.a, &cells.b}};
  Lines got;
  for (const MetricValue& value : measured(
           {Metric::token_divergence, Metric::first_divergence, Metric::token_match}, evidence)) {
    got[value.metric] = digits(value.value) + " " + digits(value.error);
    EXPECT_EQ(value.prompts, 4);
  }
  EXPECT_EQ(got, stored("tokens"));
}

TEST(PairMetrics, AFlipRateIsOfTeacherForcedRows) {
  TwoCells cells;
  PairEvidence evidence;
  evidence.traces = {{&cells.a, &cells.b}};
  MetricValue value = measured({Metric::flip_rate}, evidence)[0];
  EXPECT_FALSE(value.value);
  EXPECT_EQ(value.reason.find("free-running"), 0U);
  for (std::size_t p = 0; p < 4; ++p) {
    for (TokenRecord& token : cells.a.prompts[p].tokens) token.fed = 1;
    for (TokenRecord& token : cells.b.prompts[p].tokens) token.fed = 1;
  }
  evidence.teacher_forced = true;
  value = measured({Metric::flip_rate}, evidence)[0];
  EXPECT_EQ(digits(value.value), digits(100.0 * 2 / 11));  // the last prompt has two rows in both
  EXPECT_EQ(part_of(value, "flips"), 2);
  EXPECT_EQ(part_of(value, "rows"), 11);
  EXPECT_EQ(part_of(value, "bound_95"), 100 * rate_upper_bound(2, 11));
}

/// What the layers of check_pair_metrics.py give.
PairEvidence layered() {
  PairEvidence out;
  const auto wide = [](const Row& row) { return std::vector<double>(row.begin(), row.end()); };
  for (int layer = 0; layer < 3; ++layer) {
    LayerSum sum{layer, "h2", 0, 0, 0, 0, 0, 0, 0, 0};
    for (int t = 0; t < 4; ++t) {
      const Both both = row_of(std::uint64_t(400 + 10 * layer + t), 16, 0.25 * (layer + 1));
      add_row(vector_distance(wide(both.a), wide(both.b)), sum);
    }
    out.layers.push_back(sum);
  }
  LayerSum keys{0, "k_seen", 0, 0, 0, 0, 0, 0, 0, 0};
  for (int t = 0; t < 25; ++t) {
    Both both = row_of(std::uint64_t(500 + t), 16, t == 7 ? 4.0 : 0.5);
    for (std::size_t i = 8; t == 3 && i < 16; ++i) both.b[i] = kNan;
    out.keys.add(wide(both.a), wide(both.b), 8, keys);
  }
  out.layers.push_back(keys);
  return out;
}

TEST(PairMetrics, OfLayersAreThoseOfNumpy) {
  const PairEvidence evidence = layered();
  Lines got;
  for (int layer = 0; layer < 3; ++layer) {
    const LayerSum& sum = evidence.layers[std::size_t(layer)];
    const std::string number = std::to_string(layer);
    got["distance_" + number] = digits(sum.distance / double(sum.rows)) + " none";
    got["largest_" + number] = digits(sum.max_abs) + " none";
  }
  const auto values = measured({Metric::layer_drift, Metric::k_error, Metric::v_error}, evidence);
  got["layer_drift"] = digits(values[0].value) + " none";
  got["k_error"] = digits(values[1].value) + " none";
  for (const char* part :
       {"magnitude", "direction", "magnitude_share", "largest_5_percent_share"}) {
    got[part] = digits(part_of(values[1], part)) + " none";
  }
  EXPECT_EQ(got, stored("layers"));
  EXPECT_EQ(part_of(values[1], "evicted"), 1);
  EXPECT_EQ(part_of(values[1], "vectors"), 49);
  EXPECT_FALSE(values[2].value);
  EXPECT_NE(values[2].reason.find("no rows"), std::string::npos);
}

std::vector<PairRow> kl_rows(std::uint64_t base, int first, double scale) {
  std::vector<PairRow> out;
  for (int p = 0; p < 3; ++p) {
    for (int t = first; t < first + 4; ++t) {
      PairRow& row = out.emplace_back();
      row.prompt = p;
      row.position = t;
      row.kl = draw(base + std::uint64_t(10 * p + t)) * scale;
    }
  }
  return out;
}

TEST(PairMetrics, RecoveryIsThatOfNumpyAndUndefinedWhereNothingDiverges) {
  PairEvidence evidence;
  evidence.rows = kl_rows(7000, 0, 0.25);
  evidence.donor = kl_rows(8000, 1, 1);
  MetricValue value = measured({Metric::recovery}, evidence)[0];
  EXPECT_FALSE(value.value);
  EXPECT_EQ(value.reason.find("no patched run"), 0U);
  evidence.patched = true;
  evidence.of_donor = false;
  value = measured({Metric::recovery}, evidence)[0];
  EXPECT_FALSE(value.value);
  EXPECT_EQ(value.reason, "undefined: the reference is not the donor of the patch");
  evidence.of_donor = true;
  value = measured({Metric::recovery}, evidence)[0];
  EXPECT_EQ(digits(value.value) + " " + digits(value.error), stored("patch")["recovery"]);
  for (PairRow& row : evidence.donor) row.kl = 0;
  value = measured({Metric::recovery}, evidence)[0];
  EXPECT_FALSE(value.value);
  EXPECT_EQ(value.reason, "undefined: the recipient does not diverge from the donor");
  EXPECT_FALSE(recovery({}, evidence.donor).value);
  for (PairRow& row : evidence.rows) row.kl = 0;
  EXPECT_EQ(recovery(evidence.rows, kl_rows(8000, 1, 1)).value, 1.0);
}

TEST(PairMetrics, EqualRowsAreExactlyZeroApart) {
  std::vector<PairRow> rows;
  LayerSum sum, keys;
  VectorErrors errors;
  for (int t = 0; t < 200; ++t) {
    Both both = row_of(std::uint64_t(900 + t), 31, 3);
    if (t % 3 == 0) both.a[4] = -kInfinity;
    if (t % 5 == 0) both.a[6] = -0.0F;
    rows.push_back(pair_row(0, t, both.a, both.a));
    Row finite = both.a;
    finite[4] = 1;
    const std::vector<double> x(finite.begin(), finite.begin() + 30);
    add_row(vector_distance(x, x), sum);
    errors.add(x, x, 10, keys);
  }
  sum.site = "h2", keys.site = "k_seen";
  EXPECT_EQ(not_identical(rows, {sum, keys}, {"h2", "k_seen"}), "");
  EXPECT_EQ(errors.largest_share(), 0);
  rows[7].js = 0x1p-1000;
  EXPECT_NE(not_identical(rows, {}, {}).find("position 7"), std::string::npos);
  sum.distance = 0x1p-1000;
  EXPECT_NE(not_identical({}, {sum}, {"h2"}).find("layer 0"), std::string::npos);
  EXPECT_EQ(not_identical({}, {sum}, {"h1"}), "");
}

TEST(PairMetrics, WhatIsNotFiniteHasAReasonAndNoValue) {
  PairEvidence evidence;
  Both both = row_of(1, 12, 0.5);
  evidence.rows.push_back(pair_row(0, 0, both.a, both.b));
  both.b[3] = kNan;
  evidence.rows.push_back(pair_row(0, 1, both.a, both.b));
  both.b[3] = -kInfinity;
  evidence.rows.push_back(pair_row(1, 0, both.a, both.b));
  for (const Metric metric : {Metric::kl, Metric::kl_max, Metric::max_abs, Metric::mean_abs}) {
    const MetricValue value = measured({metric}, evidence)[0];
    EXPECT_FALSE(value.value) << value.metric;
    EXPECT_EQ(value.reason, "infinite in 2 of 3 rows") << value.metric;
  }
  const MetricValue law = measured({Metric::margin_law}, evidence)[0];
  EXPECT_EQ(part_of(law, "unexplained"), 0);
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> a = {1, 2}, b = {1, infinity};
  EXPECT_EQ(vector_distance(a, b).distance, infinity);
}

TEST(PairMetrics, AFlipThatTheLawDoesNotExplainIsAnError) {
  PairEvidence evidence;
  PairRow& row = evidence.rows.emplace_back();
  row.margin = 2, row.max_abs = 0.25, row.flip = true;
  const MetricValue value = measured({Metric::margin_law}, evidence)[0];
  EXPECT_FALSE(value.value);
  EXPECT_NE(value.reason.find("error of the harness"), std::string::npos);
  EXPECT_EQ(part_of(value, "unexplained"), 1);
}

TEST(PairMetrics, NothingHasNoValue) {
  const PairEvidence nothing;
  for (const MetricEntry& entry : all_metrics()) {
    if (!entry.of_pairs()) continue;
    const MetricValue value = measured({entry.metric}, nothing)[0];
    EXPECT_FALSE(value.value) << value.metric;
    EXPECT_FALSE(value.reason.empty()) << value.metric;
  }
  PairEvidence none;
  none.no_values = "because";
  EXPECT_EQ(measured({Metric::kl}, none)[0].reason, "because");
  EXPECT_EQ(quantile_of({4}, 0.99), 4);
  EXPECT_EQ(quantile_of({4, 2}, 0.5), 3);
}

TEST(PairMetrics, CountersAreToldWithTheirShareOfTheReference) {
  TwoCells cells;
  cells.a.observed.kv_bytes = 4000, cells.b.observed.kv_bytes = 1000;
  cells.b.observed.kv_exact_bytes = 4000;
  cells.a.seconds = 2, cells.b.seconds = 1;
  PairEvidence evidence;
  evidence.traces = {{&cells.a, &cells.b}};
  const auto values =
      measured({Metric::kv_bytes, Metric::weight_bytes, Metric::tokens_per_second}, evidence);
  EXPECT_EQ(values[0].value, 1000);
  EXPECT_EQ(part_of(values[0], "of_exact"), 0.25);
  EXPECT_EQ(part_of(values[0], "of_reference"), 0.25);
  EXPECT_EQ(values[1].reason, "not measured");
  EXPECT_EQ(values[2].value, 11);
  EXPECT_EQ(part_of(values[2], "reference"), 6);
}

}  // namespace
}  // namespace isobit
