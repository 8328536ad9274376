// Rows by value: each is the row whose digest is recorded, once, however the cell runs; and what a
// cache shows when a prompt has ended is what was written to it, coded, or gone.
#include <cmath>
#include <map>

#include "tests/conformance/cuda_pair.h"
#include "tests/conformance/kv_cases.h"

namespace isobit::kv_test {
namespace {

using Bytes = std::vector<std::byte>;
using Values = std::map<ValueKey, Bytes>;

Digest digest_of(const Bytes& row, bool wide) {
  if (wide) {
    std::vector<double> values(row.size() / sizeof(double));
    std::memcpy(values.data(), row.data(), row.size());
    return digest_row(values);
  }
  std::vector<float> values(row.size() / sizeof(float));
  std::memcpy(values.data(), row.data(), row.size());
  return digest_row(values);
}

GenerateRequest small(Precision precision, const std::string& kv, const Cell& cell) {
  GenerateRequest r = request(precision, kv, cell);
  r.max_new_tokens = 12;
  r.prompts.resize(2);
  for (PromptTokens& prompt : r.prompts) {  // so that drafts are made
    for (std::size_t i = prompt.tokens.size() / 2; i < prompt.tokens.size(); ++i) {
      prompt.tokens[i] = prompt.tokens[i - prompt.tokens.size() / 2];
    }
  }
  return r;
}

CellTrace traced(Runtime& runtime, GenerateRequest r, Values& out) {
  r.value_row = [&out](const ValueKey& key, std::span<const std::byte> row) {
    EXPECT_TRUE(out.emplace(key, Bytes(row.begin(), row.end())).second) << "given twice";
  };
  const auto result = runtime.generate(r);
  EXPECT_TRUE(result) << result.error().text();
  EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
  return result->trace;
}

const std::vector<Site> kRecorded = {
    Site::embed, Site::norm1, Site::q,     Site::k,   Site::v,    Site::attn,      Site::o,
    Site::h1,    Site::h2,    Site::norm2, Site::act, Site::down, Site::final_norm};

/// Every observation has its row, and every row its observation.
void expect_recorded(Runtime& runtime, GenerateRequest r, const Cell& cell) {
  r.level = TraceLevel::ops;
  r.values.sites = kRecorded;
  Values values;
  const CellTrace trace = traced(runtime, r, values);
  std::size_t observations = 0, wrong = 0;
  for (std::size_t p = 0; p < trace.prompts.size(); ++p) {
    for (const Observation& seen : trace.prompts[p].observations) {
      const auto at = values.find({int(p), seen.position, seen.layer, seen.site});
      ++observations;
      wrong +=
          at == values.end() || digest_of(at->second, r.precision == Precision::fp64) != seen.digest
              ? 1
              : 0;
    }
  }
  EXPECT_EQ(wrong, 0U) << cell << " of " << observations;
  EXPECT_EQ(values.size(), observations) << cell;
  EXPECT_GT(observations, 1000U);
}

std::vector<Cell> ways() {
  std::vector<Cell> out(1);
  for (const char* cache : {"off", "chunked:17", "prefix", "recomputed", "speculative:4"}) {
    Cell cell;
    cell.cache = cache, cell.batch = 2;
    out.push_back(cell);
  }
  for (const int ranks : {2, 4}) {
    Cell cell;
    cell.ranks = ranks, cell.batch = ranks == 2 ? 1 : 2;
    out.push_back(cell);
  }
  return out;
}

TEST(Values, AreTheRowsWhoseDigestsAreRecorded) {
  Runtime runtime{model()};
  for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp64}) {
    for (const Cell& cell : ways()) {
      expect_recorded(runtime, small(precision, "exact", cell), cell);
    }
  }
  Cell cell;
  expect_recorded(runtime, small(Precision::fp32, "q8_0", cell), cell);
  expect_recorded(runtime, small(Precision::bf16, "h2o:40", cell), cell);
}

TEST(Values, OfReplicasAreNumberedByTheRequestsPrompts) {
  Runtime runtime{model()};
  GenerateRequest r = small(Precision::fp32, "exact", {});
  r.values.sites = {Site::h2};
  r.values.layers = {1};
  Values one, two;
  traced(runtime, r, one);
  r.replicas = 2;
  traced(runtime, r, two);
  EXPECT_TRUE(one == two);
  r.values.prompts = 1;
  Values first;
  traced(runtime, r, first);
  EXPECT_FALSE(first.empty());
  for (const auto& [key, row] : first) {
    EXPECT_EQ(key.prompt, 0);
    EXPECT_EQ(key.layer, 1);
    EXPECT_EQ(key.site, Site::h2);
  }
}

/// The rows of k and of k_seen of one cell, and the same of v.
Values shown(Runtime& runtime, Precision precision, const std::string& kv, const Cell& cell) {
  GenerateRequest r = small(precision, kv, cell);
  r.values.sites = {Site::k, Site::v, Site::k_seen, Site::v_seen};
  Values out;
  traced(runtime, r, out);
  return out;
}

Values of(const Values& all, Site site, Site named) {
  Values out;
  for (const auto& [key, row] : all) {
    ValueKey other = key;
    other.site = named;
    if (key.site == site) out[other] = row;
  }
  return out;
}

TEST(Values, AnExactCacheShowsWhatWasWritten) {
  Runtime runtime{model()};
  for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp64}) {
    for (const Cell& cell : ways()) {
      const Values all = shown(runtime, precision, "exact", cell);
      const Values k = of(all, Site::k, Site::k), v = of(all, Site::v, Site::v);
      ASSERT_GT(k.size(), 200U);
      EXPECT_TRUE(k == of(all, Site::k_seen, Site::k)) << cell;
      EXPECT_TRUE(v == of(all, Site::v_seen, Site::v)) << cell;
    }
  }
}

std::vector<float> floats_of(const Bytes& row) {
  std::vector<float> out(row.size() / sizeof(float));
  std::memcpy(out.data(), row.data(), row.size());
  return out;
}

struct Seen {
  double error = 0, square = 0;                // sums over elements
  std::size_t equal = 0, coded = 0, gone = 0;  // rows of a head
};

/// k_seen against k, head by head of 32 channels.
Seen compare(const Values& all) {
  Seen out;
  for (const auto& [key, row] : of(all, Site::k_seen, Site::k)) {
    const std::vector<float> seen = floats_of(row), written = floats_of(all.at(key));
    for (std::size_t at = 0; at < seen.size(); at += 32) {
      double error = 0;
      bool gone = true;
      for (std::size_t i = at; i < at + 32; ++i) {
        gone = gone && std::isnan(seen[i]);
        error += std::pow(double(seen[i]) - double(written[i]), 2);
        out.square += std::pow(double(written[i]), 2);
      }
      out.gone += gone ? 1U : 0U;
      out.equal += error == 0 ? 1U : 0U;
      out.coded += !gone && error > 0 ? 1U : 0U;
      out.error += gone ? 0 : error;
    }
  }
  return out;
}

TEST(Values, ALossyCacheShowsCodesAndGaps) {
  Runtime runtime{model()};
  const Seen q8 = compare(shown(runtime, Precision::fp32, "q8_0", {}));
  EXPECT_GT(q8.coded, 100U);
  EXPECT_EQ(q8.gone, 0U);
  EXPECT_GT(q8.error, 0);
  EXPECT_LT(q8.error, 1e-4 * q8.square);
  const Seen q4 = compare(shown(runtime, Precision::fp32, "q4_0", {}));
  EXPECT_GT(q4.error, 10 * q8.error);
  const Seen kivi = compare(shown(runtime, Precision::fp32, "kivi:4", {}));
  EXPECT_GT(kivi.coded, 50U);
  EXPECT_GT(kivi.equal, 10U);  // the last rows wait, exact
  const Seen turned = compare(shown(runtime, Precision::fp32, "rtn:4+rotate:hadamard", {}));
  EXPECT_GT(turned.coded, 100U);
  EXPECT_LT(turned.error, 0.05 * turned.square);  // not a rotation away
  const Seen window = compare(shown(runtime, Precision::fp32, "window:24", {}));
  EXPECT_GT(window.gone, 100U);
  EXPECT_EQ(window.coded, 0U);
  // Two prompts, two layers, two heads; the next query stands behind the last position.
  EXPECT_EQ(window.equal, std::size_t(2 * 2 * 2 * 23));
  const Seen h2o = compare(shown(runtime, Precision::fp32, "h2o:40", {}));
  EXPECT_GT(h2o.gone, 50U);
  EXPECT_EQ(h2o.coded, 0U);
}

TEST(Values, WhatACacheShowsIsOneOfItsClass) {
  Runtime runtime{model()};
  for (const char* kv : {"kivi:4", "q4_0", "h2o:40", "rtn:4+rotate:hadamard", "window:24"}) {
    const Values want = shown(runtime, Precision::bf16, kv, {});
    for (const Cell& cell : ways()) {
      if (cell.cache == "prefix" || cell.cache == "speculative:4") continue;
      EXPECT_TRUE(want == shown(runtime, Precision::bf16, kv, cell)) << kv << " " << cell;
    }
  }
}

TEST(Values, WhatACacheDoesNotKeepIsNotShown) {
  Runtime runtime{model()};
  for (const char* kv : {"streaming:24+positions:in_cache", "residual:embedding+budget:16"}) {
    const Values all = shown(runtime, Precision::fp32, kv, {});
    EXPECT_TRUE(of(all, Site::k_seen, Site::k).empty()) << kv;
    EXPECT_FALSE(of(all, Site::k, Site::k).empty()) << kv;
  }
}

TEST(Values, GpuGivesTheRowsOfTheCpu) {
  if (!cuda_test::gpu_is_there()) GTEST_SKIP() << "no GPU";
  Runtime runtime{model()};
  Cell cell;
  cell.device = "cuda";
  expect_recorded(runtime, small(Precision::bf16, "exact", cell), cell);
  for (const char* kv : {"exact", "kivi:4", "h2o:40"}) {
    EXPECT_TRUE(shown(runtime, Precision::bf16, kv, {}) ==
                shown(runtime, Precision::bf16, kv, cell))
        << kv;
  }
}

}  // namespace
}  // namespace isobit::kv_test
