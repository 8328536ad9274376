// Every family of the architecture table in nine precisions: one digest a precision, whatever the
// batch, ranks, cache mode, instruction set and threads; and the norm of heads by the literal text.
#include "runtime/numerics/formats.h"
#include "runtime/numerics/order.h"
#include "tests/conformance/architecture_cases.h"

namespace isobit::architecture_test {
namespace {

INSTANTIATE_TEST_SUITE_P(Table, Families, ::testing::ValuesIn(families(Share::own)), case_name);
INSTANTIATE_TEST_SUITE_P(Wide, Families, ::testing::ValuesIn(families(Share::two)), case_name);
INSTANTIATE_TEST_SUITE_P(WideSlow, Families, ::testing::ValuesIn(families(Share::rest)), case_name);

TEST_P(Families, BatchesRanksThreadsAndSetsOfInstructions) {
  GenerateRequest scalar = request(1);
  scalar.level = TraceLevel::ops;
  scalar.backend.isa = "scalar";
  const std::string want = run(scalar);
  ASSERT_GT(want.size(), 100000u);
  GenerateRequest fast = scalar;
  fast.backend.isa = "auto";
  EXPECT_EQ(want, run(fast));
  fast.backend.threads = 3;
  fast.batch.size = 3;
  fast.batch.staggered = true;
  EXPECT_EQ(want, run(fast));
  for (const int ranks : {2, 4, 8}) {
    GenerateRequest r = fast;
    r.ranks = ranks;
    r.backend.threads = 1;
    EXPECT_EQ(want, run(r)) << ranks << " ranks";
  }
  compose(fast);
  EXPECT_EQ(want, run(fast)) << "operation by operation";
}

/// Three heads on eight ranks: most ranks have none, and biases and norms of nothing.
TEST_P(Families, RanksWithoutHeads) {
  ModelConfig few = config();
  few.heads = 3;
  few.kv_heads = 1;
  Runtime runtime(fakes::toy_model(few));
  GenerateRequest r = request(3);
  r.level = TraceLevel::ops;
  const std::string want = run(runtime, r);
  ASSERT_GT(want.size(), 100000u);
  r.ranks = 8;
  EXPECT_EQ(Partition(few, 0, 8).heads.size(), 0);
  EXPECT_EQ(want, run(runtime, r));
}

TEST_P(Families, CacheModes) {
  const std::string want = run(request(1));
  ASSERT_GT(want.size(), 1000u);
  for (const char* cache :
       {"off", "chunked:1", "chunked:17", "paged:1", "paged:17", "prefix", "recomputed"}) {
    EXPECT_EQ(want, run(request(3, cache))) << cache;
  }
}

/// What the family's plan adds is computed: another plan for the same weights has other digests.
TEST_P(Families, EveryPartOfThePlanIsExercised) {
  const std::string want = run(request(4));
  const ModelConfig plain = config();
  const LayerPlan plan = architecture_of(plain).plan(plain, plain.layers - 1);
  EXPECT_EQ(plan.window > 0, fakes::slides_in(plain.architecture));
  if (plan.window > 0) {
    for (const bool everywhere : {false, true}) {
      ModelConfig other = plain;
      if (everywhere && other.slides.empty()) continue;
      if (!everywhere) other.sliding_window = 0;
      other.slides.clear();
      Runtime runtime(fakes::toy_model(other));
      EXPECT_NE(want, run(runtime, request(4))) << (everywhere ? "all layers" : "no layer");
    }
  }
  for (const TableTensor& each : needed_tensors(plain)) {
    const bool layer = each.name.rfind(layer_prefix(architecture_of(plain), 1), 0) == 0;
    if (!layer || each.shape.size() != 1) continue;
    LoadedModel model = fakes::toy_model(plain);
    Tensor tensor = *model.weights.find(each.name);
    const auto values = fakes::toy_values(999, std::size_t(tensor.cols), 0.5f, 1.0f);
    tensor.bytes = std::as_bytes(std::span(*values));
    model.weights.add(tensor);
    model.weights.keep(values);
    Runtime runtime(std::move(model));
    EXPECT_NE(want, run(runtime, request(4))) << each.name << " is not read";
  }
}

/// So is every number that only some configs have.
TEST_P(Families, EveryNumberOfTheConfigIsExercised) {
  const std::string want = run(request(4));
  const ModelConfig plain = config();
  std::vector<std::pair<const char*, ModelConfig>> others;
  const auto change = [&](const char* what, bool has, const auto& f) {
    if (!has) return;
    others.emplace_back(what, plain);
    f(others.back().second);
  };
  change("attention_softcap", plain.attention_softcap > 0,
         [](auto& c) { c.attention_softcap = 0; });
  change("logit_softcap", plain.logit_softcap > 0, [](auto& c) { c.logit_softcap = 0; });
  change("query_scale", plain.query_scale > 0, [](auto& c) { c.query_scale = 0; });
  change("rotating", !plain.rotating.empty(), [](auto& c) { c.rotating.clear(); });
  change("experts_used", plain.experts > 0, [](auto& c) { c.experts_used = 3; });
  change("experts_sum_to_one", plain.experts > 0,
         [](auto& c) { c.experts_sum_to_one = !c.experts_sum_to_one; });
  for (auto& [what, other] : others) {
    LoadedModel model = fakes::toy_model(plain);
    model.config = other;
    Runtime runtime(std::move(model));
    EXPECT_NE(want, run(runtime, request(4))) << what;
  }
}

/// finish_qkv() with a norm of heads against order.h, element by element; `dims` of a head turn.
template <class T>
void compare_finish(Backend& backend, std::int64_t heads, std::int64_t d, std::int64_t dims) {
  const Mode& mode = backend.mode();
  const std::int64_t rows = 3, kv_heads = 2;
  const auto array = [&](std::int64_t n, std::uint64_t seed, Format format) {
    std::vector<T> values = cpu::testing::make_data<T>(cpu::testing::Data::plain, n, seed);
    for (T& value : values) value = T(round_to(format, value));
    return values;
  };
  const auto uploaded = [&](const std::vector<T>& values) {
    DeviceMemory memory(backend, values.size() * sizeof(T));
    backend.upload(memory.get(), values.data(), values.size() * sizeof(T));
    return memory;
  };
  const Format real = mode.wide() ? Format::f64 : Format::f32;
  const std::vector<T> weights[] = {array(d, 1, mode.weight), array(d, 2, mode.weight)};
  const std::vector<T> cosine = array(8 * d / 2, 3, real), sine = array(8 * d / 2, 4, real);
  const std::vector<std::int64_t> positions = {7, 0, 5};
  const T eps = T(1e-6);
  std::vector<T> sums[3], want[3];
  const std::int64_t counts[] = {heads, kv_heads, kv_heads};
  for (std::size_t which = 0; which < 3; ++which) {
    sums[which] = array(rows * counts[which] * d, 10 + which, real);
    want[which] = sums[which];
    for (T& y : want[which]) y = T(round_to(mode.stored, y + T(0)));
    if (which == 2) continue;
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t at = positions[std::size_t(r)] * dims / 2;
      for (std::int64_t h = 0; h < counts[which]; ++h) {
        T* head = want[which].data() + (r * counts[which] + h) * d;
        const std::vector<T> x(head, head + d);
        rms_norm_row(x.data(), weights[which].data(), eps, d, mode.stored, head);
        rope_head(head, cosine.data() + at, sine.data() + at, int(dims), mode.stored);
      }
    }
  }
  std::vector<std::shared_ptr<WeightMatrix>> matrices;
  std::vector<DeviceMemory> memory;
  std::vector<Product> products;
  for (std::size_t which = 0; which < 3; ++which) {
    memory.push_back(uploaded(sums[which]));
    const std::int64_t n = counts[which] * d;
    const Rows out{memory.back().get(), rows, n, n};
    MatrixSource source;  // finish() asks it for scales alone, and this format has none
    source.outputs = n;
    source.inputs = 1;
    source.bounds = {0, 1};
    source.format = real;
    source.read = [](std::int64_t, std::span<float> row) { row[0] = 1; };
    matrices.push_back(backend.load_matrix(source));
    products.push_back({{out}, matrices.back().get(), nullptr, nullptr, out});
  }
  const DeviceMemory q = uploaded(weights[0]), k = uploaded(weights[1]), c = uploaded(cosine),
                     s = uploaded(sine);
  const HeadNorm norm{q.get(), k.get(), 1e-6};
  backend.finish_qkv(products.data(), products[1], products[2], heads, kv_heads, positions,
                     {c.get(), s.get(), dims}, &norm);
  for (std::size_t which = 0; which < 3; ++which) {
    std::vector<T> got(want[which].size());
    backend.download(got.data(), memory[which].get(), got.size() * sizeof(T));
    EXPECT_TRUE(cpu::testing::same(want[which], got)) << mode.name << " " << d << " " << which;
    EXPECT_TRUE(cpu::testing::has_substance(got));
  }
}

TEST(HeadNorm, IsTheLiteralText) {
  for (const Mode& mode : kModes) {
    for (const char* isa : {"scalar", "auto"}) {
      BackendOptions options;
      options.isa = isa;
      const auto backend = make_backend(options, mode);
      ASSERT_TRUE(backend.has_value());
      EXPECT_EQ((*backend)->describe().device, "cpu");
      for (const std::int64_t d : {8, 24, 64, 128, 256}) {
        for (const std::int64_t dims : {d, d / 4 * 3, std::int64_t{0}}) {
          if (mode.wide()) {
            compare_finish<double>(**backend, 6, d, dims);
          } else {
            compare_finish<float>(**backend, 6, d, dims);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace isobit::architecture_test
