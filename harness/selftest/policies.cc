// Defects of cache policies: a view, a tile or a kept set that depends on what the view rule
// forbids. Every cell of a plan runs under one policy (plans.cc).

#include <algorithm>
#include <numeric>

#include "harness/selftest/defects.h"
#include "runtime/numerics/kv/codecs.h"

namespace isobit::selftest {
namespace {

/// Keys are coded up to a chunk's end, not up to a group's.
class ChunkView final : public OtherRows {
 public:
  using OtherRows::OtherRows;

 protected:
  void look(AttentionRows::Row& row, const AttentionRows&) override {
    if (setup_.cache.chunk > 0) row.k_coded = row.k_coded / setup_.cache.chunk * setup_.cache.chunk;
  }
};

/// One value more than the residual stays exact.
class LateValue final : public OtherRows {
 public:
  using OtherRows::OtherRows;

 protected:
  void look(AttentionRows::Row& row, const AttentionRows&) override {
    if (setup_.threads > 1) row.v_coded = std::max<std::int64_t>(row.v_coded - 1, 0);
  }
};

/// Reaches the bytes of the tiles that encode_kv() has just made.
class OtherCodes : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

 protected:
  using Tile = std::vector<std::uint8_t>;
  /// Calls f(t, head, channel, tile) for every tile of a call; the tile goes back.
  template <class F>
  void each_tile(std::span<const std::int64_t> slots, const CodeLayout& layout, void* codes, F f) {
    Tile tile(std::size_t(layout.codec.bytes));
    for (std::size_t t = 0; t < slots.size(); ++t) {
      for (std::int64_t h = 0; h < layout.kv_heads; ++h) {
        for (std::int64_t c = 0; c < layout.head_dim; c += layout.codec.channels) {
          const std::int64_t at =
              layout.tile(slots[t] / layout.page_size, h, slots[t] % layout.page_size, c);
          auto* const place = static_cast<std::uint8_t*>(codes) + at;
          inner_->download(tile.data(), place, tile.size());
          f(std::int64_t(t), h * layout.head_dim + c, tile);
          inner_->upload(place, tile.data(), tile.size());
        }
      }
    }
  }
};

/// Where K and V are rebuilt, what was coded is coded again: codes of decoded values.
class CodedTwice final : public OtherCodes {
 public:
  using OtherCodes::OtherCodes;
  void encode_kv(Rows x, std::span<const std::int64_t> slots, const CodeLayout& layout,
                 void* codes) override {
    ForwardingBackend::encode_kv(x, slots, layout, codes);
    if (!setup_.cache.recomputes) return;
    std::vector<float> values = fetch(x);
    const KvCodec& codec = layout.codec;
    each_tile(slots, layout, codes, [&](std::int64_t t, std::int64_t column, const Tile& tile) {
      with_codec(codec, [&](const auto& made) {
        const auto read = made.template open<float>(tile.data());
        for (int token = 0; token < codec.tokens; ++token) {
          for (int i = 0; i < codec.channels; ++i) {
            values[std::size_t((t * codec.tokens + token) * x.cols + column + i)] =
                read.at(token, i);
          }
        }
      });
    });
    store(values, x);
    ForwardingBackend::encode_kv(x, slots, layout, codes);
  }
};

/// In a batch a tile keeps the scale of the tile before it.
class StaleScale final : public OtherCodes {
 public:
  using OtherCodes::OtherCodes;
  void encode_kv(Rows x, std::span<const std::int64_t> slots, const CodeLayout& layout,
                 void* codes) override {
    ForwardingBackend::encode_kv(x, slots, layout, codes);
    if (setup_.batch == 1) return;
    Tile last;
    each_tile(slots, layout, codes, [&](std::int64_t, std::int64_t, Tile& tile) {
      const Tile own = tile;
      if (!last.empty()) std::copy_n(last.begin(), field_bytes(layout.codec.stored), tile.begin());
      last = own;
    });
  }
};

/// Where a prefix is shared, codes are counted in the scale as it is stored, not as it was found.
class RoundedScale final : public OtherCodes {
 public:
  using OtherCodes::OtherCodes;
  void encode_kv(Rows x, std::span<const std::int64_t> slots, const CodeLayout& layout,
                 void* codes) override {
    ForwardingBackend::encode_kv(x, slots, layout, codes);
    if (!setup_.cache.shares_prefix) return;
    const std::vector<float> values = fetch(x);
    each_tile(slots, layout, codes, [&](std::int64_t t, std::int64_t column, Tile& tile) {
      const float d = float_from_fp16(std::uint16_t(tile[0] | tile[1] << 8));
      for (int i = 0; i < Q8_0::kChannels && d != 0.0f; ++i) {
        const float value = values[std::size_t(t * x.cols + column + i)];
        tile[std::size_t(2 + i)] =
            std::uint8_t(std::clamp(round_half_away(value * (1.0f / d)), -127, 127));
      }
    });
  }
};

/// The mask of what is kept goes by slot, where slots are not in the order of positions.
class SlotMask final : public OtherRows {
 public:
  using OtherRows::OtherRows;

 protected:
  void look(AttentionRows::Row& row, const AttentionRows& args) override {
    if (row.keep == nullptr || !setup_.cache.shuffled_pages) return;
    std::vector<std::int64_t> order(std::size_t(row.position) + 1);
    std::iota(order.begin(), order.end(), std::int64_t(0));
    const auto slot = [&](std::int64_t p) {
      return row.table[p / args.page_size] * std::int64_t(args.page_size) + p % args.page_size;
    };
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return slot(a) < slot(b); });
    std::vector<std::uint8_t>& mask = new_mask();
    for (const std::int64_t p : order) mask.push_back(row.keep[p]);
    row.keep = mask.data();
  }
};

/// A step that begins with nothing forgets what was evicted.
class SeenAgain final : public OtherRows {
 public:
  using OtherRows::OtherRows;

 protected:
  void look(AttentionRows::Row& row, const AttentionRows&) override {
    if (!setup_.cache.keeps) row.keep = nullptr;
  }
};

/// Ranks keep one key more than was asked for.
void one_more(const Cell& cell, GenerateRequest& request) {
  if (cell.value("gpus") == "2") request.kv.policy = parse_kv_policy("tova:25")->policy;
}

}  // namespace

std::vector<Defect> policy_defects() {
  std::vector<Defect> all;
  const auto add = [&](auto... words) -> Defect& { return add_defect(all, words...); };
  add("view-cut-at-chunk", "cache", "kivi, keys that are coded", "kivi", "cache=chunked:17")
      .backend = backend_of<ChunkView>();
  add("late-value", "threads", "kivi, values that are coded", "kivi", "threads=2").backend =
      backend_of<LateValue>();
  add("coded-twice", "cache", "kivi, tiles rebuilt", "kivi", "cache=recomputed").backend =
      backend_of<CodedTwice>();
  add("stale-scale", "batch", "kivi, a tile's scale", "kivi", "batch=3").backend =
      backend_of<StaleScale>();
  add("scale-rounded-first", "cache", "q8_0, codes", "q8_0", "cache=prefix").backend =
      backend_of<RoundedScale>();
  add("evicts-by-slot", "cache", "tova, mask", "tova", "cache=paged").backend =
      backend_of<SlotMask>();
  add("evicted-seen-again", "cache", "tova, mask", "tova", "cache=off").backend =
      backend_of<SeenAgain>();
  add("budget-off-by-one", "gpus", "tova, budget", "tova", "gpus=2").request = one_more;
  return all;
}

}  // namespace isobit::selftest
