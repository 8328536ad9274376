// A model file that changes during a run: no bits of another model under this one's key.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>

#include "harness/run.h"
#include "harness/selftest/model.h"
#include "tests/fakes/folder.h"
#include "tests/fakes/run.h"

namespace isobit {
namespace {

using fakes::count;

namespace fs = std::filesystem;

constexpr const char* kScenario = R"(version: 1
name: changed
model: model
prompts: prompts.jsonl
decode: {strategy: greedy, max_new_tokens: 4, ignore_eos: true}
axes:
  batch: [1, 2, 3, 4]
expect: [{same_bits: {across: [batch]}}]
)";

class ChangedModel : public testing::Test {
 protected:
  ChangedModel() {
    EXPECT_TRUE(selftest::write_selftest_inputs(folder_.file("")));
    folder_.write("t.yaml", kScenario);
    fs::last_write_time(model_, fs::file_time_type::clock::now() - std::chrono::hours(1));
    std::ifstream file(model_, std::ios::binary);
    original_ = {std::istreambuf_iterator<char>(file), {}};
  }
  /// A run whose worker does something to the model before it computes batch=3.
  Report run(const std::function<void()>& meanwhile) {
    ExecuteHooks hooks;
    hooks.request = [&](const Cell& cell, GenerateRequest&) {
      if (cell.value("batch") == "3") meanwhile();
    };
    RunOptions options;
    options.database = folder_.file("x.db");
    if (meanwhile) options.hooks = &hooks;
    return fakes::report_of(folder_.file("t.yaml"), options);
  }

  fakes::Folder folder_;
  std::string model_ = folder_.file("model/model.safetensors");
  std::string original_;
};

TEST_F(ChangedModel, InPlaceFailsWhatWasComputedSince) {
  const Report report = run([&] {
    std::fstream file(model_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put(char(original_.back() ^ 1));
  });
  const std::string reason = "the model's files changed during the run (" + model_ + ")";
  ASSERT_EQ(report.cells.size(), 4U);
  for (const ReportCell& cell : report.cells) {
    const bool before = cell.axes.at("batch") < "3";
    EXPECT_EQ(cell.verdict == Verdict::fail, !before) << cell.name;
    EXPECT_EQ(cell.reason.find(reason) == std::string::npos, before) << cell.reason;
  }
  folder_.write("model/model.safetensors", original_);  // its key is what it was
  const Report again = run({});
  EXPECT_EQ(again.cells_cached, 2) << "what was good before the change";
  EXPECT_EQ(again.cells_executed, 2);
  EXPECT_EQ(count(again, Verdict::fail) + count(again, Verdict::diff), 0);
}

TEST_F(ChangedModel, ByAFileRenamedOverItIsAnotherFile) {
  const Report report = run([&] {
    std::string other = original_;
    other.back() = char(other.back() ^ 1);
    fs::rename(folder_.write("new", other), model_);
  });
  EXPECT_EQ(count(report, Verdict::fail) + count(report, Verdict::diff), 0);
  EXPECT_EQ(report.cells_executed, 4);
  const Report again = run({});
  EXPECT_EQ(again.cells_cached, 0) << "and has another key";
}

}  // namespace
}  // namespace isobit
