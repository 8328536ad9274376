// What the CUDA conformance tests share: the same operation on the literal CPU text and on the
// GPU, over the same bytes, and a comparison of every bit of what both left behind.
//
// Without a GPU the suite skips and says so; with one that cannot be used it fails.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "runtime/backends/registry.h"
#include "runtime/numerics/formats.h"
#include "tests/conformance/kernel_data.h"

namespace isobit::cuda_test {

using cpu::testing::Data;
using cpu::testing::kEveryData;
using cpu::testing::make_data;
using cpu::testing::Random;

/// The driver's device node or folder: a GPU is there, whether or not CUDA answers.
inline bool gpu_is_there() {
  return std::filesystem::exists("/dev/nvidia0") || std::filesystem::exists("/dev/nvidiactl");
}

/// Why the CUDA backend cannot run here, or empty.
inline std::string why_no_gpu() {
  BackendOptions options;
  options.device = "cuda";
  return unsupported_reason(options, mode_of(Precision::fp32));
}

/// For SetUp(): skips without a GPU, fails with one that cannot be used.
inline void need_gpu() {
  const std::string why = why_no_gpu();
  if (why.empty()) return;
  if (gpu_is_there()) FAIL() << "a GPU is there and cannot be used: " << why;
  GTEST_SKIP() << why;
}

/// An array that both sides have.
struct Array {
  void* cpu = nullptr;
  void* gpu = nullptr;
  std::int64_t n = 0;
};

/// The scalar CPU backend and the GPU's, in one precision.
class Pair {
 public:
  explicit Pair(Precision precision, const std::string& isa = "scalar", int threads = 1)
      : mode_(mode_of(precision)) {
    BackendOptions options;
    options.isa = isa;
    options.threads = threads;
    auto cpu = make_backend(options, mode_);
    options = BackendOptions{};
    options.device = "cuda";
    auto gpu = make_backend(options, mode_);
    ISOBIT_CHECK(cpu.has_value() && gpu.has_value());
    cpu_ = std::move(*cpu);
    gpu_ = std::move(*gpu);
    EXPECT_EQ(cpu_->describe().device, "cpu");
    EXPECT_EQ(gpu_->describe().device, "cuda");
  }
  ~Pair() {
    for (const Array& array : arrays_) {
      cpu_->release(array.cpu);
      gpu_->release(array.gpu);
    }
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  [[nodiscard]] const Mode& mode() const { return mode_; }
  [[nodiscard]] Backend& cpu() { return *cpu_; }
  [[nodiscard]] Backend& gpu() { return *gpu_; }

  Array empty(std::int64_t n) {
    const std::size_t bytes = std::size_t(n) * mode_size();
    arrays_.push_back({cpu_->allocate(bytes), gpu_->allocate(bytes), n});
    return arrays_.back();
  }
  /// Values as Real, rounded to a format first.
  Array put(const std::vector<double>& values, Format format) {
    const Array out = empty(std::int64_t(values.size()));
    if (mode_.wide()) return fill(out, values);
    std::vector<float> narrow;
    for (const double x : values) narrow.push_back(round_to(format, float(x)));
    return fill(out, narrow);
  }
  Array random(Data data, std::int64_t n, std::uint64_t seed, Format format) {
    if (mode_.wide()) return fill(empty(n), make_data<double>(data, n, seed));
    std::vector<float> x = make_data<float>(data, n, seed);
    for (float& value : x) value = round_to(format, value);
    return fill(empty(n), x);
  }
  template <class T>
  Array fill(const Array& to, const std::vector<T>& values) {
    cpu_->upload(to.cpu, values.data(), values.size() * sizeof(T));
    gpu_->upload(to.gpu, values.data(), values.size() * sizeof(T));
    return to;
  }

  /// f(backend, is_gpu) on both sides.
  template <class F>
  void both(F&& f) {
    f(*cpu_, false);
    f(*gpu_, true);
  }

  /// Every bit equal, and not a comparison of nothing.
  ::testing::AssertionResult same(const Array& array, bool any_substance = false) {
    return mode_.wide() ? same_as<double>(array, any_substance)
                        : same_as<float>(array, any_substance);
  }

 private:
  [[nodiscard]] std::size_t mode_size() const { return mode_.wide() ? 8 : 4; }

  template <class T>
  ::testing::AssertionResult same_as(const Array& array, bool any_substance) {
    std::vector<T> want(std::size_t(array.n)), got(std::size_t(array.n));
    cpu_->download(want.data(), array.cpu, want.size() * sizeof(T));
    gpu_->download(got.data(), array.gpu, got.size() * sizeof(T));
    const auto result = cpu::testing::same(want, got);
    if (!result) return result;
    if (!any_substance && !cpu::testing::has_substance(want)) {
      return ::testing::AssertionFailure() << "only zeros and NaN were compared";
    }
    return result;
  }

  const Mode& mode_;
  std::unique_ptr<Backend> cpu_, gpu_;
  std::vector<Array> arrays_;
};

inline Rows rows_of(const Array& array, bool gpu, std::int64_t rows, std::int64_t cols) {
  return {gpu ? array.gpu : array.cpu, rows, cols, cols};
}

/// The suite's parameter is the precision, as its number.
class CudaOps : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { need_gpu(); }
  [[nodiscard]] static Precision precision() { return Precision(GetParam()); }
};

inline std::string precision_name(const ::testing::TestParamInfo<int>& info) {
  std::string name = mode_of(Precision(info.param)).name;
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
}

}  // namespace isobit::cuda_test
