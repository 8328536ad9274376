// `invar bench`: how fast the reference computes here, what recording costs, how much memory.
//
// Each row is measured in a process of its own, so that its memory is its own.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "harness/commands/commands.h"
#include "harness/commands/common.h"
#include "harness/models.h"
#include "harness/suggest.h"
#include "reports/text.h"
#include "runtime/generate.h"

namespace invar::commands {
namespace {

struct Plan {
  std::string model;
  Precision precision = Precision::fp32;
  std::int64_t threads = 1, prompt_tokens = 64, new_tokens = 32;
};

/// What a measuring process sends back.
struct Measured {
  double prefill_seconds = 0;  // of the prompt, with its one row of logits
  double decode_seconds = 0;   // of the new tokens after the first
  double record_share = 0;     // of the time of the whole
};

struct BenchRow {
  std::string isa, failure;
  Measured measured;
  double peak_mib = 0;
};

GenerateRequest request_of(const Plan& plan, const LoadedModel& model, const std::string& isa,
                           std::int64_t new_tokens) {
  GenerateRequest request;
  request.precision = plan.precision;
  request.backend.isa = isa;
  request.backend.threads = int(plan.threads);
  PromptTokens prompt;
  for (std::int64_t i = 0; i < plan.prompt_tokens; ++i) {
    prompt.tokens.push_back(std::int32_t((i * 7919 + 13) % model.config.vocab_size));
  }
  request.prompts = {prompt};
  request.max_new_tokens = new_tokens;
  return request;
}

Result<Measured> measure(const Plan& plan, const std::string& isa) {
  auto model = open_model(plan.model, "");
  INVAR_TRY(model);
  Runtime runtime(std::move(*model));
  const auto started = std::chrono::steady_clock::now();
  double one_token = 1e300, all_tokens = 1e300, share = 0;
  // The first round packs the weights; small models need many for a steady minimum.
  for (int round = 0; round < 200; ++round) {
    const auto shorter = runtime.generate(request_of(plan, runtime.model(), isa, 1));
    INVAR_TRY(shorter);
    const auto longer =
        runtime.generate(request_of(plan, runtime.model(), isa, plan.new_tokens + 1));
    INVAR_TRY(longer);
    for (const CellTrace* trace : {&shorter->trace, &longer->trace}) {
      if (trace->status != CellStatus::ok) return Error{trace->reason, "bench"};
    }
    one_token = std::min(one_token, shorter->trace.seconds);
    if (longer->trace.seconds < all_tokens) {
      all_tokens = longer->trace.seconds;
      share = longer->trace.record_seconds / longer->trace.seconds;
    }
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - started;
    if (round >= 2 && spent.count() > 1.0) break;
  }
  const Measured best{one_token, all_tokens - one_token, share};
  if (!(best.decode_seconds > 0)) {
    return Error{"decoding is too short to measure; give more --new-tokens", "bench"};
  }
  return best;
}

/// In the child: measures and writes a Measured, or the text of an error.
[[noreturn]] void child_main(const Plan& plan, const std::string& isa, int out) {
  const auto measured = measure(plan, isa);
  const std::string bytes =
      measured ? std::string("=") +
                     std::string(reinterpret_cast<const char*>(&*measured), sizeof(Measured))
               : "!" + measured.error().text();
  const bool written = ::write(out, bytes.data(), bytes.size()) == ssize_t(bytes.size());
  ::_exit(written ? 0 : 1);
}

Result<BenchRow> bench_row(const Plan& plan, const std::string& isa) {
  int ends[2];
  if (::pipe(ends) != 0) return Error{std::strerror(errno), "bench"};
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return Error{std::strerror(errno), "bench"};
  if (child == 0) child_main(plan, isa, ends[1]);
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
  if (bytes.size() == sizeof(Measured) + 1 && bytes[0] == '=') {
    std::memcpy(&row.measured, bytes.data() + 1, sizeof(Measured));
  } else {
    row.failure = bytes.size() > 1 && bytes[0] == '!' ? bytes.substr(1) : "the process died";
  }
  return row;
}

Result<Plan> plan_of(const Arguments& arguments) {
  Plan plan;
  plan.model = arguments.words[0];
  const std::string wanted = arguments.text("precision", "fp32");
  std::vector<std::string> known;
  bool found = false;
  for (const Mode& mode : kModes) {
    known.emplace_back(mode.name);
    if (wanted != mode.name) continue;
    plan.precision = mode.precision;
    found = true;
  }
  if (!found)
    return Error{"unknown precision " + in_quotes(wanted) + did_you_mean(wanted, known),
                 "--precision"};
  const auto threads = arguments.number("threads", 1, 1, 1024);
  INVAR_TRY(threads);
  const auto prompt = arguments.number("prompt-tokens", 64, 1, 1'000'000);
  INVAR_TRY(prompt);
  const auto tokens = arguments.number("new-tokens", 32, 1, 1'000'000);
  INVAR_TRY(tokens);
  plan.threads = *threads;
  plan.prompt_tokens = *prompt;
  plan.new_tokens = *tokens;
  return plan;
}

/// Instruction sets worth measuring: scalar only where it takes seconds.
std::vector<std::string> sets_to_measure(const Plan& plan, const LoadedModel& model) {
  double weights = 0;
  for (const auto& [name, tensor] : model.weights.all())
    weights += double(tensor.rows * tensor.cols);
  const bool small = weights * double(2 * plan.prompt_tokens + plan.new_tokens) < 5e9;
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

std::string rate(double count, double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", count / seconds);
  return text;
}

}  // namespace

Result<int> bench(const Arguments& arguments) {
  const auto plan = plan_of(arguments);
  INVAR_TRY(plan);
  const auto model = open_model(plan->model, "");
  INVAR_TRY(model);
  Json out = Json::array();
  std::vector<std::vector<std::string>> rows{
      {"isa", "prefill tok/s", "decode tok/s", "recording", "peak MiB"}};
  bool failed = false;
  for (const std::string& isa : sets_to_measure(*plan, *model)) {
    const auto row = bench_row(*plan, isa);
    INVAR_TRY(row);
    failed |= !row->failure.empty();
    if (!row->failure.empty()) {
      rows.push_back({isa, shown_text(row->failure)});
      out.push_back({{"isa", isa}, {"error", row->failure}});
      continue;
    }
    const Measured& m = row->measured;
    const double prompt = double(plan->prompt_tokens), tokens = double(plan->new_tokens);
    rows.push_back({isa, rate(prompt, m.prefill_seconds), rate(tokens, m.decode_seconds),
                    rate(100 * m.record_share, 1) + " %", rate(row->peak_mib, 1)});
    out.push_back({{"isa", isa},
                   {"prefill_tokens_per_second", prompt / m.prefill_seconds},
                   {"decode_tokens_per_second", tokens / m.decode_seconds},
                   {"recording_share", m.record_share},
                   {"peak_rss_bytes", std::int64_t(row->peak_mib * 1024 * 1024)}});
  }
  if (arguments.has("json")) {
    print_json({{"format", kOutputFormat},
                {"model", plan->model},
                {"precision", mode_of(plan->precision).name},
                {"threads", plan->threads},
                {"prompt_tokens", plan->prompt_tokens},
                {"new_tokens", plan->new_tokens},
                {"rows", out}});
  } else {
    print(shown_text(plan->model) + ", " + mode_of(plan->precision).name + ", " +
          text::count(plan->threads, "thread") + ", prompt of " + text::count(plan->prompt_tokens) +
          ", then " + text::count(plan->new_tokens) + " tokens\n" + table(rows));
  }
  return int(failed ? kExitDifferent : kExitOk);
}

}  // namespace invar::commands
