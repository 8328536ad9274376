// Codes of a lossy cache that are made on the host: a tile whose encoding needs more memory than a
// thread of the GPU has. Rows come here, tiles go back.

#include <cstdint>
#include <type_traits>
#include <vector>

#include "runtime/backends/cuda/backend.h"
#include "runtime/numerics/kv/codecs.h"

namespace isobit::cuda {

/// encode_kv() of a codec that says so; false, and nothing done, of every other.
bool CudaBackend::encode_on_host(Rows x, std::span<const std::int64_t> slots,
                                 const CodeLayout& layout, void* codes) {
  bool done = false;
  const auto run = [&]<class T>(T) {
    with_codec(layout.codec, [&](const auto& codec) {
      if constexpr (encodes_on_host<std::remove_cvref_t<decltype(codec)>>()) {
        std::vector<T> rows(std::size_t(x.rows * x.stride));
        download(rows.data(), x.data, std::size_t((x.rows - 1) * x.stride + x.cols) * sizeof(T));
        std::vector<std::uint64_t> memory(std::size_t(layout.codec.bytes + 7) / 8);
        auto* const tile = reinterpret_cast<std::uint8_t*>(memory.data());
        for (std::size_t t = 0; t < slots.size(); ++t) {
          const std::int64_t page = slots[t] / layout.page_size, o = slots[t] % layout.page_size;
          const T* const from = rows.data() + std::int64_t(t) * codec.tokens() * x.stride;
          for (std::int64_t i = 0; i < layout.kv_heads * layout.head_dim; i += codec.channels()) {
            codec.encode(from + i, x.stride, std::int64_t(1), tile);
            upload(static_cast<std::uint8_t*>(codes) +
                       layout.tile(page, i / layout.head_dim, o, i % layout.head_dim),
                   tile, std::size_t(layout.codec.bytes));
          }
        }
        done = true;
      }
    });
  };
  mode_.wide() ? run(double{}) : run(float{});
  return done;
}

}  // namespace isobit::cuda
