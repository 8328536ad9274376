// cuBLAS and cublasLt as engines: elements and weights here, the products in cublaslt.cc and below.

#include "runtime/backends/cuda/vendor/cublas.h"

#include "runtime/backends/cuda/backend.h"
#include "runtime/backends/cuda/engine.h"
#include "runtime/backends/cuda/kernels/names.h"
#include "runtime/backends/cuda/vendor/cublas_library.h"
#include "runtime/backends/cuda/vendor/cublaslt.h"
#include "runtime/backends/vendor_choice.h"
#include "runtime/numerics/formats.h"

namespace isobit::cuda {
namespace {

void check_status(int status, const char* what) {
  if (status != 0)
    throw BackendError(std::string("cuBLAS: ") + what + ": " + vendor_status(status));
}

/// What both operands are: the narrowest element that holds the mode's values.
ProductTypes types_of(const Mode& mode, VendorChoice::Math math) {
  const bool pedantic = math == VendorChoice::Math::pedantic;
  if (mode.wide()) return {kReal64, kReal64, pedantic ? kCompute64Pedantic : kCompute64};
  ProductTypes types;
  const bool tf32 = mode.gemm_input == Format::tf32;
  if (mode.gemm_input != Format::f32 && !tf32) {
    types.element = mode.gemm_input == Format::fp16 ? kReal16 : kReal16b;
  }
  types.compute = pedantic                                   ? kCompute32Pedantic
                  : tf32 || math == VendorChoice::Math::tf32 ? kComputeTf32
                                                             : kCompute32;
  return types;
}

/// The kernels that a call starts. A library that has not loaded them yet starts them once.
std::vector<StartedKernel> kernels_of(cudaStream_t stream, const std::function<int()>& call) {
  auto found = started_kernels(stream, call);
  if (found.empty() && call() == 0) found = started_kernels(stream, call);
  return found;
}

/// The same products by cublasGemmEx, whose choice is seen only in the kernels that it starts.
class GemmProducts {
 public:
  GemmProducts(const CublasCalls& calls, const VendorChoice& choice, const ProductTypes& types,
               void* workspace, cudaStream_t stream)
      : calls_(calls), choice_(choice), types_(types), stream_(stream) {
    check_status(calls_.create(&handle_), "cublasCreate");
    const int math = types.compute == kComputeTf32                 ? kMathTf32
                     : choice.math == VendorChoice::Math::pedantic ? kMathPedantic
                                                                   : kMathDefault;
    try {
      check_status(calls_.set_stream(handle_, stream), "cublasSetStream");
      check_status(calls_.set_workspace(handle_, workspace, kVendorWorkspace),
                   "cublasSetWorkspace");
      check_status(calls_.set_math(handle_, math), "cublasSetMathMode");
      check_status(calls_.set_pointer_mode(handle_, 0), "cublasSetPointerMode");
    } catch (...) {
      calls_.destroy(handle_);
      throw;
    }
  }
  ~GemmProducts() { calls_.destroy(handle_); }
  GemmProducts(const GemmProducts&) = delete;
  GemmProducts& operator=(const GemmProducts&) = delete;

  void run(const LtProduct& p) {
    if (const int status = call(p); status != 0) {
      throw BackendError("cublasGemmEx, algorithm " + std::to_string(choice_.algorithm) + ": " +
                         vendor_status(status) + " for " + shape_text(p));
    }
    // The names after the product: by now the library has loaded what it starts.
    const auto place = [](const void* at) { return reinterpret_cast<std::uintptr_t>(at) % 256; };
    if (!seen_.emplace(p.outputs, p.rows, p.inputs, place(p.x), place(p.out)).second) return;
    const std::string names = brief_text(started(p));
    record_.note(p.outputs, p.inputs, p.rows, names.empty() ? "kernel unknown" : names);
  }
  std::vector<StartedKernel> started(const LtProduct& p) {
    return kernels_of(stream_, [&] { return call(p); });
  }
  [[nodiscard]] std::string seen() const { return record_.text(); }
  [[nodiscard]] int version() const {
    int version = 0;
    calls_.version(handle_, &version);
    return version;
  }

 private:
  int call(const LtProduct& p) {
    const float one = 1, zero = 0;
    const double wide_one = 1, wide_zero = 0;
    const bool wide = types_.result == kReal64;
    return calls_.gemm(handle_, kOperationTransposed, kOperationNormal, int(p.outputs), int(p.rows),
                       int(p.inputs), wide ? static_cast<const void*>(&wide_one) : &one, p.w,
                       types_.element, int(p.inputs), p.x, types_.element, int(p.x_stride),
                       wide ? static_cast<const void*>(&wide_zero) : &zero, p.out, types_.result,
                       int(p.out_stride), types_.compute, choice_.algorithm);
  }

  const CublasCalls& calls_;
  VendorChoice choice_;
  ProductTypes types_;
  cudaStream_t stream_;
  CublasHandle handle_ = nullptr;
  /// Shapes and addresses, by which the library chooses.
  std::set<std::tuple<std::int64_t, std::int64_t, std::int64_t, std::uintptr_t, std::uintptr_t>>
      seen_;
  ScheduleRecord record_;
};

class CublasBackend final : public CudaBackend {
 public:
  CublasBackend(const Mode& mode, GpuInfo gpu, const VendorChoice& choice,
                const FlashSchedule& attention)
      : CudaBackend(mode, std::move(gpu), false, nullptr, attention),
        choice_(choice),
        types_(types_of(mode, choice.math)) {
    void* const workspace = memory_.reserve(kVendorWorkspace, stream_);
    if (choice.lt) {
      const auto library = load_cublaslt();
      if (!library) throw BackendError(library.error().text());
      path_ = (*library)->path;
      sha256_hex_ = (*library)->sha256_hex;
      lt_ = std::make_unique<LtProducts>((*library)->calls, choice, types_, workspace, stream_);
      if (!choice.fp8) return;
      const ProductTypes fp8{kReal8e4m3, kReal32, kCompute32};
      fp8_ = std::make_unique<LtProducts>((*library)->calls, choice, fp8, workspace, stream_);
      return;
    }
    const auto library = load_cublas();
    if (!library) throw BackendError(library.error().text());
    path_ = (*library)->path;
    sha256_hex_ = (*library)->sha256_hex;
    gemm_ = std::make_unique<GemmProducts>((*library)->calls, choice, types_, workspace, stream_);
  }
  ~CublasBackend() override {
    cudaSetDevice(gpu_.index);
    cudaStreamSynchronize(stream_);
    lt_.reset();
    fp8_.reset();
    explaining_.reset();
    gemm_.reset();
  }
  CublasBackend(const CublasBackend&) = delete;
  CublasBackend& operator=(const CublasBackend&) = delete;

  BackendInfo describe() const override {
    BackendInfo info = CudaBackend::describe();
    info.engine = vendor_text(choice_);
    info.kernels += choice_.lt ? " cublasLtMatmul " + std::to_string(lt_->version())
                               : " cublasGemmEx " + std::to_string(gemm_->version()) +
                                     " algorithm " + std::to_string(choice_.algorithm);
    info.kernels += " compute " + std::to_string(types_.compute) +
                    " workspace 32 MiB: " + (choice_.lt ? lt_->seen() : gemm_->seen()) +
                    (fp8_ != nullptr ? "; fp8: " + fp8_->seen() : "");
    info.library = path_;
    info.library_sha256 = sha256_hex_;
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
    enter();
    multiply(operand_of(x, narrowed(matrix)), matrix, out);
  }
  std::string gemm_choice(Rows x, const WeightMatrix& matrix, Rows out) override {
    enter();
    const LtProduct product = product_of(operand_place(x, narrowed(matrix)), matrix, out);
    if (choice_.lt) {
      LtProducts& products = lt_of(matrix);
      return full_text(started(products, product)) + " ; " + products.configuration(product);
    }
    const std::vector<StartedKernel> kernels = gemm_->started(product);
    // What cublasGemmEx starts is the first answer of cublasLt's heuristic, as a rule: where its
    // kernels are the same, it says what kernels' names do not.
    const bool told =
        !kernels.empty() && explains_itself() && started(*explaining_, product) == kernels;
    return full_text(kernels) + (told ? " ; " + explaining_->configuration(product) : "");
  }
  /// One narrowing of x serves them all: matrices of one input have one format.
  void gemms(Rows x, std::span<const WeightMatrix* const> matrices,
             std::span<const Rows> outs) override {
    ISOBIT_CHECK(matrices.size() == outs.size());
    enter();
    if (matrices.empty()) return;
    const auto element = narrowed(*matrices[0]);
    for (const WeightMatrix* matrix : matrices) ISOBIT_CHECK(narrowed(*matrix) == element);
    const Rows input = operand_of(x, element);
    for (std::size_t i = 0; i < outs.size(); ++i) multiply(input, *matrices[i], outs[i]);
  }

 private:
  /// As what the library takes a matrix and the rows beside it; empty: as they are.
  [[nodiscard]] std::optional<Format> narrowed(const WeightMatrix& matrix) const {
    if (choice_.fp8 && static_cast<const CudaMatrix&>(matrix).scaled) return Format::e4m3;
    if (types_.element == kReal16) return Format::fp16;
    if (types_.element == kReal16b) return Format::bf16;
    return std::nullopt;
  }
  static std::size_t bytes_of(Format element) { return element == Format::e4m3 ? 1 : 2; }

  /// Where x lies in the library's element: itself, or a place that the next call overwrites.
  Rows operand_place(Rows x, std::optional<Format> element) {
    if (!element || x.rows == 0) return x;
    return {inputs_.reserve(std::size_t(x.rows * x.cols) * bytes_of(*element), stream_), x.rows,
            x.cols, x.cols};
  }
  /// x there.
  Rows operand_of(Rows x, std::optional<Format> element) {
    const Rows to = operand_place(x, element);
    if (to.data != x.data) {
      narrow(stream_, static_cast<const float*>(x.data), x.stride, x.rows, x.cols, *element,
             to.data);
    }
    return to;
  }
  [[nodiscard]] LtProducts& lt_of(const WeightMatrix& matrix) const {
    return narrowed(matrix) == Format::e4m3 ? *fp8_ : *lt_;
  }

  std::vector<StartedKernel> started(LtProducts& products, const LtProduct& product) const {
    return kernels_of(stream_, [&] {
      try {
        products.run(product);
      } catch (const BackendError&) {
        return 1;
      }
      return 0;
    });
  }
  /// Whether cublasLt is there to be asked what cublasGemmEx does.
  bool explains_itself() {
    if (explaining_ != nullptr) return true;
    const auto library = load_cublaslt();
    if (!library) return false;
    explaining_ = std::make_unique<LtProducts>(
        (*library)->calls, VendorChoice{.lt = true, .math = choice_.math}, types_,
        memory_.reserve(kVendorWorkspace, stream_), stream_);
    return true;
  }

  static LtProduct product_of(Rows x, const WeightMatrix& matrix, Rows out) {
    const auto& w = static_cast<const CudaMatrix&>(matrix);
    return {w.outputs, x.rows, w.inputs, w.words.data, x.data, x.stride, out.data, out.stride};
  }
  void multiply(Rows x, const WeightMatrix& matrix, Rows out) {
    if (x.rows == 0 || matrix.outputs == 0 || matrix.segments == 0) return;
    const LtProduct product = product_of(x, matrix, out);
    choice_.lt ? lt_of(matrix).run(product) : gemm_->run(product);
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
    const auto element = narrowed(matrix);
    if (!element) {
      void* to = matrix.take(n * 4);
      upload(to, rows.data(), n * 4);
      matrix.words.data = to;
      return;
    }
    void* to = matrix.take(n * bytes_of(*element));
    void* staging = inputs_.reserve(n * 4, stream_);
    upload(staging, rows.data(), n * 4);
    narrow(stream_, static_cast<const float*>(staging), matrix.inputs, matrix.outputs,
           matrix.inputs, *element, to);
    check(cudaStreamSynchronize(stream_), "narrow");
    matrix.words.data = to;
  }

  VendorChoice choice_;
  ProductTypes types_;
  std::string path_, sha256_hex_;  // of the library
  Buffer memory_, inputs_;         // the library's workspace; operands as it wants them
  std::unique_ptr<LtProducts> lt_, fp8_, explaining_;
  std::unique_ptr<GemmProducts> gemm_;
};

}  // namespace

std::string cublas_unsupported(const BackendOptions& options, const Mode& mode) {
  const std::string& engine = options.engine.name;
  if (options.device != "cuda") return "engine " + engine + " needs device cuda";
  const VendorChoice choice = vendor_choice(options.engine);
  const bool takes_tf32 =
      !mode.wide() && (mode.gemm_input == Format::f32 || mode.gemm_input == Format::tf32);
  if (choice.math == VendorChoice::Math::tf32 && !takes_tf32) {
    return "math tf32 of engine " + engine + " needs fp32 operands; precision " +
           std::string(mode.name) + " has others";
  }
  if (choice.fp8 && mode.gemm_input == Format::e5m2) {
    return "operands fp8 of engine " + engine + ": cublasLt multiplies no two e5m2 matrices";
  }
  if (std::string why = cuda_unsupported(options); !why.empty()) return why;
  if (choice.lt) {
    return cublaslt_path().empty() ? "cublasLt is not installed (libcublasLt.so.13 or .12)" : "";
  }
  return cublas_path().empty() ? "cuBLAS is not installed (libcublas.so.13 or .12)" : "";
}

Result<std::unique_ptr<Backend>> make_cublas(const BackendOptions& options, const Mode& mode) {
  auto gpu = gpu_of_rank(options.rank);
  ISOBIT_TRY(gpu);
  try {
    return std::unique_ptr<Backend>(std::make_unique<CublasBackend>(
        mode, *gpu, vendor_choice(options.engine), options.attention));
  } catch (const BackendError& error) {
    return Error{error.what(), ""};
  } catch (const std::bad_alloc& error) {
    return Error{memory_text(error), ""};
  }
}

}  // namespace isobit::cuda
