// Sequences in a cache that holds codes, written through a backend's operations, and what its
// attention and weights give: by the backend, and by the literal text over plain arrays.
//
// What may not be read is never written: allocated memory holds NaN, a page that nobody may touch
// has a table entry that would crash, and a position of which only V is wanted gets NaN as its K.
#pragma once

#include <numeric>
#include <ostream>
#include <vector>

#include "runtime/backend.h"
#include "runtime/device_memory.h"
#include "runtime/numerics/kv/codecs.h"
#include "runtime/numerics/order.h"
#include "tests/conformance/kernel_data.h"

namespace isobit::testing {

struct KvCase {
  std::int64_t heads = 3, kv_heads = 2, d = 64;
  KvCodecKind k_codec = KvCodecKind::q8_0, v_codec = KvCodecKind::q8_0;
  std::vector<std::int64_t> lengths = {5, 70, 300};  // of sequences; the last rows are queries
  std::int64_t queries = 2;                          // rows a sequence
  std::int64_t exact = 0;                            // about so many of the latest are exact
  std::int64_t window = 0;
  std::int32_t page_size = 16;
  int evict = 0;              // one position in `evict` stays; 0: no mask
  bool mask_by_head = false;  // each KV head has its own
  cpu::testing::Data data = cpu::testing::Data::plain;
  std::int32_t bits = 4, group = 32;  // of the codecs that leave them open
};

inline std::ostream& operator<<(std::ostream& out, const KvCase& c) {
  out << "heads " << c.heads << "/" << c.kv_heads << " d " << c.d << " codecs " << int(c.k_codec)
      << " " << int(c.v_codec) << " queries " << c.queries << " exact " << c.exact << " window "
      << c.window << " page " << c.page_size << " evict " << c.evict << " by head "
      << c.mask_by_head << " data " << int(c.data) << " bits " << c.bits << " group " << c.group
      << " lengths";
  for (const std::int64_t n : c.lengths) out << " " << n;
  return out;
}

/// T is the mode's Real.
template <class T>
class KvScene {
 public:
  KvScene(const Mode& mode, const KvCase& c, std::uint64_t seed)
      : mode_(mode), c_(c), random_(seed) {
    layout_[0] = make_layout(c.k_codec);
    layout_[1] = make_layout(c.v_codec);
    const std::int32_t tokens = std::max(layout_[0].codec.tokens, layout_[1].codec.tokens);
    const std::int32_t code_page = (c.page_size + tokens - 1) / tokens * tokens;
    layout_[0].page_size = layout_[1].page_size = code_page;
    for (const std::int64_t length : c.lengths) add_sequence(length, seed += 10);
    deal_pages();
    q_ = rounded(std::int64_t(places_.size()) * c.heads, seed + 5, mode.stored);
  }

  /// What a backend's operations give: attention, then weights.
  struct Result {
    std::vector<T> attention, weights;
  };
  Result run(Backend& b) {
    const std::int64_t width = c_.kv_heads * c_.d;
    const std::int64_t k_slots = pages_ * ((c_.page_size + 15) / 16) * 16;
    const DeviceMemory k(b, std::size_t(k_slots * width) * b.cache_size());
    const DeviceMemory v(b, std::size_t(pages_ * c_.page_size * width) * b.cache_size());
    const DeviceMemory k_codes(b, std::size_t(code_pages_ * layout_[0].page_bytes()));
    const DeviceMemory v_codes(b, std::size_t(code_pages_ * layout_[1].page_bytes()));
    for (const Sequence& s : sequences_) {
      write_exact(b, s, k.get(), v.get());
      write_codes(b, s, 0, k_codes.get());
      write_codes(b, s, 1, v_codes.get());
    }
    const KvPools pools{k.get(), v.get(), k_codes.get(), v_codes.get()};
    const AttentionRows args = arguments();
    const auto rows = std::int64_t(places_.size());
    const DeviceMemory q(b, q_.size() * sizeof(T));
    b.upload(q.get(), q_.data(), q_.size() * sizeof(T));
    const DeviceMemory out(b, q_.size() * sizeof(T));
    const DeviceMemory weights(b, std::size_t(rows * c_.heads * row_width()) * sizeof(T));
    const Rows q_rows{q.get(), rows, c_.heads * c_.d, c_.heads * c_.d};
    b.attention_coded(q_rows, args, pools, {out.get(), rows, q_rows.cols, q_rows.cols});
    b.attention_weights(q_rows, args, pools,
                        {weights.get(), rows * c_.heads, row_width(), row_width()});
    Result result;
    result.attention.resize(q_.size());
    result.weights.resize(std::size_t(rows * c_.heads * row_width()));
    b.download(result.attention.data(), out.get(), q_.size() * sizeof(T));
    b.download(result.weights.data(), weights.get(), result.weights.size() * sizeof(T));
    return result;
  }

  /// The same from plain arrays: coded values are what the codec makes of the exact ones.
  Result literal() const {
    Result result;
    result.attention.resize(q_.size());
    result.weights.assign(places_.size() * std::size_t(c_.heads * row_width()), T(0));
    for (std::size_t r = 0; r < places_.size(); ++r) {
      const Place& place = places_[r];
      const Sequence& s = sequences_[place.sequence];
      for (std::int64_t h = 0; h < c_.heads; ++h) {
        const std::int64_t kv = kv_of(h);
        const auto visible = [&](std::int64_t p) { return s.visible(c_, kv, p); };
        const auto key = [&](std::int64_t p, int i) { return s.seen[0][at(kv, p, i)]; };
        const auto value = [&](std::int64_t p, int i) { return s.seen[1][at(kv, p, i)]; };
        const std::size_t row = r * std::size_t(c_.heads) + std::size_t(h);
        const T* q = q_.data() + row * std::size_t(c_.d);
        attention_row(q, int(c_.d), T(scale()), T(0), place.first, place.position, visible, key,
                      value, mode_.stored, result.attention.data() + row * std::size_t(c_.d));
        literal_weights(place, q, visible, key,
                        result.weights.data() + row * std::size_t(row_width()));
      }
    }
    return result;
  }

 private:
  struct Sequence {
    std::int64_t length = 0, coded[2] = {0, 0};
    std::vector<T> values[2];        // K, V: (length, kv_heads, d), as computed
    std::vector<T> seen[2];          // the same, coded ones as decoded
    std::vector<std::uint8_t> keep;  // (masks, length)
    std::int64_t keep_stride = 0;
    std::vector<std::int32_t> table, code_table;
    [[nodiscard]] bool visible(const KvCase& c, std::int64_t kv, std::int64_t p) const {
      return c.evict == 0 || keep[std::size_t(kv * keep_stride + p)] != 0;
    }
    [[nodiscard]] bool anyone_sees(const KvCase& c, std::int64_t p) const {
      for (std::int64_t kv = 0; kv < c.kv_heads; ++kv) {
        if (visible(c, kv, p)) return true;
      }
      return false;
    }
  };
  struct Place {
    std::size_t sequence = 0;
    std::int64_t position = 0, first = 0;
  };

  [[nodiscard]] double scale() const { return 0.17677669529663687; }
  [[nodiscard]] std::int64_t kv_of(std::int64_t head) const {
    return head * c_.kv_heads / c_.heads;
  }
  [[nodiscard]] std::size_t at(std::int64_t kv, std::int64_t p, std::int64_t i) const {
    return std::size_t((p * c_.kv_heads + kv) * c_.d + i);
  }
  [[nodiscard]] std::int64_t row_width() const {
    return *std::max_element(c_.lengths.begin(), c_.lengths.end()) + 3;
  }
  CodeLayout make_layout(KvCodecKind kind) const { return {codec_of(kind), c_.kv_heads, c_.d, 1}; }
  [[nodiscard]] KvCodec codec_of(KvCodecKind kind) const {
    constexpr int kIterations = 3;
    switch (kind) {
      case KvCodecKind::rtn_tokens:
        return Rtn<true>::make(mode_.cache, c_.group, c_.bits);
      case KvCodecKind::rtn_channels:
        return Rtn<false>::make(mode_.cache, c_.group, c_.bits);
      case KvCodecKind::kvarn_keys:
        return Kvarn<true>::make(mode_.cache, c_.group, int(c_.d), c_.bits, kIterations);
      case KvCodecKind::kvarn_values:
        return Kvarn<false>::make(mode_.cache, c_.group, int(c_.d), c_.bits, kIterations);
      default:
        return make_codec(kind, mode_.cache);
    }
  }
  std::vector<T> rounded(std::int64_t rows, std::uint64_t seed, Format format) const {
    std::vector<T> x = cpu::testing::make_data<T>(c_.data, rows * c_.d, seed);
    for (T& value : x) value = T(round_to(format, value));
    return x;
  }

  void add_sequence(std::int64_t length, std::uint64_t seed) {
    Sequence& s = sequences_.emplace_back();
    s.length = length;
    for (int side : {0, 1}) {
      s.values[side] = rounded(length * c_.kv_heads, seed + std::uint64_t(side), mode_.cache);
      s.seen[side] = s.values[side];
      const KvCodec& codec = layout_[side].codec;
      if (!codec.codes()) continue;
      // A side's own boundary: whole tiles, and V's is not K's.
      const std::int64_t end = std::max<std::int64_t>(0, length - c_.exact * (1 + side));
      s.coded[side] = end / codec.tokens * codec.tokens;
      decode_side(s, side);
    }
    s.keep_stride = c_.mask_by_head ? length + 1 : 0;
    s.keep.assign(std::size_t(length + s.keep_stride * (c_.kv_heads - 1)), 1);
    for (std::uint8_t& one : s.keep) one = c_.evict == 0 || random_.below(c_.evict) == 0;
    if (c_.evict > 0 && length > 600) {  // a whole split without a visible position
      std::fill(s.keep.begin() + 256, s.keep.begin() + 512, std::uint8_t(0));
    }
    for (std::int64_t i = 0; i < c_.queries && i < length; ++i) {
      Place place{sequences_.size() - 1, length - 1 - i, 0};
      if (c_.window > 0) place.first = std::max<std::int64_t>(0, place.position - c_.window + 1);
      places_.push_back(place);
    }
  }

  void decode_side(Sequence& s, int side) {
    const KvCodec& codec = layout_[side].codec;
    with_codec(codec, [&](const auto& made) {
      std::vector<std::uint64_t> memory(std::size_t(codec.bytes + 7) / 8);  // aligned for any field
      auto* const tile = reinterpret_cast<std::uint8_t*>(memory.data());
      for (std::int64_t p = 0; p < s.coded[side]; p += codec.tokens) {
        for (std::int64_t kv = 0; kv < c_.kv_heads; ++kv) {
          for (std::int64_t c = 0; c < c_.d; c += codec.channels) {
            made.encode(s.values[side].data() + at(kv, p, c), c_.kv_heads * c_.d, 1, tile);
            const auto read = made.template open<T>(tile);
            for (int t = 0; t < codec.tokens; ++t) {
              for (int i = 0; i < codec.channels; ++i) {
                s.seen[side][at(kv, p + t, c + i)] = read.at(t, i);
              }
            }
          }
        }
      }
    });
  }

  void deal_pages() {
    const std::int32_t code_page = layout_[0].page_size;
    for (Sequence& s : sequences_) {
      pages_ += (s.length + c_.page_size - 1) / c_.page_size;
      code_pages_ += (std::max(s.coded[0], s.coded[1]) + code_page - 1) / code_page;
    }
    std::vector<std::int32_t> order = shuffled(pages_), code_order = shuffled(code_pages_);
    for (Sequence& s : sequences_) {
      for (std::int64_t p = 0; p < s.length; p += c_.page_size) {
        bool read = false;
        for (std::int64_t j = p; j < std::min(p + c_.page_size, s.length); ++j) {
          read = read || (j >= std::min(s.coded[0], s.coded[1]) && s.anyone_sees(c_, j));
        }
        s.table.push_back(read ? order.back() : INT32_MIN);
        order.pop_back();
      }
      for (std::int64_t p = 0; p < std::max(s.coded[0], s.coded[1]); p += code_page) {
        s.code_table.push_back(code_order.back());
        code_order.pop_back();
      }
    }
  }
  std::vector<std::int32_t> shuffled(std::int64_t n) {
    std::vector<std::int32_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[std::size_t(random_.below(std::int64_t(i)))]);
    }
    return order;
  }

  void write_exact(Backend& b, const Sequence& s, void* k, void* v) {
    const std::int64_t width = c_.kv_heads * c_.d;
    std::vector<std::int64_t> slots;
    std::vector<T> rows[2];
    for (std::int64_t p = std::min(s.coded[0], s.coded[1]); p < s.length; ++p) {
      if (!s.anyone_sees(c_, p)) continue;
      slots.push_back(std::int64_t(s.table[std::size_t(p / c_.page_size)]) * c_.page_size +
                      p % c_.page_size);
      for (int side : {0, 1}) {
        for (std::int64_t i = 0; i < width; ++i) {
          rows[side].push_back(p < s.coded[side] ? canonical_nan(T(0))
                                                 : s.values[side][at(0, p, i)]);
        }
      }
    }
    const auto n = std::int64_t(slots.size());
    if (n == 0) return;
    const DeviceMemory k_rows = on(b, rows[0]), v_rows = on(b, rows[1]);
    b.write_kv({k_rows.get(), n, width, width}, {v_rows.get(), n, width, width}, slots, c_.kv_heads,
               c_.page_size, k, v);
    const DeviceMemory k_back(b, rows[0].size() * sizeof(T)), v_back(b, rows[1].size() * sizeof(T));
    b.read_kv(slots, c_.kv_heads, c_.page_size, k, v, {k_back.get(), n, width, width}, {});
    b.read_kv(slots, c_.kv_heads, c_.page_size, k, v, {}, {v_back.get(), n, width, width});
    std::vector<T> back[2] = {rows[0], rows[1]};
    b.download(back[0].data(), k_back.get(), back[0].size() * sizeof(T));
    b.download(back[1].data(), v_back.get(), back[1].size() * sizeof(T));
    for (int side : {0, 1}) EXPECT_TRUE(cpu::testing::same(rows[side], back[side])) << "read_kv";
  }

  void write_codes(Backend& b, const Sequence& s, int side, void* codes) {
    const CodeLayout& layout = layout_[side];
    std::vector<std::int64_t> slots;
    for (std::int64_t p = 0; p < s.coded[side]; p += layout.codec.tokens) {
      slots.push_back(std::int64_t(s.code_table[std::size_t(p / layout.page_size)]) *
                          layout.page_size +
                      p % layout.page_size);
    }
    if (slots.empty()) return;
    const std::int64_t width = c_.kv_heads * c_.d;
    const DeviceMemory rows = on(b, s.values[side]);
    b.encode_kv({rows.get(), s.coded[side], width, width}, slots, layout, codes);
  }
  static DeviceMemory on(Backend& b, const std::vector<T>& values) {
    DeviceMemory memory(b, values.size() * sizeof(T));
    b.upload(memory.get(), values.data(), values.size() * sizeof(T));
    return memory;
  }

  AttentionRows arguments() {
    rows_.clear();
    for (const Place& place : places_) {
      const Sequence& s = sequences_[place.sequence];
      AttentionRows::Row row;
      row.position = place.position;
      row.first = place.first;
      row.table = s.table.data();
      row.keep = c_.evict > 0 ? s.keep.data() : nullptr;
      row.keep_stride = s.keep_stride;
      // A row whose position is coded sees all of them coded: the store says it with a great
      // number.
      row.k_coded = s.coded[0] == s.length ? std::int64_t(1) << 40 : s.coded[0];
      row.v_coded = s.coded[1] == s.length ? std::int64_t(1) << 40 : s.coded[1];
      row.code_table = s.code_table.data();
      rows_.push_back(row);
    }
    AttentionRows args;
    args.rows = rows_;
    args.heads = c_.heads;
    args.head_dim = c_.d;
    args.kv_heads = c_.kv_heads;
    for (std::int64_t h = 0; h < c_.heads; ++h) args.kv_of_head.push_back(std::int32_t(kv_of(h)));
    args.scale = scale();
    args.page_size = c_.page_size;
    args.k_codes = layout_[0];
    args.v_codes = layout_[1];
    return args;
  }

  /// exp(score - M) / L as NUMERICS.md says it, one split after another.
  template <class Visible, class Key>
  void literal_weights(const Place& place, const T* q, const Visible& visible, const Key& key,
                       T* weights) const {
    T m = T(0), l = T(0);
    bool started = false;
    std::vector<T> score(std::size_t(place.position) + 1);
    for (std::int64_t split = place.first / 256; split <= place.position / 256; ++split) {
      T split_m = T(0), lane[32] = {};
      bool any = false;
      const std::int64_t lo = std::max(place.first, split * 256);
      const std::int64_t hi = std::min(place.position, split * 256 + 255);
      for (std::int64_t j = lo; j <= hi; ++j) {
        if (!visible(j)) continue;
        T sum = T(0);
        for (int i = 0; i < c_.d; ++i) sum = fma_(q[i], key(j, i), sum);
        score[std::size_t(j)] = sum * T(scale());
        split_m = any ? max_nan(split_m, score[std::size_t(j)]) : score[std::size_t(j)];
        any = true;
      }
      if (!any) continue;
      for (std::int64_t j = lo; j <= hi; ++j) {
        if (visible(j)) lane[j % 32] = lane[j % 32] + exp_(score[std::size_t(j)] - split_m);
      }
      const T split_l = lane_tree(lane, 32);
      const T merged = started ? max_nan(m, split_m) : split_m;
      l = started ? fma_(l, exp_(m - merged), split_l * exp_(split_m - merged)) : split_l;
      m = merged;
      started = true;
    }
    for (std::int64_t j = place.first; j <= place.position; ++j) {
      if (visible(j)) weights[j] = canonical(exp_(score[std::size_t(j)] - m) * (T(1) / l));
    }
  }

  const Mode& mode_;
  KvCase c_;
  cpu::testing::Random random_;
  CodeLayout layout_[2];
  std::vector<Sequence> sequences_;
  std::vector<Place> places_;
  std::vector<AttentionRows::Row> rows_;
  std::vector<T> q_;
  std::int64_t pages_ = 0, code_pages_ = 0;
};

}  // namespace isobit::testing
