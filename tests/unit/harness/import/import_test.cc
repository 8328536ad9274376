// Traces in the place of executions, without a model: what a plan and a report are told of them.
// Files against scenarios: tests/integration/test_import.py.
#include "harness/import/import.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/fakes/folder.h"

namespace isobit {
namespace {

ImportedTrace imported(const std::string& file, std::map<std::string, std::string> environment) {
  ImportedTrace out;
  out.file = file;
  out.engine = "vllm 0.9";
  out.environment = std::move(environment);
  out.cell = "0123456789abcdef";
  out.key.fill(7);
  out.trace.observed.imported_sha256 = "ab";
  out.trace.observed.evidence = "logprobs";
  return out;
}

Plan plan_of_one(const std::string& engine) {
  Plan plan;
  Cell cell;
  for (const Axis& axis : all_axes()) cell.axes[axis.name] = usual_value(axis.name);
  const auto value = axis_value("engine", engine);
  EXPECT_TRUE(value);
  cell.axes["engine"] = *value;
  cell.hash = "0123456789abcdef";
  plan.matrix.cells = {cell};
  plan.cells.resize(1);
  plan.cells[0].skip_reason = "needs a GPU";
  plan.cells[0].class_hash = "class";
  return plan;
}

TEST(Import, EnvironmentIsWhatTheRecordersSay) {
  const Environment both = environment_of({imported("a", {{"gpu", "H100"}, {"os", "x"}}),
                                           imported("b", {{"gpu", "H200"}, {"os", "x"}})});
  EXPECT_EQ(both.entries,
            (std::map<std::string, std::string>{{"gpu", "H100 | H200"}, {"os", "x"}}));
  EXPECT_TRUE(environment_of({}).entries.empty());
}

TEST(Import, NotesNameFileEngineAndEvidence) {
  const auto notes = notes_of({imported("a.jsonl", {})});
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_EQ(notes[0],
            "/0123456789abcdef was imported from a.jsonl (SHA-256 ab), recorded by vllm 0.9, "
            "evidence logprobs; what ran is its recorder's word");
}

TEST(Import, NeedsNothingOfThisMachine) {
  const std::vector<ImportedTrace> traces{imported("a", {})};
  Plan plan = plan_of_one("reference");
  ASSERT_TRUE(stand_for(traces, plan));
  EXPECT_TRUE(plan.cells[0].skip_reason.empty());
  EXPECT_EQ(plan.cells[0].key, traces[0].key) << "no execution is looked up by it";
  EXPECT_EQ(plan.cells[0].class_hash, "class");
  plan = plan_of_one("openblas");
  ASSERT_TRUE(stand_for(traces, plan));
  EXPECT_TRUE(plan.cells[0].class_hash.empty()) << "its goldens are keyed by a library's file";
}

TEST(Import, RefusesACellThatWasLeftOut) {
  Plan plan = plan_of_one("reference");
  plan.matrix.cells[0].hash = "another";
  const auto stood = stand_for({imported("a.jsonl", {})}, plan);
  ASSERT_FALSE(stood);
  EXPECT_EQ(stood.error().text(), "-k: the cell of a.jsonl (/0123456789abcdef) was left out");
}

TEST(Import, RefusesAxesOfOneOperation) {
  const fakes::Folder folder;
  const auto refused = [&](const std::string& axis, const std::vector<std::string>& cells) {
    const std::string path =
        folder.write("t.jsonl", R"({"isobit_trace": 1, "engine": "e", "axes": {")" + axis +
                                    R"(": "4"}})" + "\n" + R"({"prompt": "p", "tokens": [1]})" +
                                    "\n" + R"({"prompt": "p", "position": 0, "token": 1, )" +
                                    R"("digest": "00112233445566778899aabbccddeeff"})" + "\n");
    const auto traces = read_traces(Loaded{}, {path}, cells, false);
    ASSERT_FALSE(traces);
    EXPECT_EQ(traces.error().text(), path + ":1: axis " + axis +
                                         " is one of a single operation; a trace is of a model's "
                                         "rows");
  };
  const auto matrix = expand(Loaded{}.scenario, false);
  ASSERT_TRUE(matrix) << matrix.error().text();
  for (const Axis& axis : all_axes()) {
    if (axis.belongs_to(AxisScope::model)) continue;
    refused(axis.name, {});
    refused(axis.name, {"/" + matrix->cells.at(0).hash});
  }
}

TEST(Import, RefusesAFileThatIsTooLarge) {
  const fakes::Folder folder;
  const std::string path = folder.write("big.jsonl", "");
  std::filesystem::resize_file(path, (std::uintmax_t{1} << 30) + 1);  // a hole: takes no space
  const auto traces = read_traces(Loaded{}, {path}, {}, false);
  ASSERT_FALSE(traces);
  EXPECT_EQ(traces.error().text(), path + ": larger than 1 GiB: not a trace");
}

}  // namespace
}  // namespace isobit
