// The twin of transformers: what it refuses, what its calls depend on, and that each mistake in its
// order is seen.
#include "runtime/backends/twin/transformers.h"

#include <gtest/gtest.h>

#include <functional>

#include "runtime/backends/registry.h"
#include "runtime/run/generate.h"
#include "tests/fakes/folder.h"
#include "tests/fakes/model.h"

namespace isobit::twin {
namespace {

constexpr const char* kBook =
    "isobit products 1\n"
    "key device cuda\n"
    "key engine exec:transformers\n"
    "key variant a test\n"
    "fp16 64 256 1..4096 sm90 proved 1 1\n"
    "fp16 128 256 1..4096 sm90 proved 1 1\n"
    "fp16 256 256 1..4096 sm90 proved 1 1\n"
    "fp16 256 384 1..4096 sm90 proved 1 1\n"
    "fp16 384 256 1..4096 sm90 proved 1 1\n"
    "fp16 512 256 1..4096 sm90 proved 1 1\n"
    "attention fp16 4:2 64 free 1..8 1 2..32 cudnn:sm80:32 proved 1 64\n"
    "attention fp16 4:2 64 free 1..8 1 33..256 cudnn:sm80:64 proved 1 64\n"
    "attention fp16 4:2 64 left 1..8 1 2..32 cudnn:sm80:32 proved 1 64\n"
    "attention fp16 4:2 64 left 1..8 1 33..256 cudnn:sm80:64 proved 1 64\n"
    "attention fp16 4:2 64 causal 1..8 2..256 2..256 cudnn:sm90 proved 1 64\n"
    "attention fp16 4:2 64 left 1..8 2..256 2..256 cudnn:sm90 proved 1 64\n";

ModelConfig small_llama() {
  ModelConfig c = fakes::worked_example();
  c.vocab_size = 512;
  c.hidden_size = 256;
  c.intermediate_size = 384;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 64;
  c.context = 256;
  return c;
}

std::vector<PromptTokens> prompts_of(std::initializer_list<int> lengths) {
  std::vector<PromptTokens> out;
  int seed = 0;
  for (const int length : lengths) {
    PromptTokens prompt;
    for (int i = 0; i < length; ++i) prompt.tokens.push_back((i * 37 + seed * 101 + 5) % 512);
    out.push_back(std::move(prompt));
    ++seed;
  }
  return out;
}

class TransformersTwinTest : public ::testing::Test {
 protected:
  void SetUp() override { write(kBook); }
  void write(const std::string& text) { folder_.write("a.book", text); }
  GenerateRequest request(std::initializer_list<int> lengths) {
    GenerateRequest asked;
    asked.precision = Precision::fp16;
    auto engine = parse_engine(EnginePairs{{"twin", book_}}, folder_.path());
    EXPECT_TRUE(engine.has_value());
    asked.backend.engine = *engine;
    asked.backend.threads = 2;
    asked.prompts = prompts_of(lengths);
    asked.batch.size = std::int64_t(lengths.size());
    asked.max_new_tokens = 8;
    return asked;
  }
  CellTrace run(const GenerateRequest& asked) {
    auto result = runtime_.generate(asked);
    EXPECT_TRUE(result.has_value()) << (result ? "" : result.error().text());
    return result ? std::move(result->trace) : CellTrace{};
  }
  static std::vector<Digest> digests(const CellTrace& trace, std::size_t prompt) {
    std::vector<Digest> out;
    for (const TokenRecord& token : trace.prompts[prompt].tokens) out.push_back(token.digest);
    return out;
  }

  fakes::Folder folder_;
  std::string book_ = "a.book";
  Runtime runtime_{fakes::toy_model(small_llama())};
};

TEST_F(TransformersTwinTest, ComputesByTheBook) {
  const CellTrace trace = run(request({70}));
  ASSERT_EQ(trace.status, CellStatus::ok) << trace.reason;
  EXPECT_TRUE(trace.observed.engine.starts_with("twin:a@")) << trace.observed.engine;
  EXPECT_NE(trace.observed.kernels.find("cudnn:sm80:64, cudnn:sm90"), std::string::npos)
      << trace.observed.kernels;
}

TEST_F(TransformersTwinTest, ThreadsAndInstructionSetsChangeNothing) {
  const CellTrace two = run(request({70, 41}));
  GenerateRequest one = request({70, 41});
  one.backend.threads = 1;
  one.backend.isa = "scalar";
  const CellTrace other = run(one);
  for (std::size_t p = 0; p < 2; ++p) EXPECT_EQ(digests(two, p), digests(other, p));
}

/// Norms have other threads and keys another block for a prompt that has company.
TEST_F(TransformersTwinTest, CompanyChangesRows) {
  const CellTrace alone = run(request({41})), beside = run(request({41, 90}));
  EXPECT_NE(digests(alone, 0), digests(beside, 0));
}

TEST_F(TransformersTwinTest, RefusesWhatTheBookLacks) {
  GenerateRequest asked = request({70});
  asked.max_new_tokens = 2;
  write(std::string(kBook).replace(std::string(kBook).find("33..256"), 7, "33..40"));
  const CellTrace trace = run(asked);
  EXPECT_EQ(trace.status, CellStatus::failed);
  EXPECT_NE(trace.reason.find("has no line for attention of fp16, heads 4:2, width 64, mask free, "
                              "batch 1, queries 1, keys 71"),
            std::string::npos)
      << trace.reason;
}

TEST_F(TransformersTwinTest, RefusesWhatTransformersDoesNotCompute) {
  const EngineEntry* row = find_engine("twin");
  ASSERT_NE(row->refuse, nullptr);
  const auto why = [&](const std::function<void(GenerateRequest&)>& change) {
    GenerateRequest asked = request({70, 41});
    change(asked);
    return row->refuse(asked);
  };
  EXPECT_EQ(why([](GenerateRequest&) {}), "");
  EXPECT_NE(why([](GenerateRequest& r) { r.cache.chunk = 4; }), "");
  EXPECT_NE(why([](GenerateRequest& r) { r.ranks = 2; }), "");
  EXPECT_NE(why([](GenerateRequest& r) { r.eos = {1}; }), "");
  EXPECT_NE(why([](GenerateRequest& r) { r.batch.order = BatchShape::Order::reversed; }), "");
  EXPECT_NE(why([](GenerateRequest& r) { r.batch.size = 3; }), "");
  EXPECT_EQ(why([](GenerateRequest& r) { r.batch.size = 1, r.eos = {1}; }), "");
  BackendOptions options = request({70}).backend;
  EXPECT_NE(row->unsupported(options, mode_of(Precision::fp32)), "");
  EXPECT_EQ(row->unsupported(options, mode_of(Precision::fp16)), "");
}

/// One mistake in the place of one step. In fp16, which shows an fp32 unit eight times as often as
/// bf16.
struct Mistake {
  std::string name;
  std::function<void(FusedPlan&)> plan;
  std::int64_t norm_threads = 0;
  bool silu_unrounded = false, fused_rope = false, wide_angles = false, plain_logits = false;
  const SpecialTables* tables = nullptr;
};

class Mistaken final : public TransformersTwin {
 public:
  Mistaken(const Mode& mode, Book book, Mistake mistake)
      : TransformersTwin(mode, *cpu::kernels_named("auto"), 2, std::move(book), false,
                         mistake.tables == nullptr ? hopper_tables() : *mistake.tables),
        mistake_(std::move(mistake)) {}

  TorchRows norm_threads(std::int64_t n, std::int64_t rows) const override {
    TorchRows out = TransformersTwin::norm_threads(n, rows);
    if (mistake_.norm_threads > 0) out.width = std::int32_t(mistake_.norm_threads);
    return out;
  }
  FusedPlan plan_of(const FusedChoice& choice, const FusedShape& shape) const override {
    FusedPlan plan = TransformersTwin::plan_of(choice, shape);
    if (mistake_.plan) mistake_.plan(plan);
    plan.blocks_of_split = fused_blocks(shape.keys, plan.order.block);
    return plan;
  }
  void gated(Activation f, Rows gate, Rows up, Rows out) override {
    if (!mistake_.silu_unrounded) return TransformersTwin::gated(f, gate, up, out);
    for (std::int64_t i = 0; i < gate.rows * gate.cols; ++i) {
      const float product =
          cuda_silu(kHopperTables, cpu::row<float>(gate, 0)[i]) * cpu::row<float>(up, 0)[i];
      cpu::row<float>(out, 0)[i] = round_to(mode_.stored, product);
    }
  }
  void rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
            const Rotation& rotation) override {
    if (!mistake_.fused_rope && !mistake_.wide_angles) {
      return TransformersTwin::rope(x, heads, positions, rotation);
    }
    const std::int64_t half = rotation.dims / 2;
    for (std::int64_t r = 0; r < x.rows; ++r) {
      for (std::int64_t at = 0; at < x.cols; at += 2 * half) {
        turn_head(cpu::row<float>(x, r) + at, half, positions[std::size_t(r)], rotation);
      }
    }
  }
  void finish(std::span<const Rows> parts, const WeightMatrix& matrix, const void* row_scale,
              const void* bias, Format stored, Rows out) override {
    if (!mistake_.plain_logits) {
      return TransformersTwin::finish(parts, matrix, row_scale, bias, stored, out);
    }
    ProductTwin::finish(parts, matrix, row_scale, bias, stored, out);
  }

 private:
  void turn_head(float* low, std::int64_t half, std::int64_t position, const Rotation& rotation) {
    float* high = low + half;
    for (std::int64_t i = 0; i < half; ++i) {
      float c = static_cast<const float*>(rotation.cosine)[position * half + i];
      float s = static_cast<const float*>(rotation.sine)[position * half + i];
      if (mistake_.wide_angles) {
        const float power = float(exp_(log_(10000.0) * (double(2 * i) / double(2 * half))));
        c = cuda_cos(float(position) * (1.0f / power));
        s = cuda_sin(float(position) * (1.0f / power));
      }
      const Format f = mode_.stored;
      const auto part = [&](float v) { return mistake_.fused_rope ? v : round_to(f, v); };
      const float a = low[i], b = high[i];
      low[i] = round_to(f, part(a * c) + part(-b * s));
      high[i] = round_to(f, part(b * c) + part(a * s));
    }
  }

  Mistake mistake_;
};

/// Coefficients of ex2 one segment on, or of rsqrt.
SpecialTables shifted(bool rsqrt) {
  SpecialTables out = hopper_tables();
  for (int i = 0; i + 1 < 64; ++i) {
    if (rsqrt) {
      out.rsqrt_even[i] = kHopperTables.rsqrt_even[i + 1];
      out.rsqrt_odd[i] = kHopperTables.rsqrt_odd[i + 1];
    } else {
      out.ex2[i] = kHopperTables.ex2[i + 1];
    }
  }
  return out;
}

std::vector<Mistake> mistakes() {
  static const SpecialTables ex2 = shifted(false), rsqrt = shifted(true);
  std::vector<Mistake> out;
  const auto plan = [&](const char* name, const std::function<void(FusedOrder&)>& change) {
    Mistake m;
    m.name = name;
    m.plan = [change](FusedPlan& p) { change(p.order); };
    out.push_back(m);
  };
  plan("one block of 128", [](FusedOrder& o) { o.block = 128; });
  plan("last block first", [](FusedOrder& o) { o.last_first = true; });
  plan("sums go on", [](FusedOrder& o) { o.sums = FusedOrder::Sums::running; });
  plan("sums by warps", [](FusedOrder& o) { o.sums = FusedOrder::Sums::warps; });
  plan("lanes crossed", [](FusedOrder& o) { o.crossed = true; });
  plan("groups of 8", [](FusedOrder& o) { o.group = 8; });
  plan("scores unscaled", [](FusedOrder& o) { o.scores = FusedOrder::Scores::raw; });
  const auto more = [&](const char* name, const std::function<void(Mistake&)>& change) {
    Mistake m;
    m.name = name;
    change(m);
    out.push_back(m);
  };
  more("mean of one thread", [](Mistake& m) { m.norm_threads = 1; });
  more("mean of 64 threads", [](Mistake& m) { m.norm_threads = 64; });
  more("silu not rounded", [](Mistake& m) { m.silu_unrounded = true; });
  more("RoPE rounded once", [](Mistake& m) { m.fused_rope = true; });
  more("cos and sin in fp32", [](Mistake& m) { m.wide_angles = true; });
  more("logits in fp32", [](Mistake& m) { m.plain_logits = true; });
  more("ex2 one segment off", [](Mistake& m) { m.tables = &ex2; });
  more("rsqrt one segment off", [](Mistake& m) { m.tables = &rsqrt; });
  return out;
}

TEST_F(TransformersTwinTest, EveryMistakeChangesRows) {
  const std::initializer_list<int> lengths = {150, 90, 120};
  const auto book = read_product_book(book_, folder_.path());
  ASSERT_TRUE(book.has_value());
  const auto with = [&](const Mistake& mistake) {
    GenerateRequest asked = request(lengths);
    asked.wrap_backend = [&](std::unique_ptr<Backend> inner) -> std::unique_ptr<Backend> {
      return std::make_unique<Mistaken>(inner->mode(), *book, mistake);
    };
    const CellTrace trace = run(asked);
    EXPECT_EQ(trace.status, CellStatus::ok) << mistake.name << ": " << trace.reason;
    std::vector<Digest> all;
    for (std::size_t p = 0; p < lengths.size(); ++p) {
      const auto rows = digests(trace, p);
      all.insert(all.end(), rows.begin(), rows.end());
    }
    return all;
  };
  const std::vector<Digest> right = with({});
  for (const Mistake& mistake : mistakes()) EXPECT_NE(with(mistake), right) << mistake.name;
}

}  // namespace
}  // namespace isobit::twin
