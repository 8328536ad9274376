// What one query sees of one split: which positions, and where their keys and values lie. E says
// what lies there (simd_elements.h, simd_coded.h). Callers: simd_coded.h, simd_attention.h.
#pragma once

#include "runtime/backends/cpu/kernels/simd_decode.h"
#include "runtime/backends/cpu/kernels/simd_gemm.h"

namespace isobit::cpu::simd {

constexpr int kSplitKeys = 256;
constexpr int kBlocks = kSplitKeys / kKeyBlock;

/// What one query sees of one split.
template <class E>
struct SplitView {
  using Stored = typename E::Stored;
  int count = 0;                             // visible positions
  int offset[kSplitKeys];                    // (count): of the split's start
  const Stored* value[kSplitKeys];           // (count): rows of V
  int blocks = 0;                            // key blocks with a visible position
  int block[kBlocks];                        // (blocks)
  const Stored* key[kBlocks];                // (blocks): (head_dim, 16)
  const Stored* touched[kBlocks];            // (blocks): the block's V when all of it is visible,
                                             // else its keys once more
  typename E::V::Signed hidden[kSplitKeys];  // -1 hides
};

template <class E>
using TaskOf = AttentionTask<typename E::V::T>;

template <class E>
const typename E::Stored* key_at(const TaskOf<E>& task, std::int64_t page, std::int64_t o) {
  return static_cast<const typename E::Stored*>(task.kv.k) +
         task.kv.table[page] * task.kv.k_page_stride + o / kKeyBlock * kKeyBlock * task.head_dim +
         o % kKeyBlock;
}
template <class E>
const typename E::Stored* value_at(const TaskOf<E>& task, std::int64_t page, std::int64_t o) {
  return static_cast<const typename E::Stored*>(task.kv.v) +
         task.kv.table[page] * task.kv.v_page_stride + o * task.head_dim;
}

/// look() where nothing is evicted and pages hold whole key blocks: a block at a time.
template <class E>
void look_at_all(const TaskOf<E>& task, std::int64_t begin, std::int64_t lo, std::int64_t hi,
                 SplitView<E>& view) {
  const auto& kv = task.kv;
  const int first = int(lo - begin), last = int(hi - begin);
  for (int block = first / kKeyBlock; block <= last / kKeyBlock; ++block) {
    const std::int64_t p = begin + block * kKeyBlock;
    const std::int64_t page = p / kv.page_size, o = p % kv.page_size;
    view.block[view.blocks] = block;
    view.key[view.blocks] = key_at<E>(task, page, o);
    const typename E::Stored* value = value_at<E>(task, page, o);
    const int base = block * kKeyBlock;
    const int from = base < first ? first - base : 0;
    const int to = base + kKeyBlock - 1 > last ? last - base : kKeyBlock - 1;
    const auto see = [&](int lane, int at) ISOBIT_ALWAYS_INLINE {
      view.offset[at] = base + lane;
      view.value[at] = value + lane * task.head_dim;
    };
    const bool whole = to - from == kKeyBlock - 1;
    view.touched[view.blocks] = whole ? value : view.key[view.blocks];
    ++view.blocks;
    if (whole) {
      for (int lane = 0; lane < kKeyBlock; ++lane) see(lane, view.count + lane);
      for (int lane = 0; lane < kKeyBlock; ++lane) view.hidden[base + lane] = 0;
    } else {
      for (int lane = from; lane <= to; ++lane) see(lane, view.count + lane - from);
      for (int lane = 0; lane < kKeyBlock; ++lane) {
        view.hidden[base + lane] = lane < from || lane > to ? -1 : 0;
      }
    }
    view.count += to - from + 1;
  }
  // The sum's lanes go by 32 positions, the registers of a maximum by less.
  for (int i = first / 32 * 32; i < first / kKeyBlock * kKeyBlock; ++i) view.hidden[i] = -1;
  for (int i = (last / kKeyBlock + 1) * kKeyBlock; i < (last / 32 + 1) * 32; ++i) {
    view.hidden[i] = -1;
  }
}

/// Whether none of a block's bytes hides its position.
template <class E>
bool keeps_all(const std::uint8_t* keep) {
  constexpr std::uint64_t kOnes = 0x0101010101010101ull, kTops = 0x8080808080808080ull;
  std::uint64_t half[2];
  std::memcpy(half, keep, sizeof half);
  return (((half[0] - kOnes) & ~half[0]) & kTops) == 0 &&
         (((half[1] - kOnes) & ~half[1]) & kTops) == 0;
}

/// Finds the visible positions of [lo, hi] and their keys and values. When pages do not hold whole
/// key blocks, visible keys are gathered into `gathered` (16 blocks of (head_dim, 16)).
template <class E>
void look(const TaskOf<E>& task, std::int64_t begin, std::int64_t lo, std::int64_t hi,
          typename E::Stored* gathered, SplitView<E>& view) {
  const auto& kv = task.kv;
  view.count = 0;
  view.blocks = 0;
  if (gathered == nullptr && task.keep == nullptr) return look_at_all<E>(task, begin, lo, hi, view);
  for (int i = 0; i < kSplitKeys; ++i) view.hidden[i] = -1;
  std::int64_t page = lo / kv.page_size, o = lo % kv.page_size;
  for (std::int64_t p = lo; p <= hi; ++p, ++o) {
    if (o == kv.page_size) {
      o = 0;
      ++page;
    }
    const int at = int(p - begin), block = at / kKeyBlock, lane = at % kKeyBlock;
    if (gathered == nullptr && lane == 0 && p + kKeyBlock - 1 <= hi &&
        keeps_all<E>(task.keep + p)) {
      view.block[view.blocks] = block;
      view.key[view.blocks] = key_at<E>(task, page, o);
      const typename E::Stored* value = value_at<E>(task, page, o);
      view.touched[view.blocks++] = value;
      for (int i = 0; i < kKeyBlock; ++i) {
        view.hidden[at + i] = 0;
        view.offset[view.count] = at + i;
        view.value[view.count++] = value + i * task.head_dim;
      }
      p += kKeyBlock - 1;
      o += kKeyBlock - 1;
      continue;
    }
    if (task.keep != nullptr && task.keep[p] == 0) continue;
    view.hidden[at] = 0;
    view.offset[view.count] = at;
    view.value[view.count++] = value_at<E>(task, page, o);
    if (view.blocks == 0 || view.block[view.blocks - 1] != block) {
      view.block[view.blocks] = block;
      view.key[view.blocks] = gathered != nullptr ? gathered + block * kKeyBlock * task.head_dim
                                                  : key_at<E>(task, page, o - lane);
      view.touched[view.blocks] = view.key[view.blocks];
      ++view.blocks;
    }
    if (gathered != nullptr) {
      const typename E::Stored* from = key_at<E>(task, page, o);
      typename E::Stored* to = gathered + block * kKeyBlock * task.head_dim + lane;
      for (int i = 0; i < task.head_dim; ++i) to[i * kKeyBlock] = from[i * kKeyBlock];
    }
  }
}

/// Memory for the gathered keys of a split where pages do not hold whole key blocks, else null.
template <class E>
typename E::Stored* room_to_gather(const TaskOf<E>& task) {
  if (task.kv.page_size % kKeyBlock == 0) return nullptr;
  return reinterpret_cast<typename E::Stored*>(
      Scratch<typename E::V, 3>::of(std::int64_t(kSplitKeys) * task.head_dim));
}

}  // namespace isobit::cpu::simd
