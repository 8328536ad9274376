// One attention call of the CPU backend, and the leaves' tasks that it is made of.
// Callers: attention.cc, attention_coded.cc.
#pragma once

#include <algorithm>

#include "runtime/backends/cpu/cpu_backend.h"
#include "runtime/kv_layout.h"
#include "runtime/numerics/activation.h"
#include "runtime/numerics/order.h"

namespace isobit::cpu {

constexpr std::int64_t kSplitPositions = kSplit;

/// The soft cap of n scores.
template <class T>
void cap_scores(T* scores, int n, T cap) {
  for (int i = 0; i < n; ++i) scores[i] = softcapped(scores[i], cap);
}

template <class T>
struct AttentionCall {
  Rows q;
  const AttentionRows& args;
  KvPools pools;
  Rows out;
  Format stored;

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
            stored,
            at.first,
            at.position,
            at.keep == nullptr ? nullptr : at.keep + h * at.keep_stride,
            {head_of(pools.k, h * shape.k_head), head_of(pools.v, h * shape.v_head), at.table,
             shape.k_page, shape.v_page, args.page_size},
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
  static const T* head_of(const void* pool, std::int64_t offset) {
    return pool == nullptr ? nullptr : static_cast<const T*>(pool) + offset;
  }
};

}  // namespace isobit::cpu
