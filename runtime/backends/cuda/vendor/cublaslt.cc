// A plan a shape: layouts, the algorithm, and what the library says of it (cublaslt.h).

#include "runtime/backends/cuda/vendor/cublaslt.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "runtime/backend.h"

namespace isobit::cuda {
namespace {

constexpr std::uint32_t kBestAlignment = 256;  // what cudaMalloc gives, and the library's default

void check(int status, const char* what) {
  if (status != 0) {
    throw BackendError(std::string("cublasLt: ") + what + ": " + vendor_status(status));
  }
}

/// Bytes that the address is a multiple of, at most what the library asks about.
std::uint32_t alignment(const void* at) {
  const auto address = reinterpret_cast<std::uintptr_t>(at);
  std::uint32_t bytes = kBestAlignment;
  while (address % bytes != 0) bytes /= 2;
  return bytes;
}

std::string option_text(const LtOption& option, const LtCalls& calls, const LtAlgorithm& algorithm,
                        std::uint32_t& value) {
  std::uint32_t wide = 0;
  std::uint16_t narrow = 0;
  void* const to = option.bytes == 2 ? static_cast<void*>(&narrow) : &wide;
  std::size_t written = 0;
  const int status =
      calls.config_get(&algorithm, option.attribute, to, std::size_t(option.bytes), &written);
  if (status != 0) return std::string(" ") + option.name + " ?";
  value = option.bytes == 2 ? narrow : wide;
  return std::string(" ") + option.name + " " + std::to_string(value);
}

}  // namespace

std::string shape_text(const LtProduct& product) {
  return "outputs " + std::to_string(product.outputs) + ", rows " + std::to_string(product.rows) +
         ", inputs " + std::to_string(product.inputs);
}

LtProducts::LtProducts(const LtCalls& calls, const VendorChoice& choice, const ProductTypes& types,
                       void* workspace, void* stream)
    : calls_(calls), choice_(choice), types_(types), workspace_(workspace), stream_(stream) {
  check(calls_.create(&handle_), "create");
  try {
    check(calls_.operation_create(&operation_, types_.compute, types_.result), "operation");
    const std::int32_t transposed = kOperationTransposed, normal = kOperationNormal, host = 0;
    check(calls_.operation_set(operation_, kLtTransposeA, &transposed, sizeof transposed),
          "transpose A");
    check(calls_.operation_set(operation_, kLtTransposeB, &normal, sizeof normal), "transpose B");
    check(calls_.operation_set(operation_, kLtPointerMode, &host, sizeof host), "pointer mode");
  } catch (...) {
    if (operation_ != nullptr) calls_.operation_destroy(operation_);
    calls_.destroy(handle_);
    throw;
  }
}

LtProducts::~LtProducts() {
  for (const auto& [key, plan] : plans_) free_layouts(plan);
  calls_.operation_destroy(operation_);
  calls_.destroy(handle_);
}

void LtProducts::free_layouts(const Plan& plan) {
  for (const LtObject layout : {plan.a, plan.b, plan.d}) {
    if (layout != nullptr) calls_.layout_destroy(layout);
  }
}

void LtProducts::refuse(const LtProduct& product, const std::string& why) const {
  throw BackendError("cublasLt, engine " + vendor_text(choice_) + ": " + why + " for " +
                     shape_text(product));
}

void LtProducts::run(const LtProduct& product) {
  const Plan& plan = plan_of(product);
  const float one = 1, zero = 0;
  const double wide_one = 1, wide_zero = 0;
  const bool wide = types_.result == kReal64;
  const void* const alpha = wide ? static_cast<const void*>(&wide_one) : &one;
  const void* const beta = wide ? static_cast<const void*>(&wide_zero) : &zero;
  const int status = calls_.matmul(handle_, operation_, alpha, product.w, plan.a, product.x, plan.b,
                                   beta, product.out, plan.d, product.out, plan.d, &plan.algorithm,
                                   workspace_, kVendorWorkspace, stream_);
  if (status != 0) refuse(product, "the product failed with " + vendor_status(status));
}

std::string LtProducts::configuration(const LtProduct& product) {
  return plan_of(product).options;
}

const LtProducts::Plan& LtProducts::plan_of(const LtProduct& product) {
  const Key key{product.outputs,      product.rows,          product.inputs,
                product.x_stride,     product.out_stride,    alignment(product.w),
                alignment(product.x), alignment(product.out)};
  const auto found = plans_.find(key);
  if (found != plans_.end()) return found->second;
  Plan plan;
  try {
    const auto outputs = std::uint64_t(product.outputs), rows = std::uint64_t(product.rows);
    const auto inputs = std::uint64_t(product.inputs);
    check(calls_.layout_create(&plan.a, types_.element, inputs, outputs, product.inputs),
          "layout of the weights");
    check(calls_.layout_create(&plan.b, types_.element, inputs, rows, product.x_stride),
          "layout of the rows");
    check(calls_.layout_create(&plan.d, types_.result, outputs, rows, product.out_stride),
          "layout of the result");
    if (choice_.exact) {
      configure(product, plan);
    } else {
      choose(product, plan);
    }
    read_back(product, plan);
  } catch (...) {
    free_layouts(plan);
    throw;
  }
  record_.note(product.outputs, product.inputs, product.rows,
               plan.options + " workspace " + std::to_string(plan.workspace));
  return plans_.emplace(key, std::move(plan)).first->second;
}

/// The heuristic's answer number `index`, of any algorithm or of one.
void LtProducts::choose(const LtProduct& product, Plan& plan) {
  LtObject preference = nullptr;
  check(calls_.preference_create(&preference), "preference");
  const auto set = [&](int attribute, const void* value, std::size_t bytes) {
    const int status = calls_.preference_set(preference, attribute, value, bytes);
    if (status != 0) calls_.preference_destroy(preference);
    check(status, "preference");
  };
  const bool limited = choice_.algorithm >= 0;
  const std::uint32_t mode = limited ? kLtLimitedToAlgorithm : kLtBestFit;
  const std::uint64_t workspace = kVendorWorkspace;
  set(kLtSearchMode, &mode, sizeof mode);
  set(kLtMaxWorkspace, &workspace, sizeof workspace);
  const std::uint32_t aligned[] = {alignment(product.w), alignment(product.x),
                                   alignment(product.out)};
  set(kLtAlignmentA, &aligned[0], sizeof aligned[0]);
  set(kLtAlignmentB, &aligned[1], sizeof aligned[1]);
  set(kLtAlignmentC, &aligned[2], sizeof aligned[2]);
  set(kLtAlignmentD, &aligned[2], sizeof aligned[2]);
  std::vector<LtHeuristic> answers(std::size_t(choice_.index) + 1, LtHeuristic{});
  int found = 0, status = 0;
  if (limited) {
    status = calls_.init(handle_, types_.compute, types_.result, types_.element, types_.element,
                         types_.result, types_.result, choice_.algorithm, &answers[0].algorithm);
  }
  if (status == 0) {
    status = calls_.heuristic(handle_, operation_, plan.a, plan.b, plan.d, plan.d, preference,
                              int(answers.size()), answers.data(), &found);
  }
  calls_.preference_destroy(preference);
  const std::string of = limited ? " of algorithm " + std::to_string(choice_.algorithm) : "";
  if (status != 0) refuse(product, "no heuristic answer" + of + ", " + vendor_status(status));
  if (found <= choice_.index) {
    refuse(product, "the heuristic has " + std::to_string(found) + " answers" + of + ", index " +
                        std::to_string(choice_.index) + " was asked");
  }
  const LtHeuristic& answer = answers[std::size_t(choice_.index)];
  if (answer.state != 0)
    refuse(product, "the heuristic's answer is " + vendor_status(answer.state));
  plan.algorithm = answer.algorithm;
  plan.workspace = answer.workspace;
}

/// Exactly the scenario's configuration; what it leaves out is as the library begins it.
void LtProducts::configure(const LtProduct& product, Plan& plan) {
  int status = calls_.init(handle_, types_.compute, types_.result, types_.element, types_.element,
                           types_.result, types_.result, choice_.algorithm, &plan.algorithm);
  if (status != 0) refuse(product, "algorithm refused with " + vendor_status(status));
  for (std::size_t i = 0; i < kLtOptions.size(); ++i) {
    if (!choice_.options[i]) continue;
    const LtOption& option = kLtOptions[i];
    const std::uint32_t wide = *choice_.options[i];
    const auto narrow = std::uint16_t(wide);
    const void* const value = option.bytes == 2 ? static_cast<const void*>(&narrow) : &wide;
    status = calls_.config_set(&plan.algorithm, option.attribute, value, std::size_t(option.bytes));
    if (status != 0) {
      refuse(product, std::string(option.name) + " " + std::to_string(wide) + " refused with " +
                          vendor_status(status));
    }
  }
  LtHeuristic answer{};
  status =
      calls_.check(handle_, operation_, plan.a, plan.b, plan.d, plan.d, &plan.algorithm, &answer);
  if (status == 0) status = answer.state;
  if (status != 0) refuse(product, "configuration refused with " + vendor_status(status));
  if (answer.workspace > kVendorWorkspace) {
    refuse(product, "configuration needs a workspace of " + std::to_string(answer.workspace) +
                        " bytes, it gets " + std::to_string(kVendorWorkspace));
  }
  plan.workspace = answer.workspace;
}

/// Into words, and proof that what was asked for is what is there.
void LtProducts::read_back(const LtProduct& product, Plan& plan) const {
  std::int32_t id = -1;
  std::size_t written = 0;
  check(calls_.config_get(&plan.algorithm, kLtConfigId, &id, sizeof id, &written), "algorithm id");
  if (choice_.algorithm >= 0 && id != choice_.algorithm) {
    refuse(product, "algorithm " + std::to_string(id) + " came");
  }
  plan.options = std::to_string(id);
  for (std::size_t i = 0; i < kLtOptions.size(); ++i) {
    std::uint32_t value = 0;
    plan.options += option_text(kLtOptions[i], calls_, plan.algorithm, value);
    if (choice_.options[i] && value != *choice_.options[i]) {
      refuse(product, std::string(kLtOptions[i].name) + " " + std::to_string(value) + " came");
    }
  }
}

}  // namespace isobit::cuda
