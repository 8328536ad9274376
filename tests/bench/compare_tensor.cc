// Chains of tensor-core groups on the CPU beside the literal text and the reference's own product,
// in one run, on one thread: every line times all three in turn, several rounds, and prints the
// best of each. The literal text computes some panels of the same product; its outputs must be the
// kernel's bits, or the program ends with 1.
// Usage: compare_tensor [--isa NAME] [--rounds N] [--n N] [--k K]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "runtime/backends/cpu/kernels/fma_peak.h"
#include "runtime/backends/cpu/kernels/kernels.h"
#include "runtime/backends/cpu/packed.h"
#include "runtime/numerics/formats.h"
#include "runtime/numerics/tensorcore_text.h"

namespace isobit::cpu {
namespace {

struct Options {
  std::string isa = "auto";
  int rounds = 7;
  std::int64_t n = 1536, k = 1536;
};

/// The thread's own clock, so that other processes of a shared machine do not count.
double now() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
}

/// About normal, the same on every machine.
class Numbers {
 public:
  float next() {
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
      sum += float(std::int64_t(state_) >> 40) * 0x1p-23f;
    }
    return sum;
  }

 private:
  std::uint64_t state_ = 1;
};

struct Best {
  double chain = 1e9, literal = 1e9, gemm = 1e9;
};

/// False when bits differ.
bool measure(const Options& options, const Kernels& kernels, TensorCore chip, Format format,
             const char* name, std::int64_t rows) {
  const TensorUnit unit = tensor_unit(chip, format).value();
  const std::int64_t n = options.n, k = options.k;
  Numbers numbers;
  PackSpec spec;
  spec.n = n;
  spec.k = k;
  spec.rounded = format;
  for (int s = 0; s <= 8; ++s) spec.bounds.push_back(k * s / 8);
  const PackedMatrix w = pack(spec, [&](std::int64_t, std::span<float> out) {
    for (float& x : out) x = numbers.next() * 0.02f;
  });
  std::vector<float> x(std::size_t(rows * k));
  for (float& value : x) value = round_to(format, numbers.next());
  std::vector<float> out(std::size_t(rows * n)), literal = out, product = out;
  const std::int64_t panels = std::min<std::int64_t>(w.panels(), rows > 8 ? 1 : 4);
  Best best;
  const auto time = [](double& least, auto&& work) {
    const double start = now();
    work();
    least = std::min(least, now() - start);
  };
  for (int round = 0; round < options.rounds; ++round) {
    time(best.chain, [&] {
      kernels.f32.tensor_chain(
          {&unit, x.data(), k, &w, 0, k, out.data(), n, 0, rows, 0, w.panels()});
    });
    time(best.gemm, [&] {
      kernels.f32.gemm({x.data(), k, &w, product.data(), n, 0, rows, 0, w.panels()});
    });
    time(best.literal, [&] {
      scalar_kernels().f32.tensor_chain(
          {&unit, x.data(), k, &w, 0, k, literal.data(), n, 0, rows, 0, panels});
    });
  }
  const std::int64_t outputs = std::min(n, panels * kPanel);
  std::int64_t different = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t j = 0; j < outputs; ++j) {
      const std::size_t at = std::size_t(r * n + j);
      different += same_bits(out[at], literal[at]) ? 0 : 1;
    }
  }
  const double flop = 2e-9 * double(rows * n * k);
  const double chain = flop / best.chain, gemm = flop / best.gemm;
  const double text = 2e-9 * double(rows * outputs * k) / best.literal;
  std::printf("%-6s %-5s %4d | %8.2f %8.3f %8.1f | %8.1f %8.3f | %lld\n", text_of(chip).c_str(),
              name, int(rows), chain, text, gemm, chain / text, chain / gemm,
              static_cast<long long>(different));
  std::fflush(stdout);
  return different == 0;
}

int run(const Options& options) {
  const Kernels* kernels = kernels_named(options.isa);
  if (kernels == nullptr) {
    std::fprintf(stderr, "there is no %s here\n", options.isa.c_str());
    return 2;
  }
  std::printf("%s, N = %d, K = %d, one thread, GFLOP/s; FMA peak %.1f\n", kernels->isa,
              int(options.n), int(options.k), fma_peak_gflops(kernels->isa, 1, false));
  std::printf("%-6s %-5s %4s | %8s %8s %8s | %8s %8s | %s\n", "unit", "of", "M", "chain", "literal",
              "gemm", "/literal", "/gemm", "different bits");
  bool equal = true;
  for (const std::int64_t rows : {1, 4, 64}) {
    using enum TensorCore;
    equal = measure(options, *kernels, sm90, Format::bf16, "bf16", rows) && equal;
    equal = measure(options, *kernels, sm90, Format::fp16, "fp16", rows) && equal;
    equal = measure(options, *kernels, sm90, Format::tf32, "tf32", rows) && equal;
    equal = measure(options, *kernels, sm90, Format::e4m3, "e4m3", rows) && equal;
    equal = measure(options, *kernels, sm80, Format::bf16, "bf16", rows) && equal;
    equal = measure(options, *kernels, sm70, Format::fp16, "fp16", rows) && equal;
  }
  return equal ? 0 : 1;
}

}  // namespace
}  // namespace isobit::cpu

int main(int argc, char** argv) {
  isobit::cpu::Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--isa") options.isa = argv[i + 1];
    if (name == "--rounds") options.rounds = int(std::strtol(argv[i + 1], nullptr, 10));
    if (name == "--n") options.n = std::strtoll(argv[i + 1], nullptr, 10);
    if (name == "--k") options.k = std::strtoll(argv[i + 1], nullptr, 10);
  }
  return isobit::cpu::run(options);
}
