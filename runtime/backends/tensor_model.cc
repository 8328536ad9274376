// Engine model: one tensor core's products (tensor_model.h).
#include "runtime/backends/tensor_model.h"

#include "runtime/backends/cpu/attention_fused.h"
#include "runtime/backends/cpu/ordered.h"
#include "runtime/backends/fused_calls.h"
#include "runtime/backends/reference.h"
#include "runtime/base/words.h"
#include "runtime/numerics/attention_book.h"
#include "runtime/numerics/tensorcore_text.h"
#if defined(ISOBIT_HAVE_CUDA)
#include "runtime/backends/cuda/engine.h"
#endif

namespace isobit {
namespace {

struct ModelSettings : EngineSettings {
  explicit ModelSettings(TensorCore of) : chip(of) {}
  TensorCore chip;
};

std::string known_chips() {
  std::string out;
  for (const TensorCore chip : tensor_cores()) out += (out.empty() ? "" : " | ") + text_of(chip);
  return out;
}

const ModelSettings* settings_of(const EngineChoice& choice) {
  return static_cast<const ModelSettings*>(choice.settings.get());
}

/// The steps of a matrix's segments: a chain each, then the neighbour tree.
ProductSteps segment_steps(const std::vector<std::int64_t>& bounds) {
  ProductSteps out;
  out.lanes = std::int32_t(bounds.size()) - 1;
  for (std::int32_t s = 0; s < out.lanes; ++s) {
    const std::int64_t begin = bounds[std::size_t(s)], end = bounds[std::size_t(s) + 1];
    if (begin < end) out.steps.push_back({s, 0, begin, end, true});
  }
  for (std::int32_t apart = 1; apart < out.lanes; apart *= 2) {
    for (std::int32_t s = 0; s < out.lanes; s += 2 * apart) {
      out.steps.push_back({s, s + apart, 0, 0, false});
    }
  }
  return out;
}

class TensorModelBackend final : public cpu::OrderedBackend {
 public:
  TensorModelBackend(const Mode& mode, const cpu::Kernels& kernels, int threads,
                     const FlashSchedule& attention, TensorCore chip)
      : OrderedBackend(mode, kernels, threads, attention),
        chip_(chip),
        attention_(attention),
        fused_(kernels, tensor_unit(chip, mode.stored).value_or(TensorUnit{})) {}

  BackendInfo describe() const override {
    BackendInfo info = OrderedBackend::describe();
    info.engine = "model:" + text_of(chip_);
    info.kernels += " tensor_chain of " + text_of(chip_);
    if (fused_ran_) info.attention = attention_.text;
    return info;
  }

  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    const cpu::PackedMatrix& w = static_cast<const cpu::CpuMatrix&>(matrix).packed;
    if (x.rows == 0 || w.n == 0) return;
    if (w.segments() == 0) return OrderedBackend::gemm(x, matrix, out);
    const Format operand = matrix.scaled ? mode_.gemm_input : library_operand(mode_);
    const auto unit = tensor_unit(chip_, operand);
    ISOBIT_CHECK(unit.has_value());
    ordered(segment_steps(w.bounds), &*unit, x, w, out);
  }

  /// A library's kernel: the rows of one sequence in a step are one call of it.
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override {
    if (!attention_.is_fused()) return OrderedBackend::attention(q, args, k_pool, v_pool, out);
    if (args.heads == 0 || args.rows.empty()) return;
    const auto calls = fused_calls(attention_.fused, args);
    if (!calls) throw BackendError(calls.error().message);
    const cpu::AttentionCall<float> task{q, args, {k_pool, v_pool, nullptr, nullptr}, out, mode_};
    fused_.run(task, *calls, pool_);
    fused_ran_ = true;
  }

 private:
  TensorCore chip_;
  FlashSchedule attention_;
  cpu::FusedAttention fused_;
  bool fused_ran_ = false;
};

}  // namespace

Result<EngineChoice> parse_tensor_model(const EnginePairs& pairs) {
  EngineChoice engine;
  engine.name = "model";
  if (pairs.size() != 1 || pairs.front().second.empty()) {
    return Error{
        "engine model needs a tensor core and nothing else: {model: " + known_chips() + "}", ""};
  }
  const auto chip = parse_tensor_core(pairs.front().second);
  if (!chip) return Error{chip.error().message + " of engine model", ""};
  engine.pairs = {{"model", text_of(*chip)}};
  engine.observed = "model:" + text_of(*chip);
  engine.settings = std::make_shared<ModelSettings>(*chip);
  return engine;
}

std::string tensor_model_unsupported(const BackendOptions& options, const Mode& mode) {
  const ModelSettings* settings = settings_of(options.engine);
  if (settings != nullptr) {
    for (const Format operand : {mode.gemm_input, mode.head_input}) {
      if (tensor_unit(settings->chip, operand)) continue;
      return text_of(settings->chip) + " has no tensor core for precision " +
             std::string(mode.name);
    }
  }
  if (std::string why = fused_unsupported(options.attention, mode); !why.empty()) return why;
#if defined(ISOBIT_HAVE_CUDA)
  if (options.device == "cuda" && settings != nullptr) {
    return cuda::tensor_unsupported(options, mode, settings->chip);
  }
#endif
  return reference_unsupported(options, mode);
}

Result<std::unique_ptr<Backend>> make_tensor_model(const BackendOptions& options,
                                                   const Mode& mode) {
  const ModelSettings* settings = settings_of(options.engine);
  ISOBIT_CHECK(settings != nullptr);
#if defined(ISOBIT_HAVE_CUDA)
  if (options.device == "cuda") return cuda::make_tensor(options, mode, settings->chip);
#endif
  return std::unique_ptr<Backend>(std::make_unique<TensorModelBackend>(
      mode, *cpu::kernels_named(options.isa), options.threads_asked(), options.attention,
      settings->chip));
}

std::vector<EngineStatus> tensor_model_status() {
  EngineStatus status{"model", "ready", {}};
  for (const TensorCore chip : tensor_cores()) status.variants.push_back(text_of(chip));
  return {status};
}

}  // namespace isobit
