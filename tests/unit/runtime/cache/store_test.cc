// The store under policies: what is coded when, which pages go back, what is counted.
#include "runtime/cache/store.h"

#include <gtest/gtest.h>

#include "runtime/backends/registry.h"
#include "tests/fakes/counting.h"

namespace isobit {
namespace {

constexpr std::int64_t kLayers = 2, kHeads = 4, kKvHeads = 2, kHeadDim = 32;
constexpr std::int64_t kWidth = kKvHeads * kHeadDim;
constexpr std::int64_t kExactRow = 2 * kLayers * kWidth * 4;  // bytes of a position, K and V

/// Keeps the latest four positions after every row of the prompt's end and later.
class LastFour final : public CachePolicy {
 public:
  [[nodiscard]] bool selects(std::int64_t n, std::int64_t q) const override { return q + 1 >= n; }
  void select(const KvScores&, std::span<std::uint8_t> keep) const override {
    for (std::size_t j = 0; j + 4 < keep.size(); ++j) keep[j] = 0;
  }
  [[nodiscard]] bool acts(const KvModel&, std::int64_t n, std::int64_t q) const override {
    return q >= n && q > 4;
  }
};

class KvStore : public ::testing::Test {
 protected:
  KvStore() { use(Precision::fp32); }
  void use(Precision precision) {
    auto made = make_backend({}, mode_of(precision));
    backend_ = std::move(*made);
  }

  KvCache make(const KvPolicySpec& kv, const std::string& mode, std::int64_t prompt,
               std::int64_t total) {
    KvDemand demand;
    demand.passing = {{prompt, total}, {prompt, total}};
    demand.at_once = 2;
    const KvShape shape{kLayers, kKvHeads, kHeadDim, 16, kKvHeads, 0, kHeads, kHeads};
    return {*backend_, shape, *parse_cache_mode(mode), kv, demand};
  }
  KvCache make(const std::string& kv, const std::string& mode, std::int64_t prompt,
               std::int64_t total) {
    spec_ = *parse_kv_policy(kv);
    return make(spec_, mode, prompt, total);
  }
  /// A step of rows up to n: writes zeros, codes what row n would see coded.
  void step(KvCache& cache, int sequence, std::int64_t from, std::int64_t n) {
    cache.reserve(sequence, n);
    std::vector<float> zeros(std::size_t(kWidth), 0.0f);
    const Rows row{zeros.data(), 1, kWidth, kWidth};
    for (std::int64_t layer = 0; layer < kLayers; ++layer) {
      for (std::int64_t p = from; p < n; ++p) {
        const std::int64_t slot = cache.slot(sequence, p);
        if (cache.keeps_exact()) {
          backend_->write_kv(row, row, {&slot, 1}, kKvHeads, cache.mode().page_size,
                             cache.k_pool(layer), cache.v_pool(layer));
        }
        if (cache.policy() != nullptr)
          cache.code_rows(layer, row, row, {&sequence, 1}, {&p, 1}, false);
      }
      if (cache.policy() == nullptr) continue;
      const std::int64_t prompt = cache.prompt_length(sequence);
      if (cache.policy()->selects(prompt, n - 1)) {
        const std::vector<double> even(std::size_t(kHeads * n), 0.5);
        cache.select(layer, sequence, {prompt, n - 1, kHeads, kKvHeads, n, false, even});
      }
      cache.code(layer, sequence, cache.policy()->coded(prompt, n));
    }
    cache.end_step();
  }
  static std::vector<bool> held(const KvCache& cache, int sequence) {
    std::vector<bool> out;
    for (std::int64_t i = 0; i < cache.pages(sequence); ++i) {
      out.push_back(cache.table(sequence)[i] != PageTable::kGone);
    }
    return out;
  }

  std::unique_ptr<Backend> backend_;
  KvPolicySpec spec_;
};

TEST_F(KvStore, WithoutAPolicyBytesAreExact) {
  KvCache cache = make("exact", "paged:16", 20, 30);
  const int s = cache.open(20);
  step(cache, s, 0, 20);
  EXPECT_EQ(cache.counters().bytes, 20 * kExactRow);
  EXPECT_EQ(cache.counters().exact_bytes, 20 * kExactRow);
  EXPECT_TRUE(cache.keeps_exact());
  EXPECT_EQ(cache.pools(0).k_codes, nullptr);
  EXPECT_FALSE(cache.counters().could_act);
}

/// A number of R takes what R takes: in the pools, and in what is counted.
TEST_F(KvStore, ExactValuesTakeTheBytesOfTheirFormat) {
  const std::pair<Precision, std::int64_t> sizes[] = {
      {Precision::bf16, 2}, {Precision::fp16, 2}, {Precision::fp8_e4m3, 2},
      {Precision::fp32, 4}, {Precision::tf32, 4}, {Precision::layercast_bf16, 4},
      {Precision::fp64, 8}};
  for (const auto& [precision, size] : sizes) {
    SCOPED_TRACE(mode_of(precision).name);
    use(precision);
    ASSERT_EQ(backend_->cache_size(), std::size_t(size));
    std::int64_t most = 0;
    backend_ = std::make_unique<fakes::CountingBackend>(std::move(backend_), most);
    KvCache cache = make("exact", "paged:16", 20, 30);
    // Two sequences of two pages and one to spare; K and V of each layer.
    EXPECT_EQ(most, 5 * 16 * kExactRow / 4 * size);
    const int s = cache.open(20);
    std::vector<double> zeros(std::size_t(kWidth), 0.0);  // as fp32: zeros too
    const Rows row{zeros.data(), 1, kWidth, kWidth};
    cache.reserve(s, 1);
    const std::int64_t slot = cache.slot(s, 0);
    backend_->write_kv(row, row, {&slot, 1}, kKvHeads, 16, cache.k_pool(0), cache.v_pool(0));
    cache.end_step();
    EXPECT_EQ(cache.counters().bytes, kExactRow / 4 * size);
    EXPECT_EQ(cache.counters().exact_bytes, kExactRow / 4 * size);
  }
}

TEST_F(KvStore, APointwisePolicyHasNoExactPool) {
  KvCache cache = make("q8_0", "paged:16", 20, 30);
  EXPECT_FALSE(cache.keeps_exact());
  EXPECT_EQ(cache.pools(1).k, nullptr);
  EXPECT_NE(cache.pools(1).v_codes, nullptr);
  const int s = cache.open(20);
  step(cache, s, 0, 20);
  EXPECT_EQ(cache.slot(s, 3), -1);
  EXPECT_EQ(cache.pages(s), 2);
  EXPECT_EQ(cache.counters().coded, 20);
  EXPECT_EQ(cache.counters().bytes, 20 * kLayers * 2 * kKvHeads * 34);
  EXPECT_EQ(cache.counters().exact_bytes, 20 * kExactRow);
  EXPECT_TRUE(cache.counters().could_act);
  const AttentionRows::Row row = cache.view(0, s, {});
  EXPECT_EQ(row.k_coded, CodedView::kAll);
  EXPECT_EQ(row.table, nullptr);
}

TEST_F(KvStore, KiviGivesBackWhatIsCodedOnBothSides) {
  KvCache cache = make("kivi:2", "paged:16", 70, 140);
  const int s = cache.open(70);
  step(cache, s, 0, 70);
  // Row 70 sees keys below 64 and values below 38 coded: positions below 38 need no exact slot.
  EXPECT_EQ(held(cache, s), (std::vector<bool>{false, false, true, true, true}));
  const std::int64_t k_tile = 8 + 4 + 4, v_tile = k_tile;
  const std::int64_t want = kLayers * kKvHeads *
                            (2 * kHeadDim * k_tile + 6 * kHeadDim * 4 +  // K: two groups, six exact
                             38 * v_tile + 32 * kHeadDim * 4);           // V: 38 coded, 32 exact
  EXPECT_EQ(cache.counters().bytes, want);
  EXPECT_EQ(cache.counters().exact_bytes, 70 * kExactRow);
  EXPECT_EQ(cache.counters().coded, 64);
  for (std::int64_t n = 71; n <= 140; ++n) step(cache, s, n - 1, n);  // the pool is large enough
  EXPECT_EQ(cache.view(1, s, {}).k_coded, 128);
  EXPECT_EQ(cache.view(1, s, {}).v_coded, 108);
  EXPECT_EQ(cache.counters().coded, 128);
  EXPECT_EQ(held(cache, s),
            (std::vector<bool>{false, false, false, false, false, false, true, true, true}));
  cache.close(s);
  EXPECT_EQ(cache.open(70), s);
  EXPECT_EQ(cache.view(0, s, {}).k_coded, 0);
}

TEST_F(KvStore, KiviCountsExactValuesAndFieldsInTheFormatOfR) {
  use(Precision::bf16);
  KvCache cache = make("kivi:4", "paged:16", 70, 140);
  const int s = cache.open(70);
  step(cache, s, 0, 70);
  const std::int64_t tile = 2 + 2 + 16;
  EXPECT_EQ(cache.counters().bytes,
            kLayers * kKvHeads *
                (2 * kHeadDim * tile + 6 * kHeadDim * 2 + 38 * tile + 32 * kHeadDim * 2));
  EXPECT_EQ(cache.counters().exact_bytes, 70 * kExactRow / 2);
}

TEST_F(KvStore, ModesThatComputeAgainKeepTheirPages) {
  for (const char* mode : {"off", "recomputed"}) {
    KvCache cache = make("kivi:2", mode, 300, 330);
    const int s = cache.open(300);
    step(cache, s, 0, 300);
    EXPECT_EQ(held(cache, s), (std::vector<bool>{true, true})) << mode;
  }
  KvCache cache = make("kivi:4", "recomputed", 70, 80);
  const int s = cache.open(70);
  step(cache, s, 0, 70);
  for (std::int64_t layer = 0; layer < kLayers; ++layer) cache.code_again(layer, s);
  EXPECT_EQ(cache.counters().coded, 64);
  EXPECT_EQ(cache.counters().rebuilt, 64);
}

TEST_F(KvStore, EvictedPagesGoBackWhenEveryLayerHasLetGo) {
  KvPolicySpec kv;
  kv.text = "last four";
  kv.policy = std::make_shared<LastFour>();
  KvCache cache = make(kv, "paged:16", 40, 60);
  const int s = cache.open(40);
  step(cache, s, 0, 40);
  EXPECT_EQ(held(cache, s), (std::vector<bool>{false, false, true}));
  EXPECT_EQ(cache.counters().evicted, 36 * kLayers * kKvHeads);
  EXPECT_EQ(cache.counters().bytes, 4 * kExactRow);
  EXPECT_EQ(cache.counters().exact_bytes, 40 * kExactRow);
  const AttentionRows::Row row = cache.view(0, s, {});
  ASSERT_NE(row.keep, nullptr);
  EXPECT_EQ(row.keep[35], 0);
  EXPECT_EQ(row.keep[36], 1);
  step(cache, s, 40, 41);
  EXPECT_EQ(cache.counters().evicted, 37 * kLayers * kKvHeads);
  EXPECT_TRUE(cache.counters().could_act);
}

TEST_F(KvStore, NothingEvictedIsNoMask) {
  KvCache cache = make("tova:50", "on", 40, 60);
  const int s = cache.open(40);
  step(cache, s, 0, 40);
  EXPECT_EQ(cache.view(0, s, {}).keep, nullptr);
  EXPECT_EQ(cache.counters().evicted, 0);
  EXPECT_FALSE(cache.counters().could_act);
  EXPECT_EQ(cache.counters().bytes, cache.counters().exact_bytes);
}

TEST_F(KvStore, TruncatedPositionsAreForgotten) {
  for (const char* kv : {"exact", "q8_0"}) {
    KvCache cache = make(kv, "paged:16+speculative:7", 20, 60);
    const int s = cache.open(20);
    step(cache, s, 0, 20);
    step(cache, s, 20, 40);
    EXPECT_EQ(cache.pages(s), 3) << kv;
    cache.truncate(s, 33);
    EXPECT_EQ(cache.pages(s), 3) << kv;
    cache.truncate(s, 32);
    EXPECT_EQ(cache.pages(s), 2) << kv;
    step(cache, s, 32, 33);
    EXPECT_EQ(cache.pages(s), 3) << kv;
    EXPECT_EQ(cache.counters().exact_bytes, 40 * kExactRow) << "the most, drafted rows included";
  }
}

TEST_F(KvStore, APrefixOfOtherPagesThanSixteen) {
  spec_ = *parse_kv_policy("exact");
  KvDemand demand;
  demand.staying = {{35, 35}};
  demand.passing = {{40, 50}};
  KvCache cache(*backend_, {kLayers, kKvHeads, kHeadDim, 16, kKvHeads},
                *parse_cache_mode("paged:7+prefix:true"), spec_, demand);
  const int donor = cache.open(40), s = cache.open(40);
  step(cache, donor, 0, 35);
  EXPECT_EQ(cache.share_prefix(s, donor, 35), 35);
  EXPECT_EQ(cache.pages(s), 5);
  EXPECT_EQ(cache.table(s)[4], cache.table(donor)[4]);
}

TEST_F(KvStore, APrefixSharesPagesOfCodesAndCountsThemOnce) {
  spec_ = *parse_kv_policy("q8_0");
  KvDemand demand;
  demand.staying = {{32, 32}};
  demand.passing = {{40, 50}};
  KvCache cache(*backend_, {kLayers, kKvHeads, kHeadDim, 16, kKvHeads, 0, kHeads, kHeads},
                *parse_cache_mode("prefix"), spec_, demand);
  const int donor = cache.open(32), s = cache.open(40);
  step(cache, donor, 0, 32);
  EXPECT_EQ(cache.share_prefix(s, donor, 32), 32);
  step(cache, s, 32, 40);
  EXPECT_EQ(cache.view(0, s, {}).code_table[1], cache.view(0, donor, {}).code_table[1]);
  EXPECT_EQ(cache.counters().bytes, 40 * kLayers * 2 * kKvHeads * 34);
  EXPECT_EQ(cache.counters().exact_bytes, 40 * kExactRow);
}

TEST_F(KvStore, AWindowHidesAndGivesBackByPosition) {
  KvCache cache = make("window:20", "paged:16", 40, 60);
  const int s = cache.open(40);
  step(cache, s, 0, 40);
  EXPECT_EQ(cache.view(0, s, {.position = 39}).first, 20);
  EXPECT_EQ(cache.view(0, s, {.position = 39, .first = 33}).first, 33) << "the model's own window";
  EXPECT_EQ(cache.view(0, s, {.position = 10}).first, 0);
  EXPECT_EQ(cache.view(0, s, {.position = 39}).keep, nullptr);
  EXPECT_EQ(held(cache, s), (std::vector<bool>{false, true, true})) << "query 40 sees 21 and on";
  EXPECT_EQ(cache.counters().evicted, 20 * kLayers * kKvHeads);
  EXPECT_EQ(cache.counters().bytes, 19 * kExactRow) << "what query 40 still sees";
  EXPECT_TRUE(cache.counters().could_act);
}

TEST_F(KvStore, StreamingKeepsTheSinks) {
  KvCache cache = make("streaming:20", "paged:2", 40, 60);
  const int s = cache.open(40);
  step(cache, s, 0, 40);
  const AttentionRows::Row row = cache.view(1, s, {.position = 39});
  ASSERT_NE(row.keep, nullptr);
  EXPECT_EQ(row.first, 0);
  EXPECT_EQ(row.keep_stride, 0);
  for (std::int64_t j = 0; j < 40; ++j) EXPECT_EQ(row.keep[j], j < 4 || j >= 24 ? 1 : 0) << j;
  const std::vector<bool> pages = held(cache, s);
  for (std::size_t i = 0; i < pages.size(); ++i) EXPECT_EQ(pages[i], i < 2 || i >= 12) << i;
  EXPECT_EQ(cache.counters().evicted, 20 * kLayers * kKvHeads);
}

TEST_F(KvStore, APrefixMayHaveLostItsFirstPages) {
  spec_ = *parse_kv_policy("window:10");
  KvDemand demand;
  demand.staying = {{40, 32}};
  demand.passing = {{40, 50}};
  KvCache cache(*backend_, {kLayers, kKvHeads, kHeadDim, 16, kKvHeads, 0, kHeads, kHeads},
                *parse_cache_mode("prefix"), spec_, demand);
  const int donor = cache.open(40), s = cache.open(40);
  step(cache, donor, 0, 32);
  EXPECT_EQ(held(cache, donor), (std::vector<bool>{false, true}));
  EXPECT_EQ(cache.share_prefix(s, donor, 32), 32);
  step(cache, s, 32, 40);
  EXPECT_EQ(held(cache, s), (std::vector<bool>{false, true, true}));
  EXPECT_EQ(cache.table(s)[1], cache.table(donor)[1]);
}

TEST_F(KvStore, EachKvHeadHasItsOwnMask) {
  KvCache cache = make("h2o:4", "paged:16", 6, 10);
  const int s = cache.open(6);
  cache.reserve(s, 6);
  // Of positions 0 to 3 two stay: the first head's queries look at 0 and 2, the second's at 1, 3.
  const std::vector<double> weights = {9, 0, 9, 0, 0, 0, 9, 0, 9, 0, 0, 0,
                                       0, 9, 0, 9, 0, 0, 0, 9, 0, 9, 0, 0};
  cache.select(0, s, {6, 5, kHeads, kKvHeads, 6, false, weights});
  const AttentionRows::Row row = cache.view(0, s, {.position = 6});
  ASSERT_NE(row.keep, nullptr);
  ASSERT_GT(row.keep_stride, 6);
  for (std::int64_t j = 0; j < 6; ++j) {
    EXPECT_EQ(row.keep[j], j % 2 == 0 || j > 3 ? 1 : 0) << j;
    EXPECT_EQ(row.keep[row.keep_stride + j], j % 2 == 1 || j > 3 ? 1 : 0) << j;
  }
  EXPECT_EQ(row.keep[6], 1) << "its own key is not chosen from yet";
  EXPECT_EQ(cache.view(1, s, {.position = 6}).keep, nullptr) << "layers choose apart";
  EXPECT_EQ(cache.counters().evicted, 4);
}

}  // namespace
}  // namespace isobit
