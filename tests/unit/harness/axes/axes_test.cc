// The table of axes: every row keeps its promises, and values say the same to the runtime, to names
// and to class recipes.
#include "harness/axes/axes.h"

#include <gtest/gtest.h>

#include "harness/matrix/matrix.h"

namespace isobit {
namespace {

/// Some values of every axis, canonical.
const std::map<std::string, std::vector<std::string>>& samples() {
  static const std::map<std::string, std::vector<std::string>> all = {
      {"model", {"", "default-7m", "x.gguf", "base:a+merge:(arithmetic:0.4)+tasks:/b/c.tasks%3Ad"}},
      {"decode", {"greedy", "sample", "top_k:50", "seed:3+temperature:0.7+top_k:50+top_p:0.9"}},
      {"engine", {"reference", "openblas", "openblas:Haswell+threads:2", "cublaslt:66+tile:20"}},
      {"device", {"cpu", "cuda"}},
      {"isa", {"auto", "avx512"}},
      {"precision", {"fp32", "layercast-bf16"}},
      {"batch", {"1", "order:reversed+size:3", "join:staggered+size:8"}},
      {"gpus", {"1", "8", "arrival:7+ranks:4+topology:tree"}},
      {"cache",
       {"on", "off", "chunked:17", "paged:16", "prefix", "recomputed",
        "chunked:17+paged:16+prefix:true", "paged:16+recomputed:true", "speculative:4",
        "chunked:17+speculative:64"}},
      {"kv", {"exact", "q8_0", "kivi:2", "tova:64"}},
      {"weights", {"stored", "rtn:4", "bsr:5+granularity:tensor+seed:3", "gaussian:0.1+seed:2"}},
      {"gemm",
       {"reference", "split_k:4+out:bf16+slice:64", "by_rows:(1:(split_k:4)+9:(split_k:1))"}},
      {"replicas", {"1", "2", "64"}},
      {"patch",
       {"none", "residual:all+from:(cache:off)", "kv:0-3/7+at:all+from:(engine:(openblas:Haswell))",
        "residual:layers+k:2+v:all+attn:1/3+at:0/5-9+from:(prompt:a%2Bb)",
        "attn:all+from:(cache:(chunked:17+paged:16)+gemm:(by_rows:(1:(split_k:4))))"}},
      {"attention",
       {"reference", "flash:64+p:bf16+splits:2+stabilise:(beta:7)", "flash:16+splits:by_length"}},
      {"threads", {"1", "1024"}},
      {"teacher_forced", {"false", "true", "answer"}},
      {"seed", {"0", "7", "9223372036854775807"}},
      {"rows", {"1", "17", "65535"}},
      {"place", {"first", "middle", "last", "scattered"}},
      {"neighbours", {"random", "zeros", "huge", "nan"}},
      {"data", {"random", "cancelling", "subnormal", "wide"}},
      {"align", {"0", "3", "1024"}},
      {"stride", {"0", "5", "65536"}}};
  return all;
}

TEST(Axes, EveryRowIsWhole) {
  std::set<std::string> names;
  for (const Axis& axis : all_axes()) {
    EXPECT_TRUE(names.insert(axis.name).second) << axis.name;
    EXPECT_FALSE(axis.help.empty()) << axis.name;
    EXPECT_TRUE(axis.parse && axis.lossless && axis.apply) << axis.name;
    EXPECT_EQ(usual_value(axis.name).text, axis.usual);
    EXPECT_TRUE(samples().count(axis.name)) << axis.name << ": no sample in this test";
    EXPECT_EQ(find_axis(axis.name), &axis);
  }
  EXPECT_EQ(find_axis("batches"), nullptr);
}

TEST(Axes, CanonicalTextReadsBackAsItself) {
  for (const auto& [axis, texts] : samples()) {
    for (const std::string& text : texts) {
      const auto value = axis_value(axis, text);
      ASSERT_TRUE(value) << axis << " " << text << ": " << value.error().message;
      EXPECT_EQ(value->text, text) << axis;
      EXPECT_NE(value->setting.index(), 0u) << axis << " " << text << ": nothing was parsed";
    }
  }
}

TEST(Axes, TheUsualPointIsTheUsualRequest) {
  const GenerateRequest usual = requested({}), plain;
  EXPECT_EQ(usual.precision, Precision::fp32);
  EXPECT_EQ(usual.backend.engine.text(), plain.backend.engine.text());
  EXPECT_EQ(usual.backend.device, plain.backend.device);
  EXPECT_EQ(usual.backend.isa, plain.backend.isa);
  EXPECT_EQ(usual.backend.threads, plain.backend.threads);
  EXPECT_EQ(usual.ranks, plain.ranks);
  EXPECT_EQ(usual.batch.size, plain.batch.size);
  EXPECT_EQ(usual.cache.name, plain.cache.name);
  EXPECT_EQ(usual.kv.text, plain.kv.text);
}

TEST(Axes, ValuesReachTheRequest) {
  const GenerateRequest r =
      requested({{"precision", *axis_value("precision", "bf16")},
                 {"batch", *axis_value("batch", "order:reversed+size:3")},
                 {"gpus", *axis_value("gpus", "arrival:7+ranks:4+topology:ring")},
                 {"cache", *axis_value("cache", "paged:16")},
                 {"kv", *axis_value("kv", "tova:64")},
                 {"threads", *axis_value("threads", "5")},
                 {"replicas", *axis_value("replicas", "4")},
                 {"engine", *axis_value("engine", "openblas:zen")}});
  EXPECT_EQ(r.precision, Precision::bf16);
  EXPECT_EQ(r.batch.size, 3);
  EXPECT_EQ(r.batch.order, BatchShape::Order::reversed);
  EXPECT_EQ(r.ranks, 4);
  EXPECT_EQ(r.topology, Topology::ring);
  EXPECT_EQ(r.arrival_seed, 7u);
  EXPECT_EQ(r.cache.page_size, 16);
  EXPECT_TRUE(r.cache.shuffled_pages);
  EXPECT_EQ(r.kv.text, "tova:64");
  EXPECT_NE(r.kv.policy, nullptr);
  EXPECT_EQ(r.backend.threads, 5);
  EXPECT_EQ(r.replicas, 4);
  EXPECT_EQ(r.backend.engine.text(), "openblas:Zen");
}

TEST(Axes, OneLimitForAPiece) {
  EXPECT_TRUE(axis_value("cache", "chunked:65536"));
  const auto longer = axis_value("cache", "chunked:65537");
  ASSERT_FALSE(longer) << "the runtime refuses it, so the scenario must";
  EXPECT_FALSE(parse_cache_mode("chunked:65537"));
}

TEST(Axes, ReplicasAreANumber) {
  EXPECT_EQ(axis_value("replicas", "65").error().message,
            "unknown value \"65\" for axis replicas; a whole number from 1 to 64");
  EXPECT_FALSE(axis_value("replicas", "0"));
  EXPECT_FALSE(axis_value("replicas", {"", {{"n", "2"}}}, ValueUse::exact));
}

TEST(Axes, CachePoliciesAreReadFromTheirTable) {
  EXPECT_EQ(axis_value("kv", {"", {{"kivi", "2"}}}, ValueUse::exact)->text, "kivi:2");
  EXPECT_TRUE(find_axis("kv")->lossless(*axis_value("kv", "exact")));
  EXPECT_FALSE(find_axis("kv")->lossless(*axis_value("kv", "q8_0")));
  EXPECT_TRUE(axis_value("kv", {"kivi", {}}, ValueUse::pattern));
  const auto error = [](const RawValue& raw) {
    const auto value = axis_value("kv", raw, ValueUse::exact);
    return value ? "none" : value.error().message;
  };
  EXPECT_EQ(error({"q8", {}}).rfind("unknown value \"q8\" for axis kv; known: exact, bits, ", 0),
            0u);
  EXPECT_EQ(error({"kivy", {}}), "unknown value \"kivy\" for axis kv; did you mean \"kivi\"?");
  EXPECT_EQ(error({"kivi", {}}), "bad kv \"kivi\": kivi has 2 or 4 bits");
  EXPECT_EQ(error({"", {{"kivi", "3"}}}), "bad kv \"kivi:3\": kivi has 2 or 4 bits");
  EXPECT_NE(error({"", {{"tova", "0"}}}), "none");
  EXPECT_NE(error({"", {{"tova", "4"}, {"kivi", "2"}}}), "none");
}

TEST(Axes, ChangedWeightsAreSelectedByTheirPairs) {
  const AxisValue value =
      *axis_value("weights", {"", {{"seed", "3"}, {"bsr", "5"}}}, ValueUse::exact);
  EXPECT_EQ(value.text, "bsr:5+seed:3");
  EXPECT_EQ(std::get<WeightChange>(value.setting).bits, 5);
  EXPECT_EQ(requested({{"weights", value}}).weights.seed, 3u);
  const AxisValue seedless = *axis_value("weights", "bsr:5");
  for (const char* both : {"bsr", "bsr:5", "granularity:channel"}) {
    EXPECT_TRUE(value_matches(value, both) && value_matches(seedless, both)) << both;
    EXPECT_TRUE(axis_value("weights", {both, {}}, ValueUse::pattern)) << both;
  }
  EXPECT_TRUE(value_matches(seedless, "seed:0"));
  EXPECT_FALSE(value_matches(value, "seed:0"));
  EXPECT_FALSE(value_matches(value, "bsr:4"));
  EXPECT_FALSE(value_matches(usual_value("weights"), "seed:0"));
  EXPECT_FALSE(axis_value("weights", {"bsr", {}}, ValueUse::exact)) << "without a number of bits";
}

TEST(Axes, PatternsAndNumbers) {
  const AxisValue batch = *axis_value("batch", "order:reversed+size:3");
  EXPECT_TRUE(value_matches(batch, "3"));
  EXPECT_TRUE(value_matches(batch, "order:reversed"));
  EXPECT_FALSE(value_matches(batch, "reversed"));
  const AxisValue cache = *axis_value("cache", "paged:16+chunked:17+prefix:true");
  for (const char* part : {"chunked", "paged", "prefix", "chunked:17", "paged:16"}) {
    EXPECT_TRUE(value_matches(cache, part)) << part;
  }
  EXPECT_FALSE(value_matches(cache, "paged:1"));
  EXPECT_FALSE(value_matches(cache, "on"));
  std::int64_t number = 0;
  EXPECT_TRUE(numeric_value(batch, number));
  EXPECT_EQ(number, 3);
  EXPECT_TRUE(numeric_value(*axis_value("gpus", "ranks:4+topology:tree"), number));
  EXPECT_EQ(number, 4);
  EXPECT_FALSE(numeric_value(*axis_value("cache", "chunked:17"), number));
  EXPECT_TRUE(value_matches(*axis_value("engine", "openblas:Zen"), "openblas"));
}

/// A cell at its defaults but for some values.
Cell cell_with(const AxisPoint& values) {
  Cell cell;
  for (const Axis& axis : all_axes()) cell.axes[axis.name] = usual_value(axis.name);
  for (const auto& [axis, value] : values) cell.axes[axis] = value;
  return cell;
}

TEST(Axes, ClassRecipesDropLosslessValuesAndOnlyThose) {
  const std::string usual = "engine=reference\nprecision=fp32\n";
  EXPECT_EQ(class_axes(cell_with({})), usual);
  for (const auto& [axis, texts] : samples()) {
    for (const std::string& text : texts) {
      const AxisValue value = *axis_value(axis, text);
      const Cell cell = cell_with({{axis, value}});
      if (!cell.deterministic() || find_axis(axis)->own_lines) continue;
      const bool lossless = find_axis(axis)->lossless(value) || is_usual(axis, value);
      EXPECT_EQ(class_axes(cell) == usual, lossless) << axis << "=" << text;
    }
  }
}

/// Bits of the default are promised for a value, not for an axis.
TEST(Axes, LosslessnessIsAskedOfTheValue) {
  for (const Axis& axis : all_axes()) {
    if (!axis.lossless(usual_value(axis.name))) continue;
    EXPECT_NE(axis.kind, AxisKind::decoding) << axis.name;
  }
}

const PatchSpec& patch_of(const AxisValue& value) {
  return std::get<PatchValue>(value.setting).spec;
}

TEST(Axes, PatchesHaveOneText) {
  const auto text = [](const std::vector<std::pair<std::string, std::string>>& pairs) {
    const auto value = axis_value("patch", {"", pairs}, ValueUse::exact);
    return value ? value->text : value.error().message;
  };
  const std::string off = "(cache:off)";
  EXPECT_EQ(text({{"from", off}, {"at", "last"}, {"residual", "0/2/1/5"}}),
            "residual:0-2/5+from:(cache:off)");
  EXPECT_EQ(text({{"k", "all"}, {"from", off}, {"v", "all"}}), "kv:all+from:(cache:off)");
  EXPECT_EQ(text({{"k", "all"}, {"from", off}, {"v", "1"}}), "k:all+v:1+from:(cache:off)");
  EXPECT_EQ(text({{"kv", "layers"}, {"at", "3-3/1-2"}, {"from", "(precision:fp64+cache:no)"}}),
            "kv:all+at:1-3+from:(cache:off+precision:fp64)");
  EXPECT_EQ(text({{"attn", "all"}, {"from", "(prompt:a b)"}}), "attn:all+from:(prompt:a%20b)");
  const AxisValue value =
      *axis_value("patch", "residual:layers+k:2-3+at:5+from:(cache:off+weights:(rtn:4))");
  const PatchSpec& spec = patch_of(value);
  EXPECT_TRUE(spec.has(RowSite::residual) && spec.has(RowSite::k) && !spec.has(RowSite::v));
  EXPECT_TRUE(spec.sites[0].has(5, 6, 6) && !spec.sites[0].has(6, 6, 6));
  EXPECT_TRUE(spec.sites[1].has(3, 5, 6) && !spec.sites[1].has(4, 5, 6));
  EXPECT_EQ(spec.positions, (PatchLayers::Ranges{{5, 5}}));
  EXPECT_EQ(spec.donor.at("weights"), "rtn:4");
  EXPECT_EQ(std::get<PatchValue>(value.setting).donor->values.at("cache").text, "off");
  EXPECT_EQ(requested({{"patch", value}}).patch.spec.text, value.text);
  for (const char* pattern : {"residual", "k", "k:2-3", "at:5", "residual:layers"}) {
    ASSERT_TRUE(axis_value("patch", {pattern, {}}, ValueUse::pattern)) << pattern;
    EXPECT_TRUE(value_matches(value, pattern)) << pattern;
  }
  EXPECT_FALSE(value_matches(value, "attn") || value_matches(value, "none"));
}

TEST(Axes, PatchesThatMeanNothingAreRefused) {
  const auto error = [](const std::string& text) {
    const auto value = axis_value("patch", text);
    return value ? "none" : value.error().message;
  };
  EXPECT_EQ(error("residul"),
            "unknown value \"residul\" for axis patch; did you mean \"residual\"?");
  EXPECT_EQ(error("residul:all+from:(cache:off)"),
            "unknown option \"residul\" of patch; did you mean \"residual\"?");
  EXPECT_EQ(error("residual:all"),
            "patch needs a donor: from: {axis: value} or from: {prompt: ID}");
  EXPECT_EQ(error("from:(cache:off)"), "patch needs what is put in: residual, k, v, kv or attn");
  EXPECT_EQ(error("kv:all+v:1+from:(cache:off)"), "patch has v twice: kv is both k and v");
  EXPECT_EQ(
      error("k:5-3+from:(cache:off)"),
      "patch k cannot be \"5-3\"; it is all, layers, a layer, a range 0-5, or a list of these");
  EXPECT_EQ(
      error("k:0+at:first+from:(cache:off)"),
      "patch at cannot be \"first\"; it is last, all, a position, a range, or a list of these");
  EXPECT_EQ(error("k:0+from:(cach:off)"),
            "a donor of patch differs by an axis, or is a prompt, not by \"cach\"; did you mean "
            "\"cache\"?");
  EXPECT_EQ(error("k:0+from:(cache:offf)"),
            "patch from: unknown value \"offf\" for axis cache; did you mean \"off\"?");
  for (const char* axis : {"teacher_forced:true", "seed:1", "patch:none", "rows:1"}) {
    EXPECT_NE(error("k:0+from:(" + std::string(axis) + ")").find("cannot differ by"),
              std::string::npos)
        << axis;
  }
  EXPECT_NE(error("k:0+from:(prompt:a+cache:off)").find("not both"), std::string::npos);
  EXPECT_NE(error("k:0+from:off"), "none");
  EXPECT_NE(error("k:0+from:(prompt:a+prompt:b)"), "none");
}

TEST(Axes, APatchIsOfNoClassButItsOwn) {
  EXPECT_TRUE(find_axis("patch")->lossless(*axis_value("patch", "none")));
  EXPECT_FALSE(find_axis("patch")->lossless(*axis_value("patch", "kv:all+from:(cache:off)")));
}

}  // namespace
}  // namespace isobit
