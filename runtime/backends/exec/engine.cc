// The process of an engine: started, asked what it is, given a model, and observed.
#include "runtime/backends/exec/engine.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>

#include "runtime/backends/exec/child.h"
#include "runtime/backends/exec/choice.h"
#include "runtime/backends/exec/conversation.h"
#include "runtime/backends/exec/messages.h"
#include "runtime/base/sha256.h"
#include "runtime/base/words.h"
#include "runtime/run/generate.h"

namespace isobit::exec {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kHelloLimit = std::chrono::seconds(60);

/// Starts the program and asks what it is.
Result<Hello> greet(const EngineChoice& choice, Child& child) {
  const ExecSettings& settings = settings_of(choice);
  const auto words = settings.words();
  ISOBIT_TRY(words);
  if (auto ok = child.start(*words, choice.folder); !ok) return ok.error();
  child.send(print_hello(settings.options));
  const auto line = child.line(Clock::now() + kHelloLimit);
  ISOBIT_TRY(line);
  auto hello = parse_hello(*line);
  if (!hello) return Error{hello.error().message, (*words)[0]};
  return hello;
}

/// What a program said of itself, asked once in a process; the error of one that does not answer.
const Result<Hello>& hello_of(const EngineChoice& choice) {
  static std::map<std::string, Result<Hello>> known;
  const std::string key = choice.folder + "\n" + choice.text();
  const auto at = known.find(key);
  if (at != known.end()) return at->second;
  Child child;
  auto hello = greet(choice, child);
  if (hello) {
    child.send(print_end());
    child.end();
  }
  child.kill();
  return known.emplace(key, std::move(hello)).first->second;
}

/// "transformers" for messages: what the program calls itself, or what it is called by.
std::string shown_name(const EngineChoice& choice) {
  const ExecSettings& settings = settings_of(choice);
  return settings.adapter.empty() ? settings.command[0] : settings.adapter;
}

bool takes(const Hello& hello, const std::string& axis, const std::string& value) {
  const auto at = hello.axes.find(axis);
  return at != hello.axes.end() && at->second.takes(value);
}

std::string greedy_or_seed(const GenerateRequest& request) {
  return request.sampler.temperature == 0.0 ? "" : "seed";
}

/// The first axis on which the request asks for something that the engine does not understand, as
/// "axis value"; empty: none.
std::string not_understood(const Hello& hello, const GenerateRequest& request) {
  const GenerateRequest usual;
  const auto check = [&](const std::string& axis, const std::string& value, bool is_usual) {
    const auto named = hello.axes.find(axis);
    const bool listed = named != hello.axes.end() && !named->second.values.empty();
    const bool fits = (is_usual && !listed) || takes(hello, axis, value);
    return fits ? std::string() : axis + " " + value;
  };
  const std::string precision = mode_of(request.precision).name;
  const BatchShape& batch = request.batch;
  const bool joins = !batch.staggered || hello.concurrent;
  const bool taught = std::any_of(request.prompts.begin(), request.prompts.end(),
                                  [](const PromptTokens& p) { return !p.teacher.empty(); });
  for (const std::string& found :
       {check("precision", precision, request.precision == usual.precision),
        check("device", request.backend.device, request.backend.device == "cpu"),
        check("threads", std::to_string(request.backend.threads), request.backend.threads == 1),
        check("batch", std::to_string(batch.size), batch.size == 1),
        check("cache", request.cache.name, request.cache.name == usual.cache.name),
        check("kv", request.kv.text, request.kv.exact()),
        check("isa", request.backend.isa, request.backend.isa == "auto"),
        check("gpus", std::to_string(request.ranks), request.ranks == 1),
        check("replicas", std::to_string(request.replicas), request.replicas == 1),
        check("weights", request.weights.text, !request.weights.changes()),
        check("patch", request.patch.spec.text, !request.patch.spec.patches()),
        check("attention", request.backend.attention.text, request.backend.attention.usual()),
        check("gemm", request.backend.gemm == nullptr ? "" : request.backend.gemm->text,
              request.backend.gemm == nullptr),
        check("seed", std::to_string(request.sampler.seed), greedy_or_seed(request).empty()),
        check("teacher_forced", "true", !taught),
        joins ? std::string() : std::string("batch join: staggered (its batches are static)")}) {
    if (!found.empty()) return found;
  }
  return "";
}

class ExecEngine final : public Engine {
 public:
  ExecEngine(std::shared_ptr<const LoadedModel> model, EngineChoice choice)
      : model_(std::move(model)), choice_(std::move(choice)) {}
  ~ExecEngine() override {
    if (!child_.runs()) return;
    child_.send(print_end());
    child_.end();
  }

  Result<GenerateResult> generate(const GenerateRequest& request) override {
    GenerateResult result;
    const auto failed = [&](const Failure& failure) {
      if (failure.ends_process) child_.kill(), loaded_.clear();
      result.trace.status = failure.status;
      result.trace.reason = shown_name(choice_) + ": " + failure.reason;
      return result;
    };
    if (auto failure = make_ready(request)) return failed(*failure);
    if (const std::string what = not_understood(hello_, request); !what.empty()) {
      return Error{shown_name(choice_) + " does not understand " + what, ""};
    }
    const Clock::time_point start = Clock::now();
    const Told told =
        converse(request, hello_, model_->config.vocab_size, next_id_, child_, result);
    result.trace.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    result.trace.record_seconds = told.record_seconds;
    if (told.failure) return failed(*told.failure);
    if (child_.unread() != 0)
      return failed({CellStatus::failed, "it said more than was asked", true});
    observe(told, result.trace.prompts, result.trace.observed);
    return result;
  }

 private:
  /// A process that has this request's model in its precision and on its device.
  std::optional<Failure> make_ready(const GenerateRequest& request) {
    const std::string wanted =
        std::string(mode_of(request.precision).name) + " on " + request.backend.device;
    if (child_.runs() && loaded_ == wanted) return std::nullopt;
    child_.kill();
    next_id_ = 1;
    auto hello = greet(choice_, child_);
    if (!hello) return Failure{CellStatus::crashed, hello.error().message, true};
    if (hello->kind != Hello::Kind::ready) return Failure{CellStatus::failed, hello->why, true};
    hello_ = std::move(*hello);
    Load load{model_->path,
              "safetensors",
              model_->config.vocab_size,
              model_->config.context,
              mode_of(request.precision).name,
              request.backend.device,
              request.backend.threads};
    if (load.path.ends_with(".gguf")) load.kind = "gguf";
    child_.send(print(load));
    const auto line = child_.line(Child::kNoLimit);
    if (!line) return Failure{CellStatus::crashed, line.error().message, true};
    const auto reply = parse_reply(*line);
    if (!reply) return Failure{CellStatus::failed, reply.error().message, true};
    if (reply->kind == Reply::Kind::error) return Failure{CellStatus::failed, reply->message, true};
    if (reply->kind != Reply::Kind::loaded) {
      return Failure{CellStatus::failed, "it did not answer to load", true};
    }
    loaded_ = wanted;
    return std::nullopt;
  }

  void observe(const Told& told, const std::vector<PromptTrace>& prompts, Observed& out) const {
    const Ran& ran = told.ran;
    const auto known = [](std::int64_t value) { return std::max<std::int64_t>(value, 0); };
    out.engine = "exec:" + hello_.engine + " " + hello_.version;
    out.evidence = name_of(hello_.evidence);
    out.device = ran.device;
    out.precision = ran.precision;
    out.kernels = ran.kernels;
    out.library = ran.library;
    Sha256 hash{};
    if (!ran.library.empty() && sha256_file(ran.library, hash)) out.library_sha256 = to_hex(hash);
    out.threads = known(ran.threads);
    out.ranks = 1;
    out.live_rows = known(ran.live_rows);
    out.joined_late = known(ran.joined_late);
    out.left_early = known(ran.left_early);
    out.out_of_order = told.out_of_order;
    out.steps = known(ran.steps);
    out.chunks = known(ran.chunks);
    out.prefix_hits = known(ran.prefix_hits);
    out.cached_reads = ran.cached_reads;  // -1: it does not say
    out.kv = ran.kv;
    out.decode = ran.decode;
    for (const PromptTrace& prompt : prompts) {
      out.max_position = std::max(out.max_position, prompt.tokens.back().position);
    }
  }

  std::shared_ptr<const LoadedModel> model_;
  EngineChoice choice_;
  Child child_;
  Hello hello_;
  std::string loaded_;        // "bf16 on cpu"
  std::int64_t next_id_ = 1;  // of requests: a late row of one cell is never one of another
};

}  // namespace

std::string exec_unsupported(const BackendOptions& options, const Mode&) {
  if (options.engine.settings == nullptr) return "";  // only the name was asked for
  const Result<Hello>& hello = hello_of(options.engine);
  if (!hello || hello->kind != Hello::Kind::unavailable) return "";
  return hello->why;
}

Result<void> exec_check(const EngineChoice& choice) {
  const ExecSettings& settings = settings_of(choice);
  if (const auto words = settings.words(); !words) return words.error();
  const Result<Hello>& hello = hello_of(choice);
  if (hello && hello->kind == Hello::Kind::mistaken) {
    return Error{shown_name(choice) + ": " + hello->why, ""};
  }
  const bool missing = !hello && hello.error().message.starts_with("cannot be started");
  if (missing) return Error{hello.error().text(), ""};
  return {};
}

std::string exec_refuse(const GenerateRequest& request) {
  const EngineChoice& choice = request.backend.engine;
  const Result<Hello>& hello = hello_of(choice);
  if (!hello || hello->kind != Hello::Kind::ready) return "";  // the cell says what is wrong
  const std::string what = not_understood(*hello, request);
  return what.empty() ? "" : hello->engine + " does not understand " + what;
}

std::vector<std::string> exec_libraries(const EngineChoice& choice) {
  if (choice.settings == nullptr) return {};
  const ExecSettings& settings = settings_of(choice);
  const auto words = settings.words();
  if (!words || settings.adapter.empty()) return {};
  return {words->back()};
}

std::string exec_variant(const BackendOptions& options) {
  const Result<Hello>& hello = hello_of(options.engine);
  if (!hello || hello->kind != Hello::Kind::ready) return "";
  const auto line = hello->machine.find(options.device);
  return line == hello->machine.end() ? "" : line->second;
}

std::vector<EngineStatus> exec_status() {
  EngineStatus status{"exec", "ready: with --allow-external", adapter_names(), false, ""};
  ExecSettings any;
  any.adapter = adapter_names().front();
  if (const auto words = any.words(); !words) {
    status.state = words.error().message;
    status.broken = true;
    status.fix = "run the program from its checkout or its installation, which has the adapters";
  }
  return {status};
}

std::unique_ptr<Engine> make_exec(std::shared_ptr<const LoadedModel> model,
                                  const EngineChoice& choice) {
  return std::make_unique<ExecEngine>(std::move(model), choice);
}

}  // namespace isobit::exec
