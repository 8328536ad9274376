// Defects of single operations: results of a row that depend on the launch which it is in, and
// kernels that touch what is none of theirs.
#include <algorithm>
#include <cmath>

#include "harness/selftest/defects.h"

namespace isobit::selftest {
namespace {

constexpr Verdict kFail = Verdict::fail;
constexpr std::int64_t kTile = 16;  // rows

/// Another tile, and with it another order, for more than sixteen rows.
class TileOfRows final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    if (x.rows > kTile) return split_gemm(x, matrix, out, 2);
    ForwardingBackend::gemm(x, matrix, out);
  }
};

/// The rows that fill no tile of 32 are summed in another order.
class TailOfRows final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    ForwardingBackend::gemm(x, matrix, out);
    const std::int64_t whole = x.rows / (2 * kTile) * (2 * kTile);
    if (whole == 0 || whole == x.rows) return;
    const auto from = [&](Rows rows) {
      rows.data = static_cast<float*>(rows.data) + whole * rows.stride;
      rows.rows -= whole;
      return rows;
    };
    split_gemm(from(x), matrix, from(out), 2);
  }
};

/// How the sum is cut follows the largest number of the launch.
class SharedScale final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    float most = 0;
    for (const float v : fetch(x)) most = std::max(most, std::abs(v));
    if (most <= 1) return ForwardingBackend::gemm(x, matrix, out);
    // Only where a sum stays finite: the neighbours' need not.
    split_gemm(x, matrix, out, 2);
  }
};

/// A row at an address that no vector load takes is summed in another order.
class UnalignedTail final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    constexpr std::uintptr_t kVector = 16;
    if (reinterpret_cast<std::uintptr_t>(x.data) % kVector != 0) {
      return split_gemm(x, matrix, out, 2);
    }
    ForwardingBackend::gemm(x, matrix, out);
  }
};

/// A load that goes on behind the row, times zero.
class ReadsOn final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    ForwardingBackend::gemm(x, matrix, out);
    if (x.dense()) return;
    Rows wider = x;
    wider.cols = x.cols + 1;
    const std::vector<float> read = fetch(wider);
    change(out, [&](std::vector<float>& values) {
      for (std::int64_t r = 0; r < out.rows; ++r) {
        values[std::size_t(r * out.cols)] += 0.0F * read[std::size_t((r + 1) * wider.cols - 1)];
      }
    });
  }
};

/// A store that goes on behind the row.
class WritesOn final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    ForwardingBackend::gemm(x, matrix, out);
    if (out.dense()) return;
    const float zero = 0;
    inner_->upload(static_cast<float*>(out.data) + out.cols, &zero, sizeof zero);
  }
};

/// Nothing is multiplied.
class Nothing final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gemm(Rows, const WeightMatrix&, Rows out) override {
    store(std::vector<float>(std::size_t(out.rows * out.cols), 0.0F), out);
  }
};

/// For more than sixteen rows a row's squares are summed in fp32, one behind the other.
class NormWidth final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void rms_norm(Rows x, const void* weight, double eps, Rows out) override {
    if (x.rows <= kTile) return ForwardingBackend::rms_norm(x, weight, eps, out);
    // The weights' memory is the backend's: it is only read here.
    const std::vector<float> weights = fetch({const_cast<void*>(weight), 1, x.cols, x.cols});
    std::vector<float> values = fetch(x);
    for (auto row = values.begin(); row != values.end(); row += x.cols) {
      float sum = 0;
      for (std::int64_t i = 0; i < x.cols; ++i) sum += row[i] * row[i];
      const float scale = 1.0F / std::sqrt(sum / float(x.cols) + float(eps));
      for (std::int64_t i = 0; i < x.cols; ++i) {
        row[i] = row[i] * scale * weights[std::size_t(i)];
      }
    }
    store(values, out);
  }
};

}  // namespace

std::vector<Defect> operation_defects() {
  std::vector<Defect> all;
  const auto add = [&all](const char* name, const char* axis, const char* site, const char* red,
                          Verdict verdict = Verdict::diff,
                          const char* says = "at shape") -> Defect& {
    return add_defect(all, name, axis, site, "product", red, verdict, says);
  };
  add("tile-of-rows", "rows", "order of a product", "rows>16").backend = backend_of<TileOfRows>();
  add("tail-of-rows", "place", "order of a product", "place in (last, scattered)").backend =
      backend_of<TailOfRows>();
  add("shared-scale", "neighbours", "order of a product", "neighbours=huge").backend =
      backend_of<SharedScale>();
  add("unaligned-tail", "align", "order of a product", "align>0").backend =
      backend_of<UnalignedTail>();
  add("reads-on", "stride", "loads of a product", "stride>0", kFail, "a result is not finite")
      .backend = backend_of<ReadsOn>();
  add("writes-on", "stride", "stores of a product", "stride>0", kFail,
      "something was written outside")
      .backend = backend_of<WritesOn>();
  add("no-product", "rows", "results", "", Verdict::mistrusted, "the same results in every row")
      .backend = backend_of<Nothing>();
  add_defect(all, "norm-width", "rows", "order of a norm", "norm", "rows=17", Verdict::diff,
             "at shape")
      .backend = backend_of<NormWidth>();
  add("one-launch-row", "rows", "launch", "rows=16", kFail, "rows 16 was asked, 1 ran").request =
      [](const Cell&, GenerateRequest& request) {
        if (request.operation.rows == 16) request.operation.rows = 1;
      };
  add("place-ignored", "place", "launch", "place=last", kFail, "place last was asked, first ran")
      .request = [](const Cell&, GenerateRequest& request) {
    if (request.operation.place == RowPlace::last) request.operation.place = RowPlace::first;
  };
  return all;
}

}  // namespace isobit::selftest
