// What a lossy cache does to keys and values before they are stored or read: changes and rotations.

#include "runtime/backends/cpu/cpu_backend.h"
#include "runtime/numerics/kv/change.h"
#include "runtime/numerics/kv/hadamard.h"

namespace isobit::cpu {
namespace {

constexpr std::int64_t kGrain = 4096;  // elements worth a thread

}  // namespace

void CpuBackend::hadamard(Rows x, std::int64_t block) {
  ISOBIT_CHECK(block > 0 && (block & (block - 1)) == 0 && x.cols % block == 0);
  dispatch([&]<class T>(T) {
    pool_.run(x.rows * x.cols / kGrain + 1, [&](int index, int count) {
      const Range mine = share_of(x.rows, index, count);
      for (std::int64_t r = mine.begin; r < mine.end; ++r) {
        for (std::int64_t i = 0; i < x.cols; i += block) {
          isobit::hadamard(row<T>(x, r) + i, int(block));
        }
      }
    });
  });
}

void CpuBackend::change_kv(Rows x, std::int64_t kv_heads, const KvChange& change,
                           const KvPlace& first, std::span<const std::int64_t> positions) {
  ISOBIT_CHECK(x.rows == std::int64_t(positions.size()));
  if (kv_heads == 0) return;
  const std::int64_t d = x.cols / kv_heads;
  dispatch([&]<class T>(T) {
    pool_.run(x.rows * x.cols / kGrain + 1, [&](int index, int count) {
      const Range mine = share_of(x.rows, index, count);
      for (std::int64_t r = mine.begin; r < mine.end; ++r) {
        for (std::int64_t i = 0; i < x.cols; ++i) {
          KvPlace place = first;
          place.head += std::int32_t(i / d);
          T& value = row<T>(x, r)[i];
          value = changed(change, place, positions[std::size_t(r)], std::int32_t(i % d), value);
        }
      }
    });
  });
}

}  // namespace isobit::cpu
