// Defects of order: every number is right to its last bits, but summed differently in some cells.
// These are the ones that real kernels have.

#include "runtime/numerics/order.h"

#include <algorithm>
#include <cmath>

#include "harness/selftest/defects.h"
#include "runtime/numerics/functions.h"

namespace isobit::selftest {
namespace {

/// Another tile, and with it another order, for more than four rows of logits.
class TileRows final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    if (is(matrix, Gemm::head) && x.rows > 4) return split_gemm(x, matrix, out, 2);
    ForwardingBackend::gemm(x, matrix, out);
  }
};

/// The order of a row's sum depends on its place in the batch.
class SlotOrder final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    ForwardingBackend::gemm(x, matrix, out);
    if (!is(matrix, Gemm::head) || x.rows < 2) return;
    const std::vector<float> right = fetch(out);
    split_gemm(x, matrix, out, 2);
    change(out, [&](std::vector<float>& values) {  // the first row keeps its order
      std::copy(right.begin(), right.begin() + out.cols, values.begin());
    });
  }
};

/// The last place of a batch of three is summed in another order, whoever sits there.
class LastPlace final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    ForwardingBackend::gemm(x, matrix, out);
    if (!is(matrix, Gemm::head) || x.rows != 3) return;
    const std::vector<float> right = fetch(out);
    split_gemm(x, matrix, out, 2);
    change(out, [&](std::vector<float>& values) {
      std::copy(right.begin(), right.begin() + 2 * out.cols, values.begin());
    });
  }
};

/// K is cut into as many parts as there are threads.
class ThreadParts final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    if (is(matrix, Gemm::down, 1) && setup_.threads > 1) {
      return split_gemm(x, matrix, out, setup_.threads);
    }
    ForwardingBackend::gemm(x, matrix, out);
  }
};

/// In one instruction set's leaf, segments 1 and 2 are swapped in the tree.
class SwappedSegments final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    ForwardingBackend::gemm(x, matrix, out);
    if (!is(matrix, Gemm::head) || inner_->describe().isa != "avx2") return;
    std::vector<std::int64_t> cuts;
    for (std::int64_t s = 0; s <= 8; ++s) cuts.push_back(segment_begin(x.cols, int(s), 8));
    const auto s = partial_products(x, matrix, out, cuts);
    std::vector<float> sum(s[0].size());
    for (std::size_t i = 0; i < sum.size(); ++i) {
      sum[i] =
          ((s[0][i] + s[2][i]) + (s[1][i] + s[3][i])) + ((s[4][i] + s[5][i]) + (s[6][i] + s[7][i]));
    }
    store(sum, out);
  }
};

/// Products and sums rounded apart in RoPE, where NUMERICS.md has one fused step: what a compiler
/// flag does to one instruction set's file.
class UnfusedRope final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
            const Rotation& rotation) override {
    if (inner_->describe().isa != "avx2" || heads == 0) {
      return ForwardingBackend::rope(x, heads, positions, rotation);
    }
    const auto d = std::size_t(x.cols / heads), half = std::size_t(rotation.dims / 2);
    const auto *cosine = static_cast<const float*>(rotation.cosine),
               *sine = static_cast<const float*>(rotation.sine);
    std::vector<float> c(half), s(half);
    std::vector<float> values = fetch(x);
    for (std::size_t r = 0; r < positions.size(); ++r) {
      const std::size_t row = std::size_t(positions[r]) * half;
      inner_->download(c.data(), cosine + row, half * sizeof(float));
      inner_->download(s.data(), sine + row, half * sizeof(float));
      for (std::size_t h = 0; h < std::size_t(heads); ++h) {
        float* head = values.data() + r * std::size_t(x.cols) + h * d;
        for (std::size_t i = 0; i < half; ++i) {
          const float a = head[i], b = head[i + half];
          const float ac = a * c[i], bs = b * s[i], bc = b * c[i], as = a * s[i];
          head[i] = ac - bs;
          head[i + half] = bc + as;
        }
      }
    }
    store(values, x);
  }
};

}  // namespace

std::vector<Defect> order_defects() {
  std::vector<Defect> all;
  const auto add = [&](auto... words) -> Defect& { return add_defect(all, words...); };
  add("tile-rows", "batch", "gemm of the logits, more than 4 rows", "star", "batch=8").backend =
      backend_of<TileRows>();
  add("slot-order", "batch", "gemm of the logits, rows after the first", "star", "batch>1")
      .backend = backend_of<SlotOrder>();
  add("last-place-order", "batch", "gemm of the logits, row 2 of 3", "order",
      "batch=order:reversed or batch=order:shuffled")
      .backend = backend_of<LastPlace>();
  add("thread-parts", "threads", "gemm of down, layer 1", "star", "threads=2").backend =
      backend_of<ThreadParts>();
  add("rounded-before-the-sum", "threads", "gemm of down, layer 1, rounded to out", "scheduled",
      "threads=2")
      .backend = backend_of<ThreadParts>();
  add("swapped-segments", "isa", "gemm of the logits, avx2", "isa", "isa=avx2").backend =
      backend_of<SwappedSegments>();
  add("unfused-rope", "isa", "rope, avx2", "isa", "isa=avx2").backend = backend_of<UnfusedRope>();
  return all;
}

}  // namespace isobit::selftest
