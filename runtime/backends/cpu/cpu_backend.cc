// One method an operation; each cuts rows, panels or heads into shares and calls a leaf.

#include "runtime/backends/cpu/cpu_backend.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "runtime/backends/cpu/packed.h"
#include "runtime/backends/cpu/packed_blocks.h"
#include "runtime/numerics/formats.h"

namespace isobit::cpu {
namespace {

constexpr std::int64_t kElementwiseGrain = 32768;  // elements worth a thread
constexpr std::int64_t kGemmGrain = 65536;         // FMAs worth a thread
constexpr std::int64_t kSplit = 256;               // positions of one split (NUMERICS.md)
constexpr std::int64_t kSharedPositions = 1024;    // from so many on threads share a query
constexpr std::int64_t kManyRows = 128;            // of a thread: rows are cut, not outputs

template <class T>
T* row(const Rows& x, std::int64_t r) {
  return static_cast<T*>(x.data) + r * x.stride;
}

bool dense(const Rows& x) {
  return x.stride == x.cols;
}

/// A source as the packer wants it; 8-bit formats get the power-of-two scale of the whole row.
PackSpec pack_spec(const MatrixSource& source, ThreadPool& pool) {
  PackSpec spec;
  spec.n = source.outputs;
  spec.k = source.inputs;
  if (source.bounds.size() > 1) spec.bounds = source.bounds;
  spec.rounded = source.format;
  if (source.format == Format::e4m3 || source.format == Format::e5m2) {
    spec.divide = true;
    spec.scale.resize(std::size_t(source.outputs));
    pool.run(std::max<std::int64_t>(source.outputs, 1), [&](int index, int shares) {
      const Range rows = share_of(source.outputs, index, shares);
      for (std::int64_t r = rows.begin; r < rows.end; ++r) {
        spec.scale[std::size_t(r)] = power_of_two_scale(source.format, source.amax(r));
      }
    });
  }
  return spec;
}

/// Blocks on every thread; false when the matrix must be expanded.
bool pack_blocks(const BlockRow& row, ThreadPool& pool, PackedMatrix& m) {
  std::atomic<bool> finite{true};
  pool.run(std::max<std::int64_t>(m.panels(), 1), [&](int index, int shares) {
    const Range mine = share_of(m.panels(), index, shares);
    if (!pack_block_panels(row, mine.begin, mine.end, m)) finite = false;
  });
  return finite;
}

}  // namespace

CpuBackend::CpuBackend(const Mode& mode, const Kernels& kernels, int threads)
    : Backend(mode), pool_(threads), kernels_(kernels) {}

template <class T>
const KernelsOf<T>& CpuBackend::table() const {
  if constexpr (sizeof(T) == 8) {
    return kernels_.f64;
  } else {
    return kernels_.f32;
  }
}

/// Calls f with a value of the mode's Real type.
template <class F>
void CpuBackend::dispatch(F&& f) {
  if (mode_.wide()) {
    f(double{});
  } else {
    f(float{});
  }
}

BackendInfo CpuBackend::describe() const {
  BackendInfo info;
  info.engine = "reference";
  info.device = "cpu";
  info.isa = kernels_.isa;
  info.kernels = std::string("cpu/") + kernels_.isa;
  info.threads_used = pool_.used();
  return info;
}

void* CpuBackend::allocate(std::size_t bytes) {
  const std::size_t size = (std::max<std::size_t>(bytes, 1) + 63) / 64 * 64;
  void* memory = std::aligned_alloc(64, size);
  ISOBIT_CHECK(memory != nullptr);
  constexpr std::uint32_t kPoison = 0x7ff47ff4u;  // a NaN as fp32 and, doubled, as fp64
  auto* words = static_cast<std::uint32_t*>(memory);
  std::fill(words, words + size / 4, kPoison);
  return memory;
}

void CpuBackend::release(void* memory) {
  std::free(memory);
}
void CpuBackend::upload(void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}
void CpuBackend::download(void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}

void CpuBackend::copy(Rows from, Rows to) {
  ISOBIT_CHECK(from.rows == to.rows && from.cols == to.cols);
  const std::size_t size = real_size();
  for (std::int64_t r = 0; r < from.rows; ++r) {
    std::memcpy(static_cast<char*>(to.data) + std::size_t(to.stride * r) * size,
                static_cast<const char*>(from.data) + std::size_t(from.stride * r) * size,
                std::size_t(from.cols) * size);
  }
}

std::shared_ptr<WeightMatrix> CpuBackend::load_matrix(const MatrixSource& source) {
  auto matrix = std::make_shared<CpuMatrix>();
  matrix->outputs = source.outputs;
  matrix->inputs = source.inputs;
  matrix->segments = int(source.bounds.size()) - 1;
  const PackSpec spec = pack_spec(source, pool_);
  if (source.blocks.format != BlockFormat::none && keeps_blocks(spec.rounded)) {
    matrix->packed = make_packed_blocks(spec, source.blocks.format, source.blocks.skip);
    if (pack_blocks(source.blocks.row, pool_, matrix->packed)) return matrix;
  }
  matrix->packed = make_packed(spec);
  const std::size_t scratch = pack_scratch(spec.k);
  std::vector<float> memory(scratch * std::size_t(pool_.size()));  // shares must not throw
  const std::int64_t panels = matrix->packed.panels();
  pool_.run(std::max<std::int64_t>(panels, 1), [&](int index, int shares) {
    const Range mine = share_of(panels, index, shares);
    pack_panels(spec, source.read, mine.begin, mine.end,
                std::span(memory).subspan(scratch * std::size_t(index), scratch), matrix->packed);
  });
  matrix->scaled = !matrix->packed.scale.empty();
  return matrix;
}

void CpuBackend::gather(Rows rows, std::span<const std::int32_t> ids, Rows out) {
  for (std::size_t r = 0; r < ids.size(); ++r) {
    ISOBIT_CHECK(ids[r] >= 0 && ids[r] < rows.rows);
    std::memcpy(static_cast<char*>(out.data) + std::size_t(out.stride) * r * real_size(),
                static_cast<const char*>(rows.data) +
                    std::size_t(rows.stride) * std::size_t(ids[r]) * real_size(),
                std::size_t(rows.cols) * real_size());
  }
}

void CpuBackend::rms_norm(Rows x, const void* weight, double eps, Rows out) {
  ISOBIT_CHECK(dense(x) && dense(out));
  dispatch([&]<class T>(T) {
    pool_.run(x.rows * x.cols / kElementwiseGrain + 1, [&](int index, int shares) {
      const Range r = share_of(x.rows, index, shares);
      table<T>().rms_norm(row<T>(x, r.begin), static_cast<const T*>(weight), T(eps),
                          r.end - r.begin, x.cols, mode_.stored, row<T>(out, r.begin));
    });
  });
}

void CpuBackend::amax(Rows x, void* out) {
  dispatch([&]<class T>(T) {
    for (std::int64_t r = 0; r < x.rows; ++r) {
      table<T>().amax(row<T>(x, r), 1, x.cols, static_cast<T*>(out) + r);
    }
  });
}

void CpuBackend::scales(const void* amax, std::int64_t ranks, std::int64_t rows, Format format,
                        void* scale) {
  const auto* a = static_cast<const float*>(amax);
  auto* s = static_cast<float*>(scale);
  for (std::int64_t r = 0; r < rows; ++r) {
    float m = a[r];
    for (std::int64_t rank = 1; rank < ranks; ++rank) m = max_nan(m, a[rank * rows + r]);
    s[r] = is_finite(m) ? power_of_two_scale(format, m) : canonical_nan(m);
  }
}

void CpuBackend::quantize(Rows x, const void* scale, Format format, Rows out) {
  ISOBIT_CHECK(dense(out));
  dispatch([&]<class T>(T) {
    pool_.run(x.rows * x.cols / kElementwiseGrain + 1, [&](int index, int shares) {
      const Range range = share_of(x.rows, index, shares);
      for (std::int64_t r = range.begin; r < range.end; ++r) {
        if (scale == nullptr) {
          table<T>().round(row<T>(x, r), x.cols, format, row<T>(out, r));
        } else {
          table<T>().quantize(row<T>(x, r), 1, x.cols, static_cast<const T*>(scale) + r, format,
                              row<T>(out, r));
        }
      }
    });
  });
}

void CpuBackend::gemm(Rows x, const WeightMatrix& matrix, Rows out) {
  const PackedMatrix& w = static_cast<const CpuMatrix&>(matrix).packed;
  ISOBIT_CHECK(x.cols == w.k && out.cols == w.n && x.rows == out.rows);
  if (x.rows == 0 || w.n == 0) return;
  const std::int64_t work = x.rows * w.n * std::max<std::int64_t>(w.k, 1);
  dispatch([&]<class T>(T) {
    pool_.run(work / kGemmGrain + 1, [&](int index, int shares) {
      GemmArgs<T> args{row<T>(x, 0), x.stride, &w,        row<T>(out, 0), out.stride, 0,
                       x.rows,       0,        w.panels()};
      // Few rows: each thread reads its own weights once. Many: each turns its own rows into
      // tiles once. Either way an output is computed whole by one thread.
      if (x.rows < kManyRows * shares && (w.panels() >= 2 * shares || x.rows < shares)) {
        const Range panels = share_of(w.panels(), index, shares);
        args.panel_begin = panels.begin;
        args.panel_end = panels.end;
      } else {
        const Range rows = share_of(x.rows, index, shares);
        args.row_begin = rows.begin;
        args.row_end = rows.end;
      }
      if (args.row_begin < args.row_end && args.panel_begin < args.panel_end) {
        table<T>().gemm(args);
      }
    });
  });
}

const float* CpuBackend::output_scales(const WeightMatrix& matrix) const {
  const auto& scale = static_cast<const CpuMatrix&>(matrix).packed.scale;
  return scale.empty() ? nullptr : scale.data();
}

void CpuBackend::finish(std::span<const Rows> parts, const WeightMatrix& matrix,
                        const void* row_scale, const void* bias, Format stored, Rows out) {
  dispatch([&]<class T>(T) {
    std::vector<const T*> pointers;
    for (const Rows& part : parts) {
      ISOBIT_CHECK(dense(part) && part.cols == out.cols);
      pointers.push_back(row<T>(part, 0));
    }
    ISOBIT_CHECK(dense(out));
    pool_.run(out.rows * out.cols / kElementwiseGrain + 1, [&](int index, int shares) {
      const Range r = share_of(out.rows, index, shares);
      const FinishArgs<T> args{pointers.data(),
                               int(parts.size()),
                               out.cols,
                               static_cast<const T*>(row_scale),
                               output_scales(matrix),
                               static_cast<const T*>(bias),
                               stored,
                               row<T>(out, 0),
                               r.begin,
                               r.end};
      table<T>().finish(args);
    });
  });
}

void CpuBackend::rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
                      const void* cosine, const void* sine) {
  ISOBIT_CHECK(dense(x) && std::int64_t(positions.size()) == x.rows);
  if (heads == 0) return;
  dispatch([&]<class T>(T) {
    pool_.run(x.rows * x.cols / kElementwiseGrain + 1, [&](int index, int shares) {
      const Range r = share_of(x.rows, index, shares);
      table<T>().rope(row<T>(x, r.begin), r.end - r.begin, heads, int(x.cols / heads),
                      positions.data() + r.begin, static_cast<const T*>(cosine),
                      static_cast<const T*>(sine), mode_.stored);
    });
  });
}

namespace {

/// Strides of a pool's pages, in elements.
struct PageShape {
  std::int64_t k_head, v_head, k_page, v_page;
};
PageShape page_shape(std::int64_t kv_heads, std::int64_t d, std::int32_t page_size) {
  const std::int64_t blocks = (page_size + kKeyBlock - 1) / kKeyBlock;
  const std::int64_t k_head = blocks * kKeyBlock * d;
  const std::int64_t v_head = std::int64_t(page_size) * d;
  return {k_head, v_head, k_head * kv_heads, v_head * kv_heads};
}

}  // namespace

void CpuBackend::write_kv(Rows k, Rows v, std::span<const std::int64_t> slots,
                          std::int64_t kv_heads, std::int32_t page_size, void* k_pool,
                          void* v_pool) {
  if (kv_heads == 0) return;
  const std::int64_t d = k.cols / kv_heads;
  const PageShape shape = page_shape(kv_heads, d, page_size);
  dispatch([&]<class T>(T) {
    for (std::size_t r = 0; r < slots.size(); ++r) {
      const std::int64_t page = slots[r] / page_size, o = slots[r] % page_size;
      for (std::int64_t h = 0; h < kv_heads; ++h) {
        const T* key = row<T>(k, std::int64_t(r)) + h * d;
        T* to = static_cast<T*>(k_pool) + page * shape.k_page + h * shape.k_head +
                o / kKeyBlock * kKeyBlock * d + o % kKeyBlock;
        for (std::int64_t i = 0; i < d; ++i) to[i * kKeyBlock] = key[i];
        std::memcpy(static_cast<T*>(v_pool) + page * shape.v_page + h * shape.v_head + o * d,
                    row<T>(v, std::int64_t(r)) + h * d, std::size_t(d) * sizeof(T));
      }
    }
  });
}

void CpuBackend::read_kv(std::int64_t slot, std::int64_t kv_heads, std::int64_t d,
                         std::int32_t page_size, const void* k_pool, const void* v_pool, void* k,
                         void* v) {
  const PageShape shape = page_shape(kv_heads, d, page_size);
  const std::int64_t page = slot / page_size, o = slot % page_size;
  dispatch([&]<class T>(T) {
    for (std::int64_t h = 0; h < kv_heads; ++h) {
      const T* from = static_cast<const T*>(k_pool) + page * shape.k_page + h * shape.k_head +
                      o / kKeyBlock * kKeyBlock * d + o % kKeyBlock;
      for (std::int64_t i = 0; i < d; ++i) static_cast<T*>(k)[h * d + i] = from[i * kKeyBlock];
      std::memcpy(static_cast<T*>(v) + h * d,
                  static_cast<const T*>(v_pool) + page * shape.v_page + h * shape.v_head + o * d,
                  std::size_t(d) * sizeof(T));
    }
  });
}

namespace {

/// One (KV head, row) of an attention call. Rows go by fastest: what neighbours of a prompt read of
/// one head stays in the cache.
template <class T>
AttentionTask<T> attention_task(const Rows& q, const AttentionRows& args, const void* k_pool,
                                const void* v_pool, const Rows& out, std::int64_t task,
                                Format stored) {
  const std::int64_t rows = std::int64_t(args.rows.size());
  const std::int64_t d = args.head_dim, h = task / rows, r = task % rows;
  const PageShape shape = page_shape(args.kv_heads, d, args.page_size);
  const auto& kv_of = args.kv_of_head;
  const auto first = std::lower_bound(kv_of.begin(), kv_of.end(), h) - kv_of.begin();
  const auto last = std::upper_bound(kv_of.begin(), kv_of.end(), h) - kv_of.begin();
  const AttentionRows::Row& place = args.rows[std::size_t(r)];
  return {row<T>(q, r) + first * d,
          row<T>(out, r) + first * d,
          int(last - first),
          int(d),
          T(args.scale),
          stored,
          place.first,
          place.position,
          place.keep,
          {static_cast<const T*>(k_pool) + h * shape.k_head,
           static_cast<const T*>(v_pool) + h * shape.v_head, place.table, shape.k_page,
           shape.v_page, args.page_size}};
}

}  // namespace

void CpuBackend::attention(Rows q, const AttentionRows& args, const void* k_pool,
                           const void* v_pool, Rows out) {
  if (args.heads == 0 || args.rows.empty()) return;
  const std::int64_t tasks = std::int64_t(args.rows.size()) * args.kv_heads;
  std::int64_t most = 0;  // positions that one row sees
  for (const auto& place : args.rows) most = std::max(most, place.position - place.first + 1);
  dispatch([&]<class T>(T) {
    const auto task = [&](std::int64_t t) {
      return attention_task<T>(q, args, k_pool, v_pool, out, t, mode_.stored);
    };
    if (pool_.size() > 1 && tasks < 4 * pool_.size() && most >= kSharedPositions &&
        table<T>().attention_part != nullptr) {
      std::vector<AttentionTask<T>> all;
      for (std::int64_t t = 0; t < tasks; ++t) all.push_back(task(t));
      return shared_attention<T>(all);
    }
    pool_.run(tasks, [&](int index, int shares) {
      for (std::int64_t t = index; t < tasks; t += shares) table<T>().attention(task(t));
    });
  });
}

/// Few queries over many positions: the threads share the splits of all, in order.
template <class T>
void CpuBackend::shared_attention(std::span<const AttentionTask<T>> tasks) {
  std::vector<std::int64_t> begin{0}, place{0};  // of each task: its first split, its parts
  for (const AttentionTask<T>& task : tasks) {
    const std::int64_t splits = task.last / kSplit - task.first / kSplit + 1;
    begin.push_back(begin.back() + splits);
    place.push_back(place.back() + splits * task.heads * (task.head_dim + 2));
  }
  parts_.resize(std::size_t(place.back()) * sizeof(T));
  T* parts = reinterpret_cast<T*>(parts_.data());
  pool_.run(begin.back(), [&](int index, int shares) {
    const Range range = share_of(begin.back(), index, shares);
    std::size_t t = 0;
    for (std::int64_t s = range.begin; s < range.end; ++s) {
      while (s >= begin[t + 1]) ++t;
      const AttentionTask<T>& task = tasks[t];
      const std::int64_t split = s - begin[t];
      table<T>().attention_part(task, task.first / kSplit + split,
                                parts + place[t] + split * task.heads * (task.head_dim + 2));
    }
  });
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    table<T>().attention_merge(tasks[t], parts + place[t]);
  }
}

void CpuBackend::gated_silu(Rows gate, Rows up, Rows out) {
  ISOBIT_CHECK(dense(gate) && dense(up) && dense(out));
  const std::int64_t n = gate.rows * gate.cols;
  dispatch([&]<class T>(T) {
    pool_.run(n / kElementwiseGrain + 1, [&](int index, int shares) {
      const Range r = share_of(n, index, shares);
      table<T>().gated_silu(row<T>(gate, 0) + r.begin, row<T>(up, 0) + r.begin, r.end - r.begin,
                            mode_.stored, row<T>(out, 0) + r.begin);
    });
  });
}

void CpuBackend::add(Rows h, Rows y) {
  ISOBIT_CHECK(dense(h) && dense(y));
  const std::int64_t n = h.rows * h.cols;
  dispatch([&]<class T>(T) {
    pool_.run(n / kElementwiseGrain + 1, [&](int index, int shares) {
      const Range r = share_of(n, index, shares);
      table<T>().add(row<T>(h, 0) + r.begin, row<T>(y, 0) + r.begin, r.end - r.begin, mode_.stored);
    });
  });
}

void CpuBackend::digests(Rows x, std::span<Digest> out) {
  dispatch([&]<class T>(T) {
    for (std::int64_t r = 0; r < x.rows; ++r) {
      out[std::size_t(r)] = digest_row(std::span<const T>(row<T>(x, r), std::size_t(x.cols)));
    }
  });
}

TopEntries CpuBackend::top(Rows x, int count) {
  TopEntries best;
  dispatch([&]<class T>(T) {
    const T* values = row<T>(x, 0);
    for (std::int64_t i = 0; i < x.cols; ++i) {
      const T value = values[i];
      if (!is_finite(value)) best.non_finite = true;
      if (best.count == count && !(double(value) > best.values.back())) continue;
      // Insert after every entry that is greater or equal: ids stay ascending within a tie.
      auto at = best.values.begin();
      while (at != best.values.end() && *at >= double(value)) ++at;
      const auto offset = at - best.values.begin();
      best.values.insert(at, double(value));
      best.ids.insert(best.ids.begin() + offset, std::int32_t(i));
      if (best.count == count) {
        best.values.pop_back();
        best.ids.pop_back();
      } else {
        ++best.count;
      }
    }
  });
  return best;
}

}  // namespace isobit::cpu
