// Engine "model" on a GPU: the products of a tensor core (numerics/tensorcore.h), and a library's
// fused attention where it is asked for (numerics/fused.h); all else is the reference's. A GPU of
// the modelled kind multiplies itself, any other follows the literal text.

#include <algorithm>

#include "runtime/backends/cuda/backend.h"
#include "runtime/backends/cuda/engine.h"
#include "runtime/backends/cuda/kernels/tensor.h"
#include "runtime/backends/fused_calls.h"
#include "runtime/numerics/tensorcore_text.h"

namespace isobit::cuda {
namespace {

class TensorBackend final : public CudaBackend {
 public:
  TensorBackend(const Mode& mode, GpuInfo gpu, TensorCore chip, TensorKernel kernel,
                const FlashSchedule& attention)
      : CudaBackend(mode, std::move(gpu), false, nullptr, attention),
        chip_(chip),
        kernel_(kernel),
        attention_(attention),
        native_(chip == TensorCore::sm90 && gpu_.capability == 90) {}

  [[nodiscard]] BackendInfo describe() const override {
    BackendInfo info = CudaBackend::describe();
    info.engine = "model:" + text_of(chip_);
    if (fused_ran_) info.attention = attention_.text;
    return info;
  }

  /// A library's kernel has its blocks and splits by length, which are no part of a graph's key.
  bool begin_step(const StepInputs& inputs) override {
    StepInputs step = inputs;
    step.repeatable = inputs.repeatable && !attention_.is_fused();
    return CudaBackend::begin_step(step);
  }

  /// A library's kernel: the rows of one sequence in a step are one call of it.
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override {
    if (!attention_.is_fused()) return CudaBackend::attention(q, args, k_pool, v_pool, out);
    if (args.heads == 0 || args.rows.empty()) return;
    const auto calls = fused_calls(attention_.fused, args);
    if (!calls) throw BackendError(calls.error().message);
    const auto unit = tensor_unit(chip_, mode_.stored);
    ISOBIT_CHECK(unit.has_value());
    attention_fused(q, args, {k_pool, v_pool, nullptr, nullptr}, *unit, *calls, out);
    fused_ran_ = true;
  }

  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    enter();
    multiply(x, matrix, out, nullptr);
  }
  /// One narrowing of x serves all matrices that are cut alike.
  void gemms(Rows x, std::span<const WeightMatrix* const> matrices,
             std::span<const Rows> outs) override {
    ISOBIT_CHECK(matrices.size() == outs.size());
    enter();
    const WeightView* narrowed = nullptr;
    for (std::size_t i = 0; i < outs.size(); ++i) {
      narrowed = multiply(x, *matrices[i], outs[i], narrowed);
    }
  }

 private:
  /// The format of both operands. An 8-bit matrix lies in bf16 elements.
  [[nodiscard]] Format operand_of(const CudaMatrix& matrix) const {
    if (matrix.scaled) return mode_.matrix;
    if (matrix.words.element != Format::f32) return matrix.words.element;
    if (mode_.gemm_input == Format::tf32) return Format::tf32;
    throw BackendError("engine model:" + text_of(chip_) +
                       ": a matrix of fp32 numbers in precision " + mode_.name +
                       ", which no tensor core multiplies");
  }

  /// `narrowed`: the cut of the matrix for which the workspace holds x; gives the one that it is
  /// for afterwards.
  const WeightView* multiply(Rows x, const WeightMatrix& matrix, Rows out,
                             const WeightView* narrowed) {
    const auto& w = static_cast<const CudaMatrix&>(matrix);
    ISOBIT_CHECK(x.cols == w.words.k && out.cols == w.words.n && x.rows == out.rows);
    const GemmCall call{stream_, mode_.wide(), x.data,   x.stride,
                        x.rows,  w.words,      out.data, out.stride};
    if (x.rows * w.words.n == 0 || w.words.segments == 0) {
      ran(gemm_rows(call));
      return narrowed;
    }
    const Format operand = operand_of(w);
    const auto unit = tensor_unit(chip_, operand);
    ISOBIT_CHECK(unit.has_value());
    const bool half = operand == Format::bf16 || operand == Format::fp16;
    if (!native_ || !half || kernel_ == TensorKernel::literal) {
      ran(tensor_gemm_literal(call, *unit));
      return narrowed;
    }
    void* const words = workspace_.reserve(tensor_words_bytes(call), stream_);
    if (narrowed == nullptr || !same_cut(*narrowed, w.words)) tensor_words(call, words);
    ran(tensor_gemm_mma(call, words, shape_of(call)));
    return &w.words;
  }

  [[nodiscard]] MmaShape shape_of(const GemmCall& call) const {
    if (kernel_ == TensorKernel::mma_rows) return MmaShape::rows;
    if (kernel_ == TensorKernel::mma_tiles) return MmaShape::tile;
    return mma_shape(call, gpu_.multiprocessors);
  }

  static bool same_cut(const WeightView& a, const WeightView& b) {
    return a.element == b.element && a.segments == b.segments &&
           std::equal(a.bounds, a.bounds + a.segments + 1, b.bounds);
  }

  TensorCore chip_;
  TensorKernel kernel_;
  FlashSchedule attention_;
  bool fused_ran_ = false;
  bool native_;  // this GPU's own instruction has the chip's bits
};

}  // namespace

std::string tensor_unsupported(const BackendOptions& options, const Mode& mode, TensorCore chip) {
  if (options.device != "cuda") return "device " + options.device + " is not cuda";
  const std::string name = "a tensor core of " + text_of(chip);
  const bool same = mode.gemm_input == mode.matrix && mode.head_input == mode.head;
  if (!same || !tensor_unit(chip, mode.matrix) || !tensor_unit(chip, mode.head)) {
    return name + " does not multiply the operands of precision " + mode.name;
  }
  if (options.gemm != nullptr) return name + " has an order of its own: axis gemm has no meaning";
  if (std::string why = fused_unsupported(options.attention, mode); !why.empty()) return why;
  return cuda_unsupported(options);
}

Result<std::unique_ptr<Backend>> make_tensor(const BackendOptions& options, const Mode& mode,
                                             TensorCore chip, TensorKernel kernel) {
  if (std::string why = tensor_unsupported(options, mode, chip); !why.empty()) {
    return Error{why, ""};
  }
  auto gpu = gpu_of_rank(options.rank);
  ISOBIT_TRY(gpu);
  const bool forced = kernel == TensorKernel::mma_rows || kernel == TensorKernel::mma_tiles;
  const bool half = mode.matrix == Format::bf16 || mode.matrix == Format::fp16;
  if (forced && (!half || chip != TensorCore::sm90 || gpu->capability != 90)) {
    return Error{"mma.sync has the bits of sm90 with 16-bit operands, on a GPU of capability 90",
                 ""};
  }
  try {
    return std::unique_ptr<Backend>(
        std::make_unique<TensorBackend>(mode, *gpu, chip, kernel, options.attention));
  } catch (const BackendError& error) {
    return Error{error.what(), ""};
  } catch (const std::bad_alloc& error) {
    return Error{memory_text(error), ""};
  }
}

}  // namespace isobit::cuda
