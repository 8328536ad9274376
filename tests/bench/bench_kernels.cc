// Speed of the CPU kernels against the core they run on, one thread.
//
// `peak` is measured by the same program (fma_peak.h). GEMM rows report FLOP/s, the fraction of
// that peak, and bytes of weights read a second (what bounds one row). Decode attention reports
// bytes of K and V a second.
#include <benchmark/benchmark.h>

#include <numeric>
#include <string>
#include <vector>

#include "runtime/backends/cpu/kernels/fma_peak.h"
#include "runtime/backends/cpu/kernels/kernels.h"
#include "runtime/backends/cpu/packed.h"

namespace isobit::cpu {
namespace {

void gemm(benchmark::State& state, const Kernels& kernels, Format format) {
  const std::int64_t rows = state.range(0), k = state.range(1), n = state.range(2);
  PackSpec spec;
  spec.n = n;
  spec.k = k;
  spec.rounded = format;
  for (int s = 0; s <= 8; ++s) spec.bounds.push_back(k * s / 8);
  const PackedMatrix w = pack(spec, [&](std::int64_t row, std::span<float> out) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = float((row * 31 + std::int64_t(i) * 17) % 255 - 127) / 128.0f;
    }
  });
  std::vector<float> x(std::size_t(rows * k)), out(std::size_t(rows * n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = float(i % 101) / 101.0f - 0.5f;
  // Before each benchmark: a shared machine's clock moves.
  const double peak = 1e9 * fma_peak_gflops(kernels.isa, 1, false);
  for (auto unused : state) {
    (void)unused;
    kernels.f32.gemm({x.data(), k, &w, out.data(), n, 0, rows, 0, w.panels()});
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
  const double flops = 2.0 * double(rows * n * k) * double(state.iterations());
  state.counters["FLOP/s"] = benchmark::Counter(flops, benchmark::Counter::kIsRate);
  if (peak > 0) {
    state.counters["of_peak"] = benchmark::Counter(flops / peak, benchmark::Counter::kIsRate);
    state.counters["peak"] = peak;
  }
  state.counters["weights_B/s"] = benchmark::Counter(
      double(n * k * (format == Format::f32 ? 4 : 2)) * double(state.iterations()),
      benchmark::Counter::kIsRate, benchmark::Counter::kIs1000);
}

/// One query over `length` positions, `heads` that share K and V.
void attention(benchmark::State& state, const Kernels& kernels) {
  const int heads = int(state.range(0)), d = int(state.range(1));
  const std::int64_t length = state.range(2), pages = (length + 15) / 16;
  std::vector<float> k(std::size_t(pages * 16 * d), 0.01f), v = k;
  std::vector<float> q(std::size_t(heads * d), 0.1f), out(q.size());
  std::vector<std::int32_t> table(static_cast<std::size_t>(pages));
  std::iota(table.begin(), table.end(), 0);
  for (auto unused : state) {
    (void)unused;
    kernels.f32.attention({q.data(),
                           out.data(),
                           heads,
                           d,
                           0.125f,
                           Format::f32,
                           0,
                           length - 1,
                           nullptr,
                           {k.data(), v.data(), table.data(), 16 * d, 16 * d, 16}});
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
  const double iterations = double(state.iterations());
  state.counters["KV_B/s"] =
      benchmark::Counter(double(length * d * 8) * iterations, benchmark::Counter::kIsRate);
  state.counters["FLOP/s"] = benchmark::Counter(4.0 * double(heads * length * d) * iterations,
                                                benchmark::Counter::kIsRate);
}

void exponential(benchmark::State& state, const Kernels& kernels) {
  std::vector<float> x(4096), y(4096);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = -float(i) / 64.0f;
  for (auto unused : state) {
    (void)unused;
    kernels.f32.exp(x.data(), 4096, y.data());
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * 4096);
}

const int registered = [] {
  for (const Kernels* kernels : {avx512_kernels(), avx2_kernels(), &scalar_kernels()}) {
    if (kernels == nullptr) continue;
    const std::string isa = kernels->isa;
    const bool slow = isa == "scalar";
    for (const Format format : {Format::f32, Format::bf16}) {
      const std::string name = "gemm/" + isa + (format == Format::f32 ? "/f32" : "/bf16");
      auto* bench = benchmark::RegisterBenchmark(
          name.c_str(), [=](benchmark::State& s) { gemm(s, *kernels, format); });
      bench->ArgNames({"M", "K", "N"})->Unit(benchmark::kMillisecond);
      for (const std::int64_t m : {1, 8, 64, 512}) {
        if (slow && m > 8) continue;
        bench->Args({m, 576, 1536});
        if (!slow) bench->Args({m, 4096, 4096});
      }
    }
    benchmark::RegisterBenchmark(("attention/" + isa).c_str(),
                                 [=](benchmark::State& s) { attention(s, *kernels); })
        ->ArgNames({"heads", "head_dim", "length"})
        ->Args({3, 64, 512})
        ->Args({4, 128, 4096});
    benchmark::RegisterBenchmark(("exp/" + isa).c_str(),
                                 [=](benchmark::State& s) { exponential(s, *kernels); });
  }
  return 0;
}();

}  // namespace
}  // namespace isobit::cpu
