// The matrix product where weights stay in the checkpoint's blocks: those of q4_0, q4_1 and q8_0
// are decoded in registers for few rows, all others once a block of columns into scratch.
//
// A weight is decoded as numerics/blocks.h says, by the operations that define it: the code as an
// integer, exact in fp32; one product or one fma; R. Fields are finite (the packer saw to it), so
// R needs no care for NaN. When it is decoded decides no bit. Chains and tree are those of
// kernels/simd_tile.h, codes of the other formats from simd_codes.h. Callers: kernels/simd_gemm.h.
#pragma once

#include "runtime/backends/cpu/kernels/block_layout.h"
#include "runtime/backends/cpu/kernels/simd_codes.h"
#include "runtime/backends/cpu/kernels/simd_tile.h"

namespace isobit::cpu::simd {

constexpr int kPrefetchBlocks = 8;  // panel blocks ahead in the stream that few rows read

template <class V, Format kRounded>
ISOBIT_ALWAYS_INLINE inline typename V::Reg round_finite(typename V::Reg x) {
  const typename V::Bits u = (typename V::Bits)x;
  if constexpr (kRounded == Format::bf16) {
    return (typename V::Reg)((u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u);
  } else if constexpr (kRounded == Format::tf32) {
    return (typename V::Reg)((u + 0xfffu + ((u >> 13) & 1u)) & ~0x1fffu);
  } else if constexpr (kRounded == Format::fp16) {
    return V::round_fp16(x);
  } else {
    return x;
  }
}

/// Decoding one panel block for G registers of outputs.
template <class V, BlockFormat kFormat, Format kRounded, int G>
class BlockDecoder {
 public:
  using Reg = typename V::Reg;
  using Bits = typename V::Bits;

  /// `output` is the first of the G registers' outputs.
  ISOBIT_ALWAYS_INLINE BlockDecoder(const char* block, int output)
      : codes_(block + codes_at(kFormat) + output * 4) {
    const auto* scales = reinterpret_cast<const std::uint16_t*>(block) + output;
    unroll<G>([&](auto g) ISOBIT_ALWAYS_INLINE {
      scale_[g] = V::load_fp16(scales + g * V::kWidth);
      if constexpr (has_offset(kFormat)) {
        offset_[g] = V::load_fp16(scales + kPanel + g * V::kWidth);
      }
    });
  }

  /// Calls f(column, weights) for columns [first, last) of the block, in order.
  template <class F>
  ISOBIT_ALWAYS_INLINE void columns(int first, int last, F&& f) const {
    int c = first;
    for (; c < last && c % 4 != 0; ++c) one(c, f);
    if constexpr (kFormat == BlockFormat::q8_0) {
      for (; c + 4 <= last; c += 4) four<0>(c, c / 4, f);
    } else {
      for (; c + 4 <= last && c < columns_of(kFormat) / 2; c += 4) four<0>(c, c / 4, f);
      for (; c + 4 <= last; c += 4) four<4>(c, c / 4 - 4, f);
    }
    for (; c < last; ++c) one(c, f);
  }

 private:
  ISOBIT_ALWAYS_INLINE Bits word(int index, int g) const {
    Bits bits;
    std::memcpy(&bits, codes_ + index * kWordBytes + g * V::kWidth * 4, sizeof bits);
    return bits;
  }
  ISOBIT_ALWAYS_INLINE Reg weight(Bits word, int shift, int g) const {
    using Ints = typename V::Ints;
    Ints code;
    if constexpr (kFormat == BlockFormat::q8_0) {
      code = (Ints)(word << (24 - shift)) >> 24;
    } else {
      code = (Ints)((word >> shift) & 15u);
      if constexpr (kFormat == BlockFormat::q4_0) code -= 8;
    }
    const Reg q = __builtin_convertvector(code, Reg);
    if constexpr (has_offset(kFormat)) {
      return round_finite<V, kRounded>(V::fma(scale_[g], q, offset_[g]));
    } else {
      return round_finite<V, kRounded>(scale_[g] * q);
    }
  }
  template <int kHalf, class F>
  ISOBIT_ALWAYS_INLINE void four(int column, int index, F& f) const {
    Bits words[G];
    unroll<G>([&](auto g) ISOBIT_ALWAYS_INLINE { words[g] = word(index, g); });
    unroll<4>([&](auto i) ISOBIT_ALWAYS_INLINE {
      Reg w[G];
      unroll<G>([&](auto g) ISOBIT_ALWAYS_INLINE { w[g] = weight(words[g], 8 * i + kHalf, g); });
      f(column + i, w);
    });
  }
  template <class F>
  ISOBIT_ALWAYS_INLINE void one(int c, F& f) const {
    const bool high = kFormat != BlockFormat::q8_0 && c >= columns_of(kFormat) / 2;
    const int index = c / 4 - (high ? 4 : 0), shift = c % 4 * 8 + (high ? 4 : 0);
    Reg w[G];
    unroll<G>([&](auto g) ISOBIT_ALWAYS_INLINE { w[g] = weight(word(index, g), shift, g); });
    f(c, w);
  }

  const char* codes_;
  Reg scale_[G], offset_[has_offset(kFormat) ? G : 1];
};

/// Registers of outputs that are decoded together: enough chains to hide the latency of fma.
template <class V, int R>
constexpr int decoded_together() {
  constexpr int N = panel_registers<V>();
  int g = 2;
  while (g < N && g * R < 4) g *= 2;
  return g;
}

/// Visits the panel blocks that hold slice columns [begin, end): f(block, first, last, column), its
/// own columns [first, last) being the slice's from `column` on.
template <BlockFormat kFormat, class F>
ISOBIT_ALWAYS_INLINE inline void each_block(const char* panel, std::int64_t skip,
                                            std::int64_t begin, std::int64_t end, F&& f) {
  for (std::int64_t k = begin; k < end;) {
    const std::int64_t at = k + skip;
    constexpr int kColumns = columns_of(kFormat);
    const int first = int(at % kColumns);
    const std::int64_t left = end - k;
    const int last = left < kColumns - first ? first + int(left) : kColumns;
    f(panel + at / kColumns * panel_block_bytes(kFormat), first, last, k);
    k += last - first;
  }
}

/// R rows by a whole panel over all segments: Strip with weights in blocks, from column -skip on.
template <class V, BlockFormat kFormat, Format kRounded, int R>
void run_block_strip(const Strip<V>& strip, std::int64_t skip) {
  using Reg = typename V::Reg;
  constexpr int N = panel_registers<V>(), kSize = R * N, G = decoded_together<V, R>();
  const auto* panel = static_cast<const char*>(strip.weights);
  for (int s = 0; s < strip.segments; ++s) {
    Reg acc[kSize];
    unroll<kSize>([&](auto i) ISOBIT_ALWAYS_INLINE { acc[i] = Reg{}; });
    each_block<kFormat>(
        panel, skip, strip.bounds[s], strip.bounds[s + 1],
        [&](const char* block, int first, int last, std::int64_t k) ISOBIT_ALWAYS_INLINE {
          const typename V::T* x = strip.x + (k - first) * R;
          constexpr int kLines = panel_block_bytes(kFormat) / 64;
          unroll<kLines>([&](auto line) ISOBIT_ALWAYS_INLINE {
            __builtin_prefetch(block + kPrefetchBlocks * panel_block_bytes(kFormat) + line * 64, 0,
                               2);
          });
          unroll<N / G>([&](auto group) ISOBIT_ALWAYS_INLINE {
            Reg sum[R * G];
            unroll<R * G>(
                [&](auto i) ISOBIT_ALWAYS_INLINE { sum[i] = acc[i / G * N + group * G + i % G]; });
            const BlockDecoder<V, kFormat, kRounded, G> decoder(block, group * G * V::kWidth);
            decoder.columns(first, last, [&](int c, const Reg(&w)[G]) ISOBIT_ALWAYS_INLINE {
              unroll<R>([&](auto r) ISOBIT_ALWAYS_INLINE {
                const Reg broadcast = V::set1(x[c * R + r]);
                unroll<G>([&](auto g) ISOBIT_ALWAYS_INLINE {
                  accumulate<V>(sum[r * G + g], broadcast, w[g]);
                });
              });
            });
            unroll<R * G>(
                [&](auto i) ISOBIT_ALWAYS_INLINE { acc[i / G * N + group * G + i % G] = sum[i]; });
          });
        });
    count_segment<V, kSize>(acc, s, strip.level);
  }
  store_root<V, false, R, N>(strip.level, strip.segments, strip.out, strip.out_stride,
                             strip.outputs);
}

/// The formats that BlockDecoder decodes in registers; the others have simd_codes.h.
constexpr bool in_registers(BlockFormat format) {
  return format == BlockFormat::q4_0 || format == BlockFormat::q4_1 || format == BlockFormat::q8_0;
}

/// Columns [first, last) of one panel block, two registers of outputs: to + 32 * column + output.
template <class V, BlockFormat kFormat, Format kRounded>
ISOBIT_ALWAYS_INLINE inline void widen_block(const char* block, int output, int first, int last,
                                             float* to) {
  using Reg = typename V::Reg;
  if constexpr (in_registers(kFormat)) {
    const BlockDecoder<V, kFormat, kRounded, 2> decoder(block, output);
    decoder.columns(first, last, [&](int c, const Reg(&w)[2]) ISOBIT_ALWAYS_INLINE {
      unroll<2>([&](auto g) ISOBIT_ALWAYS_INLINE {
        store<V>(to + c * kPanel + output + g * V::kWidth, w[g]);
      });
    });
  } else {
    unroll<2>([&](auto g) ISOBIT_ALWAYS_INLINE {
      const BlockCodes<V, kFormat> codes(block, output + g * V::kWidth);
      float* const place = to + output + g * V::kWidth;
      int c = first;
      while (c < last) {
        const Scaling<V> s = codes.scaling(c / kSharing);
        const int stop = c / kSharing * kSharing + kSharing, end = stop < last ? stop : last;
        while (c < end) {
          const typename V::Bits four = codes.codes(c / 4 * 4);
          const auto put = [&](int i) ISOBIT_ALWAYS_INLINE {
            const Reg q = __builtin_convertvector(codes.code(four, i), Reg);
            Reg w = s.scale * q;
            if constexpr (has_offset(kFormat)) w = V::fma(s.scale, q, s.offset);
            store<V>(place + c++ * kPanel, round_finite<V, kRounded>(w));
          };
          if (c % 4 == 0 && c + 4 <= end) {
            unroll<4>([&](auto i) ISOBIT_ALWAYS_INLINE { put(i); });
          } else {
            put(c % 4);
          }
        }
      }
    });
  }
}

/// Columns [begin, begin + count) of a panel as (count, 32) floats.
template <class V, BlockFormat kFormat, Format kRounded>
void widen_blocks(const char* panel, std::int64_t skip, std::int64_t begin, std::int64_t count,
                  float* out) {
  constexpr int N = panel_registers<V>(), G = 2;
  each_block<kFormat>(
      panel, skip, begin, begin + count,
      [&](const char* block, int first, int last, std::int64_t k) ISOBIT_ALWAYS_INLINE {
        float* const to = out + (k - begin - first) * kPanel;
        unroll<N / G>([&](auto group) ISOBIT_ALWAYS_INLINE {
          widen_block<V, kFormat, kRounded>(block, group * G * V::kWidth, first, last, to);
        });
      });
}

template <class V>
using BlockStripFunction = void (*)(const Strip<V>&, std::int64_t skip);
template <class V>
using WidenBlocksFunction = void (*)(const char* panel, std::int64_t skip, std::int64_t begin,
                                     std::int64_t count, float* out);

/// Calls f with the block format as a constant.
template <class F>
auto with_format(BlockFormat blocks, F&& f) {
  switch (blocks) {
    case BlockFormat::q4_0:
      return f(std::integral_constant<BlockFormat, BlockFormat::q4_0>{});
    case BlockFormat::q4_1:
      return f(std::integral_constant<BlockFormat, BlockFormat::q4_1>{});
    case BlockFormat::q5_0:
      return f(std::integral_constant<BlockFormat, BlockFormat::q5_0>{});
    case BlockFormat::q5_1:
      return f(std::integral_constant<BlockFormat, BlockFormat::q5_1>{});
    case BlockFormat::q2_k:
      return f(std::integral_constant<BlockFormat, BlockFormat::q2_k>{});
    case BlockFormat::q3_k:
      return f(std::integral_constant<BlockFormat, BlockFormat::q3_k>{});
    case BlockFormat::q4_k:
      return f(std::integral_constant<BlockFormat, BlockFormat::q4_k>{});
    case BlockFormat::q5_k:
      return f(std::integral_constant<BlockFormat, BlockFormat::q5_k>{});
    case BlockFormat::q6_k:
      return f(std::integral_constant<BlockFormat, BlockFormat::q6_k>{});
    case BlockFormat::iq4_nl:
      return f(std::integral_constant<BlockFormat, BlockFormat::iq4_nl>{});
    case BlockFormat::iq4_xs:
      return f(std::integral_constant<BlockFormat, BlockFormat::iq4_xs>{});
    default:
      return f(std::integral_constant<BlockFormat, BlockFormat::q8_0>{});
  }
}

/// Calls f with the block format and R as constants.
template <class F>
auto with_blocks(const PackedMatrix& w, F&& f) {
  return with_format(w.blocks, [&](auto format) {
    switch (w.rounded) {
      case Format::bf16:
        return f(format, std::integral_constant<Format, Format::bf16>{});
      case Format::fp16:
        return f(format, std::integral_constant<Format, Format::fp16>{});
      case Format::tf32:
        return f(format, std::integral_constant<Format, Format::tf32>{});
      default:
        return f(format, std::integral_constant<Format, Format::f32>{});
    }
  });
}

/// Where few rows decode in registers; for the others weights are widened first.
constexpr bool decodes_in_strips(BlockFormat format, Format rounded) {
  return in_registers(format) && (rounded == Format::f32 || rounded == Format::bf16);
}

template <class V>
BlockStripFunction<V> block_strip_function(const PackedMatrix& w, int rows) {
  return with_blocks(w, [&](auto format, auto rounded) {
    BlockStripFunction<V> found = nullptr;
    if constexpr (decodes_in_strips(format.value, rounded.value)) {
      unroll<strip_rows<V>()>([&](auto index) ISOBIT_ALWAYS_INLINE {
        if (rows == index + 1) found = run_block_strip<V, format.value, rounded.value, index + 1>;
      });
    }
    return found;
  });
}

template <class V>
WidenBlocksFunction<V> widen_blocks_function(const PackedMatrix& w) {
  return with_blocks(w, [](auto format, auto rounded) -> WidenBlocksFunction<V> {
    return widen_blocks<V, format.value, rounded.value>;
  });
}

}  // namespace isobit::cpu::simd
