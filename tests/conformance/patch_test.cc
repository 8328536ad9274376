// Rows of a donor's run in the recipient's, on every backend: what they are, where they go, and
// that no layout of the cache, no batch and no number of ranks shows.
#include <algorithm>

#include "harness/axes/axes.h"
#include "harness/selftest/wrap.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/numerics/schedule_text.h"
#include "runtime/numerics/weight_text.h"
#include "tests/conformance/cuda_pair.h"
#include "tests/conformance/kv_cases.h"

namespace isobit::kv_test {
namespace {

constexpr std::int64_t kLayers = 3;

LoadedModel deep_model() {
  ModelConfig c = model().config;
  c.layers = kLayers;
  return fakes::toy_model(c);
}

/// Two prompts of one length and a longer one, and what they are fed.
GenerateRequest taught(Precision precision, const Cell& cell) {
  GenerateRequest r = request(precision, "exact", cell);
  r.prompts = {prompt(40), prompt(40), prompt(61)};
  r.prompts[1].tokens = prompt(62).tokens;
  r.prompts[1].tokens.resize(40);
  for (std::size_t p = 0; p < r.prompts.size(); ++p) {
    r.prompts[p].teacher = prompt(20 + std::int64_t(p)).tokens;
    r.prompts[p].teacher.resize(9);
    r.prompts[p].id = "p" + std::to_string(p);
  }
  r.max_new_tokens = 9;
  return r;
}

/// The request with a value of the axis, and its donor made of itself.
GenerateRequest patched(GenerateRequest r, const std::string& text) {
  const auto value = axis_value("patch", text);
  EXPECT_TRUE(value) << text << ": " << (value ? "" : value.error().message);
  const auto& patch = std::get<PatchValue>(value->setting);
  GenerateRequest donor = r;
  for (const auto& [axis, of_donor] : patch.donor->values) find_axis(axis)->apply(of_donor, donor);
  r.patch.spec = patch.spec;
  for (std::size_t p = 0; p < r.prompts.size(); ++p) {
    if (r.prompts[p].id == patch.spec.prompt) r.patch.donor_prompt = int(p);
  }
  donor.level = TraceLevel::logits;
  r.patch.donor = std::make_shared<const GenerateRequest>(std::move(donor));
  return r;
}

struct Ran {
  std::string bits;
  CellTrace trace;
};
Ran run(Runtime& runtime, const GenerateRequest& r) {
  auto result = runtime.generate(r);
  if (!result) return {result.error().text(), {}};
  EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
  EXPECT_EQ(result->trace.observed.device, r.backend.device);
  EXPECT_EQ(result->trace.observed.patch, r.patch.spec.text);
  return {bits_of_trace(result->trace), std::move(result->trace)};
}

class Patch : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    cell_.device = GetParam() == std::string("Gpu") ? "cuda" : "cpu";
    if (cell_.device == "cuda") cuda_test::need_gpu();
  }
  Runtime runtime_{deep_model()};
  Cell cell_;
};
std::string name_of_device(const ::testing::TestParamInfo<const char*>& info) {
  return info.param;
}
INSTANTIATE_TEST_SUITE_P(On, Patch, ::testing::Values("Cpu", "Gpu"), name_of_device);

const char* const kEverySite[] = {"residual:all", "k:all", "v:all", "kv:all", "attn:all"};

TEST_P(Patch, TheVeryBitsAreNoPatch) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    GenerateRequest plain = taught(precision, cell_);
    plain.level = TraceLevel::ops;
    const Ran want = run(runtime_, plain);
    ASSERT_GT(want.bits.size(), 50000u) << want.bits;
    for (const std::string site : kEverySite) {
      const Ran got = run(runtime_, patched(plain, site + "+at:all+from:(cache:off)"));
      EXPECT_TRUE(want.bits == got.bits) << site;
      const std::int64_t rows = (site == "residual:all" ? kLayers + 1 : kLayers) *
                                (site == "kv:all" ? 2 : 1) * (48 + 48 + 69);
      EXPECT_EQ(got.trace.observed.patch_rows, rows) << site;
      EXPECT_EQ(got.trace.observed.patch_changed, 0) << site;
      EXPECT_TRUE(got.trace.observed.patch_identity) << site;
    }
  }
}

/// Where a row is computed and how often does not show, nor from whom the donor had it.
TEST_P(Patch, OneDigestInEveryLayout) {
  for (const char* patch :
       {"residual:layers+at:last+from:(precision:fp64)", "k:1+v:0-1+from:(precision:fp64)",
        "kv:all+at:all+from:(precision:fp64)", "attn:0/2+at:5/39/44+from:(precision:fp64)",
        "residual:1+attn:2+from:(prompt:p2)"}) {
    GenerateRequest plain = taught(Precision::bf16, cell_);
    plain.level = TraceLevel::ops;
    const Ran want = run(runtime_, patched(plain, patch));
    EXPECT_GT(want.trace.observed.patch_changed, 0) << patch << want.bits;
    EXPECT_FALSE(want.trace.observed.patch_identity);
    EXPECT_TRUE(want.bits != run(runtime_, plain).bits) << patch;
    const auto expect_same = [&](const GenerateRequest& other, const Cell& cell) {
      const Ran got = run(runtime_, patched(other, patch));
      EXPECT_TRUE(want.bits == got.bits) << patch << " " << cell << "\n" << got.trace.reason;
      EXPECT_EQ(want.trace.observed.patch_sites, got.trace.observed.patch_sites) << cell;
    };
    for (const char* cache : {"on", "off", "chunked:7", "paged:16", "recomputed", "prefix"}) {
      Cell cell = cell_;
      cell.cache = cache, cell.batch = 3;
      GenerateRequest other = taught(Precision::bf16, cell);
      other.level = TraceLevel::ops;
      expect_same(other, cell);
      other.batch.size = 5;  // prompts repeat
      expect_same(other, cell);
    }
    for (const int ranks : {2, 4}) {
      Cell cell = cell_;
      cell.ranks = ranks, cell.batch = 2, cell.cache = ranks == 2 ? "recomputed" : "on";
      GenerateRequest other = taught(Precision::bf16, cell);
      other.level = TraceLevel::ops;
      expect_same(other, cell);
    }
    for (const char* kv :
         {"residual:every_layer", "residual:(every:2)+budget:16", "residual:embedding"}) {
      GenerateRequest other = plain;
      other.kv = *parse_kv_policy(kv);
      expect_same(other, cell_);
    }
    GenerateRequest dealt = plain;
    dealt.replicas = 2;
    expect_same(dealt, cell_);
  }
}

TEST_P(Patch, DonorsMayHaveOtherRanks) {
  const Ran want = run(runtime_, taught(Precision::fp32, cell_));
  for (const std::string site : kEverySite) {
    const Ran got =
        run(runtime_, patched(taught(Precision::fp32, cell_), site + "+at:all+from:(gpus:4)"));
    EXPECT_EQ(want.bits, got.bits) << site;
    EXPECT_TRUE(got.trace.observed.patch_identity);
  }
}

/// The logits at the last prompt position are the donor's; a prompt is its own identity.
TEST_P(Patch, TheWholeStreamOfAnotherPrompt) {
  GenerateRequest r = taught(Precision::bf16, cell_);
  r.prompts.pop_back();
  const Ran plain = run(runtime_, r);
  const Ran all = run(runtime_, patched(r, "residual:all+at:all+from:(prompt:p1)"));
  for (int p = 0; p < 2; ++p) {
    EXPECT_EQ(all.trace.prompts[std::size_t(p)].tokens[0].digest,
              plain.trace.prompts[1].tokens[0].digest);
  }
  EXPECT_NE(plain.trace.prompts[0].tokens[0].digest, plain.trace.prompts[1].tokens[0].digest);
  EXPECT_EQ(token_root(all.trace.prompts[1]), token_root(plain.trace.prompts[1]));
  const Ran one = run(runtime_, patched(r, "residual:1+at:all+from:(prompt:p1)"));
  EXPECT_EQ(one.trace.prompts[0].tokens[0].digest, plain.trace.prompts[1].tokens[0].digest)
      << "what enters one layer at every position decides all that follows";
  const Ran keys = run(runtime_, patched(r, "kv:all+at:all+from:(prompt:p1)"));
  EXPECT_NE(keys.trace.prompts[0].tokens[0].digest, plain.trace.prompts[1].tokens[0].digest);
  EXPECT_EQ(token_root(keys.trace.prompts[1]), token_root(plain.trace.prompts[1]));
}

bool same_digests(const Ran& a, const Ran& b) {
  return std::equal(a.trace.prompts.begin(), a.trace.prompts.end(), b.trace.prompts.begin(),
                    b.trace.prompts.end(), [](const PromptTrace& x, const PromptTrace& y) {
                      return token_root(x) == token_root(y);
                    });
}

/// With a schedule that follows the rows of a step the cache changes bits: the donor's streams
/// bring the donor's logits, the last position's alone do not, and keys and values do not either.
TEST_P(Patch, CacheOffUnderAScheduleByRows) {
  const auto book = parse_schedules("by_rows:(1:(split_k:4+slice:8)+2:(split_k:1))", "");
  ASSERT_TRUE(book) << book.error().message;
  GenerateRequest r = taught(Precision::fp32, cell_);
  r.backend.gemm = *book;
  GenerateRequest off = r;
  off.cache = *parse_cache_mode("off");
  const Ran donor = run(runtime_, off), recipient = run(runtime_, r);
  ASSERT_FALSE(same_digests(donor, recipient));
  const auto with = [&](const std::string& what) {
    return run(runtime_, patched(r, what + "+from:(cache:off)"));
  };
  EXPECT_TRUE(same_digests(donor, with("residual:all+at:all")));
  EXPECT_TRUE(same_digests(donor, with("residual:3"))) << "it enters the final norm";
  for (const char* what : {"residual:layers", "kv:all", "kv:all+at:all", "attn:all"}) {
    const Ran got = with(what);
    EXPECT_FALSE(same_digests(donor, got)) << what;
    EXPECT_FALSE(same_digests(recipient, got)) << what;
    EXPECT_GT(got.trace.observed.patch_changed, 0) << what;
  }
}

/// The same by other means: what a layer's operations leave in memory, taken and given by hand.
class ByHand final : public selftest::ForwardingBackend {
 public:
  using Kept = std::map<std::tuple<char, int, std::int64_t>, std::vector<float>>;
  ByHand(std::unique_ptr<Backend> inner, Kept& kept, bool takes, std::string sides)
      : ForwardingBackend(std::move(inner), {}),
        kept_(kept),
        takes_(takes),
        sides_(std::move(sides)) {}
  void write_kv(Rows k, Rows v, std::span<const std::int64_t> slots, std::int64_t heads,
                std::int32_t page, void* k_pool, void* v_pool) override {
    const int layer = writes_++ % int(kLayers);
    each('k', layer, k, [&](std::size_t r) { return slots[r]; });
    each('v', layer, v, [&](std::size_t r) { return slots[r]; });
    ForwardingBackend::write_kv(k, v, slots, heads, page, k_pool, v_pool);
  }
  void attention(Rows q, const AttentionRows& args, const void* k, const void* v,
                 Rows out) override {
    ForwardingBackend::attention(q, args, k, v, out);
    each('a', reads_++ % int(kLayers), out, [&](std::size_t r) { return args.rows[r].position; });
  }

 private:
  template <class F>
  void each(char side, int layer, Rows x, F position) {
    if (sides_.find(side) == std::string::npos) return;
    change(x, [&](std::vector<float>& values) {
      for (std::size_t r = 0; r < std::size_t(x.rows); ++r) {
        const auto at = values.begin() + std::int64_t(r) * x.cols;
        std::vector<float>& row = kept_[{side, layer, position(r)}];
        if (takes_) row.assign(at, at + x.cols);
        if (!takes_ && layer > 0 && position(r) >= 39) std::copy(row.begin(), row.end(), at);
      }
    });
  }
  Kept& kept_;
  bool takes_;
  std::string sides_;
  int writes_ = 0, reads_ = 0;
};

TEST_P(Patch, IsWhatWouldBeDoneByHand) {
  for (const auto& [sides, what] : {std::pair("k", "k:1-2"), std::pair("v", "v:1-2"),
                                    std::pair("kv", "kv:1-2"), std::pair("a", "attn:1-2")}) {
    GenerateRequest r = taught(Precision::fp32, cell_);
    r.prompts = {r.prompts[0]};
    GenerateRequest donor = r;
    donor.weights = *parse_weight_change("rtn:4");
    ByHand::Kept kept;
    const auto by_hand = [&, sides = std::string(sides)](GenerateRequest one, bool takes) {
      one.wrap_backend = [&kept, takes, sides](std::unique_ptr<Backend> inner) {
        return std::unique_ptr<Backend>(
            std::make_unique<ByHand>(std::move(inner), kept, takes, sides));
      };
      return run(runtime_, one).bits;
    };
    by_hand(donor, true);
    const std::string want = by_hand(r, false);
    EXPECT_NE(want, run(runtime_, r).bits) << what;
    EXPECT_EQ(want, run(runtime_, patched(r, what + std::string("+from:(weights:rtn:4)"))).bits)
        << what;
  }
}

TEST_P(Patch, ItsStreamIsWhatTheResidualHookWouldPut) {
  GenerateRequest r = taught(Precision::fp32, cell_);
  r.prompts = {r.prompts[2]};
  GenerateRequest donor = r, recipient = r;
  donor.weights = *parse_weight_change("rtn:4");
  std::map<std::pair<int, std::int64_t>, std::vector<double>> kept;
  donor.residual = [&](int layer, int, std::int64_t position, std::span<double> row) {
    kept[{layer, position}].assign(row.begin(), row.end());
  };
  run(runtime_, donor);
  recipient.residual = [&](int layer, int, std::int64_t position, std::span<double> row) {
    const bool patched = layer == 0 || layer == 2;
    if (patched && (position == 7 || position == 62)) {
      std::copy(kept[{layer, position}].begin(), kept[{layer, position}].end(), row.begin());
    }
  };
  const std::string want = run(runtime_, recipient).bits;
  EXPECT_NE(want, run(runtime_, r).bits);
  EXPECT_EQ(want, run(runtime_, patched(r, "residual:0/2+at:7/62+from:(weights:rtn:4)")).bits);
}

/// A wider donor is rounded once; one that is neither wider nor exact fails the cell.
TEST_P(Patch, DonorsOfAnotherPrecision) {
  GenerateRequest r = taught(Precision::bf16, cell_);
  const auto failed = runtime_.generate(patched(r, "residual:1+from:(precision:fp16)"));
  ASSERT_TRUE(failed);
  EXPECT_EQ(failed->trace.status, CellStatus::failed);
  EXPECT_NE(failed->trace.reason.find("has values that bf16 cannot hold, and fp16 is not wider"),
            std::string::npos)
      << failed->trace.reason;
  for (const char* wider : {"fp32", "fp64", "layercast-bf16"}) {
    const Ran got =
        run(runtime_, patched(r, "residual:all+kv:0+from:(precision:" + std::string(wider) + ")"));
    EXPECT_GT(got.trace.observed.patch_changed, 0) << wider;
  }
  r.precision = Precision::fp32;
  const Ran narrow = run(runtime_, patched(r, "residual:1+kv:1+from:(precision:bf16)"));
  EXPECT_GT(narrow.trace.observed.patch_changed, 0);
}

/// Other families: norms behind the attention, experts, learned positions.
TEST_P(Patch, EveryFamily) {
  for (const Architecture* family : architectures()) {
    Runtime runtime(fakes::toy_model(fakes::odd_config(family->name)));
    GenerateRequest r = taught(Precision::bf16, cell_);
    for (PromptTokens& each : r.prompts) {
      for (auto* tokens : {&each.tokens, &each.teacher}) {
        for (std::int32_t& id : *tokens) id %= 61;
      }
    }
    r.level = TraceLevel::ops;
    const Ran plain = run(runtime, r);
    const Ran same = run(runtime, patched(r, "residual:all+kv:all+attn:all+at:all+from:(gpus:2)"));
    EXPECT_TRUE(plain.bits == same.bits) << family->name << same.bits.substr(0, 300);
    EXPECT_TRUE(same.trace.observed.patch_identity) << family->name;
    GenerateRequest off = r;
    off.cache = *parse_cache_mode("recomputed");
    const std::string patch = "residual:1+kv:0+attn:1+from:(precision:fp64)";
    EXPECT_TRUE(run(runtime, patched(r, patch)).bits == run(runtime, patched(off, patch)).bits)
        << family->name;
  }
}

TEST(PatchRefused, WhatHasNoMeaning) {
  Runtime runtime(deep_model());
  const auto why = [&](const std::string& text, auto change) {
    GenerateRequest r = taught(Precision::fp32, {});
    change(r);
    const auto result = runtime.generate(patched(r, text));
    return result ? std::string("none") : result.error().message;
  };
  const auto as_is = [](GenerateRequest&) {};
  EXPECT_EQ(why("residual:3+from:(cache:off)", as_is), "none");
  EXPECT_EQ(why("residual:4+from:(cache:off)", as_is),
            "patch residual: there is no layer 4; the model has 3 layers, 0 to 2, and 3 is the "
            "stream that enters the final norm");
  EXPECT_EQ(why("kv:3+from:(cache:off)", as_is),
            "patch k: there is no layer 3; the model has 3 layers, 0 to 2");
  EXPECT_EQ(why("kv:0+at:all+from:(prompt:p2)", as_is),
            "patch from prompt p2 at: all needs prompts of one length; it has 61 tokens, prompt p0 "
            "has 40 tokens");
  EXPECT_EQ(why("kv:0+at:40+from:(prompt:p2)", as_is),
            "patch from prompt p2: position 40 is not in both prompts; it has 61 tokens, prompt p0 "
            "has 40 tokens");
  EXPECT_EQ(why("kv:0+at:69+from:(cache:off)", as_is),
            "patch at: position 69 is computed for no prompt; the longest has positions 0 to 68");
  EXPECT_EQ(why("kv:0+from:(cache:off)", [](GenerateRequest& r) { r.prompts[1].teacher.clear(); }),
            "patch kv:0+from:(cache:off): donor and recipient may draw other tokens");
  EXPECT_EQ(why("kv:0+from:(cache:(speculative:3))", as_is),
            "patch kv:0+from:(cache:(speculative:3)) and cache speculative:3 of the donor: a "
            "drafted row may belong to no token");
  const auto coded = [](GenerateRequest& r) { r.kv = *parse_kv_policy("q8_0"); };
  EXPECT_EQ(why("v:0+from:(kv:exact)", coded),
            "patch v:0+from:(kv:exact) and kv q8_0 beside it: what it stores is not the rows that "
            "k and v put in; residual and attn stand with it");
  EXPECT_EQ(why("residual:0+attn:1+from:(kv:exact)", coded), "none");
}

}  // namespace
}  // namespace isobit::kv_test
