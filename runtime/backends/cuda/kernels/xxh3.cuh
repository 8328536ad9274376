// XXH3-128, seed 0, of arrays of 4-byte words on the GPU: the published algorithm, written for one
// block of kThreads threads an array. Callers: digest.cu.
//
// Promise: the value of numerics/digest.h's digest_bytes(); conformance compares every path of it
// (0, 4-8, 9-16, 17-128, 129-240 bytes and long arrays of every remainder).
#pragma once

#include <cstdint>

namespace isobit::cuda::xxh3 {

constexpr std::uint64_t kP32_1 = 0x9e3779b1, kP32_2 = 0x85ebca77, kP32_3 = 0xc2b2ae3d;
constexpr std::uint64_t kP64_1 = 0x9e3779b185ebca87ull, kP64_2 = 0xc2b2ae3d27d4eb4full,
                        kP64_3 = 0x165667b19e3779f9ull, kP64_4 = 0x85ebca77c2b2ae63ull,
                        kP64_5 = 0x27d4eb2f165667c5ull;
constexpr std::uint64_t kMix1 = 0x165667919e3779f9ull, kMix2 = 0x9fb21c651e98df25ull;
constexpr int kSecretBytes = 192;

/// The algorithm's default secret, little-endian.
__device__ const std::uint64_t kSecret[kSecretBytes / 8] = {
    0xbe4ba423396cfeb8ull, 0x1cad21f72c81017cull, 0xdb979083e96dd4deull, 0x1f67b3b7a4a44072ull,
    0x78e5c0cc4ee679cbull, 0x2172ffcc7dd05a82ull, 0x8e2443f7744608b8ull, 0x4c263a81e69035e0ull,
    0xcb00c391bb52283cull, 0xa32e531b8b65d088ull, 0x4ef90da297486471ull, 0xd8acdea946ef1938ull,
    0x3f349ce33f76faa8ull, 0x1d4f0bc7c7bbdcf9ull, 0x3159b4cd4be0518aull, 0x647378d9c97e9fc8ull,
    0xc3ebd33483acc5eaull, 0xeb6313faffa081c5ull, 0x49daf0b751dd0d17ull, 0x9e68d429265516d3ull,
    0xfca1477d58be162bull, 0xce31d07ad1b8f88full, 0x280416958f3acb45ull, 0x7e404bbbcafbd7afull,
};

struct Hash {
  std::uint64_t low, high;
};

/// Eight bytes of the secret from byte `at` on.
__device__ inline std::uint64_t secret(int at) {
  const int shift = at % 8 * 8;
  const std::uint64_t low = kSecret[at / 8];
  return shift == 0 ? low : (low >> shift) | (kSecret[at / 8 + 1] << (64 - shift));
}
/// Eight bytes of the input from byte `at` on; `at` is a multiple of four.
__device__ inline std::uint64_t read64(const std::uint32_t* input, std::int64_t at) {
  return input[at / 4] | (std::uint64_t(input[at / 4 + 1]) << 32);
}

__device__ inline std::uint64_t avalanche(std::uint64_t h) {
  h = (h ^ (h >> 37)) * kMix1;
  return h ^ (h >> 32);
}
__device__ inline std::uint64_t avalanche64(std::uint64_t h) {
  h = (h ^ (h >> 33)) * kP64_2;
  h = (h ^ (h >> 29)) * kP64_3;
  return h ^ (h >> 32);
}
__device__ inline std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  return (a * b) ^ __umul64hi(a, b);
}
__device__ inline std::uint64_t swap64(std::uint64_t x) {
  const auto low = __byte_perm(std::uint32_t(x), 0, 0x0123);
  const auto high = __byte_perm(std::uint32_t(x >> 32), 0, 0x0123);
  return (std::uint64_t(low) << 32) | high;
}

__device__ inline std::uint64_t mix16(const std::uint32_t* input, std::int64_t at, int key) {
  return fold(read64(input, at) ^ secret(key), read64(input, at + 8) ^ secret(key + 8));
}
__device__ inline void mix32(Hash& acc, const std::uint32_t* input, std::int64_t first,
                             std::int64_t second, int key) {
  acc.low += mix16(input, first, key);
  acc.low ^= read64(input, second) + read64(input, second + 8);
  acc.high += mix16(input, second, key + 16);
  acc.high ^= read64(input, first) + read64(input, first + 8);
}
__device__ inline Hash end_middle(const Hash& acc, std::uint64_t length) {
  return {avalanche(acc.low + acc.high),
          0 - avalanche(acc.low * kP64_1 + acc.high * kP64_4 + length * kP64_2)};
}

__device__ inline Hash up_to_8(const std::uint32_t* input, std::uint64_t length) {
  const std::uint64_t both = input[0] + (std::uint64_t(input[length / 4 - 1]) << 32);
  const std::uint64_t keyed = both ^ secret(16) ^ secret(24);
  const std::uint64_t factor = kP64_1 + (length << 2);
  Hash h{keyed * factor, __umul64hi(keyed, factor)};
  h.high += h.low << 1;
  h.low ^= h.high >> 3;
  h.low = (h.low ^ (h.low >> 35)) * kMix2;
  h.low ^= h.low >> 28;
  h.high = avalanche(h.high);
  return h;
}
__device__ inline Hash up_to_16(const std::uint32_t* input, std::uint64_t length) {
  const std::uint64_t low = read64(input, 0);
  std::uint64_t high = read64(input, std::int64_t(length) - 8);
  const std::uint64_t keyed = low ^ high ^ secret(32) ^ secret(40);
  Hash m{keyed * kP64_1, __umul64hi(keyed, kP64_1)};
  m.low += (length - 1) << 54;
  high ^= secret(48) ^ secret(56);
  m.high += high + std::uint64_t(std::uint32_t(high)) * (kP32_2 - 1);
  m.low ^= swap64(m.high);
  Hash h{m.low * kP64_2, __umul64hi(m.low, kP64_2)};
  h.high += m.high * kP64_2;
  return {avalanche(h.low), avalanche(h.high)};
}
__device__ inline Hash up_to_128(const std::uint32_t* input, std::uint64_t length) {
  Hash acc{length * kP64_1, 0};
  const auto end = std::int64_t(length);
  if (length > 96) mix32(acc, input, 48, end - 64, 96);
  if (length > 64) mix32(acc, input, 32, end - 48, 64);
  if (length > 32) mix32(acc, input, 16, end - 32, 32);
  mix32(acc, input, 0, end - 16, 0);
  return end_middle(acc, length);
}
__device__ inline Hash up_to_240(const std::uint32_t* input, std::uint64_t length) {
  Hash acc{length * kP64_1, 0};
  for (int i = 0; i < 4; ++i) mix32(acc, input, 32 * i, 32 * i + 16, 32 * i);
  acc = {avalanche(acc.low), avalanche(acc.high)};
  for (int i = 4; i < int(length / 32); ++i) {
    mix32(acc, input, 32 * i, 32 * i + 16, 3 + 32 * (i - 4));
  }
  const auto end = std::int64_t(length);
  mix32(acc, input, end - 16, end - 32, 136 - 17 - 16);
  return end_middle(acc, length);
}

/// At most 240 bytes, by one thread. REQUIRES: length is a multiple of 4.
__device__ inline Hash hash_short(const std::uint32_t* input, std::uint64_t length) {
  if (length == 0) {
    return {avalanche64(secret(64) ^ secret(72)), avalanche64(secret(80) ^ secret(88))};
  }
  if (length <= 8) return up_to_8(input, length);
  if (length <= 16) return up_to_16(input, length);
  if (length <= 128) return up_to_128(input, length);
  return up_to_240(input, length);
}

constexpr int kThreads = 256;
constexpr int kTogether = 64;  // blocks of 1024 bytes whose stripes are summed before the scrambles

/// What a stripe adds to accumulator `lane`: its own product and its neighbour's data.
__device__ inline std::uint64_t stripe(std::uint64_t data, std::uint64_t key) {
  const std::uint64_t keyed = data ^ key;
  const std::uint64_t product = (keyed & 0xffffffffull) * (keyed >> 32);
  return product + __shfl_xor_sync(0xffffffffu, data, 1);
}

/// What block `b` of 1024 bytes adds to accumulator t % 8: the stripes only add. Called by whole
/// warps. The last block has `rest` stripes and the last 64 bytes once more, with their own key.
__device__ inline std::uint64_t block_sum(const std::uint32_t* input, std::int64_t length,
                                          std::int64_t b, bool last, int rest) {
  const int lane = int(threadIdx.x) % 8, first = int(threadIdx.x) % 32 / 8;
  std::uint64_t sum = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = first + 4 * i;
    const bool mine = !last || row < rest;
    const std::uint64_t data = mine ? read64(input, b * 1024 + row * 64 + lane * 8) : 0;
    const std::uint64_t one = stripe(data, secret(8 * row + 8 * lane));
    if (mine) sum += one;
  }
  if (last) {
    const std::uint64_t end = read64(input, length - 64 + lane * 8);
    const std::uint64_t extra = stripe(end, secret(121 + 8 * lane));
    if (first == 0) sum += extra;
  }
  sum += __shfl_xor_sync(0xffffffffu, sum, 8);
  return sum + __shfl_xor_sync(0xffffffffu, sum, 16);
}

/// More than 240 bytes, by a block of kThreads; the threads of the first warp get the accumulators'
/// lane t % 8. Blocks of 1024 bytes are summed in parallel; the scrambles are in order.
__device__ inline std::uint64_t accumulate(const std::uint32_t* input, std::int64_t length,
                                           std::uint64_t (&sums)[kTogether][8]) {
  const std::uint64_t start[8] = {kP32_3, kP64_1, kP64_2, kP64_3, kP64_4, kP32_2, kP64_5, kP32_1};
  const int t = int(threadIdx.x), lane = t % 8, warp = t / 32;
  std::uint64_t acc = start[lane];
  const std::int64_t blocks = (length - 1) / 1024;
  const int rest = int((length - 1 - blocks * 1024) / 64);
  const std::uint64_t scramble = secret(128 + 8 * lane);
  for (std::int64_t from = 0; from <= blocks; from += kTogether) {
    const int count = int(blocks + 1 - from < kTogether ? blocks + 1 - from : kTogether);
#pragma unroll 2
    for (int b = warp; b < count; b += kThreads / 32) {
      const std::uint64_t sum = block_sum(input, length, from + b, from + b == blocks, rest);
      if (t % 32 < 8) sums[b][lane] = sum;
    }
    __syncthreads();
    if (warp == 0) {
#pragma unroll 4
      for (int b = 0; b < count; ++b) {
        acc += sums[b][lane];
        if (from + b < blocks) acc = ((acc ^ (acc >> 47)) ^ scramble) * kP32_1;
      }
    }
    __syncthreads();
  }
  return acc;
}

/// Joins the eight accumulators. One thread.
__device__ inline Hash merge(const std::uint64_t* acc, std::uint64_t length) {
  Hash h{length * kP64_1, ~(length * kP64_2)};
  for (int i = 0; i < 4; ++i) {
    h.low += fold(acc[2 * i] ^ secret(11 + 16 * i), acc[2 * i + 1] ^ secret(19 + 16 * i));
    h.high += fold(acc[2 * i] ^ secret(117 + 16 * i), acc[2 * i + 1] ^ secret(125 + 16 * i));
  }
  return {avalanche(h.low), avalanche(h.high)};
}

}  // namespace isobit::cuda::xxh3
