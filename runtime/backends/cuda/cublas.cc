// Everything of cuBLAS behind dlopen. Its header is not needed: the few constants are named here.

#include "runtime/backends/cuda/cublas.h"

#include <dlfcn.h>
#include <library_types.h>

#include <charconv>
#include <mutex>

#include "runtime/backends/cuda/cuda_backend.h"
#include "runtime/backends/cuda/cuda_engine.h"
#include "runtime/numerics/formats.h"
#include "runtime/trace.h"

namespace invar::cuda {
namespace {

constexpr const char* kLibraries[] = {"libcublas.so.13", "libcublas.so.12"};
constexpr int kNormal = 0, kTransposed = 1;                         // cublasOperation_t
constexpr int kCompute32 = 68, kCompute64 = 70, kComputeTf32 = 77;  // cublasComputeType_t
constexpr int kDefaultMath = 0;                                     // cublasMath_t
constexpr int kDefaultAlgorithm = -1, kMostAlgorithm = 23;          // cublasGemmAlgo_t
constexpr std::size_t kWorkspaceBytes = std::size_t(32) << 20;

using Handle = struct Opaque*;

struct Library {
  int (*create)(Handle*);
  int (*destroy)(Handle);
  int (*version)(Handle, int*);
  int (*set_stream)(Handle, cudaStream_t);
  int (*set_workspace)(Handle, void*, std::size_t);
  int (*set_math)(Handle, int);
  int (*gemm)(Handle, int, int, int, int, int, const void*, const void*, cudaDataType, int,
              const void*, cudaDataType, int, const void*, void*, cudaDataType, int, int, int);
  std::string path, sha256_hex;
};

template <class F>
bool symbol(void* handle, const char* name, F& out) {
  out = reinterpret_cast<F>(dlsym(handle, name));
  return out != nullptr;
}

/// The process's cuBLAS, loaded on first use.
Result<const Library*> load() {
  static std::mutex mutex;
  static std::unique_ptr<Library> loaded;
  const std::lock_guard lock(mutex);
  if (loaded != nullptr) return loaded.get();
  void* handle = nullptr;
  for (const char* name : kLibraries) {
    if (handle == nullptr) handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  if (handle == nullptr) return Error{std::string("cuBLAS cannot be loaded: ") + dlerror(), ""};
  auto library = std::make_unique<Library>();
  const bool complete = symbol(handle, "cublasCreate_v2", library->create) &&
                        symbol(handle, "cublasDestroy_v2", library->destroy) &&
                        symbol(handle, "cublasGetVersion_v2", library->version) &&
                        symbol(handle, "cublasSetStream_v2", library->set_stream) &&
                        symbol(handle, "cublasSetWorkspace_v2", library->set_workspace) &&
                        symbol(handle, "cublasSetMathMode", library->set_math) &&
                        symbol(handle, "cublasGemmEx", library->gemm);
  if (!complete) return Error{"cuBLAS lacks a symbol that Invar calls", ""};
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(library->gemm), &info) != 0) library->path = info.dli_fname;
  Sha256 hash{};
  if (sha256_file(library->path, hash)) library->sha256_hex = to_hex(hash);
  loaded = std::move(library);
  return loaded.get();
}

void check_status(int status, const char* what) {
  if (status != 0) {
    throw BackendError(std::string("cuBLAS: ") + what + ": status " + std::to_string(status));
  }
}

/// "" or a number of cublasGemmAlgo_t.
bool parse_algorithm(const std::string& text, int& algorithm) {
  algorithm = kDefaultAlgorithm;
  if (text.empty()) return true;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), algorithm);
  return error == std::errc{} && end == text.data() + text.size() &&
         algorithm >= kDefaultAlgorithm && algorithm <= kMostAlgorithm;
}

class CublasBackend final : public CudaBackend {
 public:
  CublasBackend(const Mode& mode, GpuInfo gpu, const Library& library, int algorithm)
      : CudaBackend(mode, std::move(gpu)), library_(library), algorithm_(algorithm) {
    check_status(library_.create(&handle_), "cublasCreate");
    check_status(library_.set_stream(handle_, stream_), "cublasSetStream");
    check_status(
        library_.set_workspace(handle_, memory_.reserve(kWorkspaceBytes, stream_), kWorkspaceBytes),
        "cublasSetWorkspace");
    check_status(library_.set_math(handle_, kDefaultMath), "cublasSetMathMode");
  }
  ~CublasBackend() override {
    cudaSetDevice(gpu_.index);
    library_.destroy(handle_);
  }
  CublasBackend(const CublasBackend&) = delete;
  CublasBackend& operator=(const CublasBackend&) = delete;

  BackendInfo describe() const override {
    BackendInfo info = CudaBackend::describe();
    int version = 0;
    library_.version(handle_, &version);
    info.engine = "cublas";
    if (algorithm_ != kDefaultAlgorithm) info.engine += ":" + std::to_string(algorithm_);
    info.kernels += " cublasGemmEx " + std::to_string(version) + " algorithm " +
                    std::to_string(algorithm_) + " compute " + std::to_string(compute()) +
                    " workspace 32 MiB";
    info.library = library_.path;
    info.library_sha256 = library_.sha256_hex;
    return info;
  }

  /// Row-major (outputs, inputs) of the element that the product is asked in.
  std::shared_ptr<WeightMatrix> load_matrix(const MatrixSource& source) override {
    enter();
    auto matrix = std::make_shared<CudaMatrix>(gpu_.index);
    matrix->outputs = source.outputs;
    matrix->inputs = source.inputs;
    matrix->segments = int(source.bounds.size()) - 1;
    matrix->scaled = source.format == Format::e4m3 || source.format == Format::e5m2;
    matrix->words.n = source.outputs;
    matrix->words.k = source.inputs;
    std::vector<float> rows(std::size_t(source.outputs * source.inputs)), scale;
    for (std::int64_t r = 0; r < source.outputs; ++r) {
      const std::span row =
          std::span(rows).subspan(std::size_t(r * source.inputs), std::size_t(source.inputs));
      source.read(r, row);
      const float s = matrix->scaled ? power_of_two_scale(source.format, source.amax(r)) : 1.0f;
      if (matrix->scaled) scale.push_back(s);
      for (float& x : row) x = round_to(source.format, x / s);
    }
    if (matrix->scaled) {
      matrix->scale = static_cast<float*>(matrix->take(scale.size() * sizeof(float)));
      upload(matrix->scale, scale.data(), scale.size() * sizeof(float));
    }
    store(rows, *matrix);
    return matrix;
  }

  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    const auto& w = static_cast<const CudaMatrix&>(matrix);
    if (x.rows == 0 || w.outputs == 0 || w.segments == 0) return;
    enter();
    const void* input = x.data;
    std::int64_t stride = x.stride;
    if (narrow_elements()) {
      void* to = inputs_.reserve(std::size_t(x.rows * x.cols) * 2, stream_);
      narrow(stream_, static_cast<const float*>(x.data), x.stride, x.rows, x.cols,
             element() == CUDA_R_16F, to);
      input = to;
      stride = x.cols;
    }
    const float one = 1, zero = 0;
    const double wide_one = 1, wide_zero = 0;
    const bool wide = mode_.wide();
    const cudaDataType result = wide ? CUDA_R_64F : CUDA_R_32F;
    check_status(library_.gemm(handle_, kTransposed, kNormal, int(w.outputs), int(x.rows),
                               int(w.inputs), wide ? static_cast<const void*>(&wide_one) : &one,
                               w.words.data, element(), int(w.inputs), input, element(),
                               int(stride), wide ? static_cast<const void*>(&wide_zero) : &zero,
                               out.data, result, int(out.stride), compute(), algorithm_),
                 "cublasGemmEx");
  }

 private:
  /// What both operands are: the narrowest element that holds the mode's values.
  [[nodiscard]] cudaDataType element() const {
    if (mode_.wide()) return CUDA_R_64F;
    if (mode_.gemm_input == Format::f32 || mode_.gemm_input == Format::tf32) return CUDA_R_32F;
    return mode_.gemm_input == Format::fp16 ? CUDA_R_16F : CUDA_R_16BF;
  }
  [[nodiscard]] bool narrow_elements() const {
    return element() == CUDA_R_16F || element() == CUDA_R_16BF;
  }
  [[nodiscard]] int compute() const {
    if (mode_.wide()) return kCompute64;
    return mode_.gemm_input == Format::tf32 ? kComputeTf32 : kCompute32;
  }

  void store(const std::vector<float>& rows, CudaMatrix& matrix) {
    const std::size_t n = rows.size();
    if (mode_.wide()) {
      const std::vector<double> wide(rows.begin(), rows.end());
      void* to = matrix.take(n * 8);
      upload(to, wide.data(), n * 8);
      matrix.words.data = to;
      return;
    }
    if (!narrow_elements()) {
      void* to = matrix.take(n * 4);
      upload(to, rows.data(), n * 4);
      matrix.words.data = to;
      return;
    }
    void* to = matrix.take(n * 2);
    void* staging = inputs_.reserve(n * 4, stream_);
    upload(staging, rows.data(), n * 4);
    narrow(stream_, static_cast<const float*>(staging), matrix.inputs, matrix.outputs,
           matrix.inputs, element() == CUDA_R_16F, to);
    check(cudaStreamSynchronize(stream_), "narrow");
    matrix.words.data = to;
  }

  const Library& library_;
  int algorithm_;
  Handle handle_ = nullptr;
  Buffer memory_, inputs_;  // the library's workspace; operands as it wants them
};

}  // namespace

std::string cublas_unsupported(const BackendOptions& options) {
  int algorithm = 0;
  if (options.device != "cuda") return "engine cublas needs device cuda";
  if (!parse_algorithm(options.core_type, algorithm)) {
    return "cublas algorithm '" + options.core_type + "' is none of -1 (the default) … 23";
  }
  if (std::string why = cuda_unsupported(options); !why.empty()) return why;
  return cublas_path().empty() ? "cuBLAS is not installed (libcublas.so.13 or .12)" : "";
}

Result<std::unique_ptr<Backend>> make_cublas(const BackendOptions& options, const Mode& mode) {
  int algorithm = 0;
  parse_algorithm(options.core_type, algorithm);  // checked by cublas_unsupported
  auto gpu = gpu_of_rank(options.rank);
  INVAR_TRY(gpu);
  const auto library = load();
  INVAR_TRY(library);
  try {
    return std::unique_ptr<Backend>(
        std::make_unique<CublasBackend>(mode, *gpu, **library, algorithm));
  } catch (const BackendError& error) {
    return Error{error.what(), ""};
  } catch (const std::bad_alloc&) {
    return Error{"device cuda: out of memory", ""};
  }
}

}  // namespace invar::cuda
