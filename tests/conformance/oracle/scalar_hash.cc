// Prints one hash of the literal scalar text over adversarial data: products, chains of tensor-core
// groups, norms, RoPE, attention, roundings and functions. ci/checks/optimisation_levels.sh
// compiles it at several optimisation levels and compilers and compares what they print.
#include <cstdio>
#include <vector>

#include "runtime/backends/cpu/packed.h"
#include "runtime/numerics/order.h"

namespace {

using namespace isobit;
using namespace isobit::cpu;

class Fnv {
 public:
  template <class T>
  void add(const std::vector<T>& values) {
    for (const T value : values) {
      const auto bits = bits_of(value);
      for (std::size_t i = 0; i < sizeof bits; ++i) {
        hash_ = (hash_ ^ ((bits >> (8 * i)) & 0xffu)) * 0x100000001b3ull;
      }
    }
  }
  [[nodiscard]] std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325ull;
};

/// Values over 40 binades with exact cancellations, some -0 and subnormals.
template <class T>
std::vector<T> data(std::size_t n, std::uint64_t seed) {
  std::vector<T> x(n);
  for (std::size_t i = 0; i < n; ++i) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    const double unit = double(std::int64_t(seed) >> 11) * 0x1p-52;
    const std::uint64_t e = 1023 - 20 + (seed >> 33) % 40;
    x[i] = T(unit * double_of(e << 52));
    if (i % 13 == 5) x[i] = -x[i - 1];
    if (i % 97 == 11) x[i] = T(-0.0);
    if (i % 89 == 7) x[i] = T(0x1p-140 * unit);
  }
  return x;
}

template <class T>
void hash_kernels(const KernelsOf<T>& kernels, Format weights, Format stored, Fnv& hash) {
  constexpr std::int64_t kRows = 5, kN = 48, kK = 331, kD = 80, kLength = 300;
  PackSpec spec;
  spec.n = kN;
  spec.k = kK;
  spec.rounded = weights;
  for (int s = 0; s <= 8; ++s) spec.bounds.push_back(kK * s / 8);
  const std::vector<float> w = data<float>(kN * kK, 1);
  const PackedMatrix packed = pack(spec, [&](std::int64_t row, std::span<float> out) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = w[std::size_t(row * kK) + i];
  });
  const std::vector<T> x = data<T>(kRows * kK, 2), norm = data<T>(kK, 3);
  std::vector<T> y(kRows * kN), z(x.size());
  kernels.gemm({x.data(), kK, &packed, y.data(), kN, 0, kRows, 0, packed.panels()});
  hash.add(y);
  const T* parts[1] = {y.data()};
  kernels.finish({parts, 1, kN, nullptr, nullptr, norm.data(), stored, y.data(), 0, kRows});
  hash.add(y);
  kernels.rms_norm(x.data(), norm.data(), T(1e-5f), kRows, kK, stored, z.data());
  hash.add(z);
  kernels.gated_silu(z.data(), x.data(), kRows * kK, stored, z.data());
  hash.add(z);
  std::vector<T> scale(kRows);
  kernels.amax(x.data(), kRows, kK, scale.data());
  kernels.quantize(x.data(), kRows, kK, scale.data(), stored, z.data());
  hash.add(z);
  std::vector<T> q = data<T>(2 * kD, 4), k = data<T>(kLength * kD + 16 * kD, 5), v = k, o(q.size());
  for (T& value : q) value = value * T(0x1p-12);
  const std::int64_t positions[2] = {0, 1};
  kernels.rope(q.data(), 2, 1, kD, kD, positions, k.data(), v.data(), stored);
  const std::int32_t table[1] = {0};
  kernels.attention({q.data(),
                     o.data(),
                     2,
                     kD,
                     T(0.125),
                     stored,
                     3,
                     kLength - 1,
                     nullptr,
                     {k.data(), v.data(), table, 0, 0, kLength + 4}});
  hash.add(o);
}

/// Chains of a tensor core's groups.
void hash_chains(TensorCore chip, Format format, Fnv& hash) {
  constexpr std::int64_t kRows = 3, kN = 40, kK = 131;
  const TensorUnit unit = mma_sync_unit(chip, format).value();
  PackSpec spec;
  spec.n = kN;
  spec.k = kK;
  spec.rounded = format;
  const std::vector<float> w = data<float>(kN * kK, 6);
  const PackedMatrix packed = pack(spec, [&](std::int64_t row, std::span<float> out) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = w[std::size_t(row * kK) + i];
  });
  std::vector<float> x = data<float>(kRows * kK, 7), y(kRows * kN);
  for (float& value : x) value = round_to(format, value);
  scalar_kernels().f32.tensor_chain(
      {&unit, x.data(), kK, &packed, 0, kK, y.data(), kN, 0, kRows, 0, packed.panels()});
  hash.add(y);
}

}  // namespace

int main() {
  Fnv hash;
  for (const Format format : {Format::tf32, Format::bf16, Format::fp16, Format::e4m3}) {
    hash_chains(TensorCore::sm90, format, hash);
    hash_chains(TensorCore::sm89, format, hash);
  }
  for (const Format format :
       {Format::f32, Format::tf32, Format::bf16, Format::fp16, Format::e4m3, Format::e5m2}) {
    hash_kernels(scalar_kernels().f32, format, format, hash);
  }
  hash_kernels(scalar_kernels().f64, Format::f64, Format::f64, hash);
  std::vector<float> single;
  for (std::uint64_t bits = 0; bits < (1ull << 32); bits += 65521) {
    const float x = float_of(std::uint32_t(bits));
    for (const float y : {exp_(x), silu_(x), gelu_tanh_(x)}) single.push_back(y);
  }
  hash.add(single);
  std::vector<double> wide;
  for (const double x : data<double>(1 << 14, 9)) {
    for (const double y : {exp_(x), log_(x), sin_(x), cos_(x), tanh_(x), erf_(x), gelu_tanh_(x),
                           rope_inv_freq(3, 64, 1e4 + x)}) {
      wide.push_back(canonical(y));
    }
  }
  hash.add(wide);
  hash.add(std::vector<float>{log_sum_exp(single.data() + 100000, 20001)});
  std::printf("%016llx\n", static_cast<unsigned long long>(hash.value()));
  return 0;
}
