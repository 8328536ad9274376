// The paged cache in device memory: one position's keys and values in and out. Keys lie transposed
// in blocks of kDeviceKeyBlock positions, so that neighbouring threads read neighbouring keys.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/kernels/kernels.h"

namespace isobit::cuda {
namespace {

template <class T>
__global__ void write_kernel(KvCall call, const T* k, std::int64_t k_stride, const T* v,
                             std::int64_t v_stride, const std::int64_t* slots, std::int64_t count,
                             T* k_pool, T* v_pool) {
  const std::int64_t index = std::int64_t(blockIdx.x) * 256 + std::int64_t(threadIdx.x);
  if (index >= count) return;
  const std::int64_t width = call.kv_heads * call.d;
  const std::int64_t r = index / width, h = index % width / call.d, i = index % call.d;
  const std::int64_t page = slots[r] / call.page_size, o = slots[r] % call.page_size;
  k_pool[page * call.shape.k_page + h * call.shape.k_head +
         o / kDeviceKeyBlock * kDeviceKeyBlock * call.d + o % kDeviceKeyBlock +
         i * kDeviceKeyBlock] = k[r * k_stride + h * call.d + i];
  v_pool[page * call.shape.v_page + h * call.shape.v_head + o * call.d + i] =
      v[r * v_stride + h * call.d + i];
}

template <class T>
__global__ void read_kernel(KvCall call, std::int64_t slot, const T* k_pool, const T* v_pool, T* k,
                            T* v) {
  const std::int64_t index = std::int64_t(blockIdx.x) * 256 + std::int64_t(threadIdx.x);
  if (index >= call.kv_heads * call.d) return;
  const std::int64_t h = index / call.d, i = index % call.d;
  const std::int64_t page = slot / call.page_size, o = slot % call.page_size;
  k[index] = k_pool[page * call.shape.k_page + h * call.shape.k_head +
                    o / kDeviceKeyBlock * kDeviceKeyBlock * call.d + o % kDeviceKeyBlock +
                    i * kDeviceKeyBlock];
  v[index] = v_pool[page * call.shape.v_page + h * call.shape.v_head + o * call.d + i];
}

}  // namespace

void write_kv(const KvCall& call, const void* k, std::int64_t k_stride, const void* v,
              std::int64_t v_stride, const std::int64_t* slots, std::int64_t rows, void* k_pool,
              void* v_pool) {
  const std::int64_t count = rows * call.kv_heads * call.d;
  if (count == 0) return;
  const auto run = [&]<class T>(T) {
    write_kernel<T><<<unsigned((count + 255) / 256), 256, 0, call.stream>>>(
        call, static_cast<const T*>(k), k_stride, static_cast<const T*>(v), v_stride, slots, count,
        static_cast<T*>(k_pool), static_cast<T*>(v_pool));
  };
  call.wide ? run(double{}) : run(float{});
  check_launch("write_kv");
}

void read_kv(const KvCall& call, std::int64_t slot, const void* k_pool, const void* v_pool, void* k,
             void* v) {
  const std::int64_t count = call.kv_heads * call.d;
  if (count == 0) return;
  const auto run = [&]<class T>(T) {
    read_kernel<T><<<unsigned((count + 255) / 256), 256, 0, call.stream>>>(
        call, slot, static_cast<const T*>(k_pool), static_cast<const T*>(v_pool),
        static_cast<T*>(k), static_cast<T*>(v));
  };
  call.wide ? run(double{}) : run(float{});
  check_launch("read_kv");
}

}  // namespace isobit::cuda
