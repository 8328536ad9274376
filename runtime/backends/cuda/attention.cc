// The host's half of attention: page tables and keep masks as one array for the kernels.

#include <algorithm>
#include <cstring>
#include <map>

#include "runtime/backends/cuda/backend.h"
#include "runtime/backends/cuda/kernels/flash.h"
#include "runtime/backends/cuda/kernels/fused.h"

namespace isobit::cuda {
namespace {

constexpr std::size_t kWorkspace = std::size_t(256) << 20;  // soft limit, bytes
constexpr int kSplitKeys = 256;                             // numerics/order.h, kSplit

/// Appends an array at the next multiple of 16; gives its offset.
template <class T>
std::size_t append(std::vector<unsigned char>& bytes, const std::vector<T>& array) {
  const std::size_t at = (bytes.size() + 15) / 16 * 16;
  bytes.resize(at + array.size() * sizeof(T));
  if (!array.empty()) std::memcpy(bytes.data() + at, array.data(), array.size() * sizeof(T));
  return at;
}

}  // namespace

Places places_of(const AttentionRows& args) {
  Places out;
  // Of a table or mask that rows share: how much of it is read.
  std::map<const void*, std::int64_t> length;
  const auto reads = [&length](const void* array, std::int64_t entries) {
    if (array == nullptr || entries == 0) return;
    const auto at = length.emplace(array, entries).first;
    at->second = std::max(at->second, entries);
  };
  const auto coded_to = [](const AttentionRows::Row& row, std::int64_t coded) {
    return std::int32_t(std::min(coded, row.position + 1));
  };
  const auto code_pages = [&](const AttentionRows::Row& row) {
    const std::int64_t end = coded_to(row, std::max(row.k_coded, row.v_coded));
    return (end + args.k_codes.page_size - 1) / args.k_codes.page_size;
  };
  for (const auto& row : args.rows) {
    reads(row.table, row.position / args.page_size + 1);
    reads(row.code_table, code_pages(row));
    reads(row.keep, row.position + 1 + row.keep_stride * (args.kv_heads - 1));
  }
  std::map<const void*, std::int64_t> offset;
  const auto place = [&]<class T>(const T* array, std::vector<T>& all) -> std::int64_t {
    const auto read = length.find(array);
    if (array == nullptr || read == length.end()) return 0;
    const auto [at, fresh] = offset.emplace(array, std::int64_t(all.size()));
    if (fresh) all.insert(all.end(), array, array + read->second);
    return at->second;
  };
  for (const auto& row : args.rows) {
    QueryRow query{};
    query.first = std::int32_t(row.first);
    query.last = std::int32_t(row.position);
    query.table = place(row.table, out.tables);
    query.keep = row.keep == nullptr ? -1 : place(row.keep, out.keeps);
    query.keep_stride = row.keep_stride;
    query.codes = place(row.code_table, out.tables);
    query.coded_from = std::int32_t(row.coded_from);
    query.k_coded = coded_to(row, row.k_coded);
    query.v_coded = coded_to(row, row.v_coded);
    out.rows.push_back(query);
    const std::int64_t splits = row.position / kSplitKeys - row.first / kSplitKeys + 1;
    out.max_splits = std::max(out.max_splits, std::int32_t(splits));
  }
  for (std::int64_t h = 0; h <= args.kv_heads; ++h) {
    const auto at = std::lower_bound(args.kv_of_head.begin(), args.kv_of_head.end(), h);
    out.head_begin.push_back(std::int32_t(at - args.kv_of_head.begin()));
  }
  return out;
}

/// For a call that is not a step's: every layer of a cache that evicts has its own masks.
PlacesView CudaBackend::send_places(const Places& places) {
  std::vector<unsigned char> bytes;
  const std::size_t rows_at = append(bytes, places.rows);
  const std::size_t tables_at = append(bytes, places.tables);
  const std::size_t keeps_at = append(bytes, places.keeps);
  const std::size_t heads_at = append(bytes, places.head_begin);
  const auto* base =
      static_cast<const unsigned char*>(send(places_mirror_, bytes.data(), bytes.size()));
  return {reinterpret_cast<const QueryRow*>(base + rows_at),
          reinterpret_cast<const std::int32_t*>(base + tables_at), base + keeps_at,
          reinterpret_cast<const std::int32_t*>(base + heads_at), places.max_splits};
}

template <class F>
void CudaBackend::attend(Rows q, const AttentionRows& args, const KvPools& pools,
                         const PlacesView& places, const F& launch) {
  ISOBIT_CHECK(args.head_dim % 8 == 0 && args.head_dim >= 8 && args.head_dim <= 256);
  AttentionCall call{};
  call.stream = stream_;
  call.wide = mode_.wide();
  call.q_stride = q.stride;
  call.tables = places.tables;
  call.keeps = places.keeps;
  call.head_begin = places.head_begin;
  call.heads = args.heads;
  call.kv_heads = args.kv_heads;
  call.d = int(args.head_dim);
  call.scale = args.scale;
  call.softcap = args.softcap;
  call.page_size = args.page_size;
  call.shape = page_shape(args.kv_heads, args.head_dim, args.page_size);
  call.k_pool = pools.k;
  call.v_pool = pools.v;
  call.k_codes = static_cast<const std::uint8_t*>(pools.k_codes);
  call.v_codes = static_cast<const std::uint8_t*>(pools.v_codes);
  call.k_layout = args.k_codes;
  call.v_layout = args.v_codes;
  call.cache = mode_.cache;
  call.stored = mode_.stored;
  call.max_splits = places.max_splits;
  const std::size_t each = attention_bytes(call.wide, 1, args.heads, call.d, call.max_splits);
  const auto share = std::clamp<std::int64_t>(std::int64_t(kWorkspace / each), 1, 32768);
  const auto all = std::int64_t(args.rows.size());
  for (std::int64_t r = 0; r < all; r += share) {
    call.row_count = std::min(share, all - r);
    call.rows = places.rows + r;
    call.q = static_cast<const char*>(q.data) + std::size_t(r * q.stride) * real_size();
    call.workspace = workspace_.reserve(
        attention_bytes(call.wide, call.row_count, args.heads, call.d, call.max_splits), stream_);
    launch(call, r);
  }
}

void CudaBackend::attention(Rows q, const AttentionRows& args, const void* k_pool,
                            const void* v_pool, Rows out) {
  FlashRule rule = flash_.rule(args);
  if (flash_.emulated()) flash_.note(rule, args);
  if (args.heads == 0 || args.rows.empty()) return;
  enter();
  const PlacesView* sent = step_.places(args.rows);
  const PlacesView places = sent != nullptr ? *sent : send_places(places_of(args));
  const auto launch = [&](AttentionCall& call, std::int64_t r, const auto& kernel) {
    call.out_stride = out.stride;
    call.out = static_cast<char*>(out.data) + std::size_t(r * out.stride) * real_size();
    kernel(call);
  };
  const KvPools pools{k_pool, v_pool, nullptr, nullptr};
  if (flash_.emulated()) {
    if (flash_.mitigates()) rule.acted = static_cast<std::int32_t*>(mitigated_.get());
    PlacesView by_splits = places;
    by_splits.max_splits = rule.splits;
    attend(q, args, pools, by_splits, [&](AttentionCall& call, std::int64_t r) {
      launch(call, r, [&](const AttentionCall& c) { cuda::attention_flash(c, rule); });
    });
    return ran("attention_flash");
  }
  attend(q, args, pools, places, [&](AttentionCall& call, std::int64_t r) {
    launch(call, r, [](const AttentionCall& c) { cuda::attention(c); });
  });
  ran("attention_split");
}

void CudaBackend::attention_fused(Rows q, const AttentionRows& args, const KvPools& pools,
                                  const TensorUnit& unit, std::span<const FusedSequence> sequences,
                                  Rows out) {
  ISOBIT_CHECK(unit.operand == mode_.cache && args.softcap == 0);
  enter();
  const PlacesView* of_step = step_.places(args.rows);
  PlacesView places = of_step != nullptr ? *of_step : send_places(places_of(args));
  places.max_splits = 1;
  std::vector<FusedRow> rows;
  for (const FusedSequence& s : sequences) {
    ISOBIT_CHECK(s.first_row == std::int64_t(rows.size()));
    rows.resize(rows.size() + std::size_t(s.rows), {s.plan, s.shape.keys, s.padding});
    places.max_splits = std::max(places.max_splits, s.plan.splits);
  }
  ISOBIT_CHECK(rows.size() == args.rows.size());
  const auto* sent =
      static_cast<const FusedRow*>(send(fused_rows_, rows.data(), rows.size() * sizeof(FusedRow)));
  attend(q, args, pools, places, [&](AttentionCall& call, std::int64_t r) {
    call.out_stride = out.stride;
    call.out = static_cast<char*>(out.data) + std::size_t(r * out.stride) * real_size();
    cuda::attention_fused(call, unit, sent + r);
  });
  ran("attention_fused");
}

void CudaBackend::attention_coded(Rows q, const AttentionRows& args, const KvPools& pools,
                                  Rows out) {
  if (args.heads == 0 || args.rows.empty()) return;
  enter();
  attend(q, args, pools, send_places(places_of(args)), [&](AttentionCall& call, std::int64_t r) {
    call.out_stride = out.stride;
    call.out = static_cast<char*>(out.data) + std::size_t(r * out.stride) * real_size();
    cuda::attention_coded(call);
  });
  ran("attention_coded");
}

void CudaBackend::attention_weights(Rows q, const AttentionRows& args, const KvPools& pools,
                                    Rows out) {
  if (args.heads == 0 || args.rows.empty()) return;
  ISOBIT_CHECK(out.stride == out.cols && out.rows == q.rows * args.heads);
  enter();
  attend(q, args, pools, send_places(places_of(args)), [&](AttentionCall& call, std::int64_t r) {
    const std::size_t first = std::size_t(r * args.heads * out.cols);
    call.out = static_cast<char*>(out.data) + first * real_size();
    cuda::attention_weights(call, out.cols);
  });
  ran("attention_weights");
}

}  // namespace isobit::cuda
