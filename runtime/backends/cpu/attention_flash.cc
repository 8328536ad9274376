// Attention over key blocks, as fused kernels make it (numerics/flash.h).
//
// The scalar table takes the literal text. For the others a thread takes some rows of one sequence
// and one KV head, widens a block of keys and values once for all of them, and computes keys side
// by side (scores) or channels side by side (P V): chains that share a register are independent.

#include "runtime/backends/cpu/attention.h"
#include "runtime/numerics/flash.h"

namespace isobit::cpu {
namespace {

constexpr std::int64_t kGroupRows = 8;  // rows that share one widening of a block
constexpr int kWidth = 16;              // keys or channels side by side

/// Rows [begin, end) of one sequence, which read it alike, and one KV head.
struct Group {
  std::int64_t begin, end, head;
};

std::vector<Group> groups_of(const AttentionRows& args) {
  const auto alike = [](const AttentionRows::Row& a, const AttentionRows::Row& b) {
    return a.table == b.table && a.keep == b.keep && a.keep_stride == b.keep_stride;
  };
  std::vector<Group> groups;
  const auto rows = std::int64_t(args.rows.size());
  for (std::int64_t h = 0; h < args.kv_heads; ++h) {
    for (std::int64_t begin = 0, end; begin < rows; begin = end) {
      const auto& first = args.rows[std::size_t(begin)];
      for (end = begin + 1; end < std::min(rows, begin + kGroupRows); ++end) {
        if (!alike(first, args.rows[std::size_t(end)])) break;
      }
      groups.push_back({begin, end, h});
    }
  }
  return groups;
}

/// Sizes of a thread's memory, in elements.
struct Room {
  std::int64_t block, d, heads, splits;
  [[nodiscard]] std::int64_t keys() const { return block * d; }
  [[nodiscard]] std::int64_t query() const { return splits * d + d + splits; }  // parts, o, lse
  [[nodiscard]] std::int64_t all() const {
    return 2 * keys() + block + kGroupRows * heads * query();
  }
};

/// acc(k) = chain over d channels of q(i) * key(i, k), kWidth keys side by side.
template <class T>
void score_lanes(const T* q, const T* key, std::int64_t stride, std::int64_t d, T* out) {
  T acc[kWidth];
  for (int k = 0; k < kWidth; ++k) acc[k] = T(0);
  for (std::int64_t i = 0; i < d; ++i) {
    const T* lanes = key + i * stride;
    for (int k = 0; k < kWidth; ++k) acc[k] = fma_(q[i], lanes[k], acc[k]);
  }
  for (int k = 0; k < kWidth; ++k) out[k] = acc[k];
}

/// o(i) = chain over keys [begin, end) of p(j) * value(j, i), W channels side by side.
template <int W, class T>
void add_values(const T* p, const T* value, std::int64_t d, int begin, int end, T* o) {
  T acc[W];
  for (int k = 0; k < W; ++k) acc[k] = o[k];
  for (int j = begin; j < end; ++j) {
    const T* lanes = value + j * d;
    for (int k = 0; k < W; ++k) acc[k] = fma_(p[j], lanes[k], acc[k]);
  }
  for (int k = 0; k < W; ++k) o[k] = acc[k];
}

/// Offsets [begin, end) of a block that one row may see, keep of the block's first position.
struct Seen {
  int begin = 0, end = 0;
  const std::uint8_t* keep = nullptr;
  [[nodiscard]] bool operator()(int j) const { return keep == nullptr || keep[j] != 0; }
  [[nodiscard]] bool any() const {
    for (int j = begin; j < end; ++j) {
      if ((*this)(j)) return true;
    }
    return false;
  }
};

/// The work of one thread.
template <class T>
class FlashWorker {
 public:
  FlashWorker(const AttentionCall<T>& call, const KernelsOf<T>& kernels, const FlashRule& rule,
              const Room& room, T* memory)
      : call_(call),
        kernels_(kernels),
        rule_(rule),
        room_(room),
        key_(memory),
        value_(key_ + room.keys()),
        p_(value_ + room.keys()),
        queries_(p_ + room.block),
        states_(std::size_t(kGroupRows * room.heads)) {}

  void run(const Group& group) {
    std::int64_t first = call_.place(group.begin).first, last = 0;
    for (std::int64_t r = group.begin; r < group.end; ++r) {
      tasks_[r - group.begin] = call_.task(group.head, r);
      first = std::min(first, call_.place(r).first);
      last = std::max(last, call_.place(r).position);
    }
    std::fill(states_.begin(), states_.end(), Query{});
    for (std::int64_t b = first / rule_.block; b <= last / rule_.block; ++b) {
      const std::int64_t base = b * rule_.block;
      if (!read_block(tasks_[0], base, std::max(first, base),
                      std::min(last, base + rule_.block - 1))) {
        continue;
      }
      for (std::int64_t r = 0; r < group.end - group.begin; ++r) add_block(r, b);
    }
    for (std::int64_t r = 0; r < group.end - group.begin; ++r) {
      for (int h = 0; h < tasks_[r].heads; ++h) finish(r, h);
    }
  }

 private:
  struct Query {
    FlashState<T> state;
    std::int64_t split = -1;
    std::int64_t parts = 0;  // splits that are done
  };
  /// Memory of a query head: its splits' outputs, the current one's last, then their lse.
  [[nodiscard]] T* parts(std::int64_t r, int h) const {
    return queries_ + (r * room_.heads + h) * room_.query();
  }
  [[nodiscard]] T* output(std::int64_t r, int h) const {
    return parts(r, h) + room_.splits * room_.d;
  }
  Query& query(std::int64_t r, int h) { return states_[std::size_t(r * room_.heads + h)]; }

  /// Widens the visible positions of [lo, hi]: key(i, j) at i * block + j, value(j, i) at j * d +
  /// i. A hidden key may be read beside a visible one, where its lane is discarded. False when
  /// there is none.
  bool read_block(const AttentionTask<T>& task, std::int64_t base, std::int64_t lo,
                  std::int64_t hi) {
    const KvView<T>& kv = task.kv;
    const bool aligned = kv.page_size % kKeyBlock == 0;  // a block of keys is in one page
    std::int64_t read = -1;                              // the block of keys that has been read
    for (std::int64_t p = lo; p <= hi; ++p) {
      if (task.keep != nullptr && task.keep[p] == 0) continue;
      const std::int64_t page = kv.table[p / kv.page_size], o = p % kv.page_size;
      read_pool(kv.v, kv.element, page * kv.v_page_stride + o * room_.d, 1,
                value_ + (p - base) * room_.d, 1, room_.d);
      const std::int64_t key = page * kv.k_page_stride + key_offset(o, room_.d);
      if (!aligned) {
        read_pool(kv.k, kv.element, key, kKeyBlock, key_ + (p - base), room_.block, room_.d);
      } else if (p / kKeyBlock != read) {
        T* const to = key_ + (p - base) / kKeyBlock * kKeyBlock;
        for (std::int64_t i = 0; i < room_.d; ++i) {
          read_pool(kv.k, kv.element, key - p % kKeyBlock + i * kKeyBlock, 1, to + i * room_.block,
                    1, kKeyBlock);
        }
      }
      read = p / kKeyBlock;
    }
    return read >= 0;
  }

  /// The block joins every head of a row.
  void add_block(std::int64_t r, std::int64_t b) {
    const AttentionTask<T>& task = tasks_[r];
    const std::int64_t base = b * rule_.block;
    Seen seen;
    seen.begin = int(std::max<std::int64_t>(task.first - base, 0));
    seen.end = int(std::min<std::int64_t>(task.last - base + 1, rule_.block));
    if (task.keep != nullptr) seen.keep = task.keep + base;
    if (seen.begin >= seen.end || !seen.any()) return;
    const std::int64_t split = b / rule_.blocks_of_split(task.last);
    for (int h = 0; h < task.heads; ++h) {
      Query& at = query(r, h);
      if (at.split != split) {
        close(r, h);
        at.split = split;
      }
      add_block(task, task.q + h * room_.d, seen, at.state, output(r, h));
    }
  }

  void add_block(const AttentionTask<T>& task, const T* q, const Seen& seen, FlashState<T>& state,
                 T* o) {
    state.raise(scores(task, q, seen));
    state.add(terms(seen, state.m));
    for (std::int64_t i = 0; i < room_.d; ++i) o[i] = state.started ? o[i] * state.a : T(0);
    std::int64_t i = 0;
    if (seen.keep == nullptr) {
      for (; i + kWidth <= room_.d; i += kWidth) {
        add_values<kWidth>(p_, value_ + i, room_.d, seen.begin, seen.end, o + i);
      }
      for (; i < room_.d; i += 8) {
        add_values<8>(p_, value_ + i, room_.d, seen.begin, seen.end, o + i);
      }
    }
    for (int j = seen.begin; i < room_.d && j < seen.end; ++j) {
      if (!seen(j)) continue;
      const T* value = value_ + j * room_.d;
      for (std::int64_t c = 0; c < room_.d; ++c) o[c] = fma_(p_[j], value[c], o[c]);
    }
    state.started = true;
  }

  /// Scores of the block, a hidden position's being open; gives the maximum that it brings.
  T scores(const AttentionTask<T>& task, const T* q, const Seen& seen) {
    for (int k = seen.begin / kWidth * kWidth; k < seen.end; k += kWidth) {
      score_lanes(q, key_ + k, room_.block, room_.d, p_ + k);
    }
    for (int j = seen.begin; j < seen.end; ++j) p_[j] = p_[j] * task.scale;
    if (task.cap != T(0)) task.cap_scores(p_ + seen.begin, seen.end - seen.begin, task.cap);
    bool any = false;
    T r = T(0);
    for (int j = seen.begin; j < seen.end; ++j) {
      if (!seen(j)) continue;
      r = any ? max_nan(r, p_[j]) : p_[j];
      any = true;
    }
    int maxima = 0;
    for (int j = seen.begin; rule_.beta != 0.0 && j < seen.end; ++j) {
      if (seen(j) && is_flash_maximum(rule_, p_[j], r)) ++maxima;
    }
    return flash_maximum(rule_, r, maxima);
  }

  /// Scores to P, rounded; gives the sum before the rounding. A block begins at a multiple of 16,
  /// so an offset's lane is that of its position, or 16 further on: the tree's first step pairs
  /// them, and a sum of two does not depend on which comes first.
  T terms(const Seen& seen, T m) {
    T lane[kSumLanes];
    for (int k = 0; k < kSumLanes; ++k) lane[k] = T(0);
    for (int j = seen.begin; j < seen.end; ++j) p_[j] = p_[j] - m;
    const int count = seen.end - seen.begin;
    kernels_.exp(p_ + seen.begin, count, p_ + seen.begin);
    for (int j = seen.begin; j < seen.end; ++j) {
      if (seen(j)) lane[j % kSumLanes] = lane[j % kSumLanes] + p_[j];
    }
    if (rule_.p != Format::f32) {
      kernels_.round(p_ + seen.begin, count, rule_.p, p_ + seen.begin);
    }
    return flash_block_sum(rule_, lane_tree(lane, kSumLanes));
  }

  /// The current split of a query head is done.
  void close(std::int64_t r, int h) {
    Query& at = query(r, h);
    if (!at.state.started) return;
    const T inverse = T(1) / at.state.l;
    const T* o = output(r, h);
    T* part = parts(r, h) + at.parts * room_.d;
    for (std::int64_t i = 0; i < room_.d; ++i) part[i] = o[i] * inverse;
    lse(r, h)[at.parts++] = flash_lse(at.state);
    at.state = {};
  }
  [[nodiscard]] T* lse(std::int64_t r, int h) const { return output(r, h) + room_.d; }

  void finish(std::int64_t r, int h) {
    close(r, h);
    const std::int64_t n = query(r, h).parts;
    T* const out = tasks_[r].out + h * room_.d;
    const T* const part = parts(r, h);
    if (n > 1) flash_weights(lse(r, h), n);
    for (std::int64_t i = 0; i < room_.d; ++i) {
      T o = n == 0 ? canonical_nan(T(0)) : n == 1 ? part[i] : T(0);
      for (std::int64_t s = 0; n > 1 && s < n; ++s) {
        o = fma_(lse(r, h)[s], part[s * room_.d + i], o);
      }
      out[i] = T(round_to(tasks_[r].stored, o + T(0)));
    }
  }

  const AttentionCall<T>& call_;
  const KernelsOf<T>& kernels_;
  const FlashRule& rule_;
  const Room& room_;
  T *key_, *value_, *p_, *queries_;
  AttentionTask<T> tasks_[kGroupRows];
  std::vector<Query> states_;
};

/// One task as numerics/flash.h writes it. parts: (splits, head_dim).
template <class T>
void literal_task(const AttentionTask<T>& task, const FlashRule& rule, T* parts) {
  const KvView<T>& kv = task.kv;
  const int d = task.head_dim;
  const auto element = [&](const void* pool, std::int64_t at) {
    T value = T(0);
    read_pool(pool, kv.element, at, 1, &value, 1, 1);
    return value;
  };
  const auto visible = [&](std::int64_t p) { return task.keep == nullptr || task.keep[p] != 0; };
  const auto key = [&](std::int64_t p, int i) {
    return element(kv.k, kv.table[p / kv.page_size] * kv.k_page_stride +
                             key_offset(p % kv.page_size, d) + i * kKeyBlock);
  };
  const auto value = [&](std::int64_t p, int i) {
    return element(kv.v, kv.table[p / kv.page_size] * kv.v_page_stride + p % kv.page_size * d + i);
  };
  for (int h = 0; h < task.heads; ++h) {
    flash_row(rule, task.q + h * d, d, task.scale, task.cap, task.first, task.last, visible, key,
              value, task.stored, parts, task.out + h * d);
  }
}

}  // namespace

void CpuBackend::attention_flash(Rows q, const AttentionRows& args, const void* k_pool,
                                 const void* v_pool, Rows out) {
  const FlashRule rule = flash_.rule(args);
  flash_.note(rule, args);
  if (args.heads == 0 || args.rows.empty()) return;
  std::vector<std::int32_t> acted(std::size_t(pool_.size()), 0);
  const auto rule_of = [&](int index) {
    FlashRule mine = rule;
    mine.acted = &acted[std::size_t(index)];
    return mine;
  };
  dispatch([&]<class T>(T) {
    const AttentionCall<T> call{q, args, {k_pool, v_pool, nullptr, nullptr}, out, mode_};
    if (table<T>().attention_part == nullptr) {
      const std::int64_t tasks = call.rows() * args.kv_heads, each = rule.splits * args.head_dim;
      T* const parts = room<T>(parts_, each * pool_.size());
      return pool_.run(tasks, [&](int index, int shares) {
        const FlashRule mine = rule_of(index);
        for (std::int64_t t = index; t < tasks; t += shares) {
          literal_task(call.task(t / call.rows(), t % call.rows()), mine, parts + index * each);
        }
      });
    }
    const std::vector<Group> groups = groups_of(args);
    const Room memory{rule.block, args.head_dim, args.heads, rule.splits};
    T* const parts = room<T>(parts_, memory.all() * pool_.size());
    const auto count = std::int64_t(groups.size());
    pool_.run(count, [&](int index, int shares) {
      const FlashRule mine = rule_of(index);
      FlashWorker<T> worker(call, table<T>(), mine, memory, parts + index * memory.all());
      for (std::int64_t g = index; g < count; g += shares) worker.run(groups[std::size_t(g)]);
    });
  });
  if (std::count(acted.begin(), acted.end(), 1) > 0) flash_.note_mitigation();
}

}  // namespace isobit::cpu
