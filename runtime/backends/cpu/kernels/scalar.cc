// The literal reference: every leaf as numerics/order.h says it, one loop a rule, no SIMD.
//
// Promise: the bits of this table are the definition; the other tables are compared with it. It is
// slow (about 2 GFLOP/s) and is meant to be read beside NUMERICS.md.
#include <algorithm>

#include "runtime/backends/cpu/kernels/kernels.h"
#include "runtime/numerics/kv/codecs.h"
#include "runtime/numerics/order.h"

namespace isobit::cpu {
namespace {

constexpr int kMaxSegments = 32;  // V of a model is 8, 16 or 32
thread_local std::int64_t tensor_groups = 0;

/// Writes f(x row, weights) of every output: each row of the weights is read once.
template <class T, class Args, class F>
void each_place(const Args& args, const F& f) {
  const PackedMatrix& w = *args.w;
  const std::int64_t first = args.panel_begin * kPanel;
  const std::int64_t last = args.panel_end * kPanel < w.n ? args.panel_end * kPanel : w.n;
  std::vector<T> weights(std::size_t(w.k));
  for (std::int64_t n = first; n < last; ++n) {
    w.read(n, weights.data());
    for (std::int64_t r = args.row_begin; r < args.row_end; ++r) {
      const T* x = args.x + r * args.x_stride;
      const std::int64_t place = r * args.out_stride + n;
      args.out[place] = f(
          place, [x](std::int64_t k) { return x[k]; },
          [&](std::int64_t k) { return weights[std::size_t(k)]; });
    }
  }
}
template <class T, class Args, class F>
void each_output(const Args& args, const F& f) {
  each_place<T>(args, [&](std::int64_t, const auto& a, const auto& b) { return f(a, b); });
}

template <class T>
void gemm(const GemmArgs<T>& args) {
  const PackedMatrix& w = *args.w;
  each_output<T>(args, [&](const auto& a, const auto& b) {
    T sum[kMaxSegments] = {T(0)};
    for (int s = 0; s < w.segments(); ++s) {
      sum[s] = dot_chain<T>(a, b, w.bounds[std::size_t(s)], w.bounds[std::size_t(s) + 1]);
    }
    return canonical(neighbour_tree(sum, w.segments()));
  });
}

template <class T>
void finish(const FinishArgs<T>& args) {
  for (std::int64_t r = args.row_begin; r < args.row_end; ++r) {
    for (std::int64_t j = 0; j < args.n; ++j) {
      T part[kMaxSegments];
      for (int i = 0; i < args.ranks; ++i) part[i] = args.parts[i][r * args.n + j];
      T y = neighbour_tree(part, args.ranks);
      if (args.row_scale != nullptr || args.output_scale != nullptr) {
        const T row = args.row_scale != nullptr ? args.row_scale[r] : T(1);
        const T output = args.output_scale != nullptr ? T(args.output_scale[j]) : T(1);
        y = y * (row * output);
      }
      y = y + T(0);
      if (args.bias != nullptr) y = y + args.bias[j];
      args.out[r * args.n + j] = round_to(args.stored, y);
    }
  }
}

template <class T>
void rms_norm(const T* x, const T* w, T eps, std::int64_t rows, std::int64_t d, Format stored,
              T* y) {
  for (std::int64_t r = 0; r < rows; ++r) rms_norm_row(x + r * d, w, eps, d, stored, y + r * d);
}

template <class T>
void rope(T* x, std::int64_t rows, std::int64_t heads, int d, int dims,
          const std::int64_t* positions, const T* cosine, const T* sine, Format stored) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t at = positions[r] * (dims / 2);
    for (std::int64_t h = 0; h < heads; ++h) {
      rope_head(x + (r * heads + h) * d, cosine + at, sine + at, dims, stored);
    }
  }
}

template <class T>
void gated_silu(const T* gate, const T* up, std::int64_t n, Format stored, T* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = round_to(stored, silu_(gate[i]) * up[i]);
}

template <class T>
void add(T* h, const T* y, std::int64_t n, Format stored) {
  for (std::int64_t i = 0; i < n; ++i) h[i] = round_to(stored, h[i] + y[i]);
}

template <class T>
void round_all(const T* x, std::int64_t n, Format format, T* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = round_to(format, x[i]);
}

template <class T>
void quantize(const T* x, std::int64_t rows, std::int64_t k, const T* scale, Format format,
              T* out) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < k; ++i) {
      out[r * k + i] = round_to(format, x[r * k + i] / scale[r]);
    }
  }
}

template <class T>
void amax(const T* x, std::int64_t rows, std::int64_t k, T* out) {
  for (std::int64_t r = 0; r < rows; ++r) {
    T m = T(0);
    for (std::int64_t i = 0; i < k; ++i) {
      const T value = x[r * k + i];
      m = max_nan(m, value < T(0) ? -value : value);
    }
    out[r] = m;
  }
}

/// One value of a coded position.
template <class T>
T decoded(const CodeLayout& layout, const std::uint8_t* pool, const KvCodes& codes, std::int64_t p,
          int i) {
  const std::int64_t o = p % layout.page_size;
  const std::int64_t at = layout.tile(codes.table[p / layout.page_size], codes.head, o, i);
  T value = T(0);
  with_codec(layout.codec, [&](const auto& codec) {
    value = codec.template open<T>(pool + at).at(int(o % codec.tokens()), i % codec.channels());
  });
  return value;
}

/// Element `at` of a pool.
template <class T>
T stored(const void* pool, Format element, std::int64_t at) {
  if (element == Format::bf16)
    return T(float_from_bf16(static_cast<const std::uint16_t*>(pool)[at]));
  if (element == Format::fp16)
    return T(float_from_fp16(static_cast<const std::uint16_t*>(pool)[at]));
  return static_cast<const T*>(pool)[at];
}

/// How one task reads its keys and values: exact ones from pages, coded ones from codes.
template <class T>
struct Reader {
  const AttentionTask<T>& task;
  [[nodiscard]] bool visible(std::int64_t p) const {
    return task.keep == nullptr || task.keep[p] != 0;
  }
  [[nodiscard]] T key(std::int64_t p, int i) const {
    const KvView<T>& kv = task.kv;
    if (kv.codes != nullptr && kv.codes->holds_key(p)) {
      return decoded<T>(kv.codes->k_layout, kv.codes->k, *kv.codes, p, i);
    }
    const std::int64_t o = p % kv.page_size;
    return stored<T>(kv.k, kv.element,
                     kv.table[p / kv.page_size] * kv.k_page_stride + key_offset(o, task.head_dim) +
                         i * kKeyBlock);
  }
  [[nodiscard]] T value(std::int64_t p, int i) const {
    const KvView<T>& kv = task.kv;
    if (kv.codes != nullptr && kv.codes->holds_value(p)) {
      return decoded<T>(kv.codes->v_layout, kv.codes->v, *kv.codes, p, i);
    }
    return stored<T>(
        kv.v, kv.element,
        kv.table[p / kv.page_size] * kv.v_page_stride + p % kv.page_size * task.head_dim + i);
  }
};

template <class T>
void attention(const AttentionTask<T>& task) {
  const Reader<T> kv{task};
  const int d = task.head_dim;
  for (int h = 0; h < task.heads; ++h) {
    attention_row(
        task.q + h * d, d, task.scale, task.cap, task.first, task.last,
        [&](std::int64_t p) { return kv.visible(p); },
        [&](std::int64_t p, int i) { return kv.key(p, i); },
        [&](std::int64_t p, int i) { return kv.value(p, i); }, task.stored, task.out + h * d);
  }
}

template <class T>
void weights_part(const AttentionTask<T>& task, std::int64_t split, std::int64_t width, T* weights,
                  T* sums) {
  const Reader<T> kv{task};
  const std::int64_t begin = std::max(task.first, split * kSplit);
  const std::int64_t end = std::min(task.last, split * kSplit + kSplit - 1);
  const auto visible = [&](std::int64_t p) { return kv.visible(p); };
  for (int h = 0; h < task.heads; ++h) {
    T p[kSplit], m = T(0), l = T(-1);
    const auto key = [&](std::int64_t j, int i) { return kv.key(j, i); };
    if (split_scores(task.q + h * task.head_dim, task.head_dim, task.scale, task.cap, begin, end,
                     visible, key, p, m)) {
      for (std::int64_t j = begin; j <= end; ++j) {
        if (kv.visible(j)) weights[h * width + j] = p[j % kSplit];
      }
      l = split_terms(begin, end, visible, m, p);
    }
    sums[2 * h] = m;
    sums[2 * h + 1] = l;
  }
}

template <class T>
void weights_merge(const AttentionTask<T>& task, std::int64_t width, const T* sums, T* weights) {
  const Reader<T> kv{task};
  for (int h = 0; h < task.heads; ++h) {
    AttentionState<T> state;
    for (std::int64_t s = 0; s <= task.last / kSplit - task.first / kSplit; ++s) {
      const T* sum = sums + (s * task.heads + h) * 2;
      if (sum[1] == T(-1)) continue;
      state.merge(sum[0], sum[1]);
      state.started = true;
    }
    for (std::int64_t j = 0; j < width; ++j) {
      T& weight = weights[h * width + j];
      const bool seen = j >= task.first && j <= task.last && kv.visible(j);
      weight = seen ? attention_weight(weight, state) : T(0);
    }
  }
}

template <class T>
void exp_all(const T* x, std::int64_t n, T* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = exp_(x[i]);
}

void tensor_chains(const TensorArgs& args) {
  each_place<float>(args, [&](std::int64_t place, const auto& a, const auto& b) {
    const float c = args.start == nullptr ? 0.0f : args.start[place];
    return tensor_chain(*args.unit, a, b, args.begin, args.end, args.lead, c);
  });
}

void ordered_sums(const OrderedArgs& args) {
  const std::span steps(args.steps, std::size_t(args.step_count));
  std::vector<float> sums(std::size_t(args.lanes));
  each_output<float>(args, [&](const auto& a, const auto& b) {
    return ordered_product(steps, nullptr, a, b, sums.data());
  });
}

template <class T>
constexpr KernelsOf<T> table() {
  return {gemm<T>, finish<T>,    rms_norm<T>,     rope<T>,          gated_silu<T>,
          add<T>,  round_all<T>, quantize<T>,     amax<T>,          attention<T>,
          nullptr, nullptr,      weights_part<T>, weights_merge<T>, nullptr,
          nullptr, nullptr,      nullptr,         exp_all<T>};
}

constexpr KernelsOf<float> float_table() {
  KernelsOf<float> kernels = table<float>();
  kernels.tensor_chain = tensor_chains;
  kernels.ordered = ordered_sums;
  return kernels;
}

}  // namespace

const Kernels& scalar_kernels() {
  static constexpr Kernels kernels{"scalar", float_table(), table<double>()};
  return kernels;
}

float literal_tensor_group(const TensorUnit& unit, TensorColumn a, TensorColumn b, int n, float c) {
  ++tensor_groups;
  return tensor_group(
      unit, [&](int k) { return a.p[k * a.stride]; }, [&](int k) { return b.p[k * b.stride]; }, n,
      c);
}

std::int64_t literal_tensor_groups() {
  return tensor_groups;
}

}  // namespace isobit::cpu
