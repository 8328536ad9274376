// The CPU reference's matrix product beside OpenBLAS sgemm, the core's FMA peak and memory, in one
// run: every row times all sides in turn, several rounds, and prints the best of each.
//
// Prefill: 512 rows at the shapes of SmolLM2-135M and of an 8B model. Decode: 1 and 8 rows over
// more weights than caches hold, beside a plain read of as many bytes. `peak` is FMA chains in
// registers on as many threads. OpenBLAS is found at run time; where it is missing its columns are
// empty. Needs no library but the runtime, so it can be carried to another machine.
// Usage: compare_openblas [prefill] [decode] [--threads N[,N…]] [--isa NAME] [--rounds N]
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "runtime/backends/cpu/cpu_backend.h"
#include "runtime/backends/cpu/kernels/fma_peak.h"

namespace isobit::cpu {
namespace {

struct Options {
  bool prefill = false, decode = false;
  std::vector<int> threads = {1, 2};
  std::string isa;
  int rounds = 5;
};

struct OpenBlas {
  void (*sgemm)(int, int, int, int, int, int, float, const float*, int, const float*, int, float,
                float*, int) = nullptr;
  void (*set_num_threads)(int) = nullptr;
  char* (*get_corename)() = nullptr;
  char* (*get_config)() = nullptr;

  bool load() {
    // Its threads would look for work for 26 ms after a product, into the other sides' turns.
    setenv("OPENBLAS_THREAD_TIMEOUT", "4", 0);
    void* handle = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return false;
    const auto symbol = [&](const char* name, auto& out) {
      out = reinterpret_cast<std::remove_reference_t<decltype(out)>>(dlsym(handle, name));
    };
    symbol("cblas_sgemm", sgemm);
    symbol("openblas_set_num_threads", set_num_threads);
    symbol("openblas_get_corename", get_corename);
    symbol("openblas_get_config", get_config);
    return sgemm != nullptr && set_num_threads != nullptr && get_corename != nullptr &&
           get_config != nullptr;
  }
};

/// One thread is timed by its own clock, so that other processes of a shared machine do not count;
/// several by the wall's.
double now(int threads) {
  timespec time{};
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
}

volatile float sink;  // results that nobody reads are computed all the same

/// Calls work(index) on that many threads at once; seconds from the first start to the last end.
template <class F>
double together(int threads, F&& work) {
  std::vector<std::thread> others;
  const double start = now(threads);
  for (int i = 1; i < threads; ++i) others.emplace_back([&work, i] { work(i); });
  work(0);
  for (auto& thread : others) thread.join();
  return now(threads) - start;
}

/// Bytes a second of reading memory once, in order, on that many threads.
double measure_read(const void* memory, std::size_t bytes, int threads) {
  const auto* words = static_cast<const std::uint64_t*>(memory);
  const std::size_t count = bytes / 8 / std::size_t(threads) / 32 * 32;
  const double seconds = together(threads, [&](int index) {
    typedef std::uint64_t Four __attribute__((vector_size(32)));
    Four sum[8] = {};
    const std::uint64_t* at = words + std::size_t(index) * count;
    for (std::size_t i = 0; i < count; i += 32) {
      for (int line = 0; line < 4; ++line) __builtin_prefetch(at + i + 2048 + 8 * line, 0, 2);
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        Four x;
        std::memcpy(&x, at + i + 4 * j, sizeof x);
        sum[j] ^= x;
      }
    }
    for (const Four& s : sum) sink = float(s[0] & 1);
  });
  return double(count) * 8 * threads / seconds;
}

/// Weights both ways: packed, and dense for OpenBLAS.
struct Matrix {
  std::vector<float> dense;  // (n, k); empty when nobody wants it
  std::shared_ptr<WeightMatrix> packed;
  std::int64_t n, k;
};

float weight(std::int64_t row, std::int64_t column) {
  return float((row * 31 + column * 17) % 255 - 127) / 128.0f;
}

Matrix make_matrix(CpuBackend& backend, std::int64_t n, std::int64_t k, Format format, bool dense) {
  Matrix m{{}, nullptr, n, k};
  MatrixSource source;
  source.outputs = n;
  source.inputs = k;
  for (int s = 0; s <= 8; ++s) source.bounds.push_back(k * s / 8);
  source.format = format;
  source.read = [&](std::int64_t row, std::span<float> out) {
    for (std::int64_t i = 0; i < k; ++i) out[std::size_t(i)] = weight(row, i);
  };
  m.packed = backend.load_matrix(source);
  if (!dense) return m;
  m.dense.resize(std::size_t(n * k));
  for (std::int64_t i = 0; i < n * k; ++i) m.dense[std::size_t(i)] = weight(i / k, i % k);
  return m;
}

std::vector<float> make_rows(std::int64_t rows, std::int64_t k) {
  std::vector<float> x(std::size_t(rows * k));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = float(i % 101) / 101.0f - 0.5f;
  return x;
}

double seconds_of_ours(CpuBackend& backend, const Matrix& m, std::vector<float>& x,
                       std::vector<float>& out, std::int64_t rows, int threads) {
  const double start = now(threads);
  backend.gemm({x.data(), rows, m.k, m.k}, *m.packed, {out.data(), rows, m.n, m.n});
  return now(threads) - start;
}

double seconds_of_openblas(const OpenBlas& blas, const Matrix& m, const std::vector<float>& x,
                           std::vector<float>& out, std::int64_t rows, int threads) {
  constexpr int kRowMajor = 101, kNoTranspose = 111, kTranspose = 112;
  const double start = now(threads);
  blas.sgemm(kRowMajor, kNoTranspose, kTranspose, int(rows), int(m.n), int(m.k), 1.0f, x.data(),
             int(m.k), m.dense.data(), int(m.k), 0.0f, out.data(), int(m.n));
  return now(threads) - start;
}

/// Eight characters: a number, or a dash for what was not measured.
std::string column(bool known, double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%8.*f", digits, value);
  return known ? text : "       -";
}

struct Shape {
  const char* model;
  std::int64_t n, k;
};
constexpr Shape kShapes[] = {
    {"SmolLM2", 576, 576},  {"SmolLM2", 192, 576},   {"SmolLM2", 1536, 576},
    {"SmolLM2", 576, 1536}, {"SmolLM2", 49152, 576}, {"8B", 4096, 4096},
    {"8B", 1024, 4096},     {"8B", 14336, 4096},     {"8B", 4096, 14336}};

void prefill(const Options& options, const Kernels& kernels, const OpenBlas& blas, bool have_blas) {
  constexpr std::int64_t kRows = 512;
  const Mode fp32 = mode_of(Precision::fp32);
  std::printf("\nprefill, M = %d, GFLOP/s\n", int(kRows));
  std::printf("%-8s %6s %6s %3s | %8s %8s %8s %8s | %8s %8s %8s\n", "model", "N", "K", "thr",
              "fp32", "bf16", "OpenBLAS", "peak", "fp32/OB", "fp32/pk", "bf16/f32");
  for (const Shape& shape : kShapes) {
    for (const int threads : options.threads) {
      CpuBackend backend(fp32, kernels, threads);
      const Matrix wide = make_matrix(backend, shape.n, shape.k, Format::f32, have_blas);
      const Matrix narrow = make_matrix(backend, shape.n, shape.k, Format::bf16, false);
      std::vector<float> x = make_rows(kRows, shape.k), out(std::size_t(kRows * shape.n));
      if (have_blas) blas.set_num_threads(threads);
      double f32 = 1e9, bf16 = 1e9, other = 1e9, peak = 0;
      const bool large = shape.n * shape.k > (std::int64_t(8) << 20);
      const int rounds = (large ? 1 : 4) * options.rounds;
      for (int round = 0; round < rounds; ++round) {
        peak = std::max(peak, 1e9 * fma_peak_gflops(kernels.isa, threads, false));
        f32 = std::min(f32, seconds_of_ours(backend, wide, x, out, kRows, threads));
        if (have_blas)
          other = std::min(other, seconds_of_openblas(blas, wide, x, out, kRows, threads));
        bf16 = std::min(bf16, seconds_of_ours(backend, narrow, x, out, kRows, threads));
      }
      const double flop = 2.0 * double(kRows * shape.n * shape.k);
      std::printf("%-8s %6d %6d %3d | %8.1f %8.1f %s %s | %s %s %8.3f\n", shape.model, int(shape.n),
                  int(shape.k), threads, flop / f32 / 1e9, flop / bf16 / 1e9,
                  column(have_blas, flop / other / 1e9, 1).c_str(),
                  column(peak > 0, peak / 1e9, 1).c_str(),
                  column(have_blas, other / f32, 3).c_str(),
                  column(peak > 0, flop / f32 / peak, 3).c_str(), f32 / bf16);
      std::fflush(stdout);
    }
  }
}

void decode(const Options& options, const Kernels& kernels) {
  const Mode fp32 = mode_of(Precision::fp32);
  std::printf(
      "\ndecode, GB/s of weights read (M = 1), and how many times M = 1's tokens/s M = 8 has\n");
  std::printf("%-8s %6s %6s %4s %3s | %8s %8s %8s | %8s\n", "model", "N", "K", "as", "thr", "M=1",
              "memory", "of mem", "M=8/M=1");
  for (const Shape& shape :
       {Shape{"SmolLM2", 49152, 576}, Shape{"8B", 14336, 4096}, Shape{"8B", 4096, 14336}}) {
    for (const Format format : {Format::f32, Format::bf16}) {
      for (const int threads : options.threads) {
        CpuBackend backend(fp32, kernels, threads);
        const Matrix m = make_matrix(backend, shape.n, shape.k, format, false);
        const std::size_t bytes = std::size_t(shape.n * shape.k) * (format == Format::f32 ? 4 : 2);
        const void* weights = static_cast<const CpuMatrix&>(*m.packed).packed.data.get();
        std::vector<float> x = make_rows(8, shape.k), out(std::size_t(8 * shape.n));
        double one = 1e9, eight = 1e9, memory = 0;
        for (int round = 0; round < 2 * options.rounds; ++round) {
          memory = std::max(memory, measure_read(weights, bytes, threads));
          one = std::min(one, seconds_of_ours(backend, m, x, out, 1, threads));
          eight = std::min(eight, seconds_of_ours(backend, m, x, out, 8, threads));
        }
        std::printf("%-8s %6d %6d %4s %3d | %8.1f %8.1f %8.3f | %8.2f\n", shape.model, int(shape.n),
                    int(shape.k), format == Format::f32 ? "fp32" : "bf16", threads,
                    double(bytes) / one / 1e9, memory / 1e9, double(bytes) / one / memory,
                    8 * one / eight);
        std::fflush(stdout);
      }
    }
  }
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

const Kernels* choose(const std::string& isa) {
  for (const Kernels* kernels : {avx512_kernels(), avx2_kernels(), &scalar_kernels()}) {
    if (kernels != nullptr && (isa.empty() || isa == kernels->isa)) return kernels;
  }
  return nullptr;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    if (word == "prefill") options.prefill = true;
    if (word == "decode") options.decode = true;
    if (word == "--isa") options.isa = value;
    if (word == "--rounds") options.rounds = std::max(1, std::atoi(value.c_str()));
    if (word == "--threads") {
      options.threads.clear();
      for (std::size_t at = 0; at < value.size();) {
        options.threads.push_back(std::max(1, std::atoi(value.c_str() + at)));
        at = std::min(value.find(',', at), value.size() - 1) + 1;
      }
    }
  }
  if (!options.prefill && !options.decode) options.prefill = options.decode = true;
  return options;
}

}  // namespace
}  // namespace isobit::cpu

int main(int argc, char** argv) {
  using namespace isobit::cpu;
  const Options options = parse(argc, argv);
  const Kernels* kernels = choose(options.isa);
  if (kernels == nullptr) {
    std::fprintf(stderr, "this machine or build has no kernels '%s'\n", options.isa.c_str());
    return 1;
  }
  OpenBlas blas;
  const bool have_blas = blas.load();
  std::printf(
      "CPU: %s\nkernels: %s%s\n", cpu_model().c_str(), kernels->isa,
      std::string(kernels->isa) == "scalar" ? " (the literal text: no peak is measured)" : "");
  std::printf("OpenBLAS: %s%s%s\n", have_blas ? blas.get_config() : "not found",
              have_blas ? ", runs " : "", have_blas ? blas.get_corename() : "");
  if (options.prefill) prefill(options, *kernels, blas, have_blas);
  if (options.decode) decode(options, *kernels);
  return 0;
}
