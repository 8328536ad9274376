// Defects of the cache: what a slot holds, where attention cuts the keys, what is kept of them.

#include <algorithm>
#include <cmath>
#include <map>

#include "harness/selftest/defects.h"
#include "runtime/numerics/order.h"

namespace isobit::selftest {
namespace {

/// Attention by the literal text, but with positions moved before the keys are cut into splits.
class MovedSplits : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

 protected:
  /// Position -> place in the order that is cut at multiples of 256, and back (-1: nothing there).
  struct Places {
    std::function<std::int64_t(std::int64_t)> place, position;
  };
  /// A value of K or V on its way to attention.
  [[nodiscard]] virtual float read(float x) const { return x; }

  void attend(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool, Rows out,
              const std::function<Places(std::size_t row)>& places_of) {
    const std::int64_t d = args.head_dim, width = args.kv_heads * d;
    std::vector<float> query = fetch(q), result(std::size_t(out.rows * out.cols));
    std::map<const std::int32_t*, std::vector<float>> keys, values;  // by page table
    for (std::size_t r = 0; r < args.rows.size(); ++r) {
      const AttentionRows::Row& row = args.rows[r];
      std::vector<float>&k = keys[row.table], &v = values[row.table];
      for (auto p = std::int64_t(k.size()) / width; p <= row.position; ++p) {
        k.resize(std::size_t((p + 1) * width)), v.resize(k.size());
        const std::int64_t slot =
            std::int64_t(row.table[p / args.page_size]) * args.page_size + p % args.page_size;
        inner_->read_kv({&slot, 1}, args.kv_heads, args.page_size, k_pool, v_pool,
                        {k.data() + p * width, 1, width, width},
                        {v.data() + p * width, 1, width, width});
      }
      const Places places = places_of(r);
      for (std::int64_t h = 0; h < args.heads; ++h) {
        const std::int64_t column = args.kv_of_head[std::size_t(h)] * d;
        const auto at = [&](const std::vector<float>& rows, std::int64_t place, int i) {
          return read(rows[std::size_t(places.position(place) * width + column + i)]);
        };
        const std::size_t o = r * std::size_t(q.cols) + std::size_t(h * d);
        attention_row<float>(
            query.data() + o, int(d), float(args.scale), 0.0F, places.place(row.first),
            places.place(row.position),
            [&](std::int64_t place) { return places.position(place) >= row.first; },
            [&](std::int64_t place, int i) { return at(k, place, i); },
            [&](std::int64_t place, int i) { return at(v, place, i); }, mode_.stored,
            result.data() + o);
      }
    }
    store(result, out);
  }
};

/// Splits begin at the chunk's first row, not at absolute positions.
class ChunkSplits final : public MovedSplits {
 public:
  using MovedSplits::MovedSplits;
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override {
    std::map<const std::int32_t*, std::pair<std::int64_t, int>> starts;  // first position, rows
    for (const auto& row : args.rows) {
      auto& [start, count] = starts.emplace(row.table, std::pair(row.position, 0)).first->second;
      start = std::min(start, row.position);
      ++count;
    }
    const bool chunked = std::any_of(starts.begin(), starts.end(), [](const auto& entry) {
      return entry.second.second > 1 && entry.second.first % kSplit != 0;
    });
    if (!chunked) return ForwardingBackend::attention(q, args, k_pool, v_pool, out);
    attend(q, args, k_pool, v_pool, out, [&](std::size_t r) {
      const auto [start, count] = starts.at(args.rows[r].table);
      const std::int64_t shift = count > 1 ? (kSplit - start % kSplit) % kSplit : 0;
      return Places{[shift](std::int64_t position) { return position + shift; },
                    [shift](std::int64_t place) { return place - shift; }};
    });
  }
};

/// One split a page.
class PageSplits final : public MovedSplits {
 public:
  using MovedSplits::MovedSplits;
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override {
    const std::int64_t page = args.page_size;
    if (page >= kSplit) return ForwardingBackend::attention(q, args, k_pool, v_pool, out);
    attend(q, args, k_pool, v_pool, out, [page](std::size_t) {
      return Places{[page](std::int64_t p) { return p / page * kSplit + p % page; },
                    [page](std::int64_t place) {
                      return place % kSplit < page ? place / kSplit * page + place % kSplit : -1;
                    }};
    });
  }
};

/// The first row of a new page, when it comes alone, holds what was written just before it.
class StaleRow final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void write_kv(Rows k, Rows v, std::span<const std::int64_t> slots, std::int64_t kv_heads,
                std::int32_t page_size, void* k_pool, void* v_pool) override {
    if (k.data == nullptr) {  // rows of the residual stream
      return ForwardingBackend::write_kv(k, v, slots, kv_heads, page_size, k_pool, v_pool);
    }
    if (slots.size() == 1 && slots[0] % page_size == 0 && !last_k_.empty()) {
      const std::vector<float> new_k = fetch(k), new_v = fetch(v);
      store(last_k_, k), store(last_v_, v);
      last_k_ = new_k, last_v_ = new_v;
    } else if (slots.size() == 1) {
      last_k_ = fetch(k), last_v_ = fetch(v);
    }
    ForwardingBackend::write_kv(k, v, slots, kv_heads, page_size, k_pool, v_pool);
  }

 private:
  std::vector<float> last_k_, last_v_;
};

float cut_to_bf16(float x) {
  return float_of(bits_of(x) & 0xffff0000u);
}

/// Attention reads K and V through bf16 where pages are scattered.
class LossyRead final : public MovedSplits {
 public:
  using MovedSplits::MovedSplits;
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override {
    if (!setup_.cache.shuffled_pages) {
      return ForwardingBackend::attention(q, args, k_pool, v_pool, out);
    }
    const auto same = [](std::int64_t position) { return position; };
    attend(q, args, k_pool, v_pool, out, [&](std::size_t) { return Places{same, same}; });
  }

 protected:
  [[nodiscard]] float read(float x) const override { return cut_to_bf16(x); }
};

/// One value of layer 1, position 5, loses its low half on the way into the cache.
class LossyWrite final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void write_kv(Rows k, Rows v, std::span<const std::int64_t> slots, std::int64_t kv_heads,
                std::int32_t page_size, void* k_pool, void* v_pool) override {
    for (std::size_t r = 0; r < slots.size(); ++r) {
      if (layer() != 1 || setup_.cache.chunk != 17 || slots[r] % page_size != 5) continue;
      change(v, [&](std::vector<float>& values) {
        float& first = values[r * std::size_t(v.cols)];
        first = cut_to_bf16(first);
      });
    }
    ForwardingBackend::write_kv(k, v, slots, kv_heads, page_size, k_pool, v_pool);
  }
};

/// Evicts position 3 after the first row that could.
class DropsKeyThree final : public CachePolicy {
 public:
  [[nodiscard]] bool waits_for_prompt() const override { return false; }
  [[nodiscard]] bool selects(std::int64_t, std::int64_t q) const override { return q >= 4; }
  [[nodiscard]] bool acts(const KvModel&, std::int64_t, std::int64_t q) const override {
    return q > 4;
  }
  void select(const KvScores&, std::span<std::uint8_t> keep) const override { keep[3] = 0; }
};

void evict_in_prefix(const Cell& cell, GenerateRequest& request) {
  if (cell.value("cache") == "prefix") request.kv.policy = std::make_shared<DropsKeyThree>();
}

void patch_residual(const Cell& cell, GenerateRequest& request) {
  if (cell.value("cache") != "off") return;
  request.residual = [](int layer, int, std::int64_t position, std::span<double> residual) {
    if (layer == 1 && position == 30) {
      residual[0] = double(std::nextafter(float(residual[0]), 1e30f));
    }
  };
}

/// Only what is rebuilt is wrong: the first computation of each row is right.
class RebuiltKeys final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void rms_norm(Rows x, const void* weight, double eps, Rows out) override {
    const bool in_place = x.data == out.data && x.rows > 1;
    ForwardingBackend::rms_norm(x, weight, eps, out);
    // Rebuilding normalises many rows in place; the last norm does so with the wanted rows.
    if (!in_place || !setup_.cache.recomputes || x.rows < 20) return;
    change(out, [](std::vector<float>& v) { v[1] = std::nextafter(v[1], 1e30f); });
  }
};

}  // namespace

std::vector<Defect> cache_defects() {
  std::vector<Defect> all;
  const auto add = [&](const char* name, auto... rest) -> Defect& {
    return add_defect(all, name, "cache", rest...);
  };
  add("chunk-splits", "attention, splits from the chunk's start", "star",
      "cache=chunked:17 or cache=prefix")
      .backend = backend_of<ChunkSplits>();
  add("page-splits", "attention, a split a page", "star", "cache=paged or cache=prefix").backend =
      backend_of<PageSplits>();
  add("stale-row", "write_kv, first row of a page", "star", "cache=paged or cache=prefix").backend =
      backend_of<StaleRow>();
  add("lossy-read", "attention, values of K and V", "star", "cache=paged").backend =
      backend_of<LossyRead>();
  add("lossy-write", "write_kv, layer 1, position 5", "star", "cache=chunked:17").backend =
      backend_of<LossyWrite>();
  add("evicted-key", "a policy that nobody asked for", "star", "cache=prefix").request =
      evict_in_prefix;
  add("patched-residual", "residual hook, layer 1", "star", "cache=off").request = patch_residual;
  add("rebuilt-differs", "rebuilding K and V", "rebuild", "cache=recomputed", Verdict::diff,
      "computed again differs")
      .backend = backend_of<RebuiltKeys>();
  return all;
}

}  // namespace isobit::selftest
