// Shapes in order, launches in order, rows by number.
#include "runtime/run/operation_engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "runtime/run/cost.h"
#include "runtime/run/operation_shapes.h"

namespace isobit {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// One cell.
class OperationRun {
 public:
  OperationRun(const GenerateRequest& request, Backend& backend)
      : request_(request), operation_(request.operation), backend_(backend) {}

  GenerateResult run() {
    for (std::size_t s = 0; s < operation_.shapes.size(); ++s) run_shape(int(s));
    describe();
    return std::move(result_);
  }

 private:
  void run_shape(int index) {
    const OperationShape& shape = operation_.shapes[std::size_t(index)];
    PromptTrace& prompt = result_.trace.prompts.emplace_back();
    prompt.tokens_digest = tokens_digest(request_.prompts[std::size_t(index)].tokens);
    const std::unique_ptr<ShapeRun> run =
        make_shape_run(backend_, operation_, shape, request_.sampler.seed);
    std::int64_t next = 0, neighbours = 0;
    while (next < kWatchedRows) {
      const std::int64_t count = std::min(watched_at_once(operation_.rows), kWatchedRows - next);
      Launch launch(std::size_t(operation_.rows), 0);
      const std::vector<std::int64_t> places = places_of(operation_.rows, operation_.place, count);
      for (std::int64_t& who : launch) who = -1;
      for (const std::int64_t at : places) launch[std::size_t(at)] = next++;
      for (std::int64_t& who : launch) {
        if (who < 0) who = -1 - neighbours++;
      }
      run_launch(index, *run, launch, places);
    }
    if (neighbours > 0) result_.trace.observed.neighbour_data = name_of(operation_.neighbours);
    std::int64_t& last = result_.trace.observed.max_position;
    last = std::max(last, run->last_position());
  }

  void run_launch(int index, ShapeRun& run, const Launch& launch,
                  const std::vector<std::int64_t>& places) {
    const std::int64_t rows = std::int64_t(launch.size());
    const std::int64_t gap = run.strided() ? operation_.stride : 0;
    Operand in(backend_, rows, run.inputs(), operation_.align, gap);
    const Operand out(backend_, rows, run.outputs(), operation_.align, gap);
    std::vector<double> values(std::size_t(run.inputs()));
    for (std::int64_t r = 0; r < rows; ++r) {
      run.fill(launch[std::size_t(r)], values);
      in.set(r, values);
    }
    const Rows results = run.run(launch, in, out);
    if (!out.intact()) {
      fail(CellStatus::failed, "shape " + operation_.shapes[std::size_t(index)].id +
                                   ": something was written outside of the rows of results");
    }
    note(rows, places, in, out);
    record(index, launch, places, results);
  }

  /// What the launch really was.
  void note(std::int64_t rows, const std::vector<std::int64_t>& places, const Operand& in,
            const Operand& out) {
    Observed& o = result_.trace.observed;
    const bool first = o.steps++ == 0;
    o.live_rows = std::max(o.live_rows, rows);
    places_.insert(name_of(place_of(rows, places)));
    const std::int64_t offset = std::min(in.offset(), out.offset()),
                       gap = std::min(in.gap(), out.gap());
    o.operand_offset = first ? offset : std::min(o.operand_offset, offset);
    o.row_gap = first ? gap : std::min(o.row_gap, gap);
  }

  void record(int index, const Launch& launch, const std::vector<std::int64_t>& places,
              Rows results) {
    const Clock::time_point start = Clock::now();
    const Operand watched(backend_, std::int64_t(places.size()), results.cols, 0, 0);
    for (std::size_t i = 0; i < places.size(); ++i) {
      Rows row = results;
      row.rows = 1;
      row.data = static_cast<char*>(results.data) +
                 std::size_t(places[i] * results.stride) * backend_.real_size();
      backend_.copy(row, watched.row(std::int64_t(i)));
    }
    std::vector<Digest> digests(places.size());
    backend_.digests(watched.rows(), digests);
    const std::vector<double> values = backend_.reals(watched.rows());
    const auto width = std::size_t(results.cols);
    for (std::size_t i = 0; i < places.size(); ++i) {
      TokenRecord row;
      row.position = launch[std::size_t(places[i])];
      row.digest = digests[i];
      const auto numbers = std::span(values).subspan(i * width, width);
      row.non_finite =
          !std::all_of(numbers.begin(), numbers.end(), [](double v) { return std::isfinite(v); });
      if (row.non_finite) {
        fail(CellStatus::non_finite, "shape " + operation_.shapes[std::size_t(index)].id +
                                         ", row " + std::to_string(row.position) +
                                         ": a result is not finite");
      }
      give(index, row.position, numbers);
      result_.trace.prompts[std::size_t(index)].tokens.push_back(row);
    }
    result_.trace.record_seconds += seconds_since(start);
  }

  /// By value, where somebody wants the row.
  void give(int index, std::int64_t position, std::span<const double> row) {
    const std::pair<int, std::int64_t> key{index, position};
    if (std::count(request_.capture.begin(), request_.capture.end(), key) != 0) {
      result_.captured[key] = RowValues(row.begin(), row.end());
    }
    if (!request_.spill) return;
    if (backend_.mode().wide()) return request_.spill(index, position, std::as_bytes(row));
    const std::vector<float> narrow(row.begin(), row.end());
    request_.spill(index, position, std::as_bytes(std::span(narrow)));
  }

  void describe() {
    Observed& o = result_.trace.observed;
    const BackendInfo info = backend_.describe();
    o.engine = info.engine;
    o.device = info.device;
    o.isa = info.isa;
    o.kernels = info.kernels;
    o.gemm = info.gemm;
    o.attention = info.attention;
    o.library = info.library;
    o.library_sha256 = info.library_sha256;
    o.threads = info.threads_used;
    o.precision = mode_of(request_.precision).name;
    o.ranks = 1;
    o.operation = name_of(operation_.kind);
    o.operand_data = name_of(operation_.data);
    for (const std::string& place : places_) {
      o.row_place += (o.row_place.empty() ? "" : ", ") + place;
    }
  }

  void fail(CellStatus status, const std::string& reason) {
    if (result_.trace.status != CellStatus::ok) return;
    result_.trace.status = status;
    result_.trace.reason = reason;
  }

  const GenerateRequest& request_;
  const OperationRequest& operation_;
  Backend& backend_;
  GenerateResult result_;
  std::set<std::string> places_;
};

}  // namespace

Result<GenerateResult> OperationEngine::generate(const GenerateRequest& request) {
  ISOBIT_CHECK(request.operation.kind != OperationKind::none);
  ISOBIT_CHECK(request.prompts.size() == request.operation.shapes.size());
  if (auto ok = check_orders(request.backend); !ok) return ok.error();
  auto made = make_backend(request.backend, mode_of(request.precision));
  ISOBIT_TRY(made);
  std::unique_ptr<Backend> backend = std::move(*made);
  if (request.wrap_backend) backend = request.wrap_backend(std::move(backend));
  const CostMeter meter(request);
  const Clock::time_point start = Clock::now();
  GenerateResult result = OperationRun(request, *backend).run();
  result.trace.seconds = seconds_since(start);
  meter.read(result.trace.observed);
  return result;
}

}  // namespace isobit
