// What compute-sanitizer runs: every kernel of the GPU at one small shape of each path, compared
// with the literal CPU text, in well under a minute without the tool.
//
// The product fills its memory with NaN, which counts as initialised and would hide a read of what
// was never written. So the backend here gives memory as cudaMalloc does: initcheck sees all of it.
// Only the pools of keys and values are filled, as the product's are: their pages have places that
// no position owns yet. What belongs to a library is in SanitizeLibraryGpu, for memcheck alone.
#include "tests/conformance/cuda_pair.h"

#if defined(ISOBIT_HAVE_CUDA)

#include "runtime/backends/cuda/backend.h"
#include "runtime/numerics/order.h"
#include "runtime/run/generate.h"
#include "tests/fakes/model.h"

namespace isobit::cuda_test {
namespace {

/// The CUDA backend without the NaN.
class PlainMemory final : public cuda::CudaBackend {
 public:
  using CudaBackend::CudaBackend;
  void* allocate(std::size_t bytes) override {
    enter();
    return cuda::take_memory(std::max<std::size_t>(bytes, 1));
  }
};

class SanitizeGpu : public CudaOps {
 protected:
  void SetUp() override {
    CudaOps::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    BackendOptions options;
    options.isa = "scalar";
    auto cpu = make_backend(options, mode_);
    ASSERT_TRUE(cpu) << cpu.error().text();
    cpu_ = std::move(*cpu);
    const auto gpu = cuda::gpu_of_rank(0);
    ASSERT_TRUE(gpu) << gpu.error().text();
    gpu_ = std::make_unique<PlainMemory>(mode_, *gpu);
  }
  void TearDown() override {
    for (const Array& array : arrays_) {
      cpu_->release(array.cpu);
      gpu_->release(array.gpu);
    }
  }

  Array empty(std::int64_t n) {
    const std::size_t bytes = std::size_t(n) * cpu_->real_size();
    arrays_.push_back({cpu_->allocate(bytes), gpu_->allocate(bytes), n});
    return arrays_.back();
  }
  Array random(std::int64_t n, Format format) {
    const Array to = empty(n);
    if (mode_.wide()) {
      fill(to, make_data<double>(Data::plain, n, ++seed_));
    } else {
      std::vector<float> x = make_data<float>(Data::plain, n, ++seed_);
      for (float& value : x) value = round_to(format, value);
      fill(to, x);
    }
    return to;
  }
  template <class T>
  void fill(const Array& to, const std::vector<T>& values) {
    cpu_->upload(to.cpu, values.data(), values.size() * sizeof(T));
    gpu_->upload(to.gpu, values.data(), values.size() * sizeof(T));
  }
  void fill_nan(const Array& to) {
    const std::vector<std::uint32_t> words(std::size_t(to.n) * cpu_->real_size() / 4, 0x7ff47ff4u);
    fill(to, words);
  }
  template <class F>
  void both(F&& f) {
    f(*cpu_, false);
    f(static_cast<Backend&>(*gpu_), true);
  }
  ::testing::AssertionResult same(const Array& array) {
    std::vector<unsigned char> want(std::size_t(array.n) * cpu_->real_size()), got = want;
    cpu_->download(want.data(), array.cpu, want.size());
    gpu_->download(got.data(), array.gpu, got.size());
    if (want == got) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "bytes differ";
  }

  /// A product with its own segments [first, last) of 8, the whole end of it, and a second part.
  void product(std::int64_t m, std::int64_t n, std::int64_t k, int first = 0, int last = 8) {
    SCOPED_TRACE(::testing::Message()
                 << "M " << m << " N " << n << " K " << k << " segments " << first << ".." << last);
    MatrixSource source;
    source.outputs = n;
    for (int i = first; i <= last; ++i) {
      source.bounds.push_back(segment_begin(k, i, 8) - segment_begin(k, first, 8));
    }
    const std::int64_t own = source.inputs = source.bounds.back();
    source.format = mode_.matrix;
    const std::vector<float> w = make_data<float>(Data::plain, n * own + 1, ++seed_);
    source.read = [&](std::int64_t row, std::span<float> out) {
      std::copy_n(w.begin() + row * own, own, out.begin());
    };
    source.amax = [](std::int64_t) { return 1.0f; };
    const Array x = random(std::max<std::int64_t>(m * own, 1), mode_.gemm_input);
    const Array part = empty(m * n), second = random(m * n, Format::f32), out = empty(m * n);
    const Array bias = random(n, mode_.weight), scale = random(m, Format::f32);
    both([&](Backend& b, bool gpu) {
      const auto matrix = b.load_matrix(source);
      const Rows first_part = rows_of(part, gpu, m, n);
      b.gemm(rows_of(x, gpu, m, own), *matrix, first_part);
      const Rows parts[2] = {first_part, rows_of(second, gpu, m, n)};
      b.finish(parts, *matrix, mode_.scaled() ? (gpu ? scale.gpu : scale.cpu) : nullptr,
               gpu ? bias.gpu : bias.cpu, mode_.stored, rows_of(out, gpu, m, n));
    });
    EXPECT_TRUE(same(part));
    EXPECT_TRUE(same(out));
  }

  const Mode& mode_ = mode_of(precision());
  std::unique_ptr<Backend> cpu_;
  std::unique_ptr<PlainMemory> gpu_;
  std::vector<Array> arrays_;
  std::uint64_t seed_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Precision, SanitizeGpu,
                         ::testing::Values(int(Precision::fp32), int(Precision::fp64),
                                           int(Precision::bf16), int(Precision::fp16),
                                           int(Precision::fp8_e4m3)),
                         precision_name);

TEST_P(SanitizeGpu, ProductsOfFewRows) {
  for (const std::int64_t m : {1, 2, 3, 5, 8, 16, 32}) product(m, 70, 131);
  product(1, 8200, 80);   // more outputs a warp
  product(2, 33, 4099);   // long, with a ragged end
  product(4, 512, 1024);  // whole words and tiles
}

TEST_P(SanitizeGpu, ProductsOfManyRows) {
  for (const std::int64_t m : {33, 64, 130}) product(m, 70, 131);
  product(128, 256, 512);
}

TEST_P(SanitizeGpu, ProductsOfRanks) {
  for (const std::int64_t m : {1, 40}) {
    product(m, 50, 333, 2, 4);
    product(m, 50, 333, 3, 3);  // owns nothing
  }
}

TEST_P(SanitizeGpu, RowsAndRounding) {
  for (const std::int64_t d : {8, 257, 576}) {
    SCOPED_TRACE(d);
    const std::int64_t rows = 3;
    const Array x = random(rows * d, mode_.stored), y = random(rows * d, mode_.stored);
    const Array w = random(d, mode_.weight);
    const Array normed = empty(rows * d), act = empty(rows * d), largest = empty(rows);
    const Array rounded = empty(rows * d), scale = empty(rows), scaled = empty(rows * d);
    const Array gelu = empty(rows * d);
    const std::vector<std::int32_t> ids = {2, 0};
    const std::vector<double> factors = {0.5, -1.25};
    both([&](Backend& b, bool gpu) {
      const auto r = [&](const Array& a) { return rows_of(a, gpu, rows, d); };
      const auto at = [&](const Array& a) { return gpu ? a.gpu : a.cpu; };
      b.rms_norm(r(x), at(w), 1e-5, r(normed));
      b.gated(Activation::silu, r(x), r(y), r(act));
      b.quantize(r(x), nullptr, mode_.gemm_input, r(rounded));
      b.amax(r(x), at(largest));
      if (!mode_.wide()) {
        b.scales(at(largest), 1, rows, Format::e4m3, at(scale));
        b.quantize(r(x), at(scale), Format::e4m3, r(scaled));
      }
      b.add(r(y), r(x));
      b.rms_norm(r(x), at(w), 1e-6, r(x));  // in place
      b.layer_norm(r(y), at(w), at(w), 1e-6, r(y));
      b.gated(Activation::gelu_tanh, r(x), r(y), r(gelu));
      b.activate(Activation::gelu_tanh, r(gelu));
      b.scale(r(gelu), 2.5);
      b.softcap(r(gelu), 1.5);
      b.add_scaled(rows_of(y, gpu, 2, d), ids, factors, r(gelu));
    });
    for (const Array& a : {x, y, normed, act, largest, rounded, gelu}) EXPECT_TRUE(same(a));
    EXPECT_TRUE(mode_.wide() || (same(scale) && same(scaled)));
  }
}

TEST_P(SanitizeGpu, RopeGatherAndCopy) {
  const std::int64_t rows = 3, heads = 2, d = 24, width = heads * d, positions = 10;
  const Array x = random(rows * width, mode_.stored), table = random(20 * width, mode_.stored);
  const Array cosine = random(positions * d / 2, Format::f32);
  const Array sine = random(positions * d / 2, Format::f32);
  const Array gathered = empty(rows * width), copied = empty(rows * width);
  const std::vector<std::int64_t> at = {0, 9, 3};
  const std::vector<std::int32_t> ids = {19, 0, 5};
  both([&](Backend& b, bool gpu) {
    const void *c = gpu ? cosine.gpu : cosine.cpu, *s = gpu ? sine.gpu : sine.cpu;
    b.rope(rows_of(x, gpu, rows, width), heads, at, {c, s, d});
    b.rope(rows_of(x, gpu, rows, width), heads, at, {c, s, d - 6});
    b.gather(rows_of(table, gpu, 20, width), ids, rows_of(gathered, gpu, rows, width));
    b.copy(rows_of(gathered, gpu, rows, width), rows_of(copied, gpu, rows, width));
  });
  for (const Array& a : {x, gathered, copied}) EXPECT_TRUE(same(a));
}

TEST_P(SanitizeGpu, DigestsAndBestEntries) {
  for (const std::int64_t n : {1, 9, 40, 300, 1000, 2049, 8200}) {
    SCOPED_TRACE(n);
    const std::int64_t rows = 2;
    const Array x = random(rows * n, Format::bf16);
    std::vector<Digest> want(2), got(2);
    cpu_->digests(rows_of(x, false, rows, n), want);
    gpu_->digests(rows_of(x, true, rows, n), got);
    EXPECT_EQ(want, got);
    const TopEntries a = cpu_->top(rows_of(x, false, 1, n), 8);
    const TopEntries b = gpu_->top(rows_of(x, true, 1, n), 8);
    EXPECT_EQ(a.ids, b.ids);
    EXPECT_EQ(a.count, b.count);
  }
}

/// Sequences of 5 and of 300 positions in shuffled pages of 16, three query heads on two KV heads.
TEST_P(SanitizeGpu, AttentionAndTheCache) {
  for (const std::int64_t d : {8, 64, 128}) {
    SCOPED_TRACE(d);
    const std::int64_t heads = 3, kv = 2, width = kv * d, page = 16, pages = 20;
    const std::vector<std::int32_t> tables[2] = {
        {7}, {3, 0, 19, 1, 18, 2, 17, 4, 16, 5, 15, 6, 14, 8, 13, 9, 12, 10, 11}};
    const std::int64_t lengths[2] = {5, 300};
    std::vector<std::int64_t> slots;
    std::vector<AttentionRows::Row> queries;
    const std::vector<std::uint8_t> keep = [] {
      std::vector<std::uint8_t> mask(300, 1);
      for (std::size_t i = 0; i < mask.size(); i += 3) mask[i] = 0;
      return mask;
    }();
    for (int s = 0; s < 2; ++s) {
      for (std::int64_t p = 0; p < lengths[s]; ++p) {
        slots.push_back(tables[s][std::size_t(p / page)] * page + p % page);
      }
      queries.push_back({lengths[s] - 1, 0, tables[s].data(), nullptr});
      queries.push_back({lengths[s] - 1, lengths[s] / 2, tables[s].data(), nullptr});
    }
    queries.push_back({299, 0, tables[1].data(), keep.data()});
    AttentionRows args;
    args.rows = queries;
    args.heads = heads;
    args.head_dim = d;
    args.kv_heads = kv;
    args.kv_of_head = {0, 0, 1};
    args.scale = 0.125;
    args.page_size = std::int32_t(page);
    const auto n = std::int64_t(slots.size()), q_rows = std::int64_t(queries.size());
    const Array k_pool = empty(pages * page * width), v_pool = empty(pages * page * width);
    fill_nan(k_pool);
    fill_nan(v_pool);
    const Array k = random(n * width, mode_.cache), v = random(n * width, mode_.cache);
    const Array q = random(q_rows * heads * d, mode_.stored), out = empty(q_rows * heads * d);
    const Array k_back = empty(width), v_back = empty(width);
    both([&](Backend& b, bool gpu) {
      void* const kp = gpu ? k_pool.gpu : k_pool.cpu;
      void* const vp = gpu ? v_pool.gpu : v_pool.cpu;
      b.write_kv(rows_of(k, gpu, n, width), rows_of(v, gpu, n, width), slots, kv, args.page_size,
                 kp, vp);
      b.attention(rows_of(q, gpu, q_rows, heads * d), args, kp, vp,
                  rows_of(out, gpu, q_rows, heads * d));
      b.read_kv({&slots[7], 1}, kv, args.page_size, kp, vp, rows_of(k_back, gpu, 1, width),
                rows_of(v_back, gpu, 1, width));
    });
    for (const Array& a : {k_pool, v_pool, out, k_back, v_back}) EXPECT_TRUE(same(a));
  }
}

/// A whole model: steps that follow each other, and are replayed when they repeat.
TEST_P(SanitizeGpu, AModel) {
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  GenerateRequest request;
  request.precision = precision();
  for (const int length : {3, 20, 7}) {
    request.prompts.emplace_back();
    request.prompts.back().tokens = fakes::prompt(length);
  }
  request.max_new_tokens = 6;
  request.batch.size = 3;
  Sha256 roots[2];
  for (const bool gpu : {false, true}) {
    request.backend.device = gpu ? "cuda" : "cpu";
    const auto result = runtime.generate(request);
    ASSERT_TRUE(result) << result.error().text();
    ASSERT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
    EXPECT_EQ(result->trace.observed.device, request.backend.device);
    roots[gpu ? 1 : 0] = cell_root(result->trace);
  }
  EXPECT_EQ(roots[0], roots[1]);
}

/// Tiles coded and decoded, masks, weights and evicted keys: every operation of a cache policy.
TEST_P(SanitizeGpu, CachePolicies) {
  Runtime runtime(fakes::toy_model(fakes::worked_example_of_policies()));
  for (const char* kv : {"q8_0", "kivi:2", "kivi:4", "tova:9"}) {
    GenerateRequest request;
    request.precision = precision();
    request.kv = *parse_kv_policy(kv);
    request.cache = *parse_cache_mode("paged:16");
    for (const int length : {62, 20}) {
      request.prompts.emplace_back();
      request.prompts.back().tokens = fakes::prompt(length);
    }
    request.max_new_tokens = 4;
    request.batch.size = 2;
    Sha256 roots[2];
    for (const bool gpu : {false, true}) {
      request.backend.device = gpu ? "cuda" : "cpu";
      const auto result = runtime.generate(request);
      ASSERT_TRUE(result) << result.error().text();
      ASSERT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
      EXPECT_EQ(result->trace.observed.device, request.backend.device);
      EXPECT_FALSE(result->trace.observed.kv_identity) << kv;
      roots[gpu ? 1 : 0] = cell_root(result->trace);
    }
    EXPECT_EQ(roots[0], roots[1]) << kv;
  }
}

class SanitizeLibraryGpu : public CudaOps {
 protected:
  /// One product's bits, or why there are none.
  static std::string bits(const std::string& engine, const std::string& algorithm, std::int64_t m) {
    BackendOptions options;
    options.engine = *parse_engine(algorithm.empty() ? engine : engine + ":" + algorithm);
    options.device = "cuda";
    const Mode& mode = mode_of(precision());
    auto backend = make_backend(options, mode);
    if (!backend) return "no backend: " + backend.error().text();
    Backend& b = **backend;
    const std::int64_t n = 64, k = 128;
    MatrixSource source;
    source.outputs = n;
    source.inputs = k;
    source.bounds = {0, 16, 32, 48, 64, 80, 96, 112, 128};
    source.format = mode.matrix;
    const std::vector<float> w = make_data<float>(Data::plain, n * k, 5);
    source.read = [&](std::int64_t row, std::span<float> out) {
      std::copy_n(w.begin() + row * k, k, out.begin());
    };
    source.amax = [](std::int64_t) { return 1.0f; };
    const std::vector<float> ones(std::size_t(2 * m * k), 1.0f);
    const std::size_t x_bytes = std::size_t(m * k) * b.real_size();
    const std::size_t bytes = std::size_t(m * n) * b.real_size();
    void* const x = b.allocate(x_bytes);
    void* const out = b.allocate(bytes);
    std::string got(bytes, '\0');
    if (b.mode().wide()) {
      const std::vector<double> wide(std::size_t(m * k), 1.0);
      b.upload(x, wide.data(), x_bytes);
    } else {
      b.upload(x, ones.data(), x_bytes);
    }
    try {
      b.gemm({x, m, k, k}, *b.load_matrix(source), {out, m, n, n});
      b.download(got.data(), out, bytes);
      const std::string kernels = b.describe().kernels;
      EXPECT_NE(kernels.find("1 shape"), std::string::npos) << kernels;
      EXPECT_EQ(kernels.find("kernel unknown"), std::string::npos) << kernels;
      EXPECT_EQ(b.describe().engine, engine + (algorithm.empty() ? "" : ":" + algorithm));
      EXPECT_EQ(b.describe().library_sha256.size(), 64U);
      ::testing::Test::RecordProperty(engine + algorithm + "_rows_" + std::to_string(m), kernels);
    } catch (const BackendError& error) {
      got = std::string("refused: ") + error.what();
    }
    b.release(x);
    b.release(out);
    return got;
  }
};
INSTANTIATE_TEST_SUITE_P(Precision, SanitizeLibraryGpu,
                         ::testing::Values(int(Precision::fp32), int(Precision::fp64),
                                           int(Precision::tf32), int(Precision::bf16),
                                           int(Precision::fp16)),
                         precision_name);

TEST_P(SanitizeLibraryGpu, EveryEngineGivesAProductTwice) {
  const bool narrow = precision() == Precision::bf16 || precision() == Precision::fp16;
  const bool wide = precision() == Precision::fp64;
  for (const auto& [engine, algorithm] : {std::pair<std::string, std::string>{"cublas", ""},
                                          {"cublas", "default+math:pedantic"},
                                          {"cublas", "default+math:tf32"},
                                          {"cublaslt", ""},
                                          {"cublaslt", "heuristic+math:pedantic"}}) {
    if ((narrow || wide) && algorithm == "default+math:tf32") {
      EXPECT_NE(bits(engine, algorithm, 1).find("math tf32 of engine cublas needs fp32 operands"),
                std::string::npos);
      continue;
    }
    for (const std::int64_t m : {1, 40}) {
      const std::string first = bits(engine, algorithm, m);
      EXPECT_EQ(first.find("refused"), std::string::npos)
          << engine << ":" << algorithm << " " << first;
      EXPECT_EQ(first.find("no backend"), std::string::npos) << first;
      EXPECT_EQ(first, bits(engine, algorithm, m)) << engine << ":" << algorithm;
    }
  }
}

TEST_P(SanitizeLibraryGpu, WhatTheLibraryLacksIsRefused) {
  EXPECT_NE(bits("cublaslt", "4095", 8)
                .find("refused: cublasLt, engine cublaslt:4095: algorithm refused with status"),
            std::string::npos)
      << bits("cublaslt", "4095", 8);
  EXPECT_NE(bits("cublaslt", "heuristic+index:99", 8).find("index 99 was asked for outputs 64"),
            std::string::npos)
      << bits("cublaslt", "heuristic+index:99", 8);
}

/// Memory that is not there: one line with both sizes, and the next cell goes on.
class CudaMemoryGpu : public CudaOps {};
INSTANTIATE_TEST_SUITE_P(Precision, CudaMemoryGpu, ::testing::Values(int(Precision::fp32)),
                         precision_name);
TEST_P(CudaMemoryGpu, TooMuchIsOneLineAndLeavesTheBackendUsable) {
  Pair pair(precision());
  try {
    pair.gpu().allocate(std::size_t(1) << 46);
    FAIL() << "64 TiB were given";
  } catch (const std::bad_alloc& error) {
    const std::string line = memory_text(error);
    EXPECT_EQ(line.find("device cuda: out of memory: 67108864.0 MiB asked, "), 0U) << line;
    EXPECT_NE(line.find(" MiB free"), std::string::npos) << line;
  }
  const Array x = pair.random(Data::plain, 64, 1, Format::f32);
  pair.both([&](Backend& b, bool gpu) { b.add(rows_of(x, gpu, 1, 64), rows_of(x, gpu, 1, 64)); });
  EXPECT_TRUE(pair.same(x));
}

}  // namespace
}  // namespace isobit::cuda_test

#endif
