// The view rule: a cache policy gives one digest per precision, however a cell runs it - cache
// mode, batch, ranks, threads, instruction set, device. And what is evicted or coded is never read
// again.
#include <algorithm>
#include <cctype>
#include <map>

#include "harness/selftest/wrap.h"
#include "tests/conformance/cuda_pair.h"
#include "tests/conformance/kv_cases.h"

namespace isobit::kv_test {
namespace {

struct Param {
  const char* kv;
  Precision precision;
};
/// One policy of each kind, in one precision, also where tests are instrumented.
constexpr Param kFew[] = {{"kivi:2", Precision::fp32},
                          {"q4_0", Precision::fp16},
                          {"kvarn:k4v2+group:32+sink:32", Precision::fp32},
                          {"streaming:48+positions:in_cache", Precision::fp16},
                          {"h2o:64", Precision::bf16},
                          {"chain:snapkv:64>q8_0", Precision::bf16}};
/// The others, in one precision each where nothing instruments them.
constexpr Param kMore[] = {{"q8_0", Precision::bf16},
                           {"kivi:4", Precision::fp16},
                           {"rtn:3+per:channel+when:block", Precision::bf16},
                           {"tova:64", Precision::fp8_e4m3},
                           {"window:64", Precision::bf16},
                           {"streaming:48", Precision::fp32},
                           {"snapkv:64", Precision::fp16},
                           {"knorm:64", Precision::fp8_e4m3},
                           {"expected_attention:64", Precision::fp32},
                           {"chain:h2o:40>kivi:2", Precision::fp32}};

bool names_any(const std::string& kv, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(),
                     [&](const char* name) { return kv.find(name) != std::string::npos; });
}
bool evicts(const std::string& kv) {
  return names_any(kv, {"tova", "window", "streaming", "h2o", "snapkv", "knorm", "expected"});
}
bool codes(const std::string& kv) {
  return names_any(kv, {"q8_0", "q4_", "q5_", "iq4_nl", "kivi", "rtn", "kvarn"});
}

/// Policies of which one precision is enough.
constexpr Param kRare[] = {
    {"q4_1", Precision::bf16},
    {"q5_0", Precision::fp32},
    {"q5_1", Precision::fp64},
    {"iq4_nl", Precision::fp16},
    {"ggml:(k:q8_0+v:q4_0)", Precision::fp32},
    {"rtn:4+rotate:hadamard", Precision::fp32},
    {"rtn:5+group:16", Precision::bf16},
    {"rtn:8+group:64+per:channel+rotate:hadamard", Precision::fp16},
    {"rtn:2+per:channel+rotate:hadamard+when:block", Precision::fp32},
    {"kivi:2+when:block", Precision::fp16},
    {"kvarn:k2v2+group:64+iterations:16+sink:0", Precision::fp16},
};

std::vector<Param> the_others() {
  std::vector<Param> out(std::begin(kMore), std::end(kMore));
  out.insert(out.end(), std::begin(kRare), std::end(kRare));
  return out;
}

/// Every other precision: by hand.
std::vector<Param> other_precisions() {
  std::vector<Param> all(std::begin(kFew), std::end(kFew)), out;
  all.insert(all.end(), std::begin(kMore), std::end(kMore));
  for (const Param& one : all) {
    for (const Precision precision : {Precision::fp64, Precision::fp32, Precision::bf16,
                                      Precision::fp16, Precision::fp8_e4m3}) {
      if (precision != one.precision) out.push_back({one.kv, precision});
    }
  }
  return out;
}

std::ostream& operator<<(std::ostream& out, const Param& p) {
  return out << p.kv << " in " << mode_of(p.precision).name;
}

std::string name_of_param(const ::testing::TestParamInfo<Param>& info) {
  std::string name = std::string(info.param.kv) + "_" + mode_of(info.param.precision).name;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

/// The run's bits; what was observed must be what was asked, and the policy must have acted.
std::string run(Runtime& runtime, const GenerateRequest& r) {
  auto result = runtime.generate(r);
  if (!result) return result.error().text();
  const Observed& o = result->trace.observed;
  EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
  EXPECT_EQ(o.device, r.backend.device);
  EXPECT_EQ(o.ranks, r.ranks);
  EXPECT_EQ(o.kv, r.kv.text);
  EXPECT_FALSE(o.kv_identity);
  EXPECT_EQ(o.kv_evicted > 0, evicts(r.kv.text));
  EXPECT_EQ(o.kv_coded > 0, codes(r.kv.text));
  EXPECT_EQ(o.kv_rebuilt > 0, codes(r.kv.text) && r.cache.recomputes);
  EXPECT_GT(o.kv_bytes, 0);
  EXPECT_LE(o.kv_bytes, o.kv_exact_bytes);
  if (r.kv.text == "q8_0") {  // 34 bytes for 32 values of R
    EXPECT_EQ(o.kv_bytes * 32 * field_bytes(mode_of(r.precision).cache), o.kv_exact_bytes * 34);
  }
  return bits_of_trace(result->trace);
}

class KvPolicy : public ::testing::TestWithParam<Param> {
 protected:
  Runtime runtime_{model()};
};
INSTANTIATE_TEST_SUITE_P(Class, KvPolicy, ::testing::ValuesIn(kFew), name_of_param);
INSTANTIATE_TEST_SUITE_P(Wide, KvPolicy, ::testing::ValuesIn(the_others()), name_of_param);
INSTANTIATE_TEST_SUITE_P(WideSlow, KvPolicy, ::testing::ValuesIn(other_precisions()),
                         name_of_param);

TEST_P(KvPolicy, OneDigestInEveryCell) {
  const char* const kv = GetParam().kv;
  const Precision precision = GetParam().precision;
  std::string want;
  int compared = 0;
  for (const Cell& cell : cells(!parse_kv_policy(kv)->policy->waits_for_prompt())) {
    const GenerateRequest r = request(precision, kv, cell);
    if (!unsupported_reason(r.backend, mode_of(precision)).empty()) continue;
    const std::string got = run(runtime_, r);
    if (want.empty()) {
      ASSERT_EQ(cell.isa, "scalar");
      ASSERT_GT(got.size(), 5000u) << got;
      want = got;
      continue;
    }
    ASSERT_EQ(want, got) << cell;
    ++compared;
  }
  RecordProperty("cells", compared + 1);
  EXPECT_GE(compared, 45);
  GenerateRequest exact = request(precision, "exact", {});
  const auto other = runtime_.generate(exact);
  ASSERT_TRUE(other);
  EXPECT_NE(want, bits_of_trace(other->trace)) << "the policy changes nothing";
}

/// With every operation recorded, a row that is computed again must give the same digests.
TEST_P(KvPolicy, EveryOperationOfEveryRow) {
  const char* const kv = GetParam().kv;
  const Precision precision = GetParam().precision;
  const auto recorded = [&](const char* cache, std::int64_t batch, int ranks) {
    Cell cell;
    cell.cache = cache, cell.batch = batch, cell.ranks = ranks;
    GenerateRequest r = request(precision, kv, cell);
    r.level = TraceLevel::ops;
    r.max_new_tokens = 6;
    r.prompts = {prompt(94), prompt(61)};
    return run(runtime_, r);
  };
  const std::string want = recorded("on", 1, 1);
  ASSERT_GT(want.size(), 100000u);
  EXPECT_EQ(want, recorded("off", 2, 1));
  EXPECT_EQ(want, recorded("recomputed", 1, 2));
  EXPECT_EQ(want, recorded("chunked:17", 2, 4));
  EXPECT_EQ(want, recorded("paged:16", 2, 1));
}

/// Fills what no query may read again with NaN before each attention.
class Poisoning final : public selftest::ForwardingBackend {
 public:
  Poisoning(std::unique_ptr<Backend> inner, std::int64_t& poisoned)
      : ForwardingBackend(std::move(inner), {}), poisoned_(poisoned) {}
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override {
    poison(args, k_pool, v_pool);
    inner_->attention(q, args, k_pool, v_pool, out);
  }
  void attention_coded(Rows q, const AttentionRows& args, const KvPools& pools, Rows out) override {
    poison(args, pools.k, pools.v);
    inner_->attention_coded(q, args, pools, out);
  }
  void attention_weights(Rows q, const AttentionRows& args, const KvPools& pools,
                         Rows out) override {
    poison(args, pools.k, pools.v);
    inner_->attention_weights(q, args, pools, out);
  }

 private:
  /// Of the exact values of a sequence's positions, those of a KV head that no row reads become
  /// NaN.
  void poison(const AttentionRows& args, const void* k_pool, const void* v_pool) {
    if (args.kv_heads == 0 || k_pool == nullptr) return;
    std::map<const std::int32_t*, std::vector<AttentionRows::Row>> sequences;
    for (const AttentionRows::Row& row : args.rows) sequences[row.table].push_back(row);
    for (const auto& [table, rows] : sequences) {
      std::int64_t last = 0;
      for (const AttentionRows::Row& row : rows) last = std::max(last, row.position);
      for (std::int64_t p = 0; p <= last; ++p) {
        const std::int32_t page = table[p / args.page_size];
        std::vector<bool> read(std::size_t(args.kv_heads), false);
        for (std::int64_t h = 0; h < args.kv_heads; ++h) {
          read[std::size_t(h)] = std::any_of(
              rows.begin(), rows.end(), [&](const auto& row) { return reads_exact(row, h, p); });
        }
        if (page < 0 || std::find(read.begin(), read.end(), false) == read.end()) continue;
        poison_slot(std::int64_t(page) * args.page_size + p % args.page_size, read, args,
                    const_cast<void*>(k_pool), const_cast<void*>(v_pool));
        ++poisoned_;
      }
    }
  }
  static bool reads_exact(const AttentionRows::Row& row, std::int64_t head, std::int64_t p) {
    if (p < row.first || p > row.position) return false;
    if (row.keep != nullptr && row.keep[head * row.keep_stride + p] == 0) return false;
    return p < row.coded_from || p >= std::min(row.k_coded, row.v_coded);
  }
  void poison_slot(std::int64_t slot, const std::vector<bool>& read, const AttentionRows& args,
                   void* k_pool, void* v_pool) {
    const auto d = std::size_t(args.head_dim);
    const std::size_t width = read.size() * d;
    const DeviceMemory memory(*inner_, 2 * width * sizeof(float));
    auto* const at = static_cast<float*>(memory.get());
    const Rows k{at, 1, std::int64_t(width), std::int64_t(width)};
    const Rows v{at + width, 1, k.cols, k.cols};
    inner_->read_kv({&slot, 1}, args.kv_heads, args.page_size, k_pool, v_pool, k, v);
    std::vector<float> both(2 * width);
    inner_->download(both.data(), at, both.size() * sizeof(float));
    for (std::size_t i = 0; i < both.size(); ++i) {
      if (!read[i % width / d]) both[i] = float_of(0x7fc00000u);
    }
    inner_->upload(at, both.data(), both.size() * sizeof(float));
    inner_->write_kv(k, v, {&slot, 1}, args.kv_heads, args.page_size, k_pool, v_pool);
  }
  std::int64_t& poisoned_;
};

TEST(KvPolicyPoisonWide, WhatIsEvictedOrCodedIsNeverReadAgain) {
  Runtime runtime(model());
  for (const char* kv : {"kivi:2", "kivi:4", "tova:64", "streaming:20", "h2o:64",
                         "rtn:3+per:channel+when:block", "kvarn:k4v4+group:32+sink:32"}) {
    for (const char* cache : {"on", "chunked:17", "paged:48", "off", "recomputed"}) {
      Cell cell;
      cell.cache = cache, cell.batch = 3;
      const bool narrow = std::string(kv) == "kivi:4";
      GenerateRequest r = request(narrow ? Precision::bf16 : Precision::fp32, kv, cell);
      const std::string want = run(runtime, r);
      std::int64_t poisoned = 0;
      r.wrap_backend = [&](std::unique_ptr<Backend> inner) -> std::unique_ptr<Backend> {
        return std::make_unique<Poisoning>(std::move(inner), poisoned);
      };
      EXPECT_EQ(want, run(runtime, r)) << kv << " " << cell;
      // All rows of a sequence at once: a window hides no position from every one of them.
      const bool all_seen = !r.cache.keeps && r.kv.policy->pattern(1000).first > 0;
      EXPECT_EQ(poisoned > 1000, !all_seen) << kv << " " << cell;
    }
  }
}

/// A budget, a group or a residual that covers the longest sequence changes nothing and says so.
TEST(KvPolicyIdentity, WhatCoversEverythingIsExact) {
  Runtime runtime(model());
  const auto bits = [&](const std::string& kv, const Cell& cell, bool identity) {
    GenerateRequest r = request(Precision::bf16, kv, cell);
    if (kv.starts_with("kivi")) r.prompts = {prompt(9), prompt(3)}, r.max_new_tokens = 20;
    const auto result = runtime.generate(r);
    if (!result) return result.error().text();
    const Observed& o = result->trace.observed;
    EXPECT_EQ(o.kv_identity, identity) << kv;
    EXPECT_EQ(o.kv, kv);
    EXPECT_EQ(o.kv_evicted + o.kv_coded, 0) << kv;
    EXPECT_EQ(o.kv_bytes, o.kv_exact_bytes) << kv;
    return bits_of_trace(result->trace);
  };
  Cell off;
  off.cache = "off", off.batch = 3;
  for (const Cell& cell : {Cell{}, off}) {
    const std::string plain = bits("exact", cell, false);
    for (const char* kv : {"tova:288", "tova:1000", "window:288", "streaming:288",
                           "streaming:288+positions:in_cache", "h2o:288", "snapkv:250", "knorm:250",
                           "expected_attention:250"}) {
      EXPECT_EQ(plain, bits(kv, cell, true)) << kv;
    }
    GenerateRequest r = request(Precision::bf16, "exact", cell);
    r.prompts = {prompt(9), prompt(3)}, r.max_new_tokens = 20;
    const auto exact = runtime.generate(r);
    ASSERT_TRUE(exact);
    EXPECT_EQ(bits_of_trace(exact->trace), bits("kivi:2", cell, true));
  }
}

/// Sliding windows are the model's; the policy acts within them.
TEST(KvPolicyWindowWide, OneDigestWithASlidingWindow) {
  Runtime runtime(model(90));
  for (const char* kv :
       {"q8_0", "kivi:2", "tova:40", "window:40", "streaming:40", "streaming:40+positions:in_cache",
        "h2o:40", "snapkv:40", "knorm:40", "expected_attention:40"}) {
    std::string want;
    for (const char* isa : {"scalar", "auto"}) {
      for (const char* cache : {"on", "chunked:17", "paged:16", "off", "recomputed"}) {
        Cell cell;
        cell.isa = isa, cell.cache = cache;
        if (std::string(isa) == "scalar" && std::string(cache) == "off") continue;  // slow
        const std::string got = run(runtime, request(Precision::fp32, kv, cell));
        if (want.empty()) want = got;
        EXPECT_EQ(want, got) << kv << " " << cell;
      }
    }
  }
}

TEST(KvPolicyRefused, WhatCannotServeAModelOrACacheMode) {
  Runtime runtime(model());
  const auto refusal = [&](const std::string& kv, const std::string& cache) {
    Cell cell;
    cell.cache = cache;
    const auto result = runtime.generate(request(Precision::fp32, kv, cell));
    return result ? std::string() : result.error().text();
  };
  EXPECT_NE(refusal("kivi:2", "prefix").find("kv kivi:2: it acts when the prompt has ended"),
            std::string::npos);
  for (const char* kv : {"tova:64", "h2o:64", "snapkv:64", "knorm:64", "expected_attention:64"}) {
    EXPECT_NE(refusal(kv, "prefix").find("cache: prefix"), std::string::npos) << kv;
  }
  EXPECT_EQ(refusal("q8_0", "prefix"), "");
}

/// One cell of every kind on the GPU, equal to the CPU's.
class KvPolicyGpu : public ::testing::TestWithParam<Param> {
 protected:
  void SetUp() override { cuda_test::need_gpu(); }
  Runtime runtime_{model()};
};
INSTANTIATE_TEST_SUITE_P(Class, KvPolicyGpu, ::testing::ValuesIn(kFew), name_of_param);
INSTANTIATE_TEST_SUITE_P(Wide, KvPolicyGpu, ::testing::ValuesIn(the_others()), name_of_param);
INSTANTIATE_TEST_SUITE_P(WideSlow, KvPolicyGpu, ::testing::ValuesIn(other_precisions()),
                         name_of_param);

TEST_P(KvPolicyGpu, OneDigestInEveryCell) {
  const char* const kv = GetParam().kv;
  const Precision precision = GetParam().precision;
  const std::string want = run(runtime_, request(precision, kv, {}));
  ASSERT_GT(want.size(), 5000u) << want;
  int compared = 0;
  for (Cell cell : cells(!parse_kv_policy(kv)->policy->waits_for_prompt())) {
    if (cell.isa != "auto" || cell.threads > 1) continue;
    cell.device = "cuda";
    const GenerateRequest r = request(precision, kv, cell);
    ASSERT_EQ(want, run(runtime_, r)) << cell;
    ++compared;
  }
  RecordProperty("cells", compared);
  EXPECT_GE(compared, 30);
}

TEST_P(KvPolicyGpu, EveryOperationOfEveryRow) {
  const char* const kv = GetParam().kv;
  const Precision precision = GetParam().precision;
  const auto recorded = [&](const char* device, const char* cache, std::int64_t batch) {
    Cell cell;
    cell.device = device, cell.cache = cache, cell.batch = batch;
    GenerateRequest r = request(precision, kv, cell);
    r.level = TraceLevel::ops;
    r.max_new_tokens = 6;
    r.prompts = {prompt(94), prompt(61)};
    return run(runtime_, r);
  };
  const std::string want = recorded("cpu", "on", 1);
  ASSERT_GT(want.size(), 100000u);
  EXPECT_EQ(want, recorded("cuda", "on", 2));
  EXPECT_EQ(want, recorded("cuda", "off", 1));
  EXPECT_EQ(want, recorded("cuda", "recomputed", 2));
}

}  // namespace
}  // namespace isobit::kv_test
