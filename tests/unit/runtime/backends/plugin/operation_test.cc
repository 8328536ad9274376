// One operation of a plugin as a cell: what its launches hold and where they lie is nothing to it.
#include <gtest/gtest.h>

#include "runtime/backends/plugin/engine.h"
#include "runtime/run/operation_engine.h"

namespace isobit {
namespace {

class PluginOperation : public ::testing::Test {
 protected:
  void SetUp() override { allow_external(true); }
  void TearDown() override { allow_external(false); }

  static GenerateRequest request_of(OperationKind kind, Precision precision) {
    GenerateRequest request;
    request.precision = precision;
    request.operation.kind = kind;
    OperationShape& shape = request.operation.shapes.emplace_back();
    shape.id = "s";
    shape.n = 21, shape.k = 131, shape.bias = true;
    shape.heads = 4, shape.kv_heads = 2, shape.head_dim = 16, shape.keys = 35;
    shape.width = 77;
    request.prompts.push_back({{1, 2, 3}, {}, "s"});
    return request;
  }
  static CellTrace ran(const GenerateRequest& request) {
    OperationEngine engine;
    auto result = engine.generate(request);
    EXPECT_TRUE(result) << result.error().text();
    return result ? std::move(result->trace) : CellTrace{};
  }
  static CellTrace by_plugin(GenerateRequest request, EnginePairs options) {
    options.emplace_back("plugin", ISOBIT_FAKE_PLUGIN);
    request.backend.engine = *parse_engine(options);
    CellTrace trace;
    try {
      trace = ran(request);
    } catch (const BackendError& error) {
      trace.status = CellStatus::failed;
      trace.reason = error.what();
    }
    return trace;
  }
  static std::vector<Digest> rows_of(const CellTrace& trace) {
    std::vector<Digest> out;
    EXPECT_EQ(trace.status, CellStatus::ok) << trace.reason;
    if (trace.prompts.empty()) return out;
    for (const TokenRecord& row : trace.prompts[0].tokens) out.push_back(row.digest);
    return out;
  }
  /// The plugin's rows are those of the reference alone.
  static void same(const GenerateRequest& request, const EnginePairs& options = {}) {
    SCOPED_TRACE(std::string(name_of(request.operation.kind)) + " " +
                 mode_of(request.precision).name);
    const std::vector<Digest> reference =
        rows_of(ran(request_of(request.operation.kind, request.precision)));
    const CellTrace trace = by_plugin(request, options);
    EXPECT_EQ(rows_of(trace), reference);
    EXPECT_EQ(trace.observed.engine, "plugin:fake 1.2");
  }

  static constexpr OperationKind kKinds[] = {OperationKind::gemm, OperationKind::attention,
                                             OperationKind::rms_norm};
  static constexpr Precision kModes[] = {Precision::fp32, Precision::bf16, Precision::fp16,
                                         Precision::fp64};
};

TEST_F(PluginOperation, WhereRowsLieIsNothingToIt) {
  for (const OperationKind kind : kKinds) {
    for (const Precision precision : kModes) {
      for (const std::int64_t align : {0, 1, 3}) {
        for (const std::int64_t stride : {0, 5}) {
          GenerateRequest request = request_of(kind, precision);
          request.operation.rows = 17;
          request.operation.align = align;
          if (kind != OperationKind::rms_norm) request.operation.stride = stride;
          const EnginePairs lies = {{"offset", std::to_string(align)},
                                    {"gap", std::to_string(request.operation.stride)}};
          same(request, lies);
          EnginePairs stored = lies;
          stored.emplace_back("elements", "stored");
          if (kind == OperationKind::gemm) same(request, stored);
        }
      }
    }
  }
}

TEST_F(PluginOperation, WhereRowsStandAndWhatOthersHoldIsNothingToIt) {
  for (const OperationKind kind : kKinds) {
    for (const Precision precision : kModes) {
      GenerateRequest request = request_of(kind, precision);
      request.operation.rows = 19;
      for (const Neighbours others :
           {Neighbours::random, Neighbours::zeros, Neighbours::huge, Neighbours::nan}) {
        for (const RowPlace place : {RowPlace::first, RowPlace::last}) {
          request.operation.neighbours = others;
          request.operation.place = place;
          SCOPED_TRACE(name_of(others));
          same(request);
        }
      }
    }
  }
}

TEST_F(PluginOperation, AWriteIntoNarrowedOperandsIsSeen) {
  for (const Precision precision : kModes) {
    const GenerateRequest request = request_of(OperationKind::gemm, precision);
    const CellTrace trace = by_plugin(request, {{"fault", "input"}, {"elements", "stored"}});
    EXPECT_TRUE(trace.reason.ends_with("gemm of s wrote into its input"))
        << mode_of(precision).name << ": " << trace.reason;
  }
}

/// What the reference does for other operations or before a launch is not the plugin's.
TEST_F(PluginOperation, ThreadsAreThoseThatThePluginSays) {
  for (const OperationKind kind : kKinds) {
    GenerateRequest request = request_of(kind, Precision::bf16);
    request.operation.rows = 40;
    request.operation.shapes[0].n = 300;
    request.backend.threads = 2;
    EXPECT_EQ(by_plugin(request, {}).observed.threads, 1) << name_of(kind);
    EXPECT_EQ(by_plugin(request, {{"threads", "2"}}).observed.threads, 2) << name_of(kind);
  }
  GenerateRequest request = request_of(OperationKind::gemm, Precision::bf16);
  request.operation.rows = 40;
  request.backend.threads = 2;
  EXPECT_EQ(by_plugin(request, {{"has", "add"}}).observed.threads, 2);  // the reference ran
}

/// A neighbour whose sums overflow excuses nothing in another row.
TEST_F(PluginOperation, ANanOfAWatchedRowIsItsOwn) {
  for (const OperationKind kind : kKinds) {
    GenerateRequest request = request_of(kind, Precision::fp32);
    request.operation.rows = 19;
    request.operation.place = RowPlace::last;
    request.operation.neighbours = Neighbours::huge;
    const CellTrace trace = by_plugin(request, {{"fault", "nan"}, {"in", name_of(kind)}});
    EXPECT_NE(trace.reason.find(" gave NaN from finite inputs: 1 of "), std::string::npos)
        << name_of(kind) << ": " << trace.reason;
  }
}

}  // namespace
}  // namespace isobit
