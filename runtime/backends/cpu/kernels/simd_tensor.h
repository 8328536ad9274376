// The chain of tensor-core groups (numerics/tensorcore.h) over registers: lanes are outputs.
//
// Why the bits are the literal text's: the greatest exponent E of a lane's group is found exactly,
// from exponents in 16-bit integers. For E in [-76, 100] a product of two numbers of at most 11
// bits is exact in fp32 where its term is not cut to nothing; so is its product with 2^(F-E); the
// conversion to an integer cuts toward zero; integers are added exactly; and the last conversion is
// rounded to nearest and put right where that went up. Lanes with another E, with a number that is
// not finite, or with a sum outside 32 bits are computed by the literal text, one by one.
// Callers: simd_table.h.
#pragma once

#include "runtime/backends/cpu/kernels/simd_weights.h"
#include "runtime/numerics/tensorcore.h"

namespace isobit::cpu::simd {

constexpr int kTensorRows = 64;  // rows that share one reading of the weights
constexpr int kTensorTile = 4;   // rows that share one register of weights; divides kTensorRows
constexpr int kMostProducts = 32;
constexpr int kSafeProducts = 16;  // of F <= 25, whose sum is below 2^31
constexpr int kLowestExponent = -76, kHighestExponent = 100;
// In place of exponents. Sums with any other exponent stay apart: a zero's are below kOnlyZeros,
// and those of what is not finite above kHighestExponent.
constexpr std::int16_t kZeroExponent = -12000, kNoNumber = 16383;
constexpr int kOnlyZeros = -8000;

/// 16-bit integers in a register of V.
template <class V>
struct TensorTypes {
  static constexpr int kBytes = int(sizeof(typename V::Reg));
  static constexpr int kLanes = kBytes / 2;
  static constexpr int kShorts = kPanel / kLanes;        // registers of a panel
  static constexpr int kRegisters = kPanel / V::kWidth;  // of floats
  typedef std::int16_t Shorts __attribute__((vector_size(kBytes)));
  typedef std::uint16_t Unsigned __attribute__((vector_size(kBytes)));
};

/// One group's weights of a panel.
template <class V>
struct alignas(64) TensorWeights {
  float value[kMostProducts][kPanel];
  std::int16_t exponent[kMostProducts][kPanel];
};

/// One group, or one pass of a split one.
struct TensorStep {
  TensorUnit unit;
  std::int64_t first = 0;  // the group's first column
  int count = 0;           // products
  int pass = -1;           // of a split unit
  [[nodiscard]] std::int64_t column(int i) const {
    return first + (pass < 0 ? i : split_place(pass, i));
  }
};

/// The exponent that a unit sees, or kZeroExponent, or kNoNumber.
template <class V>
inline std::int16_t tensor_exponent(float x, int smallest) {
  const std::uint32_t u = bits_of(x) & 0x7fffffffu;
  const int exponent = int(u >> 23) - 127;
  return u == 0            ? kZeroExponent
         : exponent == 128 ? kNoNumber
                           : std::int16_t(exponent < smallest ? smallest : exponent);
}

/// The same of a register of floats.
template <class V>
inline void tensor_exponents(typename V::Reg x, int smallest, std::int16_t* out) {
  using Ints = typename V::Ints;
  const Ints u = (Ints)((typename V::Bits)x << 1);
  const Ints field = (Ints)((typename V::Bits)u >> 24);
  const Ints floor = Ints{} + smallest;
  Ints e = field - 127;
  e = e > floor ? e : floor;
  e = field == 255 ? Ints{} + kNoNumber : e;
  e = u == 0 ? Ints{} + kZeroExponent : e;
  V::store_shorts(out, e);
}

/// The same of a register of 16-bit elements.
template <class V, Format kElement>
inline typename TensorTypes<V>::Shorts tensor_exponents(const std::uint16_t* p, int smallest) {
  using Shorts = typename TensorTypes<V>::Shorts;
  using Unsigned = typename TensorTypes<V>::Unsigned;
  constexpr bool kBf16 = kElement == Format::bf16;
  constexpr int kBias = kBf16 ? 127 : 15, kTop = kBf16 ? 255 : 31;
  Unsigned u;
  std::memcpy(&u, p, sizeof u);
  u = u << 1;
  const Shorts field = (Shorts)(u >> (kBf16 ? 8 : 11));
  const Shorts floor = Shorts{} + std::int16_t(smallest);
  Shorts e = field - std::int16_t(kBias);
  e = e > floor ? e : floor;
  e = field == std::int16_t(kTop) ? Shorts{} + kNoNumber : e;
  return u == 0 ? Shorts{} + kZeroExponent : e;
}

template <class V, Format kElement>
void tensor_weights(const PackedMatrix& w, std::int64_t panel, const TensorStep& step,
                    TensorWeights<V>& out) {
  using Types = TensorTypes<V>;
  const int smallest = smallest_exponent(step.unit.operand);
  for (int i = 0; i < step.count; ++i) {
    const std::int64_t at = (panel * w.k + step.column(i)) * kPanel;
    if constexpr (kElement == Format::f32) {
      const float* p = static_cast<const float*>(w.data.get()) + at;
      unroll<Types::kRegisters>([&](auto j) ISOBIT_ALWAYS_INLINE {
        const typename V::Reg x = load<V>(p + j * V::kWidth);
        store<V>(out.value[i] + j * V::kWidth, x);
        tensor_exponents<V>(x, smallest, out.exponent[i] + j * V::kWidth);
      });
    } else {
      const std::uint16_t* p = static_cast<const std::uint16_t*>(w.data.get()) + at;
      unroll<Types::kRegisters>([&](auto j) ISOBIT_ALWAYS_INLINE {
        const std::uint16_t* from = p + j * V::kWidth;
        store<V>(out.value[i] + j * V::kWidth,
                 kElement == Format::bf16 ? V::load_bf16(from) : V::load_fp16(from));
      });
      unroll<Types::kShorts>([&](auto j) ISOBIT_ALWAYS_INLINE {
        const auto e = tensor_exponents<V, kElement>(p + j * Types::kLanes, smallest);
        std::memcpy(out.exponent[i] + j * Types::kLanes, &e, sizeof e);
      });
    }
  }
}

template <class V>
using TensorWeightsFunction = void (*)(const PackedMatrix&, std::int64_t, const TensorStep&,
                                       TensorWeights<V>&);
template <class V>
TensorWeightsFunction<V> tensor_weights_function(Format element) {
  return element == Format::bf16   ? tensor_weights<V, Format::bf16>
         : element == Format::fp16 ? tensor_weights<V, Format::fp16>
                                   : tensor_weights<V, Format::f32>;
}

/// The products' greatest exponent of each lane of R rows and a panel: (R, 32).
template <class V, int R>
inline void greatest_exponents(const TensorWeights<V>& w, int count, const std::int32_t* e,
                               std::int16_t* out) {
  using Types = TensorTypes<V>;
  using Shorts = typename Types::Shorts;
  Shorts m[R][Types::kShorts];
  for (auto& row : m) {
    for (Shorts& x : row) x = Shorts{} + std::int16_t(2 * kZeroExponent);
  }
  for (int k = 0; k < count; ++k) {
    unroll<Types::kShorts>([&](auto j) ISOBIT_ALWAYS_INLINE {
      Shorts weight;
      std::memcpy(&weight, w.exponent[k] + j * Types::kLanes, sizeof weight);
      unroll<R>([&](auto r) ISOBIT_ALWAYS_INLINE {
        const Shorts sum = weight + (Shorts)(typename V::Ints{} + e[k * R + r]);
        m[r][j] = sum > m[r][j] ? sum : m[r][j];
      });
    });
  }
  unroll<R>([&](auto r) ISOBIT_ALWAYS_INLINE {
    unroll<Types::kShorts>([&](auto j) ISOBIT_ALWAYS_INLINE {
      std::memcpy(out + r * kPanel + j * Types::kLanes, &m[r][j], sizeof(Shorts));
    });
  });
}

/// One register of outputs of a row in a group.
template <class V>
struct TensorLanes {
  using Reg = typename V::Reg;
  using Bits = typename V::Bits;
  using Ints = typename V::Ints;
  Reg up, down;  // 2^(F-E), 2^(E-F)
  Ints literal;  // -1: of the literal text
  Bits sum;      // of the products; wraps

  /// c: the accumulator, greatest: the products' greatest exponents.
  ISOBIT_ALWAYS_INLINE inline void begin(int fraction, Reg c, const std::int16_t* greatest) {
    const Ints products = V::load_shorts(greatest);
    const Bits twice = (Bits)c << 1;
    const Ints own = (Ints)(twice >> 24) - 127;
    const Ints raw = own > products ? own : products;
    const Ints lowest = Ints{} + kLowestExponent;
    const Ints e = raw > lowest ? raw : lowest;
    const Ints zeros = (Ints)(products < kOnlyZeros) & (Ints)(twice == 0);
    literal = (Ints)(e > kHighestExponent) | ((Ints)(raw < lowest) & ~zeros);
    const Bits scale = (Bits)(e - fraction) << 23;
    down = (Reg)(scale + (127u << 23));
    up = (Reg)((127u << 23) - scale);
  }
  /// Sixteen products more. All of them may leave 32 bits.
  ISOBIT_ALWAYS_INLINE inline void add(Bits more) {
    const Bits all = sum + more;
    literal |= (Ints)((sum ^ all) & (more ^ all)) >> 31;
    sum = all;
  }
  ISOBIT_ALWAYS_INLINE inline Reg end(std::uint32_t kept, Reg c) {
    // c is below 2^26 units: with it the sum stays in 32 bits, and its conversion too.
    literal |= (Ints)(sum + 0x78000000u > 0xf0000000u);
    const Ints s = (Ints)(sum + (Bits) __builtin_convertvector(c * up, Ints));
    const Ints sign = s >> 31;
    const Reg near = __builtin_convertvector(s, Reg);
    const Ints back = __builtin_convertvector(near, Ints);
    const Ints away = (Ints)((back ^ sign) > (s ^ sign));  // -1: rounded away from zero
    return (Reg)(((Bits)near + (Bits)away) & kept) * down;
  }
};

/// One group of R rows and a panel: c (R, 32) -> next (R, 32). x and e: (count, R). Gives whether
/// lanes are left to the literal text: those of `literal` (R, 32) that are -1.
template <class V, int R>
bool tensor_tile(const TensorStep& step, const TensorWeights<V>& w, const float* x,
                 const std::int32_t* e, const float* c, float* next, std::int32_t* literal) {
  using Reg = typename V::Reg;
  using Bits = typename V::Bits;
  using Ints = typename V::Ints;
  constexpr int kAtOnce = TensorTypes<V>::kRegisters < kTensorTile / R
                              ? TensorTypes<V>::kRegisters
                              : kTensorTile / R;  // registers of a row
  const int fraction = step.unit.fraction;
  const std::uint32_t kept = ~0u << (23 - step.unit.kept);
  alignas(64) std::int16_t greatest[R * kPanel];
  greatest_exponents<V, R>(w, step.count, e, greatest);
  Ints any{};
  for (int column = 0; column < kPanel; column += kAtOnce * V::kWidth) {
    TensorLanes<V> lanes[R][kAtOnce];
    const auto each = [&](auto&& f) ISOBIT_ALWAYS_INLINE {
      unroll<R>([&](auto r) ISOBIT_ALWAYS_INLINE {
        unroll<kAtOnce>([&](auto j)
                            ISOBIT_ALWAYS_INLINE { f(r, j, r * kPanel + column + j * V::kWidth); });
      });
    };
    each([&](auto r, auto j, int at)
             ISOBIT_ALWAYS_INLINE { lanes[r][j].begin(fraction, load<V>(c + at), greatest + at); });
    const auto products = [&](int from, Bits(&part)[R][kAtOnce]) ISOBIT_ALWAYS_INLINE {
      const int to = step.count < from + kSafeProducts ? step.count : from + kSafeProducts;
      for (int k = from; k < to; ++k) {
        each([&](auto r, auto j, int) ISOBIT_ALWAYS_INLINE {
          const Reg weight = load<V>(w.value[k] + column + j * V::kWidth);
          const Reg term = (weight * V::set1(x[k * R + r])) * lanes[r][j].up;
          part[r][j] += (Bits) __builtin_convertvector(term, Ints);
        });
      }
    };
    Bits first[R][kAtOnce] = {};
    products(0, first);
    each([&](auto r, auto j, int) ISOBIT_ALWAYS_INLINE { lanes[r][j].sum = first[r][j]; });
    if (step.count > kSafeProducts) {
      Bits second[R][kAtOnce] = {};
      products(kSafeProducts, second);
      each([&](auto r, auto j, int) ISOBIT_ALWAYS_INLINE { lanes[r][j].add(second[r][j]); });
    }
    each([&](auto r, auto j, int at) ISOBIT_ALWAYS_INLINE {
      store<V>(next + at, lanes[r][j].end(kept, load<V>(c + at)));
      std::memcpy(literal + at, &lanes[r][j].literal, sizeof(Ints));
      any |= lanes[r][j].literal;
    });
  }
  std::uint64_t words[sizeof(Ints) / 8], all = 0;
  std::memcpy(words, &any, sizeof any);
  for (const std::uint64_t word : words) all |= word;
  return all != 0;
}

template <class V>
using TensorTileFunction = bool (*)(const TensorStep&, const TensorWeights<V>&, const float*,
                                    const std::int32_t*, const float*, float*, std::int32_t*);

/// Rows of a block as the tiles read them: values and exponents (twice in 32 bits), group after
/// group, in a group tile after tile, in a tile (products, rows). Rows that fill up a tile are 0.
template <class V>
class TensorRows {
 public:
  TensorRows(const TensorArgs& args, std::int64_t begin, std::int64_t count);
  [[nodiscard]] int tiles() const { return int((rows_ + kTensorTile - 1) / kTensorTile); }
  [[nodiscard]] int size(int tile) const {  // 1, 2 or 4
    const std::int64_t left = rows_ - tile * kTensorTile;
    return left > 2 ? 4 : int(left);
  }
  [[nodiscard]] std::int64_t rows() const { return rows_; }
  /// Of a step's first product in a tile.
  [[nodiscard]] std::int64_t at(const TensorStep& step, std::int64_t place, int tile) const {
    return place * padded_ + std::int64_t(step.count) * tile * kTensorTile;
  }
  float* value;
  std::int32_t* exponent;

 private:
  std::int64_t rows_, padded_;
};

/// Calls f(step, place) for the steps of a chain; place: products before it.
template <class F>
ISOBIT_ALWAYS_INLINE inline void each_tensor_step(const TensorArgs& args, F&& f) {
  const TensorUnit& unit = *args.unit;
  std::int64_t place = 0;
  const std::int64_t tile = args.begin + args.lead;  // the end of the first
  for (std::int64_t k = args.begin; k < args.end;) {
    const std::int64_t left = (k < tile ? tile : args.end) - k;
    const int n = left < unit.group ? int(left) : unit.group;
    TensorStep step{unit, k, n, -1};
    if (!unit.split_fp8) {
      f(step, place);
    } else {
      step.unit.split_fp8 = false;
      const int second = n / 4 * 2 + (n % 4 == 3 ? 1 : 0);
      step.pass = 0;
      step.count = n - second;
      f(step, place);
      step.pass = 1;
      step.count = second;
      f(step, place + n - second);
    }
    place += n;
    k += n;
  }
}

template <class V>
TensorRows<V>::TensorRows(const TensorArgs& args, std::int64_t begin, std::int64_t count)
    : rows_(count), padded_((tiles() - 1) * std::int64_t(kTensorTile) + size(tiles() - 1)) {
  const std::int64_t room = (args.end - args.begin) * padded_;
  value = Scratch<V, 0>::of(room);
  exponent = reinterpret_cast<std::int32_t*>(Scratch<V, 1>::of(room));
  const int smallest = smallest_exponent(args.unit->operand);
  each_tensor_step(args, [&](const TensorStep& step, std::int64_t place) {
    for (int tile = 0; tile < tiles(); ++tile) {
      std::int64_t to = at(step, place, tile);
      for (int i = 0; i < step.count; ++i) {
        const float* from = args.x + step.column(i);
        for (int r = 0; r < size(tile); ++r, ++to) {
          const std::int64_t row = tile * kTensorTile + r;
          const float x = row < rows_ ? from[(begin + row) * args.x_stride] : 0.0f;
          value[to] = x;
          const std::uint32_t e = std::uint16_t(tensor_exponent<V>(x, smallest));
          exponent[to] = std::int32_t(e | e << 16);
        }
      }
    }
  });
}

/// One step of all rows of a block: c -> next, both (rows, 32). What fills up tiles and panels may
/// hold anything.
template <class V>
void tensor_step(const TensorStep& step, std::int64_t place, const TensorRows<V>& rows,
                 const TensorWeights<V>& w, std::int64_t outputs, const float* c, float* next) {
  static constexpr TensorTileFunction<V> kTiles[] = {tensor_tile<V, 1>, tensor_tile<V, 2>, nullptr,
                                                     tensor_tile<V, 4>};
  alignas(64) std::int32_t literal[kTensorTile * kPanel];
  for (int tile = 0; tile < rows.tiles(); ++tile) {
    const int size = rows.size(tile);
    const std::int64_t at = rows.at(step, place, tile);
    const float* x = rows.value + at;
    const std::int64_t first = std::int64_t(tile) * kTensorTile * kPanel;
    if (!kTiles[size - 1](step, w, x, rows.exponent + at, c + first, next + first, literal)) {
      continue;
    }
    const std::int64_t left = rows.rows() - std::int64_t(tile) * kTensorTile;
    for (int i = 0; i < size * kPanel && i / kPanel < left; ++i) {
      if (literal[i] == 0 || i % kPanel >= outputs) continue;
      next[first + i] =
          literal_tensor_group(step.unit, {x + i / kPanel, size}, {w.value[0] + i % kPanel, kPanel},
                               step.count, c[first + i]);
    }
  }
}

/// A panel of a block of rows.
template <class V>
void tensor_panel(const TensorArgs& args, const TensorRows<V>& rows, std::int64_t begin,
                  std::int64_t panel) {
  const std::int64_t left = args.w->n - panel * kPanel, outputs = left < kPanel ? left : kPanel;
  alignas(64) float memory[3][kTensorRows * kPanel];
  TensorWeights<V> weights;
  const TensorWeightsFunction<V> widen = tensor_weights_function<V>(args.w->element);
  float *c = memory[0], *next = memory[1], *split = memory[2];
  const std::size_t bytes = sizeof(memory[0]);
  std::memset(c, 0, bytes);
  for (std::int64_t r = 0; args.start != nullptr && r < rows.rows(); ++r) {
    std::memcpy(c + r * kPanel, args.start + (begin + r) * args.out_stride + panel * kPanel,
                std::size_t(outputs) * sizeof(float));
  }
  each_tensor_step(args, [&](const TensorStep& step, std::int64_t place) {
    widen(*args.w, panel, step, weights);
    if (step.pass < 0) {
      tensor_step(step, place, rows, weights, outputs, c, next);
      std::swap(c, next);
    } else if (step.pass == 0) {
      std::memset(next, 0, bytes);
      tensor_step(step, place, rows, weights, outputs, next, split);
    } else {
      tensor_step(step, place, rows, weights, outputs, split, next);
      for (std::int64_t i = 0; i < rows.rows() * kPanel; i += V::kWidth) {
        const typename V::Reg sum = load<V>(next + i) + load<V>(c + i);
        store<V>(c + i, sum != sum ? from_bits<V>(0x7fffffffu) : sum);
      }
    }
  });
  for (std::int64_t r = 0; r < rows.rows(); ++r) {
    std::memcpy(args.out + (begin + r) * args.out_stride + panel * kPanel, c + r * kPanel,
                std::size_t(outputs) * sizeof(float));
  }
}

template <class V>
void tensor_chains(const TensorArgs& args) {
  const std::int64_t last = args.panel_end < args.w->panels() ? args.panel_end : args.w->panels();
  for (std::int64_t r = args.row_begin; r < args.row_end; r += kTensorRows) {
    const std::int64_t left = args.row_end - r;
    const TensorRows<V> rows(args, r, left < kTensorRows ? left : kTensorRows);
    for (std::int64_t panel = args.panel_begin; panel < last; ++panel) {
      tensor_panel<V>(args, rows, r, panel);
    }
  }
}

}  // namespace isobit::cpu::simd
