// Weights of a panel as registers of T, scratch memory, and rows turned into columns.
//
// Widening is exact, so when and how it happens decides no bit. bf16 is widened two outputs a
// 32-bit word: the even ones by a shift, the odd ones by a mask; the registers of a pair then hold
// every other output, and what is stored is put in order again. Callers: kernels_simd_*.h.
#pragma once

#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "runtime/backends/cpu/kernels/block_layout.h"
#include "runtime/backends/cpu/kernels/simd.h"

namespace isobit::cpu::simd {

constexpr std::size_t kLarge = 128 << 10;   // bytes from which scratch asks for large pages,
constexpr std::size_t kHugePage = 2 << 20;  // which spare the tiles a walk through page tables

/// Scratch of one thread, grown as needed, never read before it is written.
template <class V, int kUse>
class Scratch {
 public:
  static typename V::T* of(std::int64_t elements) {
    static thread_local Scratch scratch;
    if (elements > scratch.capacity_) scratch.grow(elements);
    return scratch.data_;
  }
  ~Scratch() { std::free(data_); }

 private:
  void grow(std::int64_t elements) {
    std::free(data_);
    capacity_ = 0;
    const std::size_t wanted = std::size_t(elements) * sizeof(typename V::T);
    const std::size_t unit = wanted < kLarge ? 64 : kHugePage;
    const std::size_t bytes = (wanted + unit - 1) / unit * unit;
    data_ = static_cast<typename V::T*>(std::aligned_alloc(unit, bytes));
    if (data_ == nullptr) out_of_memory();
#if defined(__linux__)
    if (unit == kHugePage) madvise(data_, bytes, MADV_HUGEPAGE);  // a wish: it may be refused
#endif
    capacity_ = elements;
  }
  typename V::T* data_ = nullptr;
  std::int64_t capacity_ = 0;
};

/// load() gives N registers of neighbouring outputs; paired ones hold every other output.
template <class V, Format kElement>
struct Weights;
template <class V>
struct Weights<V, Format::f32> {
  using Element = float;
  static constexpr bool kPaired = false;
  static typename V::Reg load_one(const float* p) { return V::load_f32(p); }
  template <int N>
  ISOBIT_ALWAYS_INLINE static void load(const float* p, typename V::Reg* w) {
    unroll<N>([&](auto n) ISOBIT_ALWAYS_INLINE { w[n] = V::load_f32(p + n * V::kWidth); });
  }
};
template <class V>
struct Weights<V, Format::f64> {
  using Element = double;
  static constexpr bool kPaired = false;
  static typename V::Reg load_one(const double* p) { return simd::load<V>(p); }
  template <int N>
  ISOBIT_ALWAYS_INLINE static void load(const double* p, typename V::Reg* w) {
    unroll<N>([&](auto n) ISOBIT_ALWAYS_INLINE { w[n] = simd::load<V>(p + n * V::kWidth); });
  }
};
template <class V>
struct Weights<V, Format::bf16> {
  using Element = std::uint16_t;
  static constexpr bool kPaired = true;
  static typename V::Reg load_one(const std::uint16_t* p) { return V::load_bf16(p); }
  template <int N>
  ISOBIT_ALWAYS_INLINE static void load(const std::uint16_t* p, typename V::Reg* w) {
    unroll<N / 2>([&](auto n) ISOBIT_ALWAYS_INLINE {
      typename V::Bits both;
      std::memcpy(&both, p + n * 2 * V::kWidth, sizeof both);
      w[2 * n] = (typename V::Reg)(both << 16);
      w[2 * n + 1] = (typename V::Reg)(both >> 16 << 16);
    });
  }
};
template <class V>
struct Weights<V, Format::fp16> {
  using Element = std::uint16_t;
  static constexpr bool kPaired = false;
  static typename V::Reg load_one(const std::uint16_t* p) { return V::load_fp16(p); }
  template <int N>
  ISOBIT_ALWAYS_INLINE static void load(const std::uint16_t* p, typename V::Reg* w) {
    unroll<N>([&](auto n) ISOBIT_ALWAYS_INLINE { w[n] = V::load_fp16(p + n * V::kWidth); });
  }
};

/// The element type that needs no widening.
template <class V>
constexpr Format own_element() {
  return sizeof(typename V::T) == 8 ? Format::f64 : Format::f32;
}

inline constexpr std::size_t bytes_of(Format element) {
  return element == Format::f64 ? 8 : element == Format::f32 ? 4 : 2;
}

template <class V, Format kElement>
void widen(const void* from, std::int64_t elements, typename V::T* out) {
  using W = Weights<V, kElement>;
  const auto* in = static_cast<const typename W::Element*>(from);
  for (std::int64_t i = 0; i < elements; i += V::kWidth) store<V>(out + i, W::load_one(in + i));
}

template <class V>
void widen(Format element, const void* from, std::int64_t elements, typename V::T* out) {
  switch (element) {
    case Format::bf16:
      return widen<V, Format::bf16>(from, elements, out);
    case Format::fp16:
      return widen<V, Format::fp16>(from, elements, out);
    case Format::f32:
      return widen<V, Format::f32>(from, elements, out);
    default:
      return widen<V, own_element<V>()>(from, elements, out);
  }
}

/// Bytes of one column of a panel; of blocks, their share.
template <class V>
std::int64_t column_bytes(const PackedMatrix& w) {
  return w.blocks != BlockFormat::none ? panel_block_bytes(w.blocks) / columns_of(w.blocks)
                                       : kPanel * std::int64_t(bytes_of(w.element));
}

/// Columns from `column` on of a panel, as they are stored; with blocks, the panel block that holds
/// `column`, which may be as low as -skip.
template <class V>
const char* panel_columns(const PackedMatrix& w, std::int64_t panel, std::int64_t column) {
  if (w.blocks != BlockFormat::none) {
    const std::int64_t block =
        panel * panel_blocks(w.blocks, w.skip, w.k) + (w.skip + column) / columns_of(w.blocks);
    return static_cast<const char*>(w.data.get()) + block * panel_block_bytes(w.blocks);
  }
  return static_cast<const char*>(w.data.get()) +
         std::size_t((panel * w.k + column) * kPanel) * bytes_of(w.element);
}

/// Transposes kWidth registers: as the traits say, or by the perfect shuffle of two halves,
/// log2(width) times.
template <class V>
ISOBIT_ALWAYS_INLINE inline void transpose(typename V::Reg* r) {
  using Reg = typename V::Reg;
  constexpr int W = V::kWidth;
  if constexpr (requires { V::transpose(r); }) return V::transpose(r);
  for (int step = 1; step < W; step *= 2) {
    Reg t[W];
    unroll<W / 2>([&](auto i) ISOBIT_ALWAYS_INLINE {
      t[2 * i] = V::interleave_low(r[i], r[i + W / 2]);
      t[2 * i + 1] = V::interleave_high(r[i], r[i + W / 2]);
    });
    unroll<W>([&](auto i) ISOBIT_ALWAYS_INLINE { r[i] = t[i]; });
  }
}

/// x (rows, columns) with a stride as (columns, rows). Writes up to a register past the end; what
/// a store writes beyond its column is written again by the next.
template <class V>
void transpose_rows(const typename V::T* x, std::int64_t x_stride, int rows, std::int64_t columns,
                    typename V::T* out) {
  constexpr int W = V::kWidth;
  for (int first = 0; first < rows; first += W) {
    const int count = rows - first < W ? rows - first : W;
    const int stored = rows > W ? count : W;
    const auto block = [&](std::int64_t k, std::int64_t lanes) ISOBIT_ALWAYS_INLINE {
      typename V::Reg r[W];
      unroll<W>([&](auto i) ISOBIT_ALWAYS_INLINE {
        r[i] = load<V>(x + (first + (i < count ? i : 0)) * x_stride + k, lanes);
        __builtin_prefetch(x + (first + i + rows) * x_stride + k, 0, 2);  // the next tile's
      });
      transpose<V>(r);
      unroll<W>([&](auto i) ISOBIT_ALWAYS_INLINE {
        if (i < lanes) store<V>(out + (k + i) * rows + first, r[i], stored);
      });
    };
    std::int64_t k = 0;
    for (; k + W <= columns; k += W) block(k, std::int64_t(W));
    if (k < columns) block(k, columns - k);
  }
}

}  // namespace isobit::cpu::simd
