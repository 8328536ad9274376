// Emulated schedules of products: every backend against the literal text, bit for bit; with fixed
// slices one digest over batches, layouts, threads and instruction sets, and one for each number of
// ranks; with a schedule by rows, another digest for another batch.
#include "runtime/numerics/schedule.h"

#include "runtime/numerics/schedule_text.h"
#include "runtime/run/generate.h"
#include "tests/conformance/cuda_pair.h"
#include "tests/conformance/trace_bits.h"
#include "tests/fakes/model.h"

namespace isobit::schedule_test {
namespace {

using cuda_test::Array;
using cuda_test::Data;
using cuda_test::make_data;
using cuda_test::rows_of;
using Book = std::shared_ptr<const ScheduleBook>;

constexpr const char* kTexts[] = {"split_k:1",
                                  "split_k:1+out:bf16",
                                  "split_k:2+out:fp16+slice:1",
                                  "split_k:3+slice:64",
                                  "split_k:4",
                                  "split_k:5+combine:tree+slice:1",
                                  "split_k:6+combine:tree+out:bf16+slice:1",
                                  "split_k:7+slice:32",
                                  "split_k:64+slice:1"};

Book book_of(const std::string& text) {
  auto book = parse_schedules(text, "");
  ISOBIT_CHECK(book.has_value());
  return *book;
}

struct Shape {
  std::int64_t m, n, k;
  Data data;
};

MatrixSource source_of(const Shape& s, Format format, const std::vector<float>& values) {
  MatrixSource source;
  source.outputs = s.n;
  source.inputs = s.k;
  const int segments = s.k < 64 ? 1 : 8;
  for (int i = 0; i <= segments; ++i) source.bounds.push_back(s.k * i / segments);
  source.format = format;
  source.read = [&values, k = s.k](std::int64_t row, std::span<float> out) {
    std::copy_n(values.begin() + row * k, k, out.begin());
  };
  source.amax = [](std::int64_t) { return 1.0f; };
  return source;
}

/// What a backend's gemm() gives, x rounded to the mode's input.
template <class T>
std::vector<T> product(Backend& backend, const Shape& s, const std::vector<float>& weights,
                       const std::vector<T>& x) {
  const auto w = backend.load_matrix(source_of(s, backend.mode().matrix, weights));
  void* const in = backend.allocate(x.size() * sizeof(T));
  std::vector<T> out(std::size_t(s.m * s.n));
  void* const result = backend.allocate(out.size() * sizeof(T));
  backend.upload(in, x.data(), x.size() * sizeof(T));
  backend.gemm({in, s.m, s.k, s.k}, *w, {result, s.m, s.n, s.n});
  backend.download(out.data(), result, out.size() * sizeof(T));
  backend.release(in);
  backend.release(result);
  return out;
}

/// The page, literally.
template <class T>
std::vector<T> literal(const GemmSchedule& schedule, Format format, const Shape& s,
                       const std::vector<float>& weights, const std::vector<T>& x) {
  std::vector<T> out;
  for (std::int64_t r = 0; r < s.m; ++r) {
    for (std::int64_t j = 0; j < s.n; ++j) {
      out.push_back(scheduled_dot<T>(
          schedule, [&](std::int64_t i) { return x[std::size_t(r * s.k + i)]; },
          [&](std::int64_t i) { return round_to(format, weights[std::size_t(j * s.k + i)]); },
          s.k));
    }
  }
  return out;
}

std::unique_ptr<Backend> backend_of(BackendOptions options, Precision precision,
                                    const std::string& text) {
  options.gemm = book_of(text);
  auto backend = make_backend(options, mode_of(precision));
  ISOBIT_CHECK(backend.has_value());
  return std::move(*backend);
}

template <class T>
void compare(const BackendOptions& options, Precision precision, const Shape& s,
             const std::string& text, std::uint64_t seed) {
  SCOPED_TRACE(::testing::Message()
               << text << " " << options.device << " " << options.isa << " M " << s.m << " N "
               << s.n << " K " << s.k << " data " << int(s.data) << " " << mode_of(precision).name);
  const Mode& mode = mode_of(precision);
  const std::vector<float> weights = make_data<float>(s.data, s.n * s.k, seed);
  std::vector<T> x = make_data<T>(s.data, s.m * s.k, seed + 1);
  if (sizeof(T) == 4) {
    for (T& value : x) value = T(round_to(mode.gemm_input, float(value)));
  }
  const auto backend = backend_of(options, precision, text);
  const std::vector<T> got = product<T>(*backend, s, weights, x);
  const GemmSchedule schedule = book_of(text)->lines.front().schedule;
  EXPECT_TRUE(cpu::testing::same(literal<T>(schedule, mode.matrix, s, weights, x), got));
  EXPECT_EQ(backend->describe().gemm,
            text_of(schedule) + (schedule.slices(s.k) > 1 ? "" : " (one slice)"));
}

void compare_all(const BackendOptions& options, std::initializer_list<Shape> shapes) {
  std::uint64_t seed = 1;
  for (const char* text : kTexts) {
    for (const Shape& s : shapes) {
      compare<float>(options, Precision::fp32, s, text, seed += 2);
      compare<float>(options, Precision::bf16, s, text, seed += 2);
      compare<float>(options, Precision::fp16, s, text, seed += 2);
      compare<double>(options, Precision::fp64, s, text, seed += 2);
    }
  }
}

class ScheduledProducts : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Isa, ScheduledProducts,
                         ::testing::Values("scalar", "avx2", "avx512", "neon"),
                         [](const auto& isa) { return std::string(isa.param); });

TEST_P(ScheduledProducts, EqualTheLiteralText) {
  BackendOptions options;
  options.isa = GetParam();
  if (const auto why = unsupported_reason(options, mode_of(Precision::fp32)); !why.empty()) {
    GTEST_SKIP() << why;
  }
  for (const int threads : {1, 3}) {
    options.threads = threads;
    compare_all(options, {{1, 70, 200, Data::wide},
                          {1, 260, 577, Data::plain},
                          {2, 33, 63, Data::special},
                          {5, 40, 64, Data::cancelling},
                          {13, 129, 131, Data::wide},
                          {1, 1, 1, Data::plain}});
  }
}

TEST(Schedules, AreNotTheReferencesOrder) {
  const Shape s{4, 64, 576, Data::plain};
  const std::vector<float> weights = make_data<float>(s.data, s.n * s.k, 3);
  const std::vector<float> x = make_data<float>(s.data, s.m * s.k, 4);
  auto reference = make_backend({}, mode_of(Precision::fp32));
  ASSERT_TRUE(reference.has_value());
  const std::vector<float> want = product<float>(**reference, s, weights, x);
  EXPECT_EQ((*reference)->describe().gemm, "reference");
  std::set<std::vector<float>> different{want};
  for (const char* text : {"split_k:1", "split_k:2", "split_k:4", "split_k:4+slice:64",
                           "split_k:4+combine:tree", "split_k:1+out:bf16"}) {
    different.insert(product<float>(*backend_of({}, Precision::fp32, text), s, weights, x));
  }
  EXPECT_EQ(different.size(), 7u);
  // Eight slices that are the page's segments, met in its tree, are the page's order.
  EXPECT_EQ(want, product<float>(*backend_of({}, Precision::fp32, "split_k:8+combine:tree"), s,
                                 weights, x));
}

// A model that has them end to end.

LoadedModel model() {
  ModelConfig c = fakes::odd_config("llama");
  return fakes::toy_model(c);
}

GenerateRequest request(const std::string& gemm, std::int64_t batch = 1,
                        const std::string& cache = "on", int ranks = 1) {
  GenerateRequest r;
  r.precision = Precision::bf16;
  r.backend.gemm = book_of(gemm);
  cpu::testing::Random random(5);
  for (const std::int64_t length : {5, 17, 40, 9}) {
    PromptTokens prompt;
    for (std::int64_t i = 0; i < length; ++i) {
      prompt.tokens.push_back(std::int32_t(random.below(fakes::odd_config("llama").vocab_size)));
    }
    r.prompts.push_back(prompt);
  }
  r.max_new_tokens = 10;
  r.batch.size = batch;
  r.cache = *parse_cache_mode(cache);
  r.ranks = ranks;
  return r;
}

std::string run(Runtime& runtime, const GenerateRequest& r) {
  auto result = runtime.generate(r);
  if (!result) return result.error().text();
  EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
  EXPECT_EQ(result->trace.observed.device, r.backend.device);
  EXPECT_NE(result->trace.observed.gemm, "reference");
  return bits_of_trace(result->trace);
}

TEST(Schedules, FixedSlicesAreOneClassForEachNumberOfRanks) {
  Runtime runtime(model());
  std::set<std::string> by_ranks;
  for (const int ranks : {1, 2, 4}) {
    GenerateRequest first = request("split_k:3+out:bf16", 1, "on", ranks);
    first.backend.isa = "scalar";
    const std::string want = run(runtime, first);
    ASSERT_GT(want.size(), 1000u);
    by_ranks.insert(want);
    for (const char* cache : {"off", "chunked:7", "paged:16", "recomputed", "speculative:3"}) {
      EXPECT_EQ(want, run(runtime, request("split_k:3+out:bf16", 3, cache, ranks))) << cache;
    }
    GenerateRequest threads = request("split_k:3+out:bf16", 4, "on", ranks);
    threads.backend.threads = 3;
    threads.batch.staggered = true;
    EXPECT_EQ(want, run(runtime, threads));
  }
  EXPECT_EQ(by_ranks.size(), 3u);  // a rank rounds the product over its slice
}

TEST(Schedules, ByRowsFollowTheBatchAndTheCache) {
  Runtime runtime(model());
  const auto bits = [&](std::int64_t batch, const char* cache, const char* isa, int threads) {
    GenerateRequest r = request("by_rows:(1:(split_k:4+slice:1)+3:(split_k:1))", batch, cache);
    r.precision = Precision::fp32;  // 16-bit roundings hide most of so small a model's differences
    r.backend.isa = isa;
    r.backend.threads = threads;
    return run(runtime, r);
  };
  const std::string want = bits(1, "on", "auto", 1);
  EXPECT_TRUE(want != bits(4, "on", "auto", 1));
  EXPECT_TRUE(want != bits(1, "off", "auto", 1));
  EXPECT_TRUE(want == bits(1, "on", "scalar", 2));
  // A row that is computed again, or twice in a batch, may differ: that is no fault.
  GenerateRequest again = request("by_rows:(1:(split_k:4+slice:1)+7:(split_k:1))", 5, "off");
  again.precision = Precision::fp32;
  again.level = TraceLevel::ops;
  again.batch.staggered = true;
  run(runtime, again);  // asserts that it is well
}

TEST(Schedules, ABookWithoutALineForAProductFailsTheCell) {
  Runtime runtime(model());
  GenerateRequest r = request("split_k:2");
  ScheduleBook book = *r.backend.gemm;
  book.text = "book:narrow";
  book.lines.front().outputs = 7;
  r.backend.gemm = std::make_shared<const ScheduleBook>(book);
  auto result = runtime.generate(r);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->trace.status, CellStatus::failed);
  EXPECT_NE(result->trace.reason.find("book:narrow has no line for a product of"),
            std::string::npos);
}

class ScheduledProductsGpu : public ::testing::Test {
 protected:
  void SetUp() override { cuda_test::need_gpu(); }
};

TEST_F(ScheduledProductsGpu, EqualTheLiteralText) {
  BackendOptions options;
  options.device = "cuda";
  compare_all(options, {{1, 70, 200, Data::wide},
                        {1, 260, 577, Data::plain},
                        {2, 33, 63, Data::special},
                        {5, 40, 64, Data::cancelling},
                        {70, 129, 131, Data::wide},
                        {1, 1, 1, Data::plain}});
}

TEST_F(ScheduledProductsGpu, AModelHasTheCpusDigests) {
  Runtime runtime(model());
  for (const char* gemm : {"split_k:3+out:bf16", "split_k:4+combine:tree+slice:1",
                           "by_rows:(1:(split_k:4+slice:1)+3:(split_k:1))"}) {
    for (const int ranks : {1, 2}) {
      for (const std::int64_t batch : {1, 4}) {
        GenerateRequest r = request(gemm, batch, "on", ranks);
        const std::string want = run(runtime, r);
        r.backend.device = "cuda";
        EXPECT_EQ(want, run(runtime, r)) << gemm << " ranks " << ranks << " batch " << batch;
      }
    }
  }
}

}  // namespace
}  // namespace isobit::schedule_test
