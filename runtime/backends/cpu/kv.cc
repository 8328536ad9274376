// Keys and values in and out of the pools of pages, exact and coded.

#include "runtime/backends/cpu/attention.h"
#include "runtime/numerics/kv/codecs.h"

namespace isobit::cpu {

void CpuBackend::write_kv(Rows k, Rows v, std::span<const std::int64_t> slots,
                          std::int64_t kv_heads, std::int32_t page_size, void* k_pool,
                          void* v_pool) {
  if (kv_heads == 0) return;
  const std::int64_t d = std::max(k.cols, v.cols) / kv_heads;
  const PageShape shape = page_shape(kv_heads, d, page_size);
  dispatch([&]<class T>(T) {
    for (std::size_t r = 0; r < slots.size(); ++r) {
      const std::int64_t page = slots[r] / page_size, o = slots[r] % page_size;
      for (std::int64_t h = 0; h < kv_heads; ++h) {
        if (k.data != nullptr) {
          write_pool(row<T>(k, std::int64_t(r)) + h * d, k_pool, mode_.cache,
                     page * shape.k_page + h * shape.k_head + key_offset(o, d), kKeyBlock, d);
        }
        if (v.data != nullptr) {
          write_pool(row<T>(v, std::int64_t(r)) + h * d, v_pool, mode_.cache,
                     page * shape.v_page + h * shape.v_head + o * d, 1, d);
        }
      }
    }
  });
}

void CpuBackend::read_kv(std::span<const std::int64_t> slots, std::int64_t kv_heads,
                         std::int32_t page_size, const void* k_pool, const void* v_pool, Rows k,
                         Rows v) {
  if (kv_heads == 0) return;
  const std::int64_t d = std::max(k.cols, v.cols) / kv_heads;
  const PageShape shape = page_shape(kv_heads, d, page_size);
  dispatch([&]<class T>(T) {
    for (std::size_t r = 0; r < slots.size(); ++r) {
      const std::int64_t page = slots[r] / page_size, o = slots[r] % page_size;
      for (std::int64_t h = 0; h < kv_heads; ++h) {
        if (k.data != nullptr) {
          read_pool(k_pool, mode_.cache, page * shape.k_page + h * shape.k_head + key_offset(o, d),
                    kKeyBlock, row<T>(k, std::int64_t(r)) + h * d, 1, d);
        }
        if (v.data != nullptr) {
          read_pool(v_pool, mode_.cache, page * shape.v_page + h * shape.v_head + o * d, 1,
                    row<T>(v, std::int64_t(r)) + h * d, 1, d);
        }
      }
    }
  });
}

void CpuBackend::encode_kv(Rows x, std::span<const std::int64_t> slots, const CodeLayout& layout,
                           void* codes) {
  ISOBIT_CHECK(x.rows == std::int64_t(slots.size()) * layout.codec.tokens);
  if (layout.kv_heads == 0 || slots.empty()) return;
  const std::int64_t d = layout.head_dim, work = std::int64_t(slots.size()) * layout.kv_heads;
  dispatch([&]<class T>(T) {
    with_codec(layout.codec, [&](const auto& codec) {
      pool_.run(work, [&](int index, int shares) {
        const Range mine = share_of(work, index, shares);
        for (std::int64_t at = mine.begin; at < mine.end; ++at) {
          const std::int64_t t = at / layout.kv_heads, h = at % layout.kv_heads;
          const std::int64_t slot = slots[std::size_t(t)];
          const T* from = row<T>(x, t * codec.tokens()) + h * d;
          for (std::int64_t c = 0; c < d; c += codec.channels()) {
            auto* tile = static_cast<std::uint8_t*>(codes) +
                         layout.tile(slot / layout.page_size, h, slot % layout.page_size, c);
            codec.encode(from + c, x.stride, std::int64_t(1), tile);
          }
        }
      });
    });
  });
}

}  // namespace isobit::cpu
