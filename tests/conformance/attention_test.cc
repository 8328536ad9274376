// The attention leaf of every SIMD table against the literal scalar table: head sizes, lengths
// around the split, windows, evicted positions, page sizes. Whatever a query may not see is filled
// with signalling NaN, and pages that hold nothing visible have a table entry that would crash.
#include "runtime/backends/cpu/attention.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "runtime/numerics/kv/fields.h"
#include "runtime/numerics/order.h"
#include "tests/conformance/kernel_data.h"

namespace isobit::cpu::testing {
namespace {

class AttentionTable : public KernelTable {};
INSTANTIATE_TEST_SUITE_P(Isa, AttentionTable, ::testing::ValuesIn(kSimdIsas),
                         [](const auto& isa) { return std::string(isa.param); });

struct Case {
  int heads = 3;
  int head_dim = 64;
  std::int64_t length = 257;  // positions 0 … length-1, the last one is the query's
  std::int64_t window = 0;    // 0: all
  std::int32_t page_size = 16;
  int evict = 0;  // one position in `evict` stays visible; 0: all
  Format stored = Format::f32;
  double cap = 0;                // of the scores; 0: none
  Format element = Format::f32;  // of the pages of fp32 tables
};

constexpr Format kElements[] = {Format::f32, Format::bf16, Format::fp16};

/// A value that is exact in a format, as the pages hold it.
template <class T>
void put(T value, Format element, std::vector<std::byte>& pages, std::int64_t at) {
  std::byte* const to = pages.data() + at * field_bytes(element);
  store_real(element, value, reinterpret_cast<std::uint8_t*>(to));
}

/// One sequence's K and V in shuffled pages, and the same values in plain rows.
template <class T>
class Sequence {
 public:
  Sequence(const Case& c, Data data, std::uint64_t seed) : c_(c), random_(seed) {
    first_ = c.window == 0 ? 0 : std::max<std::int64_t>(0, c.length - c.window);
    keep_.assign(std::size_t(c.length), 1);
    for (std::int64_t p = 0; p < c.length && c.evict > 0; ++p) {
      keep_[std::size_t(p)] = random_.below(c.evict) == 0 || p == c.length - 1;
    }
    if (c.evict > 0 && c.length > 600) {  // a whole split without a visible position
      std::fill(keep_.begin() + 256, keep_.begin() + 512, std::uint8_t(0));
    }
    if (sizeof(T) == 8) c_.element = Format::f64;
    q_ = make_data<T>(data, c.heads * c.head_dim, seed + 1);
    k_ = make_data<T>(data, c.length * c.head_dim, seed + 2);
    v_ = make_data<T>(data, c.length * c.head_dim, seed + 3);
    for (std::vector<T>* x : {&k_, &v_}) {
      for (T& value : *x) value = T(round_to(c_.element, value));
    }
    lay_out_pages();
  }

  bool visible(std::int64_t p) const { return p >= first_ && keep_[std::size_t(p)] != 0; }

  std::vector<T> run(const KernelsOf<T>& kernels) const {
    std::vector<T> out(q_.size(), signalling_nan<T>());
    const AttentionTask<T> task = make_task(out);
    kernels.attention(task);
    return out;
  }

  /// The same through parts, the splits in falling order.
  std::vector<T> run_parts(const KernelsOf<T>& kernels) const {
    std::vector<T> out(q_.size(), signalling_nan<T>());
    const AttentionTask<T> task = make_task(out);
    const std::int64_t first = first_ / 256, splits = (c_.length - 1) / 256 - first + 1;
    const std::int64_t size = std::int64_t(c_.heads) * (c_.head_dim + 2);
    std::vector<T> parts(std::size_t(splits * size), signalling_nan<T>());
    for (std::int64_t s = splits; s-- > 0;) {
      kernels.attention_part(task, first + s, parts.data() + s * size);
    }
    kernels.attention_merge(task, parts.data());
    return out;
  }

  /// Straight from order.h, over plain rows: checks the page layout of the scalar table too.
  std::vector<T> run_plain() const {
    std::vector<T> out(q_.size());
    const std::int64_t d = c_.head_dim;
    for (int h = 0; h < c_.heads; ++h) {
      attention_row(
          q_.data() + h * d, c_.head_dim, T(0.125), T(c_.cap), first_, c_.length - 1,
          [&](std::int64_t p) { return visible(p); },
          [&](std::int64_t p, int i) { return k_[std::size_t(p * d + i)]; },
          [&](std::int64_t p, int i) { return v_[std::size_t(p * d + i)]; }, c_.stored,
          out.data() + h * d);
    }
    return out;
  }

 private:
  AttentionTask<T> make_task(std::vector<T>& out) const {
    return {q_.data(),
            out.data(),
            c_.heads,
            c_.head_dim,
            T(0.125),
            c_.stored,
            first_,
            c_.length - 1,
            c_.evict > 0 ? keep_.data() : nullptr,
            {k_pages_.data(), v_pages_.data(), table_.data(), k_stride_, v_stride_, c_.page_size,
             c_.element},
            T(c_.cap),
            cap_scores<T>};
  }

  void lay_out_pages() {
    const std::int64_t d = c_.head_dim, pages = (c_.length + c_.page_size - 1) / c_.page_size;
    k_stride_ = (c_.page_size + kKeyBlock - 1) / kKeyBlock * kKeyBlock * d + 3;
    v_stride_ = c_.page_size * d + 5;
    fill_nan(k_pages_, pages * k_stride_);
    fill_nan(v_pages_, pages * v_stride_);
    std::vector<std::int32_t> order(static_cast<std::size_t>(pages));
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[std::size_t(random_.below(std::int64_t(i)))]);
    }
    table_.assign(std::size_t(pages), INT32_MIN);
    for (std::int64_t p = 0; p < c_.length; ++p) {
      if (!visible(p)) continue;
      const std::size_t page = std::size_t(p / c_.page_size);
      table_[page] = order[page];
      const std::int64_t o = p % c_.page_size;
      for (std::int64_t i = 0; i < d; ++i) {
        put(k_[std::size_t(p * d + i)], c_.element, k_pages_,
            order[page] * k_stride_ + o / kKeyBlock * kKeyBlock * d + i * kKeyBlock +
                o % kKeyBlock);
        put(v_[std::size_t(p * d + i)], c_.element, v_pages_, order[page] * v_stride_ + o * d + i);
      }
    }
  }
  /// Signalling NaNs: 0x7fa0 as bf16, 0x7da0 as fp16.
  void fill_nan(std::vector<std::byte>& pages, std::int64_t elements) const {
    pages.resize(std::size_t(elements * field_bytes(c_.element)));
    for (std::int64_t i = 0; i < elements; ++i) {
      std::byte* const at = pages.data() + i * field_bytes(c_.element);
      const std::uint16_t half = c_.element == Format::bf16 ? 0x7fa0 : 0x7da0;
      const T real = signalling_nan<T>();
      if (field_bytes(c_.element) == 2) std::memcpy(at, &half, sizeof half);
      if (field_bytes(c_.element) != 2) std::memcpy(at, &real, sizeof real);
    }
  }

  Case c_;
  Random random_;
  std::int64_t first_ = 0, k_stride_ = 0, v_stride_ = 0;
  std::vector<std::uint8_t> keep_;
  std::vector<T> q_, k_, v_;
  std::vector<std::byte> k_pages_, v_pages_;
  std::vector<std::int32_t> table_;
};

template <class T>
void compare(const KernelsOf<T>& want, const KernelsOf<T>& got, const Case& c, Data data,
             std::uint64_t seed) {
  SCOPED_TRACE(::testing::Message()
               << sizeof(T) * 8 << " bits, heads " << c.heads << " head_dim " << c.head_dim
               << " length " << c.length << " window " << c.window << " page " << c.page_size
               << " evict " << c.evict << " format " << int(c.stored) << " pages of "
               << int(c.element) << " seed " << seed);
  const Sequence<T> sequence(c, data, seed);
  const std::vector<T> a = sequence.run(want), b = sequence.run(got);
  ASSERT_TRUE(same(sequence.run_plain(), a)) << "pages of the scalar table";
  ASSERT_TRUE(same(a, b));
  ASSERT_TRUE(canonical_nans(b));
  ASSERT_TRUE(same(a, sequence.run_parts(got))) << "in parts";
  if (data == Data::plain) {
    ASSERT_TRUE(has_substance(a));
    ASSERT_EQ(std::count_if(a.begin(), a.end(), [](T x) { return is_nan(x); }), 0);
  }
}

TEST_P(AttentionTable, HeadsAndLengths) {
  std::uint64_t seed = 1;
  for (const int head_dim : {8, 16, 24, 64, 80, 96, 128, 256}) {
    for (const std::int64_t length : {1, 2, 15, 33, 255, 256, 257, 511, 513}) {
      Case c;
      c.head_dim = head_dim;
      c.length = length;
      c.heads = 1 + int(seed % 7);
      compare<double>(scalar<double>(), simd<double>(), c, Data::plain, ++seed);
      for (const Format element : kElements) {
        c.element = element;
        compare<float>(scalar<float>(), simd<float>(), c, Data::plain, ++seed);
      }
    }
  }
}

TEST_P(AttentionTable, PagesWindowsAndEviction) {
  std::uint64_t seed = 100;
  for (const std::int32_t page_size : {1, 16, 17, 48, 256}) {
    for (const std::int64_t window : {0, 1, 31, 100, 256, 300}) {
      for (const int evict : {0, 2, 40}) {
        Case c;
        c.page_size = page_size;
        c.window = window;
        c.evict = evict;
        c.length = 700 + std::int64_t(seed % 40);
        c.element = kElements[seed / 2 % 3];
        compare<float>(scalar<float>(), simd<float>(), c, Data::plain, ++seed);
        c.head_dim = 16;
        compare<double>(scalar<double>(), simd<double>(), c, Data::plain, ++seed);
      }
    }
  }
}

TEST_P(AttentionTable, SoftCaps) {
  std::uint64_t seed = 500;
  for (const Data data : kEveryData) {
    for (const double cap : {0.03, 1.0, 50.0}) {
      for (const std::int64_t length : {3, 300}) {
        Case c;
        c.head_dim = 24;
        c.length = length;
        c.cap = cap;
        compare<float>(scalar<float>(), simd<float>(), c, data, ++seed);
        compare<double>(scalar<double>(), simd<double>(), c, data, ++seed);
        Case other = c;
        other.cap = 0;
        if (data != Data::plain) continue;
        EXPECT_FALSE(same(Sequence<float>(c, data, seed).run(simd<float>()),
                          Sequence<float>(other, data, seed).run(simd<float>())));
      }
    }
  }
}

TEST_P(AttentionTable, SpecialValuesAndFormats) {
  std::uint64_t seed = 1000;
  for (const Data data : kEveryData) {
    for (const int head_dim : {8, 80}) {
      for (const std::int64_t length : {3, 300}) {
        for (const Format format : formats<float>()) {
          Case c;
          c.head_dim = head_dim;
          c.length = length;
          c.stored = format;
          if (format == Format::bf16 || format == Format::fp16) c.element = format;
          compare<float>(scalar<float>(), simd<float>(), c, data, ++seed);
          c.stored = Format::f64;
          compare<double>(scalar<double>(), simd<double>(), c, data, ++seed);
        }
      }
    }
  }
}

/// One infinite score and one NaN: what they do to the merge over splits.
TEST_P(AttentionTable, OneBadValueInALaterSplit) {
  for (const float bad : {float_of(0x7f800000u), float_of(0xff800000u), float_of(0x7fc00000u)}) {
    for (const std::int64_t where : {0, 255, 256, 511}) {
      std::vector<float> q(8, 1.0f), k(512 * 8, 0.5f), v(512 * 8, 0.25f), a(8), b(8);
      k[std::size_t(where / kKeyBlock * kKeyBlock * 8 + where % kKeyBlock)] = bad;
      const std::int32_t table[2] = {0, 1};
      AttentionTask<float> task{
          q.data(),    a.data(), 1,   8,       1.0f,
          Format::f32, 0,        511, nullptr, {k.data(), v.data(), table, 256 * 8, 256 * 8, 256}};
      scalar<float>().attention(task);
      task.out = b.data();
      simd<float>().attention(task);
      EXPECT_TRUE(same(a, b)) << "bad " << bad << " at " << where;
    }
  }
}

TEST_P(AttentionTable, WithoutAVisiblePositionIsNan) {
  const std::vector<std::uint8_t> keep(20, 0);
  std::vector<float> q(64, 1.0f), out(64, 0.0f);
  const std::int32_t table[2] = {INT32_MIN, INT32_MIN};
  const AttentionTask<float> task{
      q.data(),     out.data(), 1,  64,          1.0f,
      Format::bf16, 0,          19, keep.data(), {nullptr, nullptr, table, 0, 0, 16}};
  simd<float>().attention(task);
  EXPECT_TRUE(same(std::vector<float>(64, canonical_nan(0.0f)), out));
  scalar<float>().attention(task);
  EXPECT_TRUE(same(std::vector<float>(64, canonical_nan(0.0f)), out));
}

}  // namespace
}  // namespace isobit::cpu::testing
