// One attention call of the CPU backend, and the leaves' tasks that it is made of.
// Callers: attention.cc, attention_coded.cc.
#pragma once

#include <algorithm>

#include "runtime/backends/cpu/cpu_backend.h"
#include "runtime/kv_layout.h"
#include "runtime/numerics/activation.h"
#include "runtime/numerics/kv/fields.h"
#include "runtime/numerics/order.h"

namespace isobit::cpu {

constexpr std::int64_t kSplitPositions = kSplit;

/// The soft cap of n scores.
template <class T>
void cap_scores(T* scores, int n, T cap) {
  for (int i = 0; i < n; ++i) scores[i] = softcapped(scores[i], cap);
}

/// n elements of an exact pool from `at` on, `stride` apart, widened to `to`.
template <class T>
void read_pool(const void* pool, Format element, std::int64_t at, std::int64_t stride, T* to,
               std::int64_t to_stride, std::int64_t n) {
  const auto copy = [&](const auto* from, const auto& widen) {
    for (std::int64_t i = 0; i < n; ++i) to[i * to_stride] = T(widen(from[at + i * stride]));
  };
  const auto* halves = static_cast<const std::uint16_t*>(pool);
  if (element == Format::bf16) return copy(halves, float_from_bf16);
  if (element == Format::fp16) return copy(halves, float_from_fp16);
  copy(static_cast<const T*>(pool), [](T x) { return x; });
}
/// The way back. REQUIRES: the values are exact in the pool's format.
template <class T>
void write_pool(const T* from, void* pool, Format element, std::int64_t at, std::int64_t stride,
                std::int64_t n) {
  const auto copy = [&](auto* to, const auto& narrow) {
    for (std::int64_t i = 0; i < n; ++i) to[at + i * stride] = narrow(from[i]);
  };
  auto* halves = static_cast<std::uint16_t*>(pool);
  if (element == Format::bf16) return copy(halves, [](T x) { return bf16_from_float(float(x)); });
  if (element == Format::fp16) return copy(halves, [](T x) { return fp16_from_float(float(x)); });
  copy(static_cast<T*>(pool), [](T x) { return x; });
}

template <class T>
struct AttentionCall {
  Rows q;
  const AttentionRows& args;
  KvPools pools;
  Rows out;
  const Mode& mode;

  [[nodiscard]] std::int64_t rows() const { return std::int64_t(args.rows.size()); }
  [[nodiscard]] const AttentionRows::Row& place(std::int64_t r) const {
    return args.rows[std::size_t(r)];
  }
  /// Splits that a row reaches into.
  [[nodiscard]] std::int64_t splits(std::int64_t r) const {
    return place(r).position / kSplitPositions - place(r).first / kSplitPositions + 1;
  }

  /// The query heads of row r that read KV head h, over the exact pools.
  [[nodiscard]] AttentionTask<T> task(std::int64_t h, std::int64_t r) const {
    const std::int64_t d = args.head_dim;
    const PageShape shape = page_shape(args.kv_heads, d, args.page_size);
    const auto [first, last] =
        std::equal_range(args.kv_of_head.begin(), args.kv_of_head.end(), std::int32_t(h));
    const std::int64_t head = first - args.kv_of_head.begin();
    const AttentionRows::Row& at = place(r);
    return {row<T>(q, r) + head * d,
            out.data == nullptr ? nullptr : row<T>(out, r) + head * d,
            int(last - first),
            int(d),
            T(args.scale),
            mode.stored,
            at.first,
            at.position,
            at.keep == nullptr ? nullptr : at.keep + h * at.keep_stride,
            {head_of(pools.k, h * shape.k_head), head_of(pools.v, h * shape.v_head), at.table,
             shape.k_page, shape.v_page, args.page_size, mode.cache},
            T(args.softcap),
            cap_scores<T>};
  }
  [[nodiscard]] KvCodes codes(std::int64_t h, std::int64_t r) const {
    const AttentionRows::Row& at = place(r);
    return {static_cast<const std::uint8_t*>(pools.k_codes),
            static_cast<const std::uint8_t*>(pools.v_codes),
            at.code_table,
            args.k_codes,
            args.v_codes,
            h,
            at.coded_from,
            at.k_coded,
            at.v_coded};
  }

 private:
  [[nodiscard]] const void* head_of(const void* pool, std::int64_t offset) const {
    if (pool == nullptr) return nullptr;
    return static_cast<const std::byte*>(pool) + offset * field_bytes(mode.cache);
  }
};

}  // namespace isobit::cpu
