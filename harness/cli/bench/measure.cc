// Decoding is timed as the difference of two generations that differ only in length: prompt, first
// steps and set-up cancel, what is left are `new_tokens` steps in the steady state, digests and
// all.
#include "harness/cli/bench/measure.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <future>

#include "harness/models/models.h"
#include "runtime/backends/cpu/kernels/fma_peak.h"
#include "runtime/numerics/segments.h"
#include "runtime/run/generate.h"
#include "runtime/tokenizer/tokenizer.h"

namespace isobit::commands {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kFirstPrompt = 16;  // tokens of the prompt that ends loading
constexpr double kLeastSeconds = 1.5;      // of measuring; small models need many rounds
constexpr double kMostSeconds = 20;        // after which one round is enough
constexpr int kMostRounds = 200;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Tells a person who waits what is going on; says nothing while all is quick.
class Progress {
 public:
  void say(const std::string& what) const {
    if (since(start_) < 3) return;
    std::fprintf(stderr, "isobit: bench: %.0f s: %s\n", since(start_), what.c_str());
  }

 private:
  Clock::time_point start_ = Clock::now();
};

PromptTokens prompt_of(std::int64_t length, std::int64_t sequence, std::int64_t vocabulary) {
  PromptTokens prompt;
  for (std::int64_t i = 0; i < length; ++i) {
    prompt.tokens.push_back(std::int32_t((i * 7919 + sequence * 104729 + 13) % vocabulary));
  }
  return prompt;
}

GenerateRequest request_of(const BenchPlan& plan, const LoadedModel& model, std::int64_t length,
                           std::int64_t new_tokens) {
  GenerateRequest request;
  request.precision = plan.precision;
  request.backend = plan.backend;
  for (std::int64_t i = 0; i < plan.batch; ++i) {
    request.prompts.push_back(prompt_of(length, i, model.config.vocab_size));
  }
  request.batch.size = plan.batch;
  request.max_new_tokens = new_tokens;
  return request;
}

Result<CellTrace> generate(Runtime& runtime, const GenerateRequest& request) {
  auto result = runtime.generate(request);
  ISOBIT_TRY(result);
  if (result->trace.status != CellStatus::ok) return Error{result->trace.reason, "bench"};
  return std::move(result->trace);
}

/// Every file's SHA-256, as a run takes it before it trusts a model.
void hash_files(const std::vector<std::string>& files) {
  Sha256 hash{};
  for (const std::string& file : files) (void)sha256_file(file, hash);
}

/// Opens, verifies and packs the model and draws one token of a short prompt.
Result<std::unique_ptr<Runtime>> load(const BenchPlan& plan, BenchMeasured& out) {
  const Clock::time_point start = Clock::now();
  auto model = open_bench_model(plan);
  ISOBIT_TRY(model);
  const std::vector<std::string> files = model->files;
  auto verified = std::async(std::launch::async, [files] { hash_files(files); });
  BenchPlan single = plan;
  single.batch = 1;
  GenerateRequest request = request_of(single, *model, kFirstPrompt, 1);
  // A tokenizer that cannot be read, or is of a larger vocabulary, leaves the prompt of plain ids.
  auto tokenizer = Tokenizer::from_model(*model);
  if (tokenizer) {
    std::vector<std::int32_t> ids =
        tokenizer->encode("The quick brown fox jumps over the lazy dog, and then it sleeps.", true);
    const auto beyond = [&](std::int32_t id) { return id >= model->config.vocab_size; };
    if (std::any_of(ids.begin(), ids.end(), beyond)) ids.clear();
    auto& tokens = request.prompts.front().tokens;
    if (!ids.empty())
      tokens.assign(ids.begin(), ids.begin() + std::min<std::ptrdiff_t>(std::ptrdiff_t(ids.size()),
                                                                        kFirstPrompt));
  }
  auto runtime = std::make_unique<Runtime>(std::move(*model));
  const auto trace = generate(*runtime, request);
  ISOBIT_TRY(trace);
  verified.get();
  out.load_seconds = since(start);
  return runtime;
}

Result<void> time_tokens(const BenchPlan& plan, Runtime& runtime, const Progress& progress,
                         BenchMeasured& out) {
  const LoadedModel& model = runtime.model();
  const std::int64_t before = plan.before_decoding();
  const GenerateRequest prefill = request_of(plan, model, plan.prompt_tokens, 1);
  const GenerateRequest shorter = request_of(plan, model, before, 1 + kStepsNotTimed);
  const GenerateRequest longer =
      request_of(plan, model, before, 1 + kStepsNotTimed + plan.new_tokens);
  const Clock::time_point start = Clock::now();
  double least_prefill = 1e300, least_shorter = 1e300, least_longer = 1e300;
  for (int round = 0; round < kMostRounds; ++round) {
    progress.say("round " + std::to_string(round + 1));
    const auto first = generate(runtime, prefill);
    ISOBIT_TRY(first);
    least_prefill = std::min(least_prefill, first->seconds);
    const auto second = generate(runtime, shorter);
    ISOBIT_TRY(second);
    least_shorter = std::min(least_shorter, second->seconds);
    const auto third = generate(runtime, longer);
    ISOBIT_TRY(third);
    if (third->seconds < least_longer) {
      least_longer = third->seconds;
      out.record_share = third->record_seconds / third->seconds;
      const std::string& kernels = third->observed.kernels;
      std::memcpy(out.kernels, kernels.data(), std::min(kernels.size(), sizeof(out.kernels) - 1));
    }
    // On a busy machine more rounds are needed before the longer run is the longer one.
    const bool enough = round >= 2 && since(start) > kLeastSeconds && least_longer > least_shorter;
    if (since(start) > kMostSeconds || enough) break;
  }
  out.prefill_seconds = least_prefill;
  out.decode_seconds = least_longer - least_shorter;
  if (!(out.decode_seconds > 0)) {
    return Error{"decoding is too short to measure; give more --new-tokens", "bench"};
  }
  return {};
}

/// The matrix that a product is timed on, packed as a model's would be.
MatrixSource matrix_source(const Tensor& tensor, const ModelConfig& config, const Mode& mode) {
  MatrixSource source;
  source.name = tensor.name;
  source.outputs = tensor.rows;
  source.inputs = tensor.cols;
  source.format = mode.matrix;
  source.bounds = segment_bounds(tensor.cols, int(config.segments));
  source.read = [&tensor](std::int64_t row, std::span<float> out) {
    tensor.read_row(row, 0, tensor.cols, out);
  };
  source.amax = [](std::int64_t) { return 1.0F; };
  return source;
}

/// `rows` rows of small values that every format holds exactly.
template <class T>
std::vector<T> small_values(std::int64_t count) {
  std::vector<T> out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = T(int(i * 37 % 15) - 7) / T(8);
  return out;
}

Result<void> time_gemm(const BenchPlan& plan, const LoadedModel& model, BenchMeasured& out) {
  const Tensor* tensor = model.weights.find("model.layers.0.mlp.gate_proj.weight");
  if (tensor == nullptr) return {};
  const Mode& mode = mode_of(plan.precision);
  auto made = make_backend(plan.backend, mode);
  ISOBIT_TRY(made);
  Backend& backend = **made;
  const auto matrix = backend.load_matrix(matrix_source(*tensor, model.config, mode));
  const std::int64_t rows = plan.backend.isa == "scalar" ? 4 : 512;
  const std::size_t real = backend.real_size();
  DeviceMemory x(backend, std::size_t(rows * tensor->cols) * real);
  DeviceMemory y(backend, std::size_t(rows * tensor->rows) * real);
  if (mode.wide()) {
    const auto values = small_values<double>(rows * tensor->cols);
    backend.upload(x.get(), values.data(), values.size() * real);
  } else {
    const auto values = small_values<float>(rows * tensor->cols);
    backend.upload(x.get(), values.data(), values.size() * real);
  }
  const Rows in{x.get(), rows, tensor->cols, tensor->cols};
  const Rows result{y.get(), rows, tensor->rows, tensor->rows};
  double one = 0;
  const auto wait = [&] { backend.download(&one, result.data, real); };  // a queue ends here
  backend.gemm(in, *matrix, result);
  wait();
  const Clock::time_point begun = Clock::now();
  backend.gemm(in, *matrix, result);
  wait();
  const int calls = std::clamp(int(0.1 / (since(begun) + 1e-7)), 1, 1000);
  double least = 1e300;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const Clock::time_point start = Clock::now();
    for (int call = 0; call < calls; ++call) backend.gemm(in, *matrix, result);
    wait();
    least = std::min(least, since(start) / calls);
  }
  out.gemm_rows = rows;
  out.gemm_gflops = 2e-9 * double(rows) * double(tensor->rows) * double(tensor->cols) / least;
  const std::string isa = backend.describe().isa;
  if (plan.backend.device == "cpu") {
    out.peak_gflops = cpu::fma_peak_gflops(isa, plan.backend.threads, mode.wide());
  }
  return {};
}

}  // namespace

Result<LoadedModel> open_bench_model(const BenchPlan& plan) {
  if (is_synthetic(plan.model)) return synthetic_model(plan.model, plan.layers);
  return open_model(plan.model, "");
}

Result<BenchMeasured> measure(const BenchPlan& plan) {
  const Progress progress;
  BenchMeasured out;
  auto runtime = load(plan, out);
  ISOBIT_TRY(runtime);
  progress.say("loaded");
  if (auto ok = time_tokens(plan, **runtime, progress, out); !ok) return ok.error();
  progress.say("products");
  if (auto ok = time_gemm(plan, (*runtime)->model(), out); !ok) return ok.error();
  return out;
}

}  // namespace isobit::commands
