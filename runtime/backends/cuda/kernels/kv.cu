// The paged cache in device memory: keys and values of positions in and out, and their codes. Keys
// lie transposed in blocks of kKeyBlock positions, so that neighbouring threads read
// neighbouring keys.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/kernels/elements.cuh"
#include "runtime/numerics/kv/codecs.h"

namespace isobit::cuda {
namespace {

template <class T, class E>
__global__ void write_kernel(KvCall call, const T* k, std::int64_t k_stride, const T* v,
                             std::int64_t v_stride, const std::int64_t* slots, std::int64_t count,
                             E* k_pool, E* v_pool) {
  const std::int64_t index = std::int64_t(blockIdx.x) * 256 + std::int64_t(threadIdx.x);
  if (index >= count) return;
  const std::int64_t width = call.kv_heads * call.d;
  const std::int64_t r = index / width, h = index % width / call.d, i = index % call.d;
  const std::int64_t page = slots[r] / call.page_size, o = slots[r] % call.page_size;
  if (k != nullptr) {
    k_pool[page * call.shape.k_page + h * call.shape.k_head + o / kKeyBlock * kKeyBlock * call.d +
           o % kKeyBlock + i * kKeyBlock] = narrowed<E>(k[r * k_stride + h * call.d + i]);
  }
  if (v != nullptr) {
    v_pool[page * call.shape.v_page + h * call.shape.v_head + o * call.d + i] =
        narrowed<E>(v[r * v_stride + h * call.d + i]);
  }
}

/// A pool's element as a Real; Reals are copied as they are.
template <class E>
__device__ inline auto as_stored(E x) {
  if constexpr (sizeof(E) == 2) {
    return canonical(widened(x));
  } else {
    return x;
  }
}

template <class T, class E>
__global__ void read_kernel(KvCall call, const std::int64_t* slots, std::int64_t count,
                            const E* k_pool, const E* v_pool, T* k, std::int64_t k_stride, T* v,
                            std::int64_t v_stride) {
  const std::int64_t index = std::int64_t(blockIdx.x) * 256 + std::int64_t(threadIdx.x);
  if (index >= count) return;
  const std::int64_t width = call.kv_heads * call.d;
  const std::int64_t r = index / width, h = index % width / call.d, i = index % call.d;
  const std::int64_t page = slots[r] / call.page_size, o = slots[r] % call.page_size;
  if (k != nullptr) {
    k[r * k_stride + h * call.d + i] =
        as_stored(k_pool[page * call.shape.k_page + h * call.shape.k_head +
                         o / kKeyBlock * kKeyBlock * call.d + o % kKeyBlock + i * kKeyBlock]);
  }
  if (v != nullptr) {
    v[r * v_stride + h * call.d + i] =
        as_stored(v_pool[page * call.shape.v_page + h * call.shape.v_head + o * call.d + i]);
  }
}

/// A thread a tile.
template <class T, class Codec>
__global__ void encode_kernel(Codec codec, CodeLayout layout, const T* x, std::int64_t stride,
                              const std::int64_t* slots, std::int64_t count, std::uint8_t* codes) {
  const std::int64_t index = std::int64_t(blockIdx.x) * 256 + std::int64_t(threadIdx.x);
  if (index >= count) return;
  const std::int64_t across = layout.tiles_across();
  const std::int64_t c = index % across * codec.channels(), h = index / across % layout.kv_heads;
  const std::int64_t t = index / across / layout.kv_heads;
  const std::int64_t page = slots[t] / layout.page_size, o = slots[t] % layout.page_size;
  codec.encode(x + t * codec.tokens() * stride + h * layout.head_dim + c, stride, std::int64_t(1),
               codes + layout.tile(page, h, o, c));
}

}  // namespace

void write_kv(const KvCall& call, const void* k, std::int64_t k_stride, const void* v,
              std::int64_t v_stride, const std::int64_t* slots, std::int64_t rows, void* k_pool,
              void* v_pool) {
  const std::int64_t count = rows * call.kv_heads * call.d;
  if (count == 0) return;
  with_pool_types(call.wide, call.cache, [&]<class T, class E>(T, E) {
    write_kernel<T, E><<<unsigned((count + 255) / 256), 256, 0, call.stream>>>(
        call, static_cast<const T*>(k), k_stride, static_cast<const T*>(v), v_stride, slots, count,
        static_cast<E*>(k_pool), static_cast<E*>(v_pool));
  });
  check_launch("write_kv");
}

void read_kv(const KvCall& call, const std::int64_t* slots, std::int64_t rows, const void* k_pool,
             const void* v_pool, void* k, std::int64_t k_stride, void* v, std::int64_t v_stride) {
  const std::int64_t count = rows * call.kv_heads * call.d;
  if (count == 0) return;
  with_pool_types(call.wide, call.cache, [&]<class T, class E>(T, E) {
    read_kernel<T, E><<<unsigned((count + 255) / 256), 256, 0, call.stream>>>(
        call, slots, count, static_cast<const E*>(k_pool), static_cast<const E*>(v_pool),
        static_cast<T*>(k), k_stride, static_cast<T*>(v), v_stride);
  });
  check_launch("read_kv");
}

void encode_kv(cudaStream_t stream, bool wide, const CodeLayout& layout, const void* x,
               std::int64_t stride, const std::int64_t* slots, std::int64_t tiles, void* codes) {
  const std::int64_t count = tiles * layout.kv_heads * layout.tiles_across();
  if (count == 0) return;
  const auto run = [&]<class T>(T) {
    with_codec(layout.codec, [&](auto codec) {
      if constexpr (!encodes_on_host<decltype(codec)>()) {
        encode_kernel<T><<<unsigned((count + 255) / 256), 256, 0, stream>>>(
            codec, layout, static_cast<const T*>(x), stride, slots, count,
            static_cast<std::uint8_t*>(codes));
      }
    });
  };
  wide ? run(double{}) : run(float{});
  check_launch("encode_kv");
}

}  // namespace isobit::cuda
