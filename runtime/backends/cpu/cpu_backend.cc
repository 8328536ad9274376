// One method an operation; each cuts rows, panels or heads into shares and calls a leaf.

#include "runtime/backends/cpu/cpu_backend.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "runtime/backends/cpu/packed.h"
#include "runtime/backends/cpu/packed_blocks.h"
#include "runtime/base/text.h"
#include "runtime/base/weight_count.h"
#include "runtime/numerics/formats.h"

namespace isobit::cpu {
namespace {

constexpr std::int64_t kElementwiseGrain = 32768;  // elements worth a thread
constexpr std::int64_t kGemmGrain = 65536;         // FMAs worth a thread
constexpr std::int64_t kManyRows = 128;            // of a thread: rows are cut, not outputs

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

std::size_t held_bytes(const PackedMatrix& m) {
  return std::size_t(m.panels()) * panel_bytes(m) + m.scale.size() * sizeof(float);
}

}  // namespace

CpuBackend::CpuBackend(const Mode& mode, const Kernels& kernels, int threads,
                       std::shared_ptr<const ScheduleBook> schedules,
                       const FlashSchedule& attention)
    : Backend(mode),
      pool_(threads),
      kernels_(kernels),
      schedules_(std::move(schedules)),
      flash_(attention) {}

BackendInfo CpuBackend::describe() const {
  BackendInfo info;
  info.engine = "reference";
  info.device = "cpu";
  info.isa = kernels_.isa;
  info.kernels = std::string("cpu/") + kernels_.isa;
  info.threads_used = pool_.used();
  info.gemm = scheduled_.text();
  info.attention = flash_.ran();
  return info;
}

void* CpuBackend::allocate(std::size_t bytes) {
  const std::size_t size = (std::max<std::size_t>(bytes, 1) + 63) / 64 * 64;
  void* memory = std::aligned_alloc(64, size);
  if (memory == nullptr) {
    throw OutOfMemory("device cpu: out of memory: " + text::mebibytes(bytes) + " MiB asked");
  }
  constexpr std::uint32_t kPoison = 0x7ff47ff4u;  // a NaN as fp32 and, doubled, as fp64
  auto* words = static_cast<std::uint32_t*>(memory);
  std::fill(words, words + size / 4, kPoison);
  return memory;
}

void CpuBackend::release(void* memory) {
  std::free(memory);
}
void CpuBackend::upload(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);  // an empty array has no address
}
void CpuBackend::download(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
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
    if (pack_blocks(source.blocks.row, pool_, matrix->packed)) {
      count_weight_bytes(held_bytes(matrix->packed));
      return matrix;
    }
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
  count_weight_bytes(held_bytes(matrix->packed));
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
  ISOBIT_CHECK(x.dense() && out.dense());
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
  ISOBIT_CHECK(out.dense());
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

void CpuBackend::cut_product(std::int64_t rows, const PackedMatrix& w,
                             const std::function<void(Range rows, Range panels)>& leaf) {
  const std::int64_t work = rows * w.n * std::max<std::int64_t>(w.k, 1);
  pool_.run(work / kGemmGrain + 1, [&](int index, int shares) {
    Range my_rows{0, rows}, panels{0, w.panels()};
    // Few rows: each thread reads its own weights once. Many: each turns its own rows into
    // tiles once. Either way an output is computed whole by one thread.
    if (rows < kManyRows * shares && (w.panels() >= 2 * shares || rows < shares)) {
      panels = share_of(w.panels(), index, shares);
    } else {
      my_rows = share_of(rows, index, shares);
    }
    if (my_rows.begin < my_rows.end && panels.begin < panels.end) leaf(my_rows, panels);
  });
}

template <class T>
void CpuBackend::product(const Rows& x, const PackedMatrix& w, const Rows& out) {
  cut_product(x.rows, w, [&](Range rows, Range panels) {
    table<T>().gemm({row<T>(x, 0), x.stride, &w, row<T>(out, 0), out.stride, rows.begin, rows.end,
                     panels.begin, panels.end});
  });
}

/// Each slice is a product of one segment; then the slices meet, element by element. Some rows at
/// a time, so that their sums stay small.
template <class T>
void CpuBackend::scheduled_product(const GemmSchedule& schedule, const Rows& x,
                                   const PackedMatrix& w, const Rows& out) {
  const std::int64_t length = schedule.slice_length(w.k), slices = schedule.slices(w.k);
  const std::int64_t at_once = std::clamp<std::int64_t>(kSliceSums / (slices * w.n), 1, x.rows);
  T* const sums = room<T>(slices_, slices * at_once * w.n);
  PackedMatrix slice;
  slice.n = w.n, slice.k = w.k, slice.element = w.element, slice.data = w.data;
  slice.blocks = w.blocks, slice.rounded = w.rounded, slice.skip = w.skip;
  for (std::int64_t first = 0; first < x.rows; first += at_once) {
    const std::int64_t rows = std::min(at_once, x.rows - first);
    const Rows in{row<T>(x, first), rows, x.cols, x.stride};
    for (std::int64_t s = 0; s < slices; ++s) {
      slice.bounds = {s * length, std::min((s + 1) * length, w.k)};
      product<T>(in, slice, {sums + s * rows * w.n, rows, w.n, w.n});
    }
    pool_.run(slices * rows * w.n / kElementwiseGrain + 1, [&](int index, int shares) {
      const Range mine = share_of(rows, index, shares);
      for (std::int64_t r = mine.begin; r < mine.end; ++r) {
        for (std::int64_t j = 0; j < w.n; ++j) {
          T sum[kMostSlices] = {T(0)};
          for (std::int64_t s = 0; s < slices; ++s) sum[s] = sums[(s * rows + r) * w.n + j];
          row<T>(out, first + r)[j] = end_slices(schedule, sum, slices);
        }
      }
    });
  }
}

void CpuBackend::gemm(Rows x, const WeightMatrix& matrix, Rows out) {
  const PackedMatrix& w = static_cast<const CpuMatrix&>(matrix).packed;
  ISOBIT_CHECK(x.cols == w.k && out.cols == w.n && x.rows == out.rows);
  if (x.rows == 0 || w.n == 0) return;
  dispatch([&]<class T>(T) {
    if (schedules_ == nullptr || w.segments() == 0) return product<T>(x, w, out);
    const GemmSchedule& schedule = schedule_of(*schedules_, w.n, w.k, x.rows);
    scheduled_.add(schedule, w.k);
    scheduled_product<T>(schedule, x, w, out);
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
      ISOBIT_CHECK(part.dense() && part.cols == out.cols);
      pointers.push_back(row<T>(part, 0));
    }
    ISOBIT_CHECK(out.dense());
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
                      const Rotation& rotation) {
  ISOBIT_CHECK(x.dense() && std::int64_t(positions.size()) == x.rows);
  if (heads == 0) return;
  dispatch([&]<class T>(T) {
    pool_.run(x.rows * x.cols / kElementwiseGrain + 1, [&](int index, int shares) {
      const Range r = share_of(x.rows, index, shares);
      table<T>().rope(row<T>(x, r.begin), r.end - r.begin, heads, int(x.cols / heads),
                      int(rotation.dims), positions.data() + r.begin,
                      static_cast<const T*>(rotation.cosine), static_cast<const T*>(rotation.sine),
                      mode_.stored);
    });
  });
}

void CpuBackend::add(Rows h, Rows y) {
  ISOBIT_CHECK(h.dense() && y.dense());
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
      best.offer(std::int32_t(i), double(values[i]), count);
    }
  });
  return best;
}

}  // namespace isobit::cpu
