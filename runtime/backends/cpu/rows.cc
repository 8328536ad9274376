// What a layer does to rows besides its products: activations, LayerNorm, scalings, soft caps.
//
// SiLU is a leaf of each instruction set. The others are the literal text of runtime/numerics on
// every one of them: few models have them, and their products take most of the time.
#include "runtime/backends/cpu/cpu_backend.h"
#include "runtime/numerics/order.h"

namespace isobit::cpu {
namespace {

constexpr std::int64_t kGrain = 32768;    // elements of cheap work worth a thread
constexpr std::int64_t kExpGrain = 4096;  // the same with an exponential in each

/// Calls f(begin, end) for shares of n items on the pool's threads.
template <class F>
void shares(ThreadPool& pool, std::int64_t n, std::int64_t wanted, const F& f) {
  pool.run(wanted, [&](int index, int count) {
    const Range r = share_of(n, index, count);
    f(r.begin, r.end);
  });
}

}  // namespace

void CpuBackend::gated(Activation f, Rows gate, Rows up, Rows out) {
  ISOBIT_CHECK(gate.dense() && up.dense() && out.dense());
  const std::int64_t n = gate.rows * gate.cols;
  const std::int64_t grain = f == Activation::silu ? kGrain : kExpGrain;
  dispatch([&]<class T>(T) {
    shares(pool_, n, n / grain + 1, [&](std::int64_t begin, std::int64_t end) {
      const T *g = row<T>(gate, 0), *u = row<T>(up, 0);
      T* to = row<T>(out, 0);
      if (f == Activation::silu) {
        table<T>().gated_silu(g + begin, u + begin, end - begin, mode_.stored, to + begin);
        return;
      }
      for (std::int64_t i = begin; i < end; ++i) {
        to[i] = T(round_to(mode_.stored, activated(f, g[i]) * u[i]));
      }
    });
  });
}

void CpuBackend::layer_norm(Rows x, const void* weight, const void* bias, double eps, Rows out) {
  ISOBIT_CHECK(x.dense() && out.dense());
  dispatch([&]<class T>(T) {
    shares(pool_, x.rows, x.rows * x.cols / kGrain + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        layer_norm_row(row<T>(x, r), static_cast<const T*>(weight), static_cast<const T*>(bias),
                       T(eps), x.cols, mode_.stored, row<T>(out, r));
      }
    });
  });
}

void CpuBackend::activate(Activation f, Rows x) {
  ISOBIT_CHECK(x.dense());
  const std::int64_t n = x.rows * x.cols;
  dispatch([&]<class T>(T) {
    shares(pool_, n, n / kExpGrain + 1, [&](std::int64_t begin, std::int64_t end) {
      T* at = row<T>(x, 0);
      for (std::int64_t i = begin; i < end; ++i) {
        at[i] = T(round_to(mode_.stored, activated(f, at[i])));
      }
    });
  });
}

void CpuBackend::scale(Rows x, double factor) {
  ISOBIT_CHECK(x.dense());
  const std::int64_t n = x.rows * x.cols;
  dispatch([&]<class T>(T) {
    shares(pool_, n, n / kGrain + 1, [&](std::int64_t begin, std::int64_t end) {
      T* at = row<T>(x, 0);
      for (std::int64_t i = begin; i < end; ++i) {
        at[i] = T(round_to(mode_.stored, at[i] * T(factor)));
      }
    });
  });
}

void CpuBackend::softcap(Rows x, double cap) {
  ISOBIT_CHECK(x.dense());
  const std::int64_t n = x.rows * x.cols;
  dispatch([&]<class T>(T) {
    shares(pool_, n, n / kExpGrain + 1, [&](std::int64_t begin, std::int64_t end) {
      T* at = row<T>(x, 0);
      for (std::int64_t i = begin; i < end; ++i) at[i] = softcapped(at[i], T(cap));
    });
  });
}

void CpuBackend::add_scaled(Rows y, std::span<const std::int32_t> ids,
                            std::span<const double> factors, Rows sum) {
  ISOBIT_CHECK(ids.size() == std::size_t(y.rows) && factors.size() == ids.size());
  dispatch([&]<class T>(T) {
    shares(pool_, y.rows, y.rows * y.cols / kGrain + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T factor = T(factors[std::size_t(r)]);
        const T* from = row<T>(y, r);
        T* to = row<T>(sum, ids[std::size_t(r)]);
        for (std::int64_t i = 0; i < y.cols; ++i) {
          to[i] = T(round_to(mode_.stored, to[i] + T(round_to(mode_.stored, from[i] * factor))));
        }
      }
    });
  });
}

}  // namespace isobit::cpu
