// Attention over key blocks: every instruction set against the literal text of numerics/flash.h,
// one digest for a schedule however its cells run, and what splits by length do instead.
#include <cmath>
#include <fstream>

#include "tests/conformance/flash_scene.h"
#include "tests/conformance/kv_cases.h"

namespace isobit::flash_test {
namespace {

using kv_test::Cell;

const char* const kSchedules[] = {"flash:16",
                                  "flash:64+p:bf16",
                                  "flash:256+p:fp16",
                                  "flash:16+splits:2",
                                  "flash:32+p:bf16+splits:5",
                                  "flash:16+p:fp16+splits:64",
                                  "flash:16+splits:by_length",
                                  "flash:64+stabilise:(beta:7)",
                                  "flash:16+p:bf16+splits:3+stabilise:(beta:2+form:repository)"};

/// Cases that differ from the plain one in one thing each.
std::vector<Case> cases_of(const std::string& schedule) {
  std::vector<Case> all;
  const auto add = [&](const auto& change) {
    Case& c = all.emplace_back();
    c.schedule = schedule;
    change(c);
  };
  add([](Case&) {});
  add([](Case& c) { c.lengths = {15, 16, 17, 63, 64, 65, 255, 257, 300}; });
  add([](Case& c) { c.d = 8, c.page_size = 1; });
  add([](Case& c) { c.d = 88, c.page_size = 17, c.precision = Precision::bf16; });
  add([](Case& c) { c.d = 256, c.heads = 2, c.kv_heads = 1; });
  add([](Case& c) { c.heads = 9, c.kv_heads = 3, c.queries = 70, c.d = 16; });
  add([](Case& c) { c.window = 50, c.lengths = {3, 200}; });
  add([](Case& c) { c.evict = 3, c.lengths = {5, 290}; });
  add([](Case& c) { c.evict = 100000, c.lengths = {290}, c.data = Data::special; });
  add([](Case& c) { c.evict = 4, c.window = 100, c.lengths = {290}, c.page_size = 5; });
  add([](Case& c) { c.softcap = 1.0, c.precision = Precision::fp16; });
  add([](Case& c) { c.data = Data::wide; });
  add([](Case& c) { c.twins = true, c.lengths = {290}, c.queries = 5; });
  add([](Case& c) { c.data = Data::cancelling; });
  add([](Case& c) { c.data = Data::special, c.lengths = {40, 140}; });
  if (schedule.find("p:") == std::string::npos) {
    add([](Case& c) { c.precision = Precision::fp64, c.lengths = {140}; });
  }
  return all;
}

class FlashIsa : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Isa, FlashIsa, ::testing::Values("scalar", "avx2", "avx512", "neon"),
                         [](const auto& isa) { return std::string(isa.param); });

TEST_P(FlashIsa, EqualsTheLiteralText) {
  std::uint64_t seed = 100;
  for (const char* schedule : kSchedules) {
    for (const Case& c : cases_of(schedule)) {
      const auto backend = backend_of(c, GetParam(), seed % 3 == 0 ? 2 : 1);
      if (backend == nullptr) GTEST_SKIP() << "this machine or build has no " << GetParam();
      const Scene scene(c, seed += 10);
      const std::vector<double> want = scene.literal();
      EXPECT_TRUE(cpu::testing::same(want, scene.run(*backend))) << c;
      EXPECT_TRUE(c.data == Data::special || cpu::testing::has_substance(want)) << c;
    }
  }
}

/// Another order of the same sum: near the reference, and not equal to it.
TEST(Flash, IsNearTheReferencesOrder) {
  for (const char* schedule : kSchedules) {
    Case c;
    c.schedule = schedule;
    c.lengths = {300};
    const Scene scene(c, 5);
    const std::vector<double> flash = scene.run(*backend_of(c, "auto"));
    c.schedule = "reference";
    const std::vector<double> reference = scene.run(*backend_of(c, "auto"));
    double worst = 0;
    for (std::size_t i = 0; i < flash.size(); ++i) {
      worst = std::max(worst, std::abs(flash[i] - reference[i]));
    }
    EXPECT_GT(worst, 0) << schedule;
    const std::string text = schedule;
    const double step = text.find("bf16") != std::string::npos   ? 0x1p-9
                        : text.find("fp16") != std::string::npos ? 0x1p-12
                                                                 : 0x1p-22;
    EXPECT_LT(worst, step) << schedule;  // |V| < 1: a mean of P's roundings
  }
}

/// Where every maximum stands twice, both forms act, on scores of either sign, and say so.
TEST(Flash, TheMitigationActsWhereAMaximumStandsTwice) {
  for (const char* form : {"(beta:7)", "(beta:2+form:repository)"}) {
    Case c;
    c.schedule = std::string("flash:64+p:bf16+stabilise:") + form;
    c.lengths = {300, 41};
    c.queries = 20;
    c.twins = true;
    const Scene scene(c, 9);
    const auto backend = backend_of(c, "auto");
    const std::vector<double> mitigated = scene.run(*backend);
    EXPECT_TRUE(cpu::testing::same(scene.literal(), mitigated)) << c;
    EXPECT_EQ(backend->describe().attention, c.schedule);
    c.schedule = "flash:64+p:bf16";
    EXPECT_NE(mitigated, scene.run(*backend_of(c, "auto"))) << form;
  }
}

std::string run(Runtime& runtime, const std::string& schedule, const std::string& kv,
                Precision precision, const Cell& cell) {
  GenerateRequest r = kv_test::request(precision, kv, cell);
  r.max_new_tokens = 12;
  if (schedule != "reference") r.backend.attention = *parse_flash(schedule);
  const auto result = runtime.generate(r);
  if (!result) return result.error().text();
  EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
  EXPECT_EQ(result->trace.observed.attention, schedule) << cell;
  return bits_of_trace(result->trace);
}

TEST(FlashWide, FixedSplitsGiveOneDigestInEveryCell) {
  Runtime runtime{kv_test::model()};
  for (const char* schedule :
       {"flash:16+p:bf16+splits:3", "flash:32+stabilise:(beta:2+form:repository)"}) {
    std::string want;
    int compared = 0;
    for (const Cell& cell : kv_test::cells(true)) {
      if (!unsupported_reason(kv_test::request(Precision::bf16, "exact", cell).backend,
                              mode_of(Precision::bf16))
               .empty()) {
        continue;
      }
      const std::string got = run(runtime, schedule, "exact", Precision::bf16, cell);
      if (want.empty()) {
        ASSERT_GT(got.size(), 3000u) << got;
        want = got;
      }
      ASSERT_EQ(want, got) << schedule << ": " << cell;
      ++compared;
    }
    EXPECT_GE(compared, 45);
    EXPECT_NE(want, run(runtime, "reference", "exact", Precision::bf16, {}));
  }
}

TEST(Flash, SplitsByLengthDependOnBatchAndCacheAndNothingElse) {
  Runtime runtime{kv_test::model()};
  const char* const schedule = "flash:16+splits:by_length";
  const auto digests = [&](const Cell& cell) {
    return run(runtime, schedule, "exact", Precision::bf16, cell);
  };
  const std::string alone = digests({});
  Cell cell;
  cell.threads = 2;
  EXPECT_EQ(alone, digests(cell));
  for (const char* isa : {"scalar", "avx2", "avx512"}) {
    cell = {};
    cell.isa = isa;
    const GenerateRequest r = kv_test::request(Precision::bf16, "exact", cell);
    if (!unsupported_reason(r.backend, mode_of(r.precision)).empty()) continue;
    EXPECT_EQ(alone, digests(cell)) << isa;
  }
  cell = {};
  cell.batch = 3;
  EXPECT_NE(alone, digests(cell));
  cell = {};
  cell.cache = "off";
  EXPECT_NE(alone, digests(cell));
  cell.cache = "chunked:17";
  EXPECT_NE(alone, digests(cell));
}

TEST(FlashWide, EvictionsAndResidualsRunUnderIt) {
  Runtime runtime{kv_test::model()};
  const char* const schedule = "flash:16+p:bf16+splits:2";
  const std::string exact = run(runtime, schedule, "exact", Precision::bf16, {});
  EXPECT_EQ(exact, run(runtime, schedule, "residual:embedding", Precision::bf16, {}));
  for (const char* kv :
       {"window:64", "streaming:48", "streaming:48+positions:in_cache", "knorm:64", "bits:3"}) {
    const std::string want = run(runtime, schedule, kv, Precision::bf16, {});
    EXPECT_NE(want, exact) << kv;
    for (const char* cache : {"off", "chunked:17", "paged:1"}) {
      Cell cell;
      cell.cache = cache, cell.ranks = 2, cell.batch = 3;
      EXPECT_EQ(want, run(runtime, schedule, kv, Precision::bf16, cell)) << kv << ": " << cell;
    }
  }
}

/// The page's rows, which a second implementation in Python makes too.
TEST(Flash, HasTheDigestsOfThePage) {
  std::ifstream file(std::string(ISOBIT_SOURCE_DIR) + "/runtime/numerics/NUMERICS.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  const std::pair<const char*, Precision> rows[] = {
      {"flash:64", Precision::fp32},
      {"flash:64+p:bf16", Precision::bf16},
      {"flash:16+splits:3", Precision::fp32},
      {"flash:32+p:fp16+splits:by_length", Precision::fp16},
      {"flash:16+splits:64+stabilise:(beta:2+form:repository)", Precision::fp32},
      {"flash:256+splits:2", Precision::fp64}};
  for (const auto& [schedule, precision] : rows) {
    for (const char* isa : {"scalar", "auto"}) {
      GenerateRequest request;
      request.precision = precision;
      request.backend.isa = isa;
      request.backend.attention = *parse_flash(schedule);
      request.prompts = {{fakes::prompt(300), {}}};
      request.max_new_tokens = 3;
      const auto result = runtime.generate(request);
      ASSERT_TRUE(result) << result.error().text();
      std::string line = std::string("| ") + schedule + ", " + mode_of(precision).name;
      for (const TokenRecord& token : result->trace.prompts[0].tokens) {
        line += " | `" + to_hex(token.digest) + "` " + std::to_string(token.id);
      }
      EXPECT_NE(page.find(line + " |"), std::string::npos) << isa << ": " << line;
    }
  }
}

/// FlashAttention-2's choice (num_splits_heuristic, evaluated by hand in Python): a decode step
/// fills the GPU by splits, a large batch needs none.
TEST(Flash, SplitsByLengthAsFlashAttention2Chooses) {
  EXPECT_EQ(flash_splits({1, 32, 4096}, 128), 7);   // 224 of 264 places, 0.85 of 8's 256
  EXPECT_EQ(flash_splits({1, 9, 512}, 128), 4);     // no more than blocks
  EXPECT_EQ(flash_splits({8, 32, 4096}, 128), 1);   // 256 tasks fill 0.97 of the places
  EXPECT_EQ(flash_splits({1, 211, 4096}, 128), 5);  // four waves, full to 0.999
  EXPECT_EQ(flash_splits({1, 212, 4096}, 128), 1);  // 0.8 of the places and more
  EXPECT_EQ(flash_splits({1, 1, 100000}, 16), 55);  // 0.85 of 64, the most there are
  EXPECT_EQ(flash_splits({1, 32, 20}, 128), 1);
  EXPECT_EQ(flash_splits({8, 6, 300}, 16), 5);
  EXPECT_EQ(flash_splits({1, 6, 130}, 16), 9);
}

}  // namespace
}  // namespace isobit::flash_test
