// A plugin for tests: every operation by the literal text of the page (order.h), and, by options, a
// fault in one of them.
//   has: NAME       that operation alone (default: all)
//   elements: stored
//   fault: NAME     in operation `in` (default gemm): see spoil()
//   offset: n, gap: n  fails unless results, and activations of gemm, lie n elements behind an
//                      address that 64 divides, and (gap > 0) have n elements between two rows
//   threads: n      says that so many took part
#include <cfenv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>

#include "runtime/backends/plugin/plugin_abi.h"
#include "runtime/numerics/order.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace {

using isobit::Activation;
using isobit::Format;

struct Fake {
  std::string has, fault, in = "gemm";
  int threads = 0, offset = -1, gap = 0;
  [[nodiscard]] bool gives(const char* operation) const { return has.empty() || has == operation; }
};

template <class T>
const T* row(const isobit_rows& x, std::int64_t r) {
  return static_cast<const T*>(x.data) + r * x.stride;
}
template <class T>
T* row(const isobit_out& x, std::int64_t r) {
  return static_cast<T*>(x.data) + r * x.stride;
}

/// Element i of a row, whatever it is stored as.
template <class T>
T at(const isobit_rows& x, std::int64_t r, std::int64_t i) {
  if (x.element == ISOBIT_BF16) return T(isobit::float_from_bf16(row<std::uint16_t>(x, r)[i]));
  if (x.element == ISOBIT_FP16) return T(isobit::float_from_fp16(row<std::uint16_t>(x, r)[i]));
  return row<T>(x, r)[i];
}

/// Whether every value is exact in the format that the rows say.
template <class T>
bool exact(const isobit_rows& x) {
  for (std::int64_t r = 0; r < x.rows; ++r) {
    for (std::int64_t i = 0; i < x.cols; ++i) {
      const T value = at<T>(x, r, i);
      if (value == value && T(isobit::round_to(Format(x.format), value)) != value) return false;
    }
  }
  return true;
}

std::size_t size_of(std::int32_t element) {
  return element == ISOBIT_F64 ? 8 : element == ISOBIT_F32 ? 4 : 2;
}

/// Whether rows lie as the options say.
template <class R>
bool lie(const Fake& fake, const R& x) {
  const std::size_t at = reinterpret_cast<std::uintptr_t>(x.data) % 64 / size_of(x.element);
  return (fake.offset < 0 || at == std::size_t(fake.offset)) &&
         (fake.gap == 0 || x.stride - x.cols == fake.gap);
}

/// What a fault does to the floating-point mode and beyond the arrays, once the result is there.
void spoil_place(const std::string& fault, isobit_call* call, const isobit_out& out) {
  auto* const begin = static_cast<unsigned char*>(out.data);
  const std::size_t size = out.element == ISOBIT_F64 ? 8 : 4;
  if (fault == "before") begin[-3] = 1;
  if (fault == "behind") {
    begin[(std::size_t(out.rows - 1) * std::size_t(out.stride) + std::size_t(out.cols)) * size] = 1;
  }
  if (fault == "between_rows") begin[std::size_t(out.cols) * size + 2] = 1;
  if (fault == "scratch" || fault == "good_scratch") {
    auto* const first = static_cast<unsigned char*>(call->scratch(call, 10));
    auto* const second = static_cast<unsigned char*>(call->scratch(call, 1000));
    std::memset(first, 1, 10);
    std::memset(second, 1, fault == "scratch" ? 1001 : 1000);
  }
  if (fault == "no_memory" && call->scratch(call, std::uint64_t(1) << 62) == nullptr) {
    call->error(call, "no scratch\nmemory");
  }
  if (fault == "rounding") std::fesetround(FE_UPWARD);
#if defined(__x86_64__)
  if (fault == "flush") _mm_setcsr(_mm_getcsr() | 0x8040u);
#endif
}

template <class T>
std::int32_t spoil(const Fake& fake, isobit_call* call, const isobit_out& out, const void* input) {
  const std::string& fault = fake.fault;
  spoil_place(fault, call, out);
  T* const last = row<T>(out, out.rows - 1) + out.cols - 1;
  if (fault == "nan") *last = T(NAN);
  if (fault == "unwritten") {
    std::uint32_t poison[] = {0x7ff47ff4u, 0x7ff47ff4u};  // as if nobody had been here
    std::memcpy(last, poison, sizeof(T));
  }
  if (fault == "input") *static_cast<unsigned char*>(const_cast<void*>(input)) ^= 1;
  if (fault == "error") call->error(call, "the tile\x1b of 7 rows is too wide");
  if (fault == "throw") throw 1;
  if (fault == "crash") std::abort();
  if (fault == "hang") {
    for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  return fault == "error" || fault == "silent" || fault == "no_memory" ? 7 : 0;
}

/// Computes, then does what the fault of this operation is. `inputs`: what it reads; a fault may
/// write into the first.
template <class Args, class F>
std::int32_t run(const char* name, void* state, isobit_call* call, const Args* args,
                 std::initializer_list<isobit_rows> inputs, const F& f) {
  const auto& fake = *static_cast<const Fake*>(state);
  if (fake.threads > 0) call->threads_used = fake.threads;
  if (args->size != sizeof *args || call->size != sizeof *call) return 99;
  if (!lie(fake, args->out)) return 97;
  if (std::strcmp(name, "gemm") == 0 && !lie(fake, *inputs.begin())) return 96;
  const bool wide = args->out.element == ISOBIT_F64;
  for (const isobit_rows& x : inputs) {
    if (!(wide ? exact<double>(x) : exact<float>(x))) return 98;
  }
  const void* const input = inputs.begin()->data;
  wide ? f(double{}) : f(float{});
  if (fake.in != name) return 0;
  return wide ? spoil<double>(fake, call, args->out, input)
              : spoil<float>(fake, call, args->out, input);
}

std::int32_t gemm(void* state, isobit_call* call, const isobit_gemm* a) {
  return run("gemm", state, call, a, {a->x, a->w}, [&]<class T>(T) {
    for (std::int64_t m = 0; m < a->out.rows; ++m) {
      for (std::int64_t n = 0; n < a->out.cols; ++n) {
        T sum[32];
        for (std::int64_t s = 0; s < a->segments; ++s) {
          sum[s] = isobit::dot_chain<T>([&](std::int64_t k) { return at<T>(a->x, m, k); },
                                        [&](std::int64_t k) { return at<T>(a->w, n, k); },
                                        a->bounds[s], a->bounds[s + 1]);
        }
        row<T>(a->out, m)[n] = isobit::neighbour_tree(sum, int(a->segments));
      }
    }
  });
}

std::int32_t attention(void* state, isobit_call* call, const isobit_attention* a) {
  return run("attention", state, call, a, {a->q}, [&]<class T>(T) {
    const std::int64_t d = a->head_dim;
    for (std::int64_t r = 0; r < a->q.rows; ++r) {
      const isobit_query& query = a->queries[r];
      const isobit_sequence& sequence = a->sequences[query.sequence];
      for (std::int64_t h = 0; h < a->heads; ++h) {
        const std::int64_t column = a->kv_of_head[h] * d;
        isobit::attention_row<T>(
            row<T>(a->q, r) + h * d, int(d), T(a->scale), T(a->softcap), query.first, query.last,
            [](std::int64_t) { return true; },
            [&](std::int64_t p, int i) {
              return row<T>(sequence.k, p - sequence.begin)[column + i];
            },
            [&](std::int64_t p, int i) {
              return row<T>(sequence.v, p - sequence.begin)[column + i];
            },
            Format(a->out.format), row<T>(a->out, r) + h * d);
      }
    }
  });
}

std::int32_t rms_norm(void* state, isobit_call* call, const isobit_rms_norm* a) {
  return run("rms_norm", state, call, a, {a->x}, [&]<class T>(T) {
    for (std::int64_t r = 0; r < a->x.rows; ++r) {
      isobit::rms_norm_row(row<T>(a->x, r), static_cast<const T*>(a->weight), T(a->eps), a->x.cols,
                           Format(a->out.format), row<T>(a->out, r));
    }
  });
}

std::int32_t layer_norm(void* state, isobit_call* call, const isobit_layer_norm* a) {
  return run("layer_norm", state, call, a, {a->x}, [&]<class T>(T) {
    for (std::int64_t r = 0; r < a->x.rows; ++r) {
      isobit::layer_norm_row(row<T>(a->x, r), static_cast<const T*>(a->weight),
                             static_cast<const T*>(a->bias), T(a->eps), a->x.cols,
                             Format(a->out.format), row<T>(a->out, r));
    }
  });
}

std::int32_t rope(void* state, isobit_call* call, const isobit_rope* a) {
  return run("rope", state, call, a, {a->x, a->cosine, a->sine}, [&]<class T>(T) {
    for (std::int64_t r = 0; r < a->x.rows; ++r) {
      std::memcpy(row<T>(a->out, r), row<T>(a->x, r), std::size_t(a->x.cols) * sizeof(T));
      for (std::int64_t h = 0; h < a->heads; ++h) {
        isobit::rope_head(row<T>(a->out, r) + h * a->head_dim, row<T>(a->cosine, r),
                          row<T>(a->sine, r), int(a->dims), Format(a->out.format));
      }
    }
  });
}

/// out = f(x, y), element by element.
template <class T, class F>
void each(const isobit_rows& x, const isobit_rows& y, const isobit_out& out, const F& f) {
  for (std::int64_t r = 0; r < out.rows; ++r) {
    for (std::int64_t i = 0; i < out.cols; ++i) {
      row<T>(out, r)[i] = f(row<T>(x, r)[i], row<T>(y, r)[i]);
    }
  }
}

std::int32_t gated(void* state, isobit_call* call, const isobit_gated* a) {
  return run("gated", state, call, a, {a->gate, a->up}, [&]<class T>(T) {
    each<T>(a->gate, a->up, a->out,
            [&](T g, T u) { return isobit::activated(Activation(a->activation), g) * u; });
  });
}

std::int32_t activate(void* state, isobit_call* call, const isobit_activate* a) {
  return run("activate", state, call, a, {a->x}, [&]<class T>(T) {
    each<T>(a->x, a->x, a->out,
            [&](T x, T) { return isobit::activated(Activation(a->activation), x); });
  });
}

std::int32_t add(void* state, isobit_call* call, const isobit_add* a) {
  return run("add", state, call, a, {a->x, a->y},
             [&]<class T>(T) { each<T>(a->x, a->y, a->out, [](T x, T y) { return x + y; }); });
}

std::int32_t refuse(const isobit_host* host, const char* text) {
  host->error(host, text);
  return 1;
}

}  // namespace

const std::uint32_t isobit_plugin_abi = ISOBIT_PLUGIN_ABI;

std::int32_t isobit_plugin_open(const isobit_host* host, isobit_plugin* plugin) {
  if (host->size != sizeof *host || plugin->size != sizeof *plugin) {
    return refuse(host, "another size");
  }
  auto fake = std::make_unique<Fake>();
  for (std::int64_t i = 0; i < host->option_count; ++i) {
    const std::string name = host->options[i].name, value = host->options[i].value;
    if (name == "has") {
      fake->has = value;
    } else if (name == "fault") {
      fake->fault = value;
    } else if (name == "in") {
      fake->in = value;
    } else if (name == "offset") {
      fake->offset = std::stoi(value);
    } else if (name == "gap") {
      fake->gap = std::stoi(value);
    } else if (name == "threads") {
      fake->threads = std::stoi(value);
    } else if (name == "elements" && value == "stored") {
      plugin->operands = ISOBIT_OPERANDS_STORED;
    } else {
      return refuse(host, ("the fake has no option " + name).c_str());
    }
  }
  if (fake->fault == "open_silent") return 5;
  if (fake->fault == "open_throw") throw 1;
  if (fake->fault == "open_rounding") std::fesetround(FE_UPWARD);
  if (fake->fault != "no_name") plugin->name = "fake";
  plugin->version = "1.2";
  if (fake->gives("gemm")) plugin->gemm = gemm;
  if (fake->gives("attention")) plugin->attention = attention;
  if (fake->gives("rms_norm")) plugin->rms_norm = rms_norm;
  if (fake->gives("layer_norm")) plugin->layer_norm = layer_norm;
  if (fake->gives("rope")) plugin->rope = rope;
  if (fake->gives("gated")) plugin->gated = gated;
  if (fake->gives("activate")) plugin->activate = activate;
  if (fake->gives("add")) plugin->add = add;
  plugin->close = [](void* state) { delete static_cast<Fake*>(state); };
  plugin->state = fake.release();
  return 0;
}
