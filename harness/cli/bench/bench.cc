// `isobit bench`: how fast an engine computes here, what recording costs, how much memory.
//
// Each row is measured in a process of its own, so that its memory is its own and nothing of a
// device is touched in this one.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "harness/cli/bench/measure.h"
#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "runtime/base/text.h"
#include "runtime/base/words.h"

namespace isobit::commands {
namespace {

struct BenchRow {
  std::string isa, failure;
  BenchMeasured measured;
  double peak_mib = 0;
};

/// In the child: measures and writes a BenchMeasured, or the text of an error.
[[noreturn]] void child_main(const BenchPlan& plan, int out) {
  const auto measured = measure(plan);
  const std::string bytes =
      measured ? std::string("=") +
                     std::string(reinterpret_cast<const char*>(&*measured), sizeof(BenchMeasured))
               : "!" + measured.error().text();
  const bool written = ::write(out, bytes.data(), bytes.size()) == ssize_t(bytes.size());
  ::_exit(written ? 0 : 1);
}

Result<BenchRow> bench_row(BenchPlan plan, const std::string& isa) {
  plan.backend.isa = isa;
  int ends[2];
  if (::pipe(ends) != 0) return Error{std::strerror(errno), "bench"};
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return Error{std::strerror(errno), "bench"};
  if (child == 0) child_main(plan, ends[1]);
  ::close(ends[1]);
  std::string bytes;
  char buffer[4096];
  for (ssize_t n = 0;
       (n = ::read(ends[0], buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR);) {
    if (n > 0) bytes.append(buffer, std::size_t(n));
  }
  ::close(ends[0]);
  int status = 0;
  rusage usage{};
  while (::wait4(child, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  BenchRow row;
  row.isa = isa;
  row.peak_mib = double(usage.ru_maxrss) / 1024;
  if (bytes.size() == sizeof(BenchMeasured) + 1 && bytes[0] == '=') {
    std::memcpy(&row.measured, bytes.data() + 1, sizeof(BenchMeasured));
  } else {
    row.failure = bytes.size() > 1 && bytes[0] == '!' ? bytes.substr(1) : "the process died";
  }
  return row;
}

Result<void> read_engine(const Arguments& arguments, BenchPlan& plan) {
  auto engine = parse_engine(arguments.text("engine", "reference"));
  if (!engine) return Error{engine.error().message, "--engine"};
  const EngineEntry* row = find_engine(engine->name);
  if (row->make == nullptr) return Error{"engine " + engine->name + " is no backend", "--engine"};
  plan.backend.engine = std::move(*engine);
  const auto runs_on = [&](const char* device) {
    plan.backend.device = device;
    return unsupported_reason(plan.backend, mode_of(plan.precision)).empty();
  };
  // Without --device the one that can run the engine, the CPU first.
  if (arguments.has("device")) {
    plan.backend.device = arguments.text("device");
  } else if (!runs_on("cpu") && !runs_on("cuda")) {
    plan.backend.device = plan.backend.engine.name.rfind("cublas", 0) == 0 ? "cuda" : "cpu";
  }
  const std::string why = unsupported_reason(plan.backend, mode_of(plan.precision));
  if (!why.empty()) return Error{why, arguments.has("device") ? "--device" : "--engine"};
  return {};
}

Result<void> read_precision(const Arguments& arguments, BenchPlan& plan) {
  const std::string wanted = arguments.text("precision", "fp32");
  std::vector<std::string> known;
  for (const Mode& mode : kModes) {
    known.emplace_back(mode.name);
    if (wanted != mode.name) continue;
    plan.precision = mode.precision;
    return {};
  }
  return Error{"unknown precision " + in_quotes(wanted) + did_you_mean(wanted, known),
               "--precision"};
}

Result<BenchPlan> plan_of(const Arguments& arguments) {
  BenchPlan plan;
  plan.model = arguments.words[0];
  if (auto ok = read_precision(arguments, plan); !ok) return ok.error();
  const auto threads = arguments.number("threads", 1, 1, 1024);
  ISOBIT_TRY(threads);
  const auto prompt = arguments.number("prompt-tokens", 64, 1, 1'000'000);
  ISOBIT_TRY(prompt);
  const auto tokens = arguments.number("new-tokens", 32, 1, 1'000'000);
  ISOBIT_TRY(tokens);
  const auto batch = arguments.number("batch", 1, 1, 4096);
  ISOBIT_TRY(batch);
  const auto context = arguments.number("context", 0, 1, 1'000'000);
  ISOBIT_TRY(context);
  const auto layers = arguments.number("layers", 0, 1, 1024);
  ISOBIT_TRY(layers);
  if (*layers > 0 && !is_synthetic(plan.model)) {
    return Error{
        "only a synthetic model can be given another number of layers (" + synthetic_names() + ")",
        "--layers"};
  }
  plan.backend.threads = int(*threads);
  plan.prompt_tokens = *prompt;
  plan.new_tokens = *tokens;
  plan.batch = *batch;
  plan.context = *context;
  plan.layers = *layers;
  if (auto ok = read_engine(arguments, plan); !ok) return ok.error();
  return plan;
}

/// A sequence must fit into the model's positions.
Result<void> check_length(const BenchPlan& plan, const ModelConfig& config) {
  const std::int64_t longest = std::max(
      plan.prompt_tokens + 1, plan.before_decoding() + 1 + kStepsNotTimed + plan.new_tokens);
  if (longest <= config.context) return {};
  const bool context = plan.context > 0 && plan.prompt_tokens + 1 <= config.context;
  return Error{"the measurement needs " + std::to_string(longest) + " positions, the model has " +
                   std::to_string(config.context) + "; give fewer tokens",
               context ? "--context" : "--prompt-tokens"};
}

/// Instruction sets worth measuring: scalar only where it takes seconds. Where the engine or the
/// device chooses, there is nothing to vary.
std::vector<std::string> sets_to_measure(const BenchPlan& plan, const LoadedModel& model) {
  if (plan.backend.engine.name != "reference" || plan.backend.device != "cpu") return {"auto"};
  double weights = 0;
  for (const auto& [name, tensor] : model.weights.all())
    weights += double(tensor.rows * tensor.cols);
  const double tokens = double(plan.batch) *
                        double(plan.prompt_tokens + plan.new_tokens + 2 * plan.before_decoding());
  const bool small = weights * tokens < 5e9;
  std::vector<std::string> out;
  for (const EngineStatus& status : engine_status()) {
    if (status.engine != "reference") continue;
    for (const std::string& isa : status.variants) {
      if (isa != "scalar" || small)
        out.push_back(isa);
      else
        complain("scalar is left out: it would take long with this model");
    }
  }
  return out;
}

std::string shown_number(double value, const char* unit = "", int digits = 1) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return std::string(text) + unit;
}

/// Tokens a second, from what the child has timed.
double prefill_rate(const BenchPlan& plan, const BenchMeasured& m) {
  return double(plan.prompt_tokens * plan.batch) / m.prefill_seconds;
}
double decode_rate(const BenchPlan& plan, const BenchMeasured& m) {
  return double(plan.new_tokens * plan.batch) / m.decode_seconds;
}

std::vector<std::string> table_row(const BenchPlan& plan, const BenchRow& row) {
  // What a device's kernels are called goes on behind a colon, too long for a column.
  const std::string all = row.measured.kernels;
  const std::string name = row.isa == "auto" ? all.substr(0, all.find(':')) : row.isa;
  if (!row.failure.empty()) return {name, shown_text(row.failure)};
  const BenchMeasured& m = row.measured;
  return {shown_text(name),
          shown_number(prefill_rate(plan, m)),
          shown_number(decode_rate(plan, m)),
          shown_number(m.gemm_gflops),
          m.peak_gflops > 0 ? shown_number(100 * m.gemm_gflops / m.peak_gflops, " %") : "-",
          shown_number(100 * m.record_share, " %"),
          shown_number(m.load_seconds, "", 3),
          shown_number(row.peak_mib)};
}

Json json_row(const BenchPlan& plan, const BenchRow& row) {
  if (!row.failure.empty()) return {{"isa", row.isa}, {"error", row.failure}};
  const BenchMeasured& m = row.measured;
  Json out{{"isa", row.isa},
           {"kernels", std::string(m.kernels)},
           {"prefill_tokens_per_second", prefill_rate(plan, m)},
           {"decode_tokens_per_second", decode_rate(plan, m)},
           {"decode_seconds_per_step", m.decode_seconds / double(plan.new_tokens)},
           {"gemm_rows", m.gemm_rows},
           {"gemm_gflops", m.gemm_gflops},
           {"fma_peak_gflops", nullptr},
           {"recording_share", m.record_share},
           {"load_to_first_token_seconds", m.load_seconds},
           {"peak_rss_bytes", std::int64_t(row.peak_mib * 1024 * 1024)}};
  if (m.peak_gflops > 0) out["fma_peak_gflops"] = m.peak_gflops;
  return out;
}

Json header(const BenchPlan& plan) {
  return {{"format", kOutputFormat},
          {"model", plan.model},
          {"synthetic_weights", is_synthetic(plan.model)},
          {"layers", plan.layers},
          {"precision", mode_of(plan.precision).name},
          {"engine", plan.backend.engine.text()},
          {"device", plan.backend.device},
          {"threads", plan.backend.threads},
          {"prompt_tokens", plan.prompt_tokens},
          {"new_tokens", plan.new_tokens},
          {"batch", plan.batch},
          {"context", plan.before_decoding()}};
}

std::string title(const BenchPlan& plan) {
  std::string out = shown_text(plan.model);
  if (is_synthetic(plan.model)) {
    out += " (synthetic weights, " + text::count(plan.layers, "layer") + ")";
  }
  return out + ", " + mode_of(plan.precision).name + ", " + plan.backend.device + " " +
         header(plan)["engine"].get<std::string>() + ", " +
         text::count(plan.backend.threads, "thread") + ", prompt of " +
         text::count(plan.prompt_tokens) + ", then " + text::count(plan.new_tokens) +
         " tokens of " + text::count(plan.batch, "sequence") + " after " +
         text::count(plan.before_decoding()) + "\n";
}

}  // namespace

Result<int> bench(const Arguments& arguments) {
  auto plan = plan_of(arguments);
  ISOBIT_TRY(plan);
  const auto model = open_bench_model(*plan);
  ISOBIT_TRY(model);
  if (auto ok = check_length(*plan, model->config); !ok) return ok.error();
  plan->layers = model->config.layers;
  Json out = Json::array();
  std::vector<std::vector<std::string>> rows{{"isa", "prefill tok/s", "decode tok/s",
                                              "GEMM GFLOP/s", "of peak", "recording", "load s",
                                              "peak MiB"}};
  bool failed = false;
  for (const std::string& isa : sets_to_measure(*plan, *model)) {
    const auto row = bench_row(*plan, isa);
    ISOBIT_TRY(row);
    failed |= !row->failure.empty();
    rows.push_back(table_row(*plan, *row));
    out.push_back(json_row(*plan, *row));
  }
  if (arguments.has("json")) {
    Json json = header(*plan);
    json["rows"] = out;
    print_json(json);
  } else {
    print(title(*plan) + table(rows));
  }
  return int(failed ? kExitDifferent : kExitOk);
}

}  // namespace isobit::commands
