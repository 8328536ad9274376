// The host's half of attention: page tables and keep masks as one array for the kernels.

#include <algorithm>
#include <cstring>
#include <map>

#include "runtime/backends/cuda/backend.h"

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
  std::map<const void*, std::int64_t> last;  // of a table or mask: the last position it serves
  for (const auto& row : args.rows) {
    for (const void* array :
         {static_cast<const void*>(row.table), static_cast<const void*>(row.keep)}) {
      if (array == nullptr) continue;
      const auto at = last.emplace(array, row.position).first;
      at->second = std::max(at->second, row.position);
    }
  }
  std::map<const void*, std::int64_t> offset;
  for (const auto& row : args.rows) {
    if (offset.emplace(row.table, std::int64_t(out.tables.size())).second) {
      const std::int64_t pages = last[row.table] / args.page_size + 1;
      out.tables.insert(out.tables.end(), row.table, row.table + pages);
    }
    if (row.keep != nullptr && offset.emplace(row.keep, std::int64_t(out.keeps.size())).second) {
      out.keeps.insert(out.keeps.end(), row.keep, row.keep + last[row.keep] + 1);
    }
    out.rows.push_back({std::int32_t(row.first), std::int32_t(row.position), offset[row.table],
                        row.keep == nullptr ? -1 : offset[row.keep]});
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

void CudaBackend::attention(Rows q, const AttentionRows& args, const void* k_pool,
                            const void* v_pool, Rows out) {
  if (args.heads == 0 || args.rows.empty()) return;
  ISOBIT_CHECK(args.head_dim % 8 == 0 && args.head_dim >= 8 && args.head_dim <= 256);
  enter();
  PlacesView places;
  if (const PlacesView* sent = step_.places(args.rows)) {
    places = *sent;
  } else {
    places = send_places(places_of(args));
  }

  AttentionCall call{};
  call.stream = stream_;
  call.wide = mode_.wide();
  call.q_stride = q.stride;
  call.out_stride = out.stride;
  call.tables = places.tables;
  call.keeps = places.keeps;
  call.head_begin = places.head_begin;
  call.heads = args.heads;
  call.kv_heads = args.kv_heads;
  call.d = int(args.head_dim);
  call.scale = args.scale;
  call.page_size = args.page_size;
  call.shape = page_shape(args.kv_heads, args.head_dim, args.page_size);
  call.k_pool = k_pool;
  call.v_pool = v_pool;
  call.stored = mode_.stored;
  call.max_splits = places.max_splits;
  const std::size_t each = attention_bytes(call.wide, 1, args.heads, call.d, call.max_splits);
  const auto share = std::clamp<std::int64_t>(std::int64_t(kWorkspace / each), 1, 32768);
  const auto all = std::int64_t(args.rows.size());
  for (std::int64_t r = 0; r < all; r += share) {
    call.row_count = std::min(share, all - r);
    call.rows = places.rows + r;
    call.q = static_cast<const char*>(q.data) + std::size_t(r * q.stride) * real_size();
    call.out = static_cast<char*>(out.data) + std::size_t(r * out.stride) * real_size();
    call.workspace = workspace_.reserve(
        attention_bytes(call.wide, call.row_count, args.heads, call.d, call.max_splits), stream_);
    cuda::attention(call);
  }
  ran("attention_split");
}

}  // namespace isobit::cuda
