// Sums of FMAs in the order of a library's kernel, over registers: lanes of a register are outputs.
//
// Why the bits are the literal text's: each output has the same steps, one after the other; a lane
// of the order lies in memory between its steps. Callers: simd_table.h.
#pragma once

#include "runtime/backends/cpu/kernels/simd_gemm.h"

namespace isobit::cpu::simd {

constexpr int kOrderedRows = 4;       // rows of a tile
constexpr int kOrderedRegisters = 2;  // of outputs that a step holds at once

/// All steps of R rows and a panel. w: (k, 32); sums: (lanes, R, 32).
template <class V, int R>
void ordered_tile(const OrderedArgs& args, std::int64_t first_row, const float* w, float* sums) {
  using Reg = typename V::Reg;
  constexpr int kColumns = kOrderedRegisters * V::kWidth;
  constexpr std::int64_t kLane = std::int64_t(R) * kPanel;
  const float* x[R];
  for (int r = 0; r < R; ++r) x[r] = args.x + (first_row + r) * args.x_stride;
  std::memset(sums, 0, kLane * sizeof(float));
  for (std::int64_t s = 0; s < args.step_count; ++s) {
    const ProductStep& step = args.steps[s];
    float* to = sums + step.to * kLane;
    if (step.begin == step.end) {
      const float* from = sums + step.from * kLane;
      for (std::int64_t i = 0; i < kLane; i += V::kWidth) {
        store<V>(to + i, load<V>(to + i) + load<V>(from + i));
      }
      continue;
    }
    for (int column = 0; column < kPanel; column += kColumns) {
      Reg sum[R][kOrderedRegisters];
      const auto each = [&](auto&& f) ISOBIT_ALWAYS_INLINE {
        unroll<R>([&](auto r) ISOBIT_ALWAYS_INLINE {
          unroll<kOrderedRegisters>([&](auto j) ISOBIT_ALWAYS_INLINE {
            f(r, j, to + r * kPanel + column + j * V::kWidth);
          });
        });
      };
      each([&](auto r, auto j, const float* at)
               ISOBIT_ALWAYS_INLINE { sum[r][j] = step.fresh ? Reg{} : load<V>(at); });
      for (std::int64_t k = step.begin; k < step.end; ++k) {
        Reg weight[kOrderedRegisters];
        unroll<kOrderedRegisters>([&](auto j) ISOBIT_ALWAYS_INLINE {
          weight[j] = load<V>(w + k * kPanel + column + j * V::kWidth);
        });
        unroll<R>([&](auto r) ISOBIT_ALWAYS_INLINE {
          const Reg value = V::set1(x[r][k]);
          unroll<kOrderedRegisters>(
              [&](auto j) ISOBIT_ALWAYS_INLINE { accumulate<V>(sum[r][j], value, weight[j]); });
        });
      }
      each([&](auto r, auto j, float* at) ISOBIT_ALWAYS_INLINE { store<V>(at, sum[r][j]); });
    }
  }
}

template <class V>
void ordered_sums(const OrderedArgs& args) {
  static_assert(kPanel % (kOrderedRegisters * V::kWidth) == 0);
  const PackedMatrix& w = *args.w;
  float* sums = Scratch<V, 0>::of(std::int64_t(args.lanes) * kOrderedRows * kPanel);
  float* wide = w.element == Format::f32 ? nullptr : Scratch<V, 1>::of(w.k * kPanel);
  const std::int64_t last = args.panel_end < w.panels() ? args.panel_end : w.panels();
  for (std::int64_t panel = args.panel_begin; panel < last; ++panel) {
    const auto* weights = static_cast<const float*>(w.data.get()) + panel * w.k * kPanel;
    if (wide != nullptr) {
      widen_columns<V>(w, panel, 0, w.k, wide);
      weights = wide;
    }
    const std::int64_t left = w.n - panel * kPanel, outputs = left < kPanel ? left : kPanel;
    for (std::int64_t r = args.row_begin; r < args.row_end;) {
      const bool whole = args.row_end - r >= kOrderedRows;
      const std::int64_t rows = whole ? kOrderedRows : 1;
      if (whole) {
        ordered_tile<V, kOrderedRows>(args, r, weights, sums);
      } else {
        ordered_tile<V, 1>(args, r, weights, sums);
      }
      for (std::int64_t i = 0; i < rows; ++i) {
        std::memcpy(args.out + (r + i) * args.out_stride + panel * kPanel, sums + i * kPanel,
                    std::size_t(outputs) * sizeof(float));
      }
      r += rows;
    }
  }
}

}  // namespace isobit::cpu::simd
