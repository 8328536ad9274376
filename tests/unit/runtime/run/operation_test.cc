// One operation as a cell: where its rows stand, and that their bits depend on nothing else than
// themselves, on every kernel of the reference that this machine has.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "runtime/run/operand.h"
#include "runtime/run/operation_data.h"
#include "runtime/run/operation_engine.h"

namespace isobit {
namespace {

OperationShape shape_of(OperationKind kind, bool prefill = false) {
  OperationShape shape;
  shape.id = "s";
  if (kind == OperationKind::gemm) shape.n = 21, shape.k = 131, shape.bias = true;
  if (kind == OperationKind::attention) {
    shape.heads = 4, shape.kv_heads = 2, shape.head_dim = 16, shape.keys = 67;
    shape.prefill = prefill;
  }
  shape.width = kind == OperationKind::rms_norm || kind == OperationKind::softmax ? 77 : 0;
  return shape;
}

GenerateRequest request_of(OperationKind kind, Precision precision, bool prefill = false) {
  GenerateRequest request;
  request.precision = precision;
  request.operation.kind = kind;
  request.operation.shapes = {shape_of(kind, prefill)};
  request.prompts.push_back({{1, 2, 3}, {}, "s"});
  return request;
}

CellTrace ran(const GenerateRequest& request) {
  OperationEngine engine;
  auto result = engine.generate(request);
  EXPECT_TRUE(result) << result.error().text();
  return result ? std::move(result->trace) : CellTrace{};
}

std::vector<Digest> rows_of(const CellTrace& trace) {
  std::vector<Digest> out;
  EXPECT_EQ(trace.status, CellStatus::ok) << trace.reason;
  for (const TokenRecord& row : trace.prompts.at(0).tokens) out.push_back(row.digest);
  EXPECT_EQ(out.size(), std::size_t(kWatchedRows));
  return out;
}

TEST(OperationRows, StandWhereTheyAreAsked) {
  using Places = std::vector<std::int64_t>;
  EXPECT_EQ(places_of(40, RowPlace::first, 3), (Places{0, 1, 2}));
  EXPECT_EQ(places_of(40, RowPlace::last, 3), (Places{37, 38, 39}));
  EXPECT_EQ(places_of(40, RowPlace::middle, 3), (Places{18, 19, 20}));
  EXPECT_EQ(places_of(40, RowPlace::scattered, 3), (Places{0, 19, 39}));
  for (const RowPlace place :
       {RowPlace::first, RowPlace::middle, RowPlace::last, RowPlace::scattered}) {
    for (std::int64_t rows = least_rows_for(place); rows < 70; ++rows) {
      const std::int64_t count = watched_at_once(rows);
      ASSERT_TRUE(rows == 1 || count < rows) << "no neighbour";
      const Places places = places_of(rows, place, count);
      ASSERT_EQ(place_of(rows, places), place) << rows;
      ASSERT_TRUE(std::is_sorted(places.begin(), places.end()));
      ASSERT_EQ(std::set<std::int64_t>(places.begin(), places.end()).size(), places.size());
    }
  }
}

struct Case {
  OperationKind kind;
  Precision precision;
  bool prefill = false;
};

class OperationBits : public testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] GenerateRequest request() const {
    return request_of(GetParam().kind, GetParam().precision, GetParam().prefill);
  }
  [[nodiscard]] bool strided() const {
    return GetParam().kind == OperationKind::gemm || GetParam().kind == OperationKind::attention;
  }
};

TEST_P(OperationBits, DependOnNothingOfTheLaunch) {
  const std::vector<Digest> alone = rows_of(ran(request()));
  EXPECT_EQ(std::set<std::string>({to_hex(alone[0]), to_hex(alone[7])}).size(), 2U);
  for (const std::int64_t rows : {2, 5, 16, 17, 40}) {
    GenerateRequest other = request();
    other.operation.rows = rows;
    EXPECT_EQ(rows_of(ran(other)), alone) << rows << " rows";
  }
  for (const RowPlace place : {RowPlace::middle, RowPlace::last, RowPlace::scattered}) {
    GenerateRequest other = request();
    other.operation.rows = 19;
    other.operation.place = place;
    EXPECT_EQ(rows_of(ran(other)), alone) << name_of(place);
  }
  for (const Neighbours neighbours : {Neighbours::zeros, Neighbours::huge, Neighbours::nan}) {
    GenerateRequest other = request();
    other.operation.rows = 19;
    other.operation.neighbours = neighbours;
    EXPECT_EQ(rows_of(ran(other)), alone) << name_of(neighbours);
  }
  for (const std::int64_t align : {1, 3, 8}) {
    GenerateRequest other = request();
    other.operation.rows = 19;
    other.operation.align = align;
    if (strided()) other.operation.stride = 5;
    EXPECT_EQ(rows_of(ran(other)), alone) << "align " << align;
  }
}

TEST_P(OperationBits, AreThoseOfTheLiteralKernelsAndOfSeveralThreads) {
  GenerateRequest asked = request();
  asked.operation.rows = 19;
  const std::vector<Digest> best = rows_of(ran(asked));
  for (const char* isa : {"scalar", "avx2", "avx512"}) {
    asked.backend.isa = isa;
    if (!unsupported_reason(asked.backend, mode_of(asked.precision)).empty()) continue;
    const CellTrace trace = ran(asked);
    EXPECT_EQ(trace.observed.isa, isa);
    EXPECT_EQ(rows_of(trace), best) << isa;
  }
  asked.backend.isa = "auto";
  asked.backend.threads = 2;
  EXPECT_EQ(rows_of(ran(asked)), best);
}

TEST_P(OperationBits, AreOthersForOtherNumbersAndFiniteForAll) {
  const std::vector<Digest> usual = rows_of(ran(request()));
  for (const OperandData data :
       {OperandData::cancelling, OperandData::subnormal, OperandData::wide}) {
    GenerateRequest other = request();
    other.operation.data = data;
    other.operation.rows = 4;
    EXPECT_NE(rows_of(ran(other)), usual) << name_of(data);
  }
  GenerateRequest other = request();
  other.sampler.seed = 1;
  EXPECT_NE(rows_of(ran(other)), usual);
}

TEST_P(OperationBits, AreTheSameByValue) {
  GenerateRequest asked = request();
  asked.operation.rows = 4;
  asked.capture = {{0, 2}, {0, 7}};
  int spilled = 0;
  asked.spill = [&](int prompt, std::int64_t, std::span<const std::byte> row) {
    EXPECT_EQ(prompt, 0);
    EXPECT_FALSE(row.empty());
    ++spilled;
  };
  OperationEngine engine;
  const auto result = engine.generate(asked);
  ASSERT_TRUE(result);
  EXPECT_EQ(spilled, kWatchedRows);
  ASSERT_EQ(result->captured.size(), 2U);
  for (const auto& [key, values] : result->captured) {
    const Digest digest =
        asked.precision == Precision::fp64
            ? digest_row(std::span<const double>(values))
            : digest_row(std::span<const float>(std::vector<float>(values.begin(), values.end())));
    EXPECT_EQ(result->trace.prompts[0].tokens[std::size_t(key.second)].digest, digest);
  }
}

INSTANTIATE_TEST_SUITE_P(, OperationBits,
                         testing::Values(Case{OperationKind::gemm, Precision::fp32},
                                         Case{OperationKind::gemm, Precision::bf16},
                                         Case{OperationKind::gemm, Precision::fp16},
                                         Case{OperationKind::gemm, Precision::fp64},
                                         Case{OperationKind::gemm, Precision::tf32},
                                         Case{OperationKind::gemm, Precision::fp8_e4m3},
                                         Case{OperationKind::attention, Precision::fp32},
                                         Case{OperationKind::attention, Precision::bf16},
                                         Case{OperationKind::attention, Precision::fp16},
                                         Case{OperationKind::attention, Precision::bf16, true},
                                         Case{OperationKind::rms_norm, Precision::fp32},
                                         Case{OperationKind::rms_norm, Precision::bf16},
                                         Case{OperationKind::rms_norm, Precision::fp16},
                                         Case{OperationKind::softmax, Precision::fp32},
                                         Case{OperationKind::softmax, Precision::bf16},
                                         Case{OperationKind::softmax, Precision::fp16}),
                         [](const auto& param) {
                           std::string name = std::string(name_of(param.param.kind)) + "_" +
                                              mode_of(param.param.precision).name +
                                              (param.param.prefill ? "_prefill" : "");
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Operation, ObservesTheLaunchesThatRan) {
  GenerateRequest asked = request_of(OperationKind::gemm, Precision::bf16);
  asked.operation.rows = 6;
  asked.operation.place = RowPlace::last;
  asked.operation.neighbours = Neighbours::huge;
  asked.operation.align = 3;
  asked.operation.stride = 5;
  const Observed o = ran(asked).observed;
  EXPECT_EQ(o.operation, "gemm");
  EXPECT_EQ(o.operand_data, "random");
  EXPECT_EQ(o.live_rows, 6);
  EXPECT_EQ(o.steps, 3);  // three watched rows fit in a launch
  EXPECT_EQ(o.row_place, "last");
  EXPECT_EQ(o.neighbour_data, "huge");
  EXPECT_EQ(o.operand_offset, 3);
  EXPECT_EQ(o.row_gap, 5);
  EXPECT_EQ(o.precision, "bf16");
  const Observed one = ran(request_of(OperationKind::gemm, Precision::bf16)).observed;
  EXPECT_EQ(one.neighbour_data, "");
  EXPECT_EQ(one.steps, kWatchedRows);
}

/// Softmax of a row as a textbook has it, in fp64.
TEST(Operation, SoftmaxIsTheSoftmaxOfItsRow) {
  GenerateRequest asked = request_of(OperationKind::softmax, Precision::fp64);
  asked.operation.rows = 4;
  for (std::int64_t r = 0; r < kWatchedRows; ++r) asked.capture.emplace_back(0, r);
  OperationEngine engine;
  const auto result = engine.generate(asked);
  ASSERT_TRUE(result);
  ASSERT_EQ(result->captured.size(), std::size_t(kWatchedRows));
  const OperationShape& shape = asked.operation.shapes[0];
  const OperandStream stream(asked.sampler.seed, OperationKind::softmax, shape.id, "x");
  for (const auto& [key, values] : result->captured) {
    std::vector<double> x(std::size_t(shape.width));
    stream.draw(OperandData::random, Format::f64, key.second, x);
    ASSERT_EQ(values.size(), x.size());
    const double most = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (double& value : x) sum += value = std::exp(value - most);
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(values[i], x[i] / sum, 1e-14 * x[i] / sum) << "row " << key.second << ", " << i;
    }
  }
}

TEST(Operand, SeesWhatIsWrittenBesideItsRows) {
  BackendOptions options;
  auto backend = make_backend(options, mode_of(Precision::fp32));
  ASSERT_TRUE(backend);
  const float value = 1;
  const auto written_at = [&](std::int64_t element) {
    Operand operand(**backend, 2, 4, 3, 2);
    for (std::int64_t r = 0; r < 2; ++r) operand.set(r, std::vector<double>(4, 0.5));
    EXPECT_TRUE(operand.intact());
    EXPECT_EQ(operand.offset(), 3);
    EXPECT_EQ(operand.gap(), 2);
    (*backend)->upload(static_cast<float*>(operand.rows().data) + element, &value, sizeof value);
    return !operand.intact();
  };
  EXPECT_FALSE(written_at(0));
  EXPECT_FALSE(written_at(9));
  for (const std::int64_t beside : {-3, -1, 4, 5, 10, 12, 70}) EXPECT_TRUE(written_at(beside));
}

}  // namespace
}  // namespace isobit
