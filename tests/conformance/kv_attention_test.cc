// Attention over codes, and attention's weights, of every CPU table, thread count and the GPU
// against the literal text over plain arrays. Memory that may not be read holds NaN.
#include "tests/conformance/cuda_pair.h"
#include "tests/conformance/kv_scene.h"

namespace isobit::testing {
namespace {

using cpu::testing::Data;
using cpu::testing::has_substance;
using cpu::testing::same;

constexpr KvCodecKind kKeyCodecs[] = {KvCodecKind::none, KvCodecKind::q8_0,
                                      KvCodecKind::kivi2_tokens, KvCodecKind::kivi4_tokens};
constexpr KvCodecKind kValueCodecs[] = {KvCodecKind::none, KvCodecKind::q8_0,
                                        KvCodecKind::kivi2_channels, KvCodecKind::kivi4_channels};

/// Compares what `backends` give with the literal text. NaN is compared as a bit pattern too.
template <class T>
void expect_literal(const Mode& mode, const KvCase& c, std::uint64_t seed,
                    const std::vector<Backend*>& backends) {
  SCOPED_TRACE(::testing::Message() << mode.name << " " << c << " seed " << seed);
  KvScene<T> scene(mode, c, seed);
  const auto want = scene.literal();
  const bool special = c.data != Data::plain || c.evict > 0;
  if (!special) {
    ASSERT_TRUE(has_substance(want.attention));
    ASSERT_TRUE(has_substance(want.weights));
  }
  for (Backend* backend : backends) {
    const auto got = scene.run(*backend);
    const BackendInfo info = backend->describe();
    ASSERT_TRUE(same(want.attention, got.attention)) << info.device << " " << info.isa;
    ASSERT_TRUE(same(want.weights, got.weights)) << info.device << " " << info.isa << " weights";
  }
}

void expect_literal(Precision precision, const KvCase& c, std::uint64_t seed,
                    const std::vector<Backend*>& backends) {
  const Mode& mode = mode_of(precision);
  mode.wide() ? expect_literal<double>(mode, c, seed, backends)
              : expect_literal<float>(mode, c, seed, backends);
}

/// Codecs that are not in every pair above.
template <class F>
void each_other_codec(const F& f) {
  std::uint64_t seed = 50001;
  KvCase c;
  c.exact = 20;
  for (const KvCodecKind kind : {KvCodecKind::q4_0, KvCodecKind::q4_1, KvCodecKind::q5_0,
                                 KvCodecKind::q5_1, KvCodecKind::iq4_nl}) {
    c.k_codec = c.v_codec = kind;
    f(c, seed += 100);
  }
  c.v_codec = KvCodecKind::q8_0;
  for (const std::int32_t bits : {1, 3, 4, 8}) {
    for (const std::int32_t group : {8, 32, 64}) {
      c.bits = bits, c.group = group;
      c.k_codec = KvCodecKind::rtn_tokens, c.v_codec = KvCodecKind::rtn_channels;
      if (bits == 8) std::swap(c.k_codec, c.v_codec);
      f(c, seed += 100);
    }
  }
  for (const std::int32_t group : {32, 128}) {
    for (const std::int32_t page_size : {1, 17, 128}) {
      for (const Data data : {Data::plain, Data::special}) {
        c.k_codec = KvCodecKind::kvarn_keys, c.v_codec = KvCodecKind::kvarn_values;
        c.bits = page_size == 17 ? 2 : 4;
        c.group = group, c.page_size = page_size, c.data = data;
        c.d = data == Data::special ? 128 : 64;
        f(c, seed += 100);
      }
    }
  }
}

/// The cases of both suites: f(case, seed).
template <class F>
void each_case(const F& f) {
  each_other_codec(f);
  std::uint64_t seed = 1;
  for (const KvCodecKind k : kKeyCodecs) {
    for (const KvCodecKind v : kValueCodecs) {  // every pair, the mix of coded and exact included
      KvCase c;
      c.k_codec = k, c.v_codec = v;
      c.exact = seed % 2 == 0 ? 0 : 20;
      c.d = seed % 3 == 0 ? 32 : 64;
      f(c, seed += 100);
    }
  }
  for (const std::int32_t page_size : {1, 16, 17, 48, 256}) {
    for (const std::int64_t length : {1, 31, 33, 255, 257, 520}) {
      KvCase c;
      c.page_size = page_size;
      c.lengths = {length, length / 2 + 1};
      c.queries = 3;
      c.exact = 33;
      c.k_codec = KvCodecKind::kivi2_tokens, c.v_codec = KvCodecKind::kivi2_channels;
      f(c, seed += 100);
      c.k_codec = c.v_codec = KvCodecKind::q8_0;
      c.exact = 0;
      f(c, seed += 100);
    }
  }
  for (const int evict : {2, 40}) {  // masks, one for all or one a KV head, and windows
    for (const bool by_head : {false, true}) {
      for (const std::int64_t window : {0, 100, 300}) {
        KvCase c;
        c.evict = evict, c.mask_by_head = by_head, c.window = window;
        c.lengths = {700, 90};
        c.heads = 8, c.kv_heads = 4, c.d = 32;
        f(c, seed += 100);
        c.k_codec = c.v_codec = KvCodecKind::none;
        f(c, seed += 100);
        c.k_codec = KvCodecKind::kivi4_tokens, c.v_codec = KvCodecKind::kivi4_channels;
        c.exact = 40;
        f(c, seed += 100);
      }
    }
  }
  for (const Data data : {Data::wide, Data::cancelling, Data::special}) {
    for (std::size_t codec = 0; codec < std::size(kKeyCodecs); ++codec) {
      KvCase c;
      c.data = data;
      c.k_codec = kKeyCodecs[codec], c.v_codec = kValueCodecs[codec];
      c.exact = 7;
      f(c, seed += 100);
    }
  }
}

class KvTables : public ::testing::TestWithParam<Precision> {};
const auto name_of_precision = [](const ::testing::TestParamInfo<Precision>& info) {
  return std::string(mode_of(info.param).name);
};
INSTANTIATE_TEST_SUITE_P(Precision, KvTables, ::testing::Values(Precision::bf16),
                         name_of_precision);
INSTANTIATE_TEST_SUITE_P(Wide, KvTables,
                         ::testing::Values(Precision::fp64, Precision::fp32, Precision::fp16),
                         name_of_precision);

TEST_P(KvTables, ReadCodesAsTheLiteralTextDoes) {
  const Precision precision = GetParam();
  std::vector<std::unique_ptr<Backend>> made;
  std::vector<Backend*> backends;
  for (const char* isa : {"scalar", "avx2", "avx512", "neon"}) {
    for (const int threads : {1, 3}) {
      BackendOptions options;
      options.isa = isa;
      options.threads = threads;
      if (!unsupported_reason(options, mode_of(precision)).empty()) continue;
      auto backend = make_backend(options, mode_of(precision));
      ASSERT_TRUE(backend) << backend.error().text();
      ASSERT_EQ((*backend)->describe().isa, isa);
      made.push_back(std::move(*backend));
      backends.push_back(made.back().get());
    }
  }
  ASSERT_GE(backends.size(), 2u);
  int cases = 0;
  each_case([&](const KvCase& c, std::uint64_t seed) {
    expect_literal(precision, c, seed, backends);
    ++cases;
  });
  RecordProperty("cases", cases);
  EXPECT_GT(cases, 100);
}

/// Rows of a long prompt share a decoding, in several waves of parts.
TEST(KvAttentionWide, ManyRowsOfOneSequence) {
  for (const char* isa : {"auto", "scalar"}) {
    BackendOptions options;
    options.isa = isa;
    options.threads = 2;
    auto backend = make_backend(options, mode_of(Precision::fp32));
    ASSERT_TRUE(backend);
    KvCase c;
    c.lengths = {700, 3, 150};
    c.queries = 700;
    c.d = 32;
    if (std::string(isa) == "auto") c.heads = 24, c.kv_heads = 2, c.d = 256, c.queries = 200;
    expect_literal(Precision::fp32, c, 77, {backend->get()});
  }
}

class KvAttentionGpu : public cuda_test::CudaOps {};
INSTANTIATE_TEST_SUITE_P(Precision, KvAttentionGpu, ::testing::Range(0, kPrecisions),
                         cuda_test::precision_name);

TEST_P(KvAttentionGpu, ReadsCodesAsTheLiteralTextDoes) {
  BackendOptions options;
  options.device = "cuda";
  auto backend = make_backend(options, mode_of(precision()));
  ASSERT_TRUE(backend) << backend.error().text();
  ASSERT_EQ((*backend)->describe().device, "cuda");
  each_case([&](const KvCase& c, std::uint64_t seed) {
    expect_literal(precision(), c, seed, {backend->get()});
  });
}

TEST_P(KvAttentionGpu, EveryHeadDimAndGroup) {
  BackendOptions options;
  options.device = "cuda";
  auto backend = make_backend(options, mode_of(precision()));
  ASSERT_TRUE(backend) << backend.error().text();
  std::uint64_t seed = 5000;
  for (const std::int64_t d : {32, 64, 96, 128, 160, 256}) {
    for (const std::int64_t heads : {1, 2, 5, 9}) {  // of one KV head
      KvCase c;
      c.d = d, c.heads = 2 * heads, c.kv_heads = 2;
      c.exact = 11;
      c.k_codec = KvCodecKind::kivi4_tokens, c.v_codec = KvCodecKind::q8_0;
      expect_literal(precision(), c, seed += 100, {backend->get()});
    }
  }
}

}  // namespace
}  // namespace isobit::testing
