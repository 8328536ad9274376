// Products by cublasLtMatmul: an algorithm a shape, chosen by the library or given by a scenario.
//
// Promise: every argument is explicit; an algorithm that was asked for runs or the product throws
// BackendError with one line - never another one instead; what ran is read back from the library.
// Works on a table of functions, so that tests need no GPU. Callers: cublas.cc, phenomenon_gpu.cu.
#pragma once

#include <map>
#include <string>
#include <tuple>

#include "runtime/backends/cuda/vendor/cublas_library.h"
#include "runtime/backends/cuda/vendor/schedule_record.h"
#include "runtime/backends/vendor_choice.h"

namespace isobit::cuda {

// Attributes of operations, preferences and configurations (cublasLt.h).
constexpr int kLtPointerMode = 2, kLtTransposeA = 3, kLtTransposeB = 4;
constexpr int kLtSearchMode = 0, kLtMaxWorkspace = 1;
constexpr int kLtAlignmentA = 5, kLtAlignmentB = 6, kLtAlignmentC = 7, kLtAlignmentD = 8;
constexpr int kLtBestFit = 0, kLtLimitedToAlgorithm = 1;
constexpr int kLtConfigId = 0;

/// Element types and arithmetic of every product of one object.
struct ProductTypes {
  int element = kReal32;  // of both operands
  int result = kReal32;   // of the result, and of alpha and beta
  int compute = kCompute32;
};

/// out (rows, outputs) = x (rows, inputs) times w (outputs, inputs) transposed; row-major.
struct LtProduct {
  std::int64_t outputs, rows, inputs;
  const void* w;
  const void* x;
  std::int64_t x_stride;
  void* out;
  std::int64_t out_stride;
};
/// "outputs 1024, rows 8, inputs 4096", for messages.
std::string shape_text(const LtProduct& product);

class LtProducts {
 public:
  /// `workspace`: kVendorWorkspace bytes of the GPU. REQUIRES: calls outlive the object.
  LtProducts(const LtCalls& calls, const VendorChoice& choice, const ProductTypes& types,
             void* workspace, void* stream);
  ~LtProducts();
  LtProducts(const LtProducts&) = delete;
  LtProducts& operator=(const LtProducts&) = delete;

  void run(const LtProduct& product);
  /// What the library says it runs: "66 tile 20 stages 4 split_k 1 …", the words of a scenario.
  /// Chooses first when the shape is new.
  std::string configuration(const LtProduct& product);
  [[nodiscard]] std::string seen() const { return record_.text(); }
  [[nodiscard]] std::size_t version() const { return calls_.version(); }

 private:
  /// Everything that a choice of the library depends on.
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                         std::uint32_t, std::uint32_t, std::uint32_t>;
  struct Plan {
    LtObject a = nullptr, b = nullptr, d = nullptr;  // layouts
    LtAlgorithm algorithm{};
    std::size_t workspace = 0;
    std::string options;  // in words
  };

  const Plan& plan_of(const LtProduct& product);
  void choose(const LtProduct& product, Plan& plan);
  void configure(const LtProduct& product, Plan& plan);
  void read_back(const LtProduct& product, Plan& plan) const;
  void free_layouts(const Plan& plan);
  [[noreturn]] void refuse(const LtProduct& product, const std::string& why) const;

  const LtCalls& calls_;
  VendorChoice choice_;
  ProductTypes types_;
  void* workspace_;
  void* stream_;
  LtHandle handle_ = nullptr;
  LtObject operation_ = nullptr;
  std::map<Key, Plan> plans_;
  ScheduleRecord record_;
};

}  // namespace isobit::cuda
