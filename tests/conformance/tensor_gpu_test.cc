// Products of a tensor core on the GPU, bit for bit: the literal kernel of every chip and format
// against the scalar table's chains, and mma.sync of a GPU of capability 90 against both. Each case
// first asserts which kernel ran.
#include "tests/conformance/cuda_pair.h"

#if defined(ISOBIT_HAVE_CUDA)

#include <cmath>
#include <functional>
#include <limits>

#include "runtime/backends/cpu/packed.h"
#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/engine.h"
#include "runtime/numerics/order.h"
#include "runtime/numerics/tensorcore_text.h"

namespace isobit::cuda_test {
namespace {

using cuda::TensorKernel;
using Value = std::function<float(Random&, std::int64_t row, std::int64_t column)>;

constexpr const char* kLiteral = "literal";
constexpr const char* kRows = "mma.sync m16n8k16 (rows)";
constexpr const char* kTiles = "mma.sync m16n8k16 (tiles)";

/// Values of x and of w, by what they are adversarial in.
struct Kind {
  const char* name;
  Value x, w;
  bool substance = true;  // of all shapes together, some result is finite and not zero
};

struct Shape {
  std::int64_t m, n, k;
  std::vector<std::int64_t> bounds;  // of the segments
};

std::vector<std::int64_t> cut(std::int64_t k, int segments = 8) {
  std::vector<std::int64_t> bounds;
  const int count = segments_of(k, segments);
  for (int s = 0; s <= count; ++s) bounds.push_back(segment_begin(k, s, count));
  return bounds;
}

Precision precision_of(Format format) {
  return format == Format::bf16   ? Precision::bf16
         : format == Format::fp16 ? Precision::fp16
         : format == Format::tf32 ? Precision::tf32
         : format == Format::e4m3 ? Precision::fp8_e4m3
                                  : Precision::fp8_e5m2;
}

Value normal() {
  return [](Random& random, std::int64_t, std::int64_t) {
    return float(random.unit() + random.unit() + random.unit());
  };
}
/// Over binades [low, high].
Value wide(int low, int high) {
  return [=](Random& random, std::int64_t, std::int64_t) {
    const int e = low + int(random.below(high - low + 1));
    const double sign = random.below(2) == 0 ? 1 : -1;
    return float(sign * (1 + std::abs(random.unit()) * 0.99) * std::ldexp(1.0, e));
  };
}
/// The same magnitude everywhere; every third row is negative.
Value everywhere(float x) {
  return [=](Random&, std::int64_t row, std::int64_t) { return row % 3 == 2 ? -x : x; };
}

/// Binades of a format that keep a product of two numbers, and long sums of them, in fp32's range;
/// its subnormal numbers; its largest number.
struct Range {
  int low, high, tiny_low, tiny_high, other;
  float largest, ones;  // ones: all fraction bits set, in [1, 2)
};
Range range_of(Format format) {
  switch (format) {
    case Format::fp16:
      return {-24, 15, -24, -15, 0, 65504.0f, 0x1.ffcp+0f};
    case Format::e4m3:
      return {-9, 8, -9, -7, 0, 448.0f, 0x1.cp+0f};
    case Format::e5m2:
      return {-16, 15, -16, -15, 0, 57344.0f, 0x1.8p+0f};
    case Format::tf32:
      return {-55, 55, -136, -127, 63, 0x1.ffcp+127f, 0x1.ffcp+0f};
    default:
      return {-55, 55, -133, -127, 63, 0x1.fep+127f, 0x1.fep+0f};
  }
}

std::vector<Kind> kinds_of(Format format) {
  const Range r = range_of(format);
  const float infinity = std::numeric_limits<float>::infinity();
  const Value pairs = [](Random& random, std::int64_t row, std::int64_t column) {
    Random own(std::uint64_t(row * 1000 + column / 2));
    const float x = float(own.unit() * 400);
    return column % 2 == 1 && random.below(8) != 0 ? -x : x;
  };
  const Value twice = [](Random&, std::int64_t row, std::int64_t column) {
    Random own(std::uint64_t(row * 77 + column / 2 + 5));
    return float(own.unit());
  };
  const Value rare = [=](Random& random, std::int64_t row, std::int64_t) {
    const std::int64_t kind = row % 3 == 1 ? random.below(400) : 9;
    if (kind == 0) return std::numeric_limits<float>::quiet_NaN();
    if (kind == 1) return infinity;
    if (kind == 2) return -infinity;
    if (kind < 9) return kind % 2 == 0 ? 0.0f : -0.0f;
    return float(random.unit());
  };
  const Value thin = [](Random& random, std::int64_t row, std::int64_t column) {
    if (row % 4 == 1 || column / 16 % 2 == 0 || random.below(3) == 0) {
      return random.below(2) == 0 ? 0.0f : -0.0f;
    }
    return float(random.unit());
  };
  return {{"normal", normal(), normal()},
          {"wide", wide(r.low, r.high), wide(r.low, r.high)},
          {"cancelling", pairs, twice},
          {"subnormal x", wide(r.tiny_low, r.tiny_high), wide(r.other - 3, r.other + 3)},
          {"subnormal w", wide(r.other - 3, r.other + 3), wide(r.tiny_low, r.tiny_high)},
          {"infinities and NaN", rare, rare},
          {"zeros", thin, thin},
          {"largest", everywhere(r.largest), everywhere(r.largest), false},
          {"all ones", everywhere(r.ones), everywhere(r.ones)}};
}

/// Sums that are subnormal in fp32; and sums that are cut to a zero, which keeps their sign.
std::vector<Kind> deep(Format format) {
  const bool reaches = range_of(format).tiny_low < -100;
  return {{"deep", wide(-80, -60), wide(-80, -60), reaches},
          {"cut to zero", everywhere(0x1p-80f), everywhere(-0x1p-75f), false}};
}

/// Operands on the host, exact in the format.
struct Operands {
  Operands(Format format, const Shape& s, const Kind& kind, std::uint64_t seed)
      : shape(s), stride(s.k + 3) {
    Random random(seed);
    // What a row has past its columns must never be read.
    x.assign(std::size_t(s.m * stride), std::numeric_limits<float>::quiet_NaN());
    for (std::int64_t i = 0; i < s.m * s.k; ++i) {
      const float v = kind.x(random, i / s.k, i % s.k);
      x[std::size_t(i / s.k * stride + i % s.k)] = is_finite(v) ? round_to(format, v) : v;
    }
    for (std::int64_t i = 0; i < s.n * s.k; ++i) {
      w.push_back(round_to(format, kind.w(random, i / s.k, i % s.k)));
    }
  }
  void read(std::int64_t row, std::span<float> out) const {
    std::copy_n(w.begin() + row * shape.k, shape.k, out.begin());
  }

  Shape shape;
  std::int64_t stride;      // of x
  std::vector<float> x, w;  // (m, stride), (n, k)
};

/// Rows [0, rows) by the scalar table: a chain a segment, then the neighbour tree.
std::vector<float> expected(const TensorUnit& unit, Format format, const Operands& o,
                            std::int64_t rows) {
  const Shape& s = o.shape;
  cpu::PackSpec spec;
  spec.n = s.n;
  spec.k = s.k;
  spec.bounds = s.bounds;
  spec.rounded = format;
  const cpu::PackedMatrix packed =
      cpu::pack(spec, [&](std::int64_t row, std::span<float> out) { o.read(row, out); });
  const std::size_t segments = s.bounds.size() - 1;
  std::vector<std::vector<float>> sums(segments, std::vector<float>(std::size_t(rows * s.n)));
  for (std::size_t i = 0; i < segments; ++i) {
    cpu::scalar_kernels().f32.tensor_chain({&unit, o.x.data(), o.stride, &packed, s.bounds[i],
                                            s.bounds[i + 1], sums[i].data(), s.n, 0, rows, 0,
                                            packed.panels()});
  }
  std::vector<float> out;
  for (std::size_t j = 0; j < std::size_t(rows * s.n); ++j) {
    std::vector<float> part;
    for (const auto& sum : sums) part.push_back(sum[j]);
    out.push_back(canonical(neighbour_tree(part.data(), int(segments))));
  }
  return out;
}

/// A backend, and what its products leave on the host.
class Engine {
 public:
  Engine(Format format, TensorCore chip, TensorKernel kernel) : format_(format) {
    BackendOptions options;
    options.device = "cuda";
    auto made = cuda::make_tensor(options, mode_of(precision_of(format)), chip, kernel);
    EXPECT_TRUE(made.has_value()) << (made ? "" : made.error().text());
    if (made) backend_ = std::move(*made);
    if (ready()) {
      EXPECT_EQ(backend_->describe().engine, "model:" + text_of(chip));
    }
  }
  [[nodiscard]] bool ready() const { return backend_ != nullptr; }
  [[nodiscard]] Backend& backend() { return *backend_; }
  [[nodiscard]] std::string ran() const { return backend_->describe().kernels; }

  std::shared_ptr<WeightMatrix> load(const Operands& o) {
    MatrixSource source;
    source.outputs = o.shape.n;
    source.inputs = o.shape.k;
    source.bounds = o.shape.bounds;
    source.format = format_;
    source.read = [&o](std::int64_t row, std::span<float> out) { o.read(row, out); };
    source.amax = [this](std::int64_t) { return range_of(format_).largest; };  // a scale of 1
    return backend_->load_matrix(source);
  }
  /// (m, n). Places beside the outputs must stay as they were.
  std::vector<float> multiply(const Operands& o) {
    const Shape& s = o.shape;
    const auto matrix = load(o);
    const std::int64_t out_stride = s.n + 5;
    std::vector<float> all(std::size_t(s.m * out_stride), 7.0f);
    void* const x = put(o.x);
    void* const out = put(all);
    backend_->gemm({x, s.m, s.k, o.stride}, *matrix, {out, s.m, s.n, out_stride});
    backend_->download(all.data(), out, all.size() * sizeof(float));
    backend_->release(x);
    backend_->release(out);
    std::vector<float> result;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (std::int64_t(i) % out_stride < s.n) {
        result.push_back(all[i]);
      } else if (all[i] != 7.0f) {
        ADD_FAILURE() << "written beside the outputs, at " << i;
      }
    }
    return result;
  }
  void* put(const std::vector<float>& values) {
    void* const to = backend_->allocate(values.size() * sizeof(float));
    backend_->upload(to, values.data(), values.size() * sizeof(float));
    return to;
  }

 private:
  Format format_;
  std::unique_ptr<Backend> backend_;
};

/// Every engine against the scalar table, and against the name of the kernel that it must run.
struct Variant {
  TensorKernel kernel;
  const char* ran;
};
void check(TensorCore chip, Format format, const std::vector<Variant>& variants,
           const std::vector<Shape>& shapes, const std::vector<Kind>& kinds) {
  const TensorUnit unit = tensor_unit(chip, format).value();
  std::vector<std::unique_ptr<Engine>> engines;
  for (const Variant& v : variants) {
    engines.push_back(std::make_unique<Engine>(format, chip, v.kernel));
    ASSERT_TRUE(engines.back()->ready());
  }
  std::uint64_t seed = 0;
  for (const Kind& kind : kinds) {
    bool substance = false;
    for (const Shape& s : shapes) {
      const Operands operands(format, s, kind, ++seed);
      const std::vector<float> want = expected(unit, format, operands, s.m);
      substance = substance || cpu::testing::has_substance(want);
      for (std::size_t i = 0; i < engines.size(); ++i) {
        SCOPED_TRACE(::testing::Message()
                     << text_of(chip) << " " << mode_of(precision_of(format)).name << " "
                     << variants[i].ran << ": " << kind.name << " M " << s.m << " N " << s.n
                     << " K " << s.k << " segments " << s.bounds.size() - 1 << " seed " << seed);
        const std::vector<float> got = engines[i]->multiply(operands);
        const std::string ran = engines[i]->ran();
        for (const char* name : {kLiteral, kRows, kTiles}) {
          ASSERT_EQ(ran.find(name) != std::string::npos, std::string(name) == variants[i].ran)
              << ran;
        }
        EXPECT_TRUE(cpu::testing::same(want, got));
      }
    }
    EXPECT_TRUE(substance || !kind.substance) << kind.name;
  }
}

std::vector<Shape> model_shapes() {
  std::vector<Shape> shapes;
  for (const std::int64_t k : {64, 96, 576, 1000, 1536}) {
    for (const std::int64_t m : {1, 3, 16, 17, 64, 200}) {
      shapes.push_back({m, m < 64 ? 37 : 13, k, cut(k)});
    }
  }
  return shapes;
}

/// Many segments, few, empty ones and short ones; outputs and rows that fill blocks or do not.
std::vector<Shape> odd_shapes() {
  std::vector<Shape> shapes;
  for (const std::int64_t k : {1, 7, 8, 9, 16, 17, 20, 63}) shapes.push_back({9, 21, k, cut(k)});
  for (const std::int64_t m : {2, 17, 130}) {
    shapes.push_back({m, 131, 96, cut(96)});
    shapes.push_back({m, 33, 520, cut(520, 16)});
    shapes.push_back({m, 19, 1000, cut(1000, 32)});
  }
  shapes.push_back({128, 64, 128, cut(128)});
  shapes.push_back({129, 65, 129, cut(129)});
  shapes.push_back({2, 8200, 64, cut(64)});
  for (const int owned : {1, 2, 4}) {  // a rank's segments of 8
    std::vector<std::int64_t> bounds;
    for (int s = 0; s <= owned; ++s) {
      bounds.push_back(segment_begin(579, 8 - owned + s, 8) - segment_begin(579, 8 - owned, 8));
    }
    shapes.push_back({21, 35, bounds.back(), bounds});
  }
  shapes.push_back({18, 20, 40, {0, 0, 9, 9, 9, 31, 40, 40, 40}});
  return shapes;
}

class TensorGpu : public ::testing::Test {
 protected:
  void SetUp() override { need_gpu(); }
};

/// A GPU whose own mma.sync is sm90's.
class TensorMmaGpu : public ::testing::TestWithParam<Format> {
 protected:
  void SetUp() override {
    need_gpu();
    if (IsSkipped() || HasFatalFailure()) return;
    const auto gpu = cuda::gpu_of_rank(0);
    ASSERT_TRUE(gpu.has_value()) << gpu.error().text();
    if (gpu->capability != 90) {
      GTEST_SKIP() << "mma.sync of sm90 needs capability 90, and " << gpu->name << " has "
                   << gpu->capability;
    }
  }
  static std::vector<Variant> both() {
    return {{TensorKernel::mma_rows, kRows}, {TensorKernel::mma_tiles, kTiles}};
  }
};
INSTANTIATE_TEST_SUITE_P(Operand, TensorMmaGpu, ::testing::Values(Format::bf16, Format::fp16),
                         [](const auto& of) {
                           return std::string(of.param == Format::bf16 ? "bf16" : "fp16");
                         });

class TensorLiteralGpu : public ::testing::TestWithParam<TensorCore> {
 protected:
  void SetUp() override { need_gpu(); }
};
INSTANTIATE_TEST_SUITE_P(Chip, TensorLiteralGpu, ::testing::ValuesIn(tensor_cores()),
                         [](const auto& of) { return text_of(of.param); });

TEST_P(TensorLiteralGpu, EveryFormatIsTheScalarTables) {
  int formats = 0;
  for (const Format f : {Format::bf16, Format::fp16, Format::tf32, Format::e4m3, Format::e5m2}) {
    if (!tensor_unit(GetParam(), f)) continue;
    ++formats;
    check(GetParam(), f, {{TensorKernel::literal, kLiteral}}, model_shapes(), kinds_of(f));
    check(GetParam(), f, {{TensorKernel::literal, kLiteral}}, odd_shapes(),
          {kinds_of(f)[0], kinds_of(f)[1], deep(f)[0], deep(f)[1]});
  }
  EXPECT_GT(formats, 0);
}

TEST_P(TensorMmaGpu, ModelShapesAreTheScalarTables) {
  check(TensorCore::sm90, GetParam(), both(), model_shapes(), kinds_of(GetParam()));
}

TEST_P(TensorMmaGpu, OddShapesAreTheScalarTables) {
  check(TensorCore::sm90, GetParam(), both(), odd_shapes(), kinds_of(GetParam()));
}

/// Apart, since the model's rules for sums below 2^-126 have no evidence from hardware.
TEST_P(TensorMmaGpu, DeepSubnormalSumsAreTheScalarTables) {
  check(TensorCore::sm90, GetParam(), both(), model_shapes(), deep(GetParam()));
}

TEST_P(TensorMmaGpu, AModelsProductIsTheLiteralKernels) {
  const Shape s{2048, 1536, 576, cut(576)};
  const Range r = range_of(GetParam());
  for (const Kind& kind : {Kind{"normal", normal(), normal()},
                           Kind{"wide", wide(r.low, r.high), wide(r.low, r.high)}}) {
    const Operands operands(GetParam(), s, kind, 77);
    Engine literal(GetParam(), TensorCore::sm90, TensorKernel::literal);
    ASSERT_TRUE(literal.ready());
    const std::vector<float> want = literal.multiply(operands);
    ASSERT_NE(literal.ran().find(kLiteral), std::string::npos);
    ASSERT_EQ(literal.ran().find("mma.sync"), std::string::npos);
    EXPECT_TRUE(cpu::testing::has_substance(want));
    const auto unit = tensor_unit(TensorCore::sm90, GetParam()).value();
    EXPECT_TRUE(cpu::testing::same(expected(unit, GetParam(), operands, 2),
                                   std::vector<float>(want.begin(), want.begin() + 2 * s.n)));
    for (const TensorKernel kernel :
         {TensorKernel::best, TensorKernel::mma_rows, TensorKernel::mma_tiles}) {
      Engine mma(GetParam(), TensorCore::sm90, kernel);
      ASSERT_TRUE(mma.ready());
      const std::vector<float> got = mma.multiply(operands);
      ASSERT_NE(mma.ran().find(kernel == TensorKernel::mma_rows ? kRows : kTiles),
                std::string::npos)
          << mma.ran();
      ASSERT_EQ(mma.ran().find(kLiteral), std::string::npos);
      EXPECT_TRUE(cpu::testing::same(want, got)) << kind.name << " " << mma.ran();
    }
  }
}

TEST_P(TensorMmaGpu, OneNarrowingServesMatricesThatAreCutAlike) {
  const Kind kind{"normal", normal(), normal()};
  const Operands a(GetParam(), {5, 40, 200, cut(200)}, kind, 1),
      b(GetParam(), {5, 24, 200, cut(200)}, kind, 2),
      c(GetParam(), {5, 16, 200, cut(200, 16)}, kind, 3);
  Engine engine(GetParam(), TensorCore::sm90, TensorKernel::best);
  ASSERT_TRUE(engine.ready());
  const std::vector<const Operands*> order = {&a, &b, &c, &a};
  std::vector<std::shared_ptr<WeightMatrix>> matrices;
  std::vector<const WeightMatrix*> pointers;
  std::vector<Rows> outs;
  void* const x = engine.put(a.x);
  for (const Operands* o : order) {
    matrices.push_back(engine.load(*o));
    pointers.push_back(matrices.back().get());
    const std::int64_t n = o->shape.n;
    outs.push_back({engine.put(std::vector<float>(std::size_t(5 * n), 7.0f)), 5, n, n});
  }
  engine.backend().gemms({x, 5, 200, a.stride}, pointers, outs);
  ASSERT_NE(engine.ran().find(kRows), std::string::npos);
  const auto unit = tensor_unit(TensorCore::sm90, GetParam()).value();
  for (std::size_t i = 0; i < order.size(); ++i) {
    Operands o = *order[i];
    o.x = a.x;
    std::vector<float> got(std::size_t(5 * o.shape.n));
    engine.backend().download(got.data(), outs[i].data, got.size() * sizeof(float));
    EXPECT_TRUE(cpu::testing::same(expected(unit, GetParam(), o, 5), got)) << i;
    engine.backend().release(outs[i].data);
  }
  engine.backend().release(x);
}

TEST_F(TensorGpu, WithoutSegmentsThePartIsZero) {
  Engine engine(Format::bf16, TensorCore::sm90, TensorKernel::best);
  ASSERT_TRUE(engine.ready());
  const Operands o(Format::bf16, {3, 5, 0, {0}}, {"none", normal(), normal()}, 1);
  EXPECT_TRUE(cpu::testing::same(engine.multiply(o), std::vector<float>(15, 0.0f)));
}

TEST(TensorEngine, RefusesWhatTheTensorCoreDoesNotMultiply) {
  BackendOptions options;
  options.device = "cuda";
  const auto why = [&](Precision precision, TensorCore chip) {
    const auto made = cuda::make_tensor(options, mode_of(precision), chip);
    return made ? std::string() : made.error().text();
  };
  const std::string no = " does not multiply the operands of precision ";
  EXPECT_NE(why(Precision::bf16, TensorCore::sm70).find("sm70" + no + "bf16"), std::string::npos);
  EXPECT_NE(why(Precision::fp8_e4m3, TensorCore::sm80).find(no), std::string::npos);
  for (const Precision p : {Precision::fp64, Precision::fp32, Precision::layercast_bf16,
                            Precision::layercast_fp16_paper}) {
    EXPECT_NE(why(p, TensorCore::sm90).find(no), std::string::npos) << mode_of(p).name;
  }
  options.device = "cpu";
  EXPECT_NE(why(Precision::bf16, TensorCore::sm90).find("not cuda"), std::string::npos);
}

}  // namespace
}  // namespace isobit::cuda_test

#endif
