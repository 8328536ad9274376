// Attention over pools that hold codes, and attention's weights.
//
// The scalar table reads codes one value at a time. For the others a split is decoded into memory
// that stays in the cache, once for all rows of a sequence that are at hand, and read like a page.

#include "runtime/backends/cpu/attention.h"
#include "runtime/backends/cpu/decode_groups.h"
#include "runtime/numerics/kv/codecs.h"

namespace isobit::cpu {
namespace {

constexpr std::int64_t kGroupRows = 64;   // rows that share one decoding
constexpr std::int64_t kRowsOfCodes = 2;  // up to so many read codes as they are
constexpr std::int64_t kPartElements = std::int64_t(1)
                                       << 21;  // of queries that wait for their merge

/// Rows [begin, end) of one sequence, one KV head and one split.
struct Item {
  std::int64_t begin, end, head, split;
};

/// One split of one KV head, as a page of 256 positions.
template <class T>
class DecodedSplit {
 public:
  static std::int64_t elements(std::int64_t d) { return 2 * kSplitPositions * d; }
  DecodedSplit(const KernelsOf<T>& kernels, T* memory, std::int64_t d)
      : kernels_(kernels), d_(d), k_(memory), v_(memory + kSplitPositions * d) {}

  /// Positions [lo, hi] of one split, without those that the row's mask hides.
  void read(const AttentionCall<T>& call, const AttentionTask<T>& task, const KvCodes& codes,
            std::int64_t lo, std::int64_t hi, bool values) {
    coded_ = false;
    const auto seen = [&](std::int64_t p) { return task.keep == nullptr || task.keep[p] != 0; };
    const auto key = [&](std::int64_t p, std::int64_t i) -> T& {
      return k_[key_offset(p % kSplitPositions, d_) + i * kKeyBlock];
    };
    const auto value = [&](std::int64_t p, std::int64_t i) -> T& {
      return v_[p % kSplitPositions * d_ + i];
    };
    decode(codes, codes.k_layout, codes.k, codes.k_coded, lo, hi, seen, key);
    const std::int64_t page_size = call.args.page_size;
    for (std::int64_t p = lo; p <= hi; ++p) {
      if (!seen(p) || codes.holds_key(p)) continue;
      read_pool(
          task.kv.k, task.kv.element,
          task.kv.table[p / page_size] * task.kv.k_page_stride + key_offset(p % page_size, d_),
          kKeyBlock, &key(p, 0), kKeyBlock, d_);
    }
    if (!values) return;
    decode(codes, codes.v_layout, codes.v, codes.v_coded, lo, hi, seen, value);
    for (std::int64_t p = lo; p <= hi; ++p) {
      if (!seen(p) || codes.holds_value(p)) continue;
      read_pool(task.kv.v, task.kv.element,
                task.kv.table[p / page_size] * task.kv.v_page_stride + p % page_size * d_, 1,
                &value(p, 0), 1, d_);
    }
  }
  /// The same as codes, for a row that reads them once. False, and nothing done, where the row sees
  /// exact positions too, or the codecs' tiles are no groups.
  bool read_codes(const AttentionTask<T>& task, const KvCodes& codes, std::int64_t lo,
                  std::int64_t hi, bool values) {
    coded_ = false;
    if (sizeof(T) == 8 || codes.from > lo) return false;
    if (codes.k_coded <= hi || (values && codes.v_coded <= hi)) return false;
    const auto seen = [&](std::int64_t p) { return task.keep == nullptr || task.keep[p] != 0; };
    const std::int64_t size = kSplitPositions * d_, fields = size / kGroupCodes;
    room_.key = reinterpret_cast<std::int8_t*>(k_);
    room_.value = room_.key + size;
    room_.key_scale = v_;
    room_.key_low = v_ + fields;
    room_.value_scale = v_ + 2 * fields;
    room_.value_low = v_ + 3 * fields;
    // Keys first: what their codec writes of the room, values may write again.
    with_groups(codes.k_layout, [&]<class Codec>(const Codec& codec) {
      GroupDecoder<T, Codec>(codec, kernels_, codes, codes.k_layout, codes.k)
          .key_codes(lo, hi + 1, seen, room_);
      coded_ = true;
    });
    if (!coded_ || !values) return coded_;
    coded_ = false;
    with_groups(codes.v_layout, [&]<class Codec>(const Codec& codec) {
      if constexpr (Codec::tokens() == 1) {
        GroupDecoder<T, Codec>(codec, kernels_, codes, codes.v_layout, codes.v)
            .value_codes(lo, hi + 1, seen, room_);
        coded_ = true;
      }
    });
    return coded_;
  }
  /// `zeros`: a page table for every split, each its page 0.
  [[nodiscard]] KvView<T> view(const std::int32_t* zeros) const {
    KvView<T> out{k_, v_, zeros, 0, 0, std::int32_t(kSplitPositions)};
    if (!coded_) return out;
    out.k = room_.key;
    out.v = room_.value;
    out.split = &room_.split;
    return out;
  }

 private:
  /// Positions of [lo, hi] that are coded; a tile lies within one split.
  template <class Seen, class Place>
  void decode(const KvCodes& codes, const CodeLayout& layout, const std::uint8_t* pool,
              std::int64_t coded, std::int64_t lo, std::int64_t hi, const Seen& seen,
              const Place& place) {
    const std::int64_t begin = std::max(lo, codes.from), end = std::min(hi + 1, coded);
    if (begin >= end) return;
    with_codec(layout.codec, [&]<class Codec>(const Codec& codec) {
      const int tokens = codec.tokens(), channels = codec.channels();
      if constexpr (GroupCodec<Codec, T>) {
        GroupDecoder<T, Codec> groups(codec, kernels_, codes, layout, pool);
        if (&layout == &codes.k_layout) return groups.keys(begin, end, seen, k_);
        if (tokens == 1) return groups.values(begin, end, seen, v_);
      }
      for (std::int64_t p = begin / tokens * tokens; p < end; p += tokens) {
        if (tokens == 1 && !seen(p)) continue;
        const std::int64_t page = codes.table[p / layout.page_size];
        for (std::int64_t c = 0; c < d_; c += channels) {
          const auto tile =
              codec.template open<T>(pool + layout.tile(page, codes.head, p % layout.page_size, c));
          for (int t = 0; t < tokens; ++t) {
            if (tokens > 1 && !seen(p + t)) continue;
            for (int i = 0; i < channels; ++i) place(p + t, c + i) = tile.at(t, i);
          }
        }
      }
    });
  }

  template <class F>
  static void with_groups(const CodeLayout& layout, const F& f) {
    with_codec(layout.codec, [&]<class Codec>(const Codec& codec) {
      if constexpr (GroupCodec<Codec, T>) f(codec);
    });
  }

  const KernelsOf<T>& kernels_;
  std::int64_t d_;
  T *k_, *v_;
  bool coded_ = false;  // the memory holds codes
  CodesRoom<T> room_;
};

bool same_view(const AttentionRows::Row& a, const AttentionRows::Row& b) {
  return a.table == b.table && a.code_table == b.code_table && a.keep == b.keep &&
         a.coded_from == b.coded_from && a.k_coded == b.k_coded && a.v_coded == b.v_coded;
}

/// Rows [first, last) in groups that see the same, each cut into its KV heads and splits.
template <class T>
std::vector<Item> items_of(const AttentionCall<T>& call, std::int64_t first, std::int64_t last) {
  std::vector<Item> items;
  for (std::int64_t begin = first, end; begin < last; begin = end) {
    std::int64_t lo = call.place(begin).first, hi = call.place(begin).position;
    for (end = begin + 1; end < std::min(last, begin + kGroupRows); ++end) {
      if (!same_view(call.place(begin), call.place(end))) break;
      lo = std::min(lo, call.place(end).first);
      hi = std::max(hi, call.place(end).position);
    }
    for (std::int64_t h = 0; h < call.args.kv_heads; ++h) {
      for (std::int64_t s = lo / kSplitPositions; s <= hi / kSplitPositions; ++s) {
        items.push_back({begin, end, h, s});
      }
    }
  }
  return items;
}

/// Decodes what any row of an item sees of its split.
template <class T>
void decode_item(const AttentionCall<T>& call, const Item& item, bool values,
                 DecodedSplit<T>& split) {
  const std::int64_t begin = item.split * kSplitPositions, end = begin + kSplitPositions - 1;
  std::int64_t lo = end + 1, hi = begin - 1;
  for (std::int64_t r = item.begin; r < item.end; ++r) {
    const std::int64_t from = std::max(call.place(r).first, begin);
    const std::int64_t to = std::min(call.place(r).position, end);
    if (from > to) continue;
    lo = std::min(lo, from);
    hi = std::max(hi, to);
  }
  const AttentionTask<T> task = call.task(item.head, item.begin);
  const KvCodes codes = call.codes(item.head, item.begin);
  if (item.end - item.begin <= kRowsOfCodes && split.read_codes(task, codes, lo, hi, values))
    return;
  split.read(call, task, codes, lo, hi, values);
}

/// What is read next, while this item's split is used.
template <class T>
void find_pages(const AttentionCall<T>& call, const Item& next) {
  const KvCodes codes = call.codes(next.head, next.begin);
  const std::int64_t begin = std::max(next.split * kSplitPositions, call.place(next.begin).first);
  const std::int64_t end =
      std::min((next.split + 1) * kSplitPositions,
               std::min({codes.k_coded, codes.v_coded, call.place(next.begin).position + 1}));
  if (begin < end && codes.k_layout.page_size % kSplitPositions == 0) {
    find_pages(codes, begin, end);
  }
}

}  // namespace

void CpuBackend::attention_coded(Rows q, const AttentionRows& args, const KvPools& pools,
                                 Rows out) {
  if (args.heads == 0 || args.rows.empty()) return;
  dispatch([&]<class T>(T) {
    const AttentionCall<T> call{q, args, pools, out, mode_};
    if (table<T>().attention_part == nullptr) {
      const std::int64_t tasks = call.rows() * args.kv_heads;
      return pool_.run(tasks, [&](int index, int shares) {
        for (std::int64_t t = index; t < tasks; t += shares) {
          const KvCodes codes = call.codes(t / call.rows(), t % call.rows());
          AttentionTask<T> task = call.task(t / call.rows(), t % call.rows());
          task.kv.codes = &codes;
          table<T>().attention(task);
        }
      });
    }
    std::int64_t splits = 1;
    for (std::int64_t r = 0; r < call.rows(); ++r) splits = std::max(splits, call.splits(r));
    const std::int64_t part = args.heads * (args.head_dim + 2) * splits;
    const std::int64_t at_once = std::max<std::int64_t>(kPartElements / part, 1);
    for (std::int64_t r = 0; r < call.rows(); r += at_once) {
      attend_coded(call, r, std::min(r + at_once, call.rows()));
    }
  });
}

/// Rows [first, last): every split of every item to its parts, then each row's merge.
template <class T>
void CpuBackend::attend_coded(const AttentionCall<T>& call, std::int64_t first, std::int64_t last) {
  const std::int64_t d = call.args.head_dim, kv_heads = call.args.kv_heads;
  std::vector<AttentionTask<T>> tasks;  // row by row, KV head by KV head
  std::vector<std::int64_t> place{0};   // of a task's parts
  std::int64_t most = 0;
  for (std::int64_t r = first; r < last; ++r) {
    for (std::int64_t h = 0; h < kv_heads; ++h) {
      tasks.push_back(call.task(h, r));
      place.push_back(place.back() + call.splits(r) * tasks.back().heads * (d + 2));
      most = std::max(most, tasks.back().last);
    }
  }
  const std::vector<std::int32_t> zeros(std::size_t(most / kSplitPositions) + 1, 0);
  const std::vector<Item> items = items_of(call, first, last);
  T* const parts = room<T>(parts_, place.back());
  T* const decoded = room<T>(decoded_, DecodedSplit<T>::elements(d) * pool_.size());
  pool_.run(std::int64_t(items.size()), [&](int index, int shares) {
    DecodedSplit<T> split(table<T>(), decoded + index * DecodedSplit<T>::elements(d), d);
    const Range mine = share_of(std::int64_t(items.size()), index, shares);
    for (std::int64_t i = mine.begin; i < mine.end; ++i) {
      const Item& item = items[std::size_t(i)];
      decode_item(call, item, true, split);
      if (i + 1 < mine.end) find_pages(call, items[std::size_t(i + 1)]);
      for (std::int64_t r = item.begin; r < item.end; ++r) {
        const auto t = std::size_t((r - first) * kv_heads + item.head);
        AttentionTask<T> task = tasks[t];
        const std::int64_t at = item.split - task.first / kSplitPositions;
        if (at < 0 || at >= call.splits(r)) continue;
        task.kv = split.view(zeros.data());
        table<T>().attention_part(task, item.split, parts + place[t] + at * task.heads * (d + 2));
      }
    }
  });
  const auto count = std::int64_t(tasks.size());
  pool_.run(count, [&](int index, int shares) {
    for (std::int64_t t = index; t < count; t += shares) {
      table<T>().attention_merge(tasks[std::size_t(t)], parts + place[std::size_t(t)]);
    }
  });
}

void CpuBackend::attention_weights(Rows q, const AttentionRows& args, const KvPools& pools,
                                   Rows out) {
  if (args.heads == 0 || args.rows.empty()) return;
  ISOBIT_CHECK(out.stride == out.cols);
  dispatch([&]<class T>(T) {
    const AttentionCall<T> call{q, args, pools, {}, mode_};
    const bool literal = table<T>().attention_part == nullptr;
    std::vector<Item> items;             // one a task and split
    std::vector<std::int64_t> place{0};  // of an item's sums
    std::int64_t most = 0;
    for (std::int64_t r = 0; r < call.rows(); ++r) {
      most = std::max(most, call.place(r).position);
      for (const Item& item : items_of(call, r, r + 1)) {
        items.push_back(item);
        place.push_back(place.back() + 2 * call.task(item.head, r).heads);
      }
    }
    const std::vector<std::int32_t> zeros(std::size_t(most / kSplitPositions) + 1, 0);
    const std::int64_t room_of_one = DecodedSplit<T>::elements(args.head_dim);
    T* const sums = room<T>(parts_, place.back());
    T* const decoded = room<T>(decoded_, room_of_one * pool_.size());
    const auto weights = [&](const AttentionTask<T>& task, std::int64_t r) {
      const std::int64_t head = (task.q - row<T>(q, r)) / args.head_dim;
      return row<T>(out, r * args.heads + head);
    };
    const auto count = std::int64_t(items.size());
    pool_.run(count, [&](int index, int shares) {
      DecodedSplit<T> split(table<T>(), decoded + index * room_of_one, args.head_dim);
      for (std::int64_t i = index; i < count; i += shares) {
        const Item& item = items[std::size_t(i)];
        AttentionTask<T> task = call.task(item.head, item.begin);
        const KvCodes codes = call.codes(item.head, item.begin);
        if (codes.k_coded > 0 && literal) task.kv.codes = &codes;
        if (codes.k_coded > 0 && !literal) {
          decode_item(call, item, false, split);
          task.kv = split.view(zeros.data());
        }
        table<T>().weights_part(task, item.split, out.cols, weights(task, item.begin),
                                sums + place[std::size_t(i)]);
      }
    });
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0 && items[i].begin == items[i - 1].begin && items[i].head == items[i - 1].head) {
        continue;  // another split of the same task
      }
      const AttentionTask<T> task = call.task(items[i].head, items[i].begin);
      table<T>().weights_merge(task, out.cols, sums + place[i], weights(task, items[i].begin));
    }
  });
}

}  // namespace isobit::cpu
