// Compares the constants and layouts that Isobit names itself with NVIDIA's headers, where a
// toolkit has them: at compile time, nothing runs and nobody calls this file.

#if __has_include(<cublasLt.h>) && __has_include(<cublas_api.h>)
#include <cublasLt.h>
#include <cublas_api.h>

#include <type_traits>

#include "runtime/backends/cuda/vendor/cublas_library.h"
#include "runtime/backends/cuda/vendor/cublaslt.h"
#include "runtime/backends/vendor_choice.h"

namespace isobit::cuda {
namespace {

static_assert(kOperationNormal == CUBLAS_OP_N && kOperationTransposed == CUBLAS_OP_T);
static_assert(kCompute32 == CUBLAS_COMPUTE_32F && kCompute64 == CUBLAS_COMPUTE_64F);
static_assert(kCompute32Pedantic == CUBLAS_COMPUTE_32F_PEDANTIC);
static_assert(kCompute64Pedantic == CUBLAS_COMPUTE_64F_PEDANTIC);
static_assert(kComputeTf32 == CUBLAS_COMPUTE_32F_FAST_TF32);
static_assert(kMathDefault == CUBLAS_DEFAULT_MATH && kMathPedantic == CUBLAS_PEDANTIC_MATH);
static_assert(kMathTf32 == CUBLAS_TF32_TENSOR_OP_MATH);
static_assert(kReal32 == CUDA_R_32F && kReal64 == CUDA_R_64F);
static_assert(kReal16 == CUDA_R_16F && kReal16b == CUDA_R_16BF && kReal8e4m3 == CUDA_R_8F_E4M3);
static_assert(CUBLAS_STATUS_NOT_SUPPORTED == 15 && CUBLAS_STATUS_ALLOC_FAILED == 3);
static_assert(CUBLAS_POINTER_MODE_HOST == 0 && CUBLASLT_POINTER_MODE_HOST == 0);

static_assert(sizeof(LtAlgorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(LtHeuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(LtHeuristic, workspace) ==
              offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(LtHeuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));

static_assert(kLtTransposeA == CUBLASLT_MATMUL_DESC_TRANSA);
static_assert(kLtTransposeB == CUBLASLT_MATMUL_DESC_TRANSB);
static_assert(kLtPointerMode == CUBLASLT_MATMUL_DESC_POINTER_MODE);
static_assert(kLtSearchMode == CUBLASLT_MATMUL_PREF_SEARCH_MODE);
static_assert(kLtMaxWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(kLtAlignmentA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
static_assert(kLtAlignmentB == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
static_assert(kLtAlignmentC == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
static_assert(kLtAlignmentD == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(kLtBestFit == CUBLASLT_SEARCH_BEST_FIT);
static_assert(kLtLimitedToAlgorithm == CUBLASLT_SEARCH_LIMITED_BY_ALGO_ID);
static_assert(kLtConfigId == CUBLASLT_ALGO_CONFIG_ID);

constexpr int attribute_of(const char* name) {
  for (const LtOption& option : kLtOptions) {
    const char *a = option.name, *b = name;
    while (*a != 0 && *a == *b) ++a, ++b;
    if (*a == *b) return option.attribute;
  }
  return -1;
}
static_assert(attribute_of("tile") == CUBLASLT_ALGO_CONFIG_TILE_ID);
static_assert(attribute_of("split_k") == CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
static_assert(attribute_of("reduction") == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
static_assert(attribute_of("swizzle") == CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING);
static_assert(attribute_of("custom") == CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION);
static_assert(attribute_of("stages") == CUBLASLT_ALGO_CONFIG_STAGES_ID);
static_assert(attribute_of("inner") == CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID);
static_assert(attribute_of("cluster") == CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID);

/// The same number of arguments; enums and handles of the header are ints and pointers here.
template <class... A, class R, class... B, class S>
constexpr bool same_arity(R (*)(A...), S (*)(B...)) {
  return sizeof...(A) == sizeof...(B) && sizeof(R) == sizeof(S) &&
         ((sizeof(A) == sizeof(B)) && ...);
}
static_assert(same_arity(decltype(LtCalls::matmul)(nullptr), decltype (&cublasLtMatmul)(nullptr)));
static_assert(same_arity(decltype(LtCalls::heuristic)(nullptr),
                         decltype (&cublasLtMatmulAlgoGetHeuristic)(nullptr)));
static_assert(same_arity(decltype(LtCalls::init)(nullptr),
                         decltype (&cublasLtMatmulAlgoInit)(nullptr)));
static_assert(same_arity(decltype(LtCalls::check)(nullptr),
                         decltype (&cublasLtMatmulAlgoCheck)(nullptr)));
static_assert(same_arity(decltype(LtCalls::config_get)(nullptr),
                         decltype (&cublasLtMatmulAlgoConfigGetAttribute)(nullptr)));
static_assert(same_arity(decltype(LtCalls::config_set)(nullptr),
                         decltype (&cublasLtMatmulAlgoConfigSetAttribute)(nullptr)));
static_assert(same_arity(decltype(LtCalls::layout_create)(nullptr),
                         decltype (&cublasLtMatrixLayoutCreate)(nullptr)));
static_assert(same_arity(decltype(LtCalls::operation_create)(nullptr),
                         decltype (&cublasLtMatmulDescCreate)(nullptr)));
static_assert(same_arity(decltype(LtCalls::operation_set)(nullptr),
                         decltype (&cublasLtMatmulDescSetAttribute)(nullptr)));
static_assert(same_arity(decltype(LtCalls::preference_set)(nullptr),
                         decltype (&cublasLtMatmulPreferenceSetAttribute)(nullptr)));

}  // namespace
}  // namespace isobit::cuda
#endif
