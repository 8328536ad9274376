// Products on an engine (products.h).
#include "harness/probe/products.h"

#include <algorithm>
#include <set>

#include "harness/probe/draw.h"
#include "runtime/base/interrupt.h"
#include "runtime/device_memory.h"
#include "runtime/numerics/formats.h"
#include "runtime/numerics/segments.h"

namespace isobit::probe {
namespace {

void stop_when_interrupted() {
  if (interrupted != 0) throw BackendError("interrupted");
}

std::vector<std::int64_t> usual_rows(const ProductPlan& plan) {
  std::set<std::int64_t> out{1, plan.most_rows};
  for (std::int64_t m = 1; m <= plan.most_rows; m *= 2) {
    for (const std::int64_t at : {m - 1, m, m + 1, m + m / 2}) {
      if (at >= 1 && at <= plan.most_rows) out.insert(at);
    }
  }
  return {out.begin(), out.end()};
}

/// Both ends and the middle of every run of one choice.
std::vector<std::int64_t> rows_of(const std::vector<Choice>& choices) {
  std::set<std::int64_t> out;
  for (const Choice& choice : choices) {
    out.insert({choice.from, choice.to, (choice.from + choice.to) / 2});
  }
  return {out.begin(), out.end()};
}

/// Memory of the largest product, and the products in it.
class Products {
 public:
  Products(Backend& backend, const ProductPlan& plan)
      : backend_(backend),
        plan_(plan),
        x_(backend, std::size_t(plan.most_rows * plan.inputs) * sizeof(float)),
        out_(backend, std::size_t(plan.most_rows * plan.outputs) * sizeof(float)) {}

  void load(std::int64_t draw) {
    const Mode& mode = backend_.mode();
    const Operands drawn(draw, plan_.inputs, mode.matrix, mode.gemm_input);
    matrix_ = backend_.load_matrix(
        matrix_of(plan_, mode, [&drawn](std::int64_t row, std::span<float> out) {
          const std::span<const float> from = drawn.weights(row);
          std::copy(from.begin(), from.end(), out.begin());
        }));
    std::vector<float> block;
    const std::int64_t period = std::min(kRowPeriod, plan_.most_rows);
    for (std::int64_t m = 0; m < period; ++m) {
      block.insert(block.end(), drawn.row(m).begin(), drawn.row(m).end());
    }
    for (std::int64_t m = 0; m < plan_.most_rows; m += period) {
      const std::int64_t rows = std::min(period, plan_.most_rows - m);
      backend_.upload(x_row(m), block.data(), std::size_t(rows * plan_.inputs) * sizeof(float));
    }
  }
  [[nodiscard]] std::string choice(std::int64_t rows) {
    return backend_.gemm_choice(in(rows), *matrix_, out(rows));
  }
  Call call(std::int64_t rows, std::int64_t draw) {
    stop_when_interrupted();
    backend_.gemm(in(rows), *matrix_, out(rows));
    Call call{rows, draw, {}};
    for (const Place& place : kept_places(rows, plan_.outputs)) {
      std::uint32_t bits = 0;
      const float* from =
          static_cast<const float*>(out_.get()) + place.row * plan_.outputs + place.output;
      backend_.download(&bits, from, sizeof bits);
      call.bits.push_back(bits);
    }
    return call;
  }

 private:
  [[nodiscard]] float* x_row(std::int64_t m) const {
    return static_cast<float*>(x_.get()) + m * plan_.inputs;
  }
  [[nodiscard]] Rows in(std::int64_t rows) const {
    return {x_.get(), rows, plan_.inputs, plan_.inputs};
  }
  [[nodiscard]] Rows out(std::int64_t rows) const {
    return {out_.get(), rows, plan_.outputs, plan_.outputs};
  }

  Backend& backend_;
  const ProductPlan& plan_;
  DeviceMemory x_, out_;
  std::shared_ptr<WeightMatrix> matrix_;
};

std::vector<Choice> choices_of(Products& products, const ProductPlan& plan) {
  std::vector<Choice> out;
  for (std::int64_t m = 1; m <= plan.most_rows; ++m) {
    stop_when_interrupted();
    const std::string text = products.choice(m);
    if (text.empty()) return {};
    if (out.empty() || out.back().text != text) out.push_back({m, m, text});
    out.back().to = m;
  }
  return out;
}

}  // namespace

MatrixSource matrix_of(const ProductPlan& plan, const Mode& mode,
                       std::function<void(std::int64_t row, std::span<float> out)> read) {
  MatrixSource source;
  source.name = "probe";
  source.outputs = plan.outputs;
  source.inputs = plan.inputs;
  source.bounds = segment_bounds(plan.inputs, 8);
  source.format = mode.matrix;
  source.read = std::move(read);
  // Of 8-bit matrices what needs no scale: drawn values are theirs already.
  source.amax = [&mode](std::int64_t) {
    return mode.scaled() ? largest_finite(mode.matrix) : 1.0F;
  };
  return source;
}

MatrixCapture capture_products(Backend& backend, const ProductPlan& plan) {
  MatrixCapture out;
  out.precision = backend.mode().name;
  out.outputs = plan.outputs;
  out.inputs = plan.inputs;
  Products products(backend, plan);
  std::vector<std::int64_t> rows = plan.rows;
  products.load(0);
  if (rows.empty()) {
    out.choices = choices_of(products, plan);
    rows = out.choices.empty() ? usual_rows(plan) : rows_of(out.choices);
  } else {
    for (const std::int64_t m : rows) out.choices.push_back({m, m, products.choice(m)});
  }
  for (std::int64_t draw = 0; draw < plan.draws; ++draw) {
    if (draw > 0) products.load(draw);
    for (const std::int64_t m : rows) out.calls.push_back(products.call(m, draw));
  }
  return out;
}

}  // namespace isobit::probe
