// Attention and the paged cache on the GPU against the literal CPU text: every head_dim, lengths
// around the split, windows, masks, page sizes. Memory that may not be read holds NaN.
#include "tests/conformance/cuda_pair.h"

namespace isobit::cuda_test {
namespace {

class CudaAttentionGpu : public CudaOps {};
INSTANTIATE_TEST_SUITE_P(Precision, CudaAttentionGpu, ::testing::Range(0, kPrecisions),
                         precision_name);

struct Case {
  std::int64_t heads = 3, kv_heads = 2, d = 64;
  std::vector<std::int64_t> lengths = {1, 40, 257};  // of sequences; the last rows are queries
  std::int64_t queries = 2;                          // rows a sequence
  std::int64_t window = 0;
  std::int32_t page_size = 16;
  int evict = 0;  // one position in `evict` stays; 0: no mask
  Data data = Data::plain;
  double softcap = 0;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  out << "heads " << c.heads << "/" << c.kv_heads << " d " << c.d << " window " << c.window
      << " page " << c.page_size << " evict " << c.evict << " data " << int(c.data) << " lengths";
  for (const std::int64_t n : c.lengths) out << " " << n;
  return out;
}

/// Sequences in one pool with shuffled pages, written through write_kv.
class Attention {
 public:
  Attention(Precision precision, const Case& c, std::uint64_t seed)
      : pair_(precision), c_(c), random_(seed) {
    lay_out();
    const std::int64_t page = c.page_size, width = c.kv_heads * c.d;
    const std::int64_t k_slots = pages_ * ((page + 15) / 16) * 16;
    k_pool_ = pair_.empty(k_slots * width);
    v_pool_ = pair_.empty(pages_ * page * width);
    const auto n = std::int64_t(slots_.size());
    const Array k = pair_.random(c.data, n * width, seed + 1, pair_.mode().cache);
    const Array v = pair_.random(c.data, n * width, seed + 2, pair_.mode().cache);
    pair_.both([&](Backend& b, bool gpu) {
      b.write_kv(rows_of(k, gpu, n, width), rows_of(v, gpu, n, width), slots_, c.kv_heads,
                 c.page_size, gpu ? k_pool_.gpu : k_pool_.cpu, gpu ? v_pool_.gpu : v_pool_.cpu);
    });
  }

  void check() {
    SCOPED_TRACE(::testing::Message() << c_);
    const bool special = c_.data != Data::plain || c_.evict > 0;  // at times nothing is visible
    // Two 16-bit values are no number of 32; what they are is compared by reading them back below.
    const bool halves = field_bytes(pair_.mode().cache) == 2;
    EXPECT_TRUE(pair_.same(k_pool_, special || halves));
    EXPECT_TRUE(pair_.same(v_pool_, special || halves));
    const AttentionRows args = arguments();
    const auto n = std::int64_t(args.rows.size());
    const std::int64_t width = c_.heads * c_.d;
    const Array q = pair_.random(c_.data, n * width, 77, pair_.mode().stored);
    const Array out = pair_.empty(n * width);
    const Array k = pair_.empty(c_.kv_heads * c_.d), v = pair_.empty(c_.kv_heads * c_.d);
    pair_.both([&](Backend& b, bool gpu) {
      const void* kp = gpu ? k_pool_.gpu : k_pool_.cpu;
      const void* vp = gpu ? v_pool_.gpu : v_pool_.cpu;
      b.attention(rows_of(q, gpu, n, width), args, kp, vp, rows_of(out, gpu, n, width));
      const std::int64_t kv_width = c_.kv_heads * c_.d;
      b.read_kv({&slots_.back(), 1}, c_.kv_heads, c_.page_size, kp, vp,
                rows_of(k, gpu, 1, kv_width), rows_of(v, gpu, 1, kv_width));
    });
    EXPECT_TRUE(pair_.same(out, special));
    EXPECT_TRUE(pair_.same(k, special));
    EXPECT_TRUE(pair_.same(v, special));
  }

 private:
  void lay_out() {
    for (const std::int64_t length : c_.lengths) {
      pages_ += (length + c_.page_size - 1) / c_.page_size;
    }
    std::vector<std::int32_t> order(static_cast<std::size_t>(pages_));
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[std::size_t(random_.below(std::int64_t(i)))]);
    }
    auto next = order.begin();
    for (const std::int64_t length : c_.lengths) {
      const std::int64_t pages = (length + c_.page_size - 1) / c_.page_size;
      tables_.emplace_back(next, next + pages);
      next += pages;
      auto& keep = keeps_.emplace_back(std::size_t(length), std::uint8_t(1));
      for (std::uint8_t& one : keep) one = c_.evict == 0 || random_.below(c_.evict) == 0;
      if (c_.evict > 0 && length > 600) std::fill(keep.begin() + 256, keep.begin() + 512, 0);
      for (std::int64_t p = 0; p < length; ++p) {
        if (keep[std::size_t(p)] == 0) continue;  // what may not be read is never written
        slots_.push_back(std::int64_t(tables_.back()[std::size_t(p / c_.page_size)]) *
                             c_.page_size +
                         p % c_.page_size);
      }
    }
    if (slots_.empty()) slots_.push_back(0);
  }

  AttentionRows arguments() {
    AttentionRows args;
    places_.clear();
    for (std::size_t s = 0; s < c_.lengths.size(); ++s) {
      for (std::int64_t i = 0; i < c_.queries && i < c_.lengths[s]; ++i) {
        AttentionRows::Row row;
        row.position = c_.lengths[s] - 1 - i;
        if (c_.window > 0) row.first = std::max<std::int64_t>(0, row.position - c_.window + 1);
        row.table = tables_[s].data();
        if (c_.evict > 0) row.keep = keeps_[s].data();
        places_.push_back(row);
      }
    }
    args.rows = places_;
    args.heads = c_.heads;
    args.head_dim = c_.d;
    args.kv_heads = c_.kv_heads;
    for (std::int64_t h = 0; h < c_.heads; ++h) {
      args.kv_of_head.push_back(std::int32_t(h * c_.kv_heads / c_.heads));
    }
    args.scale = 0.17677669529663687;
    args.softcap = c_.softcap;
    args.page_size = c_.page_size;
    return args;
  }

  Pair pair_;
  Case c_;
  Random random_;
  std::int64_t pages_ = 0;
  std::vector<std::vector<std::int32_t>> tables_;
  std::vector<std::vector<std::uint8_t>> keeps_;
  std::vector<std::int64_t> slots_;
  std::vector<AttentionRows::Row> places_;
  Array k_pool_, v_pool_;
};

TEST_P(CudaAttentionGpu, EveryHeadDim) {
  for (std::int64_t d = 8; d <= 256; d += 8) {
    Case c;
    c.d = d;
    Attention(precision(), c, std::uint64_t(d)).check();
  }
}

TEST_P(CudaAttentionGpu, LengthsAroundTheSplitInEveryPageSize) {
  std::uint64_t seed = 1000;
  for (const std::int32_t page : {1, 16, 17, 256}) {
    for (const Data data : kEveryData) {
      Case c;
      c.heads = 6;
      c.d = 32;
      c.lengths = {255, 256, 257, 511, 513, 770};
      c.page_size = page;
      c.data = data;
      Attention(precision(), c, seed += 10).check();
    }
  }
}

TEST_P(CudaAttentionGpu, SoftCaps) {
  std::uint64_t seed = 1500;
  for (const Data data : kEveryData) {
    for (const double cap : {0.03, 1.0, 50.0}) {
      Case c;
      c.d = 24;
      c.lengths = {3, 300, 513};
      c.softcap = cap;
      c.data = data;
      Attention(precision(), c, seed += 10).check();
    }
  }
}

TEST_P(CudaAttentionGpu, WindowsAndMasks) {
  std::uint64_t seed = 2000;
  for (const std::int64_t window : {0, 1, 100, 256, 300}) {
    for (const int evict : {0, 2, 50, 100000}) {
      Case c;
      c.d = 40;
      c.lengths = {3, 300, 700, 1030};
      c.window = window;
      c.evict = evict;
      c.page_size = 17;
      c.data = evict == 100000 ? Data::special : Data::plain;
      Attention(precision(), c, seed += 10).check();
    }
  }
}

TEST_P(CudaAttentionGpu, GroupsOfHeadsAndManyQueries) {
  std::uint64_t seed = 3000;
  for (const auto& [heads, kv] : {std::pair<int, int>{1, 1}, {9, 3}, {14, 2}, {8, 8}, {32, 4}}) {
    Case c;
    c.heads = heads;
    c.kv_heads = kv;
    c.d = 64;
    c.lengths = {70, 280};
    c.queries = 70;
    c.data = Data::wide;
    Attention(precision(), c, seed += 10).check();
  }
}

TEST_P(CudaAttentionGpu, ALongContext) {
  Case c;
  c.lengths = {4097};
  c.queries = 1;
  c.data = Data::cancelling;
  Attention(precision(), c, 4000).check();
}

}  // namespace
}  // namespace isobit::cuda_test
