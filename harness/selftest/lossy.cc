// Defects of the caches that change, turn, hide or choose by head. Every cell of a plan runs under
// one policy (plans.cc).

#include <algorithm>
#include <numeric>

#include "harness/selftest/defects.h"

namespace isobit::selftest {
namespace {

/// Changes what change_kv() is asked for.
class OtherChange : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void change_kv(Rows x, std::int64_t kv_heads, const KvChange& change, const KvPlace& first,
                 std::span<const std::int64_t> positions) override {
    Asked asked{change, first, {positions.begin(), positions.end()}};
    alter(asked);
    ForwardingBackend::change_kv(x, kv_heads, asked.change, asked.first, asked.positions);
  }

 protected:
  struct Asked {
    KvChange change;
    KvPlace first;
    std::vector<std::int64_t> positions;
  };
  virtual void alter(Asked& asked) const = 0;
};

/// Noise is drawn by where a row lies in its call, not by where it lies in the sequence.
class NoiseByCall final : public OtherChange {
 public:
  using OtherChange::OtherChange;

 protected:
  void alter(Asked& asked) const override {
    if (setup_.cache.chunk == 0) return;
    std::iota(asked.positions.begin(), asked.positions.end(), std::int64_t(0));
  }
};

/// A rank counts KV heads from its own first one.
class NoiseByRank final : public OtherChange {
 public:
  using OtherChange::OtherChange;

 protected:
  void alter(Asked& asked) const override {
    if (setup_.ranks > 1) asked.first.head = 0;
  }
};

/// What is rebuilt gets the noise of the other side.
class NoiseOfOtherSide final : public OtherChange {
 public:
  using OtherChange::OtherChange;

 protected:
  void alter(Asked& asked) const override {
    if (setup_.cache.recomputes) asked.first.keys = !asked.first.keys;
  }
};

/// Threads cut bits off where they should round.
class BitsCutOff final : public OtherChange {
 public:
  using OtherChange::OtherChange;

 protected:
  void alter(Asked& asked) const override {
    if (setup_.threads > 1) asked.change.nearest = false;
  }
};

/// In a batch the queries are not turned as the keys were; what attention gives is turned back.
class QueryNotTurned final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void hadamard(Rows x, std::int64_t block) override {
    if (setup_.batch > 1 && !wrote_) return;
    ForwardingBackend::hadamard(x, block);
  }
  void encode_kv(Rows x, std::span<const std::int64_t> slots, const CodeLayout& layout,
                 void* codes) override {
    ForwardingBackend::encode_kv(x, slots, layout, codes);
    wrote_ = false;  // the next rotation is that of the queries
  }
  void attention_coded(Rows q, const AttentionRows& args, const KvPools& pools, Rows out) override {
    ForwardingBackend::attention_coded(q, args, pools, out);
    wrote_ = true;
  }

 private:
  bool wrote_ = true;
};

/// In a batch a KV head's tiles come from the head after it.
class OtherHead final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void encode_kv(Rows x, std::span<const std::int64_t> slots, const CodeLayout& layout,
                 void* codes) override {
    if (setup_.batch > 1) {
      change(x, [&](std::vector<float>& values) {
        for (auto row = values.begin(); row != values.end(); row += x.cols) {
          std::rotate(row, row + layout.head_dim, row + x.cols);
        }
      });
    }
    ForwardingBackend::encode_kv(x, slots, layout, codes);
  }
};

/// In a batch every KV head goes by the first one's mask.
class OneMaskForAll final : public OtherRows {
 public:
  using OtherRows::OtherRows;

 protected:
  void look(AttentionRows::Row& row, const AttentionRows&) override {
    if (setup_.batch > 1) row.keep_stride = 0;
  }
};

/// A batch forgets the first sink.
class SinkLost final : public OtherRows {
 public:
  using OtherRows::OtherRows;

 protected:
  void look(AttentionRows::Row& row, const AttentionRows&) override {
    if (setup_.batch == 1 || row.keep == nullptr) return;
    std::vector<std::uint8_t>& mask = new_mask();
    mask.assign(row.keep, row.keep + row.position + 1);
    mask[0] = 0;
    row.keep = mask.data();
  }
};

/// The first rows of a prompt that comes in chunks, or lies in pages, are not scored.
class RowsNotScored final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void attention_weights(Rows q, const AttentionRows& args, const KvPools& pools,
                         Rows out) override {
    ForwardingBackend::attention_weights(q, args, pools, out);
    const bool wrong = setup_.cache.chunk > 0 || setup_.cache.shuffled_pages;
    if (!wrong) return;
    change(out, [&](std::vector<float>& values) {
      for (std::size_t r = 0; r < args.rows.size(); ++r) {
        if (args.rows[r].position % 17 != 0) continue;
        const auto from = values.begin() + std::int64_t(r) * args.heads * out.cols;
        std::fill(from, from + args.heads * out.cols, 0.0f);
      }
    });
  }
};

/// A row that a draft follows turns by the position before its own.
class DraftTurnsRow final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
            const Rotation& rotation) override {
    std::vector<std::int64_t> other(positions.begin(), positions.end());
    if (setup_.cache.drafts > 0 && other.size() > 1 && other.front() > 0) other.front() -= 1;
    ForwardingBackend::rope(x, heads, other, rotation);
  }
};

/// Ranks look one key further back than was asked for.
void window_of_one_more(const Cell& cell, GenerateRequest& request) {
  if (cell.value("gpus") == "2") request.kv.policy = parse_kv_policy("window:25")->policy;
}

}  // namespace

std::vector<Defect> lossy_defects() {
  std::vector<Defect> all;
  const auto add = [&](auto... words) -> Defect& { return add_defect(all, words...); };
  add("noise-by-call", "cache", "noise, position", "noise", "cache=chunked:17").backend =
      backend_of<NoiseByCall>();
  add("noise-by-rank", "gpus", "noise, head", "noise", "gpus=2").backend =
      backend_of<NoiseByRank>();
  add("noise-of-other-side", "cache", "noise, K and V", "noise", "cache=recomputed").backend =
      backend_of<NoiseOfOtherSide>();
  add("bits-cut-off", "threads", "bits, rounding", "bits", "threads=2").backend =
      backend_of<BitsCutOff>();
  add("query-not-turned", "batch", "rtn, rotation of Q", "turned", "batch=3").backend =
      backend_of<QueryNotTurned>();
  add("codes-of-other-head", "batch", "rtn, tiles", "coded", "batch=3").backend =
      backend_of<OtherHead>();
  add("one-mask-for-all-heads", "batch", "h2o, masks", "h2o", "batch=3").backend =
      backend_of<OneMaskForAll>();
  add("rows-not-scored", "cache", "h2o, scores", "h2o", "cache=chunked:17 or cache=paged").backend =
      backend_of<RowsNotScored>();
  add("window-not-scored", "cache", "snapkv, scores", "snapkv", "cache=chunked:17 or cache=paged")
      .backend = backend_of<RowsNotScored>();
  add("sink-lost", "batch", "streaming, sinks", "streaming", "batch=3").backend =
      backend_of<SinkLost>();
  add("window-off-by-one", "gpus", "window, budget", "window", "gpus=2").request =
      window_of_one_more;
  add("draft-turns-row", "cache", "speculative, RoPE", "drafted", "cache=speculative").backend =
      backend_of<DraftTurnsRow>();
  return all;
}

}  // namespace isobit::selftest
