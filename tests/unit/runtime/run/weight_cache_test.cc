// Weights are packed once for all cells that can share them, and hold the same bits however many
// threads packed them.
#include "runtime/run/weight_cache.h"

#include <gtest/gtest.h>

#include <cstring>

#include "runtime/backends/cpu/cpu_backend.h"
#include "runtime/numerics/formats.h"
#include "runtime/run/generate.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

PackedRequest request_of(Precision precision, int ranks, int threads, std::int64_t positions) {
  PackedRequest request;
  request.precision = precision;
  request.ranks = ranks;
  request.backend.threads = threads;
  request.lengths.positions = positions;
  for (int rank = 0; rank < ranks; ++rank) request.here.push_back({rank, rank});
  return request;
}

LoadedModel long_toy() {
  LoadedModel model = fakes::toy_model(fakes::worked_example());
  model.config.context = 8192;
  return model;
}

const PackedSet& got(PackedCache& cache, const PackedRequest& request) {
  const auto set = cache.get(request);
  ISOBIT_CHECK(set.has_value());
  return **set;
}

TEST(PackedCache, PacksOnceForWhatCellsShare) {
  const LoadedModel model = long_toy();
  PackedCache cache(model);
  for (int round = 0; round < 2; ++round) {
    for (const int ranks : {1, 2, 4, 8}) {
      EXPECT_EQ(got(cache, request_of(Precision::fp32, ranks, 1, 10)).ranks.size(),
                std::size_t(ranks));
    }
    got(cache, request_of(Precision::bf16, 1, 2, 10));
  }
  EXPECT_EQ(cache.packings(), 5);
}

TEST(PackedCache, LongerSequencesExtendTheTablesOnly) {
  const LoadedModel model = long_toy();
  PackedCache cache(model);
  const PackedSet& set = got(cache, request_of(Precision::fp32, 2, 1, 10));
  EXPECT_EQ(set.ranks[1]->rope_rows.positions(), 1024);
  EXPECT_EQ(&got(cache, request_of(Precision::fp32, 2, 1, 3000)), &set);
  EXPECT_EQ(cache.packings(), 1);
  for (const auto& rank : set.ranks) {
    ASSERT_EQ(rank->rope_rows.positions(), 4096);
    const RopeTables tables =
        make_rope_tables(model.config, model.config.ropes.front(), rank->rope_rows.all());
    ASSERT_EQ(tables.sine.size(), std::size_t(4096 * model.config.head_dim / 2));
    const auto* sine = static_cast<const float*>(rank->ropes.front().sine.get());
    for (std::size_t i = 0; i < tables.sine.size(); ++i) {
      ASSERT_EQ(bits_of(sine[i]), bits_of(float(tables.sine[i]))) << i;
    }
  }
}

TEST(PackedCache, ThreadsGiveTheSameBytes) {
  const LoadedModel model = long_toy();
  for (const Precision precision :
       {Precision::fp64, Precision::fp32, Precision::bf16, Precision::fp16, Precision::fp8_e4m3}) {
    PackedCache one(model), three(model);
    const PackedSet& a = got(one, request_of(precision, 2, 1, 10));
    const PackedSet& b = got(three, request_of(precision, 2, 3, 10));
    for (std::size_t r = 0; r < a.ranks.size(); ++r) {
      for (const auto part : {&LayerWeights::q, &LayerWeights::down, &LayerWeights::up}) {
        const auto packed = [&](const PackedSet& set) -> const auto& {
          const WeightMatrix& matrix = *(set.ranks[r]->layers[1].*part).matrix;
          return static_cast<const cpu::CpuMatrix&>(matrix).packed;
        };
        const auto& x = packed(a);
        const auto& y = packed(b);
        ASSERT_EQ(x.n, y.n);
        EXPECT_EQ(x.scale, y.scale);
        for (std::int64_t n = 0; n < x.n; ++n) {
          for (std::int64_t k = 0; k < x.k; ++k) {
            ASSERT_EQ(bits_of(x.at<double>(n, k)), bits_of(y.at<double>(n, k)));
          }
        }
      }
    }
  }
}

TEST(EmbeddingTable, HoldsTheRowsThatWereRequired) {
  const LoadedModel model = fakes::toy_model(fakes::worked_example());
  const Tensor& source = *model.weights.find("model.embed_tokens.weight");
  for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp64}) {
    const Mode& mode = mode_of(precision);
    const EmbeddingTable table = EmbeddingTable::on_demand(source, {25, 75}, mode);
    const std::vector<std::int32_t> ids{30, 99, 74, 25, 30, 0};
    table.require(ids);
    std::vector<float> row(64);
    for (const std::int32_t id : {30, 74, 25}) {
      source.read_row(id, 0, 64, row);
      for (std::size_t i = 0; i < row.size(); ++i) {
        const std::size_t at = std::size_t(id - 25) * 64 + i;
        const float want = round_to(mode.weight, row[i]);
        if (mode.wide()) {
          EXPECT_EQ(bits_of(static_cast<const double*>(table.get())[at]), bits_of(double(want)));
        } else {
          EXPECT_EQ(bits_of(static_cast<const float*>(table.get())[at]), bits_of(want));
        }
      }
    }
  }
}

/// What a parent does before it forks: prepare, then generate as if nothing had been.
TEST(Runtime, PreparedOrNotTheTokensAreTheSame) {
  GenerateRequest request;
  request.prompts = {{fakes::prompt(40), {}}};
  request.max_new_tokens = 4;
  std::vector<TokenRecord> first;
  for (const int ranks : {1, 2, 8}) {
    for (const bool prepared : {false, true}) {
      Runtime runtime(fakes::toy_model(fakes::worked_example()));
      request.ranks = ranks;
      if (prepared) {
        EXPECT_TRUE(runtime.prepare(request).has_value());
      }
      const auto result = runtime.generate(request);
      ASSERT_TRUE(result.has_value());
      const auto& tokens = result->trace.prompts[0].tokens;
      ASSERT_EQ(tokens.size(), 4U);
      if (first.empty()) first = tokens;
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        EXPECT_EQ(tokens[i].digest, first[i].digest) << ranks << " ranks, token " << i;
      }
    }
  }
}

}  // namespace
}  // namespace isobit
