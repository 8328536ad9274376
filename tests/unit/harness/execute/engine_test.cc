// An engine that replaces the whole generation: a row of the table, and the recipe runs it.
#include "tests/fakes/engine.h"

#include <gtest/gtest.h>

#include "harness/run.h"
#include "harness/selftest/model.h"
#include "runtime/base/file.h"
#include "tests/fakes/folder.h"
#include "tests/fakes/run.h"

namespace isobit {
namespace {

using fakes::count;

constexpr const char* kScenario = R"(version: 1
name: other-engine
model: model
prompts: prompts.jsonl
decode: {strategy: greedy, max_new_tokens: 8, ignore_eos: true}
axes:
  engine: [made-up]
  batch: [1, 3]
  gpus: [1, 2]
  cache: [on, off, {chunked: 17}]
golden: none
expect: [{same_bits: {across: [batch, gpus, cache]}}]
)";

/// A row whose engine is the fake, with something spoilt in what it says.
template <void (*spoil)(CellTrace&)>
EngineEntry row(const char* name) {
  EngineEntry entry;
  entry.name = name;
  entry.help = name;
  entry.parse = [](const EnginePairs& pairs) -> Result<EngineChoice> {
    if (pairs.size() != 1 || !pairs[0].second.empty()) return Error{"it takes no options", ""};
    EngineChoice choice;
    choice.name = pairs[0].first;
    return choice;
  };
  entry.unsupported = [](const BackendOptions&, const Mode&) { return std::string(); };
  entry.whole = [](std::shared_ptr<const LoadedModel>,
                   const EngineChoice&) -> std::unique_ptr<Engine> {
    return std::make_unique<fakes::Engine>(spoil);
  };
  entry.libraries = [](const EngineChoice&) { return std::vector<std::string>(); };
  entry.status = [] { return std::vector<EngineStatus>(); };
  return entry;
}

void nothing(CellTrace&) {}
void other_ranks(CellTrace& trace) {
  trace.observed.ranks = 1;
}
void other_bits_in_batches(CellTrace& trace) {
  if (trace.observed.live_rows > 1) trace.prompts[2].tokens[1].digest.bytes[3] ^= 1;
}

class OtherEngine : public testing::Test {
 protected:
  OtherEngine() {
    add_engine(row<nothing>("made-up"));
    add_engine(row<other_ranks>("one-rank-engine"));
    add_engine(row<other_bits_in_batches>("batch-variant-engine"));
    EXPECT_TRUE(selftest::write_selftest_inputs(folder_.file("")));
    EXPECT_TRUE(write_file_atomically(folder_.file("t.yaml"), kScenario));
  }
  ~OtherEngine() override {
    for (const char* name : {"made-up", "one-rank-engine", "batch-variant-engine"}) {
      remove_engine(name);
    }
  }
  Report report_of(const std::string& engine, const std::string& golden = "none") {
    RunOptions options;
    options.overrides = {"axes.engine=[" + engine + "]", "golden=" + golden};
    options.database = folder_.file("x.db");
    return fakes::report_of(folder_.file("t.yaml"), options);
  }

  fakes::Folder folder_;
};

TEST_F(OtherEngine, RunsWhereItIsAskedFor) {
  const Report report = report_of("made-up");
  EXPECT_EQ(count(report, Verdict::pass), 12) << render_terminal(report, {});
  EXPECT_EQ(report.cells_executed, 12);
  EXPECT_EQ(report.tokens_compared, 11 * 3 * 8);
}

TEST_F(OtherEngine, WithoutAKeyNoGoldenIsFound) {
  EXPECT_EQ(count(report_of("made-up", "all"), Verdict::nogold), 12);
}

TEST_F(OtherEngine, IsHeldAgainstTheRequest) {
  const Report report = report_of("one-rank-engine");
  EXPECT_EQ(count(report, Verdict::fail), 6) << render_terminal(report, {});
  for (const ReportCell& cell : report.cells) {
    const bool asked = cell.axes.at("gpus") == "2";
    EXPECT_EQ(cell.reason, asked ? "gpus 2 was asked, 1 ran" : "");
  }
}

TEST_F(OtherEngine, IsHeldAgainstItself) {
  const Report report = report_of("batch-variant-engine");
  EXPECT_EQ(count(report, Verdict::diff), 6) << render_terminal(report, {});
  EXPECT_EQ(count(report, Verdict::pass), 6);
}

TEST_F(OtherEngine, HasNoOptionsAndNoGoldenClass) {
  EXPECT_FALSE(parse_engine("made-up:7"));
  EXPECT_FALSE(find_engine("made-up")->deterministic);
  EXPECT_EQ(make_whole_engine(nullptr, *parse_engine("reference")), nullptr);
  EXPECT_NE(make_whole_engine(nullptr, *parse_engine("made-up")), nullptr);
}

}  // namespace
}  // namespace isobit
