// Requests in, the runtime's rows out as they are computed.
#include "runtime/backends/exec/serve.h"

#include <algorithm>
#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "runtime/base/words.h"
#include "runtime/checkpoint/json.h"
#include "runtime/numerics/precision.h"
#include "runtime/run/generate.h"
#include "runtime/run/log_sum.h"

namespace isobit::exec {
namespace {

using Json = nlohmann::ordered_json;
using Value = nlohmann::json;

constexpr std::size_t kTopServed = 5;

class Server {
 public:
  Server(std::ostream& out, const ServeHooks& hooks) : out_(out), hooks_(hooks) {}

  /// False: the conversation is over.
  bool answer(const std::string& line) {
    const auto message = parse_strict_json(line, {});
    if (!message || !message->is_object()) return refuse(-1, "no message: " + line);
    std::string ask;
    try {
      ask = message->value("ask", "");
      if (ask == "hello") return hello(*message);
      if (ask == "load") return load(*message);
      if (ask == "generate") return generate(*message);
    } catch (const Value::exception& problem) {
      return refuse(-1, problem.what());
    }
    if (ask != "end") return refuse(-1, "unknown ask " + in_quotes(ask));
    ended_ = true;
    return false;
  }
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  void put(const Json& json) {
    out_ << json.dump(-1, ' ', true, Json::error_handler_t::replace) << '\n';
  }
  bool flush() { return bool(out_.flush()); }

  bool refuse(std::int64_t id, const std::string& why) {
    Json json{{"reply", "error"}, {"message", why}};
    if (id >= 0) json["id"] = id;
    put(json);
    return flush();
  }

  bool hello(const Value& message) {
    Json reply{{"isobit_exec", kProtocol}};
    if (message.value("isobit_exec", 0) != kProtocol) {
      reply["reply"] = "error";
      reply["message"] = "it speaks version " + std::to_string(kProtocol) + " of the protocol";
      put(reply);
      return flush();
    }
    const Value options = message.value("options", Value::object());
    for (const auto& [key, value] : options.items()) {
      const std::string text = value.get<std::string>();
      evidence_ = evidence_named(text);
      if (key == "evidence" && text == name_of(evidence_)) continue;
      reply["reply"] = "error";
      reply["message"] = key == "evidence" ? "option evidence is logits, logprobs or tokens, not " +
                                                 in_quotes(text)
                                           : "the only option is evidence, not " + in_quotes(key);
      put(reply);
      return flush();
    }
    std::vector<std::string> precisions;
    for (int p = 0; p < kPrecisions; ++p) {
      const Mode& mode = mode_of(static_cast<Precision>(p));
      if (!mode.wide()) precisions.emplace_back(mode.name);
    }
    std::vector<std::string> devices = {"cpu"};
    BackendOptions on_gpu;
    on_gpu.device = "cuda";
    if (unsupported_reason(on_gpu, mode_of(Precision::fp32)).empty()) devices.emplace_back("cuda");
    reply["reply"] = "hello";
    reply["engine"] = "isobit";
    reply["version"] = std::string("numerics ") + kNumericsVersion;
    reply["evidence"] = name_of(evidence_);
    reply["batching"] = "static";
    reply["axes"] = {{"precision", precisions}, {"device", devices}, {"batch", true},
                     {"cache", true},           {"kv", true},        {"threads", true},
                     {"teacher_forced", true},  {"seed", true}};
    put(reply);
    return flush();
  }

  bool load(const Value& message) {
    auto model = load_model(message.at("model").at("path").get<std::string>());
    if (!model) return refuse(-1, model.error().text());
    const std::string name = message.at("precision").get<std::string>();
    bool known = false;
    for (int p = 0; p < kPrecisions; ++p) {
      if (mode_of(static_cast<Precision>(p)).name != name) continue;
      precision_ = static_cast<Precision>(p);
      known = true;
    }
    if (!known) return refuse(-1, "unknown precision " + in_quotes(name));
    device_ = message.at("device").get<std::string>();
    runtime_ = std::make_unique<Runtime>(std::move(*model));
    put({{"reply", "loaded"}});
    return flush();
  }

  static Request read(const Value& message) {
    Request out;
    out.id = message.at("id").get<std::int64_t>();
    for (const Value& one : message.at("sequences")) {
      out.sequences.push_back({one.at("prompt").get<std::vector<std::int32_t>>(),
                               one.value("teacher", std::vector<std::int32_t>())});
    }
    out.max_new_tokens = message.at("max_new_tokens").get<std::int64_t>();
    out.eos = message.at("eos").get<std::vector<std::int32_t>>();
    out.cache = message.at("cache").get<std::string>();
    out.kv = message.at("kv").get<std::string>();
    out.threads = message.at("threads").get<std::int64_t>();
    const auto sampling = message.find("sampling");
    if (sampling != message.end()) {
      out.sampling = SamplerOptions{
          sampling->at("temperature").get<double>(), sampling->at("top_k").get<std::int64_t>(),
          sampling->at("top_p").get<double>(), sampling->at("seed").get<std::uint64_t>(), 0};
    }
    return out;
  }

  bool generate(const Value& message) {
    Request asked = read(message);
    if (runtime_ == nullptr) return refuse(asked.id, "no model is loaded");
    if (hooks_.request) hooks_.request(asked);
    const auto cache = parse_cache_mode(asked.cache);
    const auto kv = parse_kv_policy(asked.kv);
    if (!cache || !kv) return refuse(asked.id, (cache ? kv.error() : cache.error()).text());
    GenerateRequest request;
    request.precision = precision_;
    request.backend.device = device_;
    request.backend.threads = int(asked.threads);
    request.cache = *cache;
    request.kv = *kv;
    request.batch.size = std::max<std::int64_t>(1, std::int64_t(asked.sequences.size()));
    request.max_new_tokens = asked.max_new_tokens;
    request.eos = asked.eos;
    if (asked.sampling) request.sampler = *asked.sampling;
    for (const Sequence& sequence : asked.sequences) {
      request.prompts.push_back({sequence.prompt, sequence.teacher, ""});
    }
    request.spill = [&](int prompt, std::int64_t position, std::span<const std::byte> row) {
      send(asked, request, prompt, position, row);
    };
    auto result = runtime_->generate(request);
    if (!result) return refuse(asked.id, result.error().text());
    if (result->trace.status != CellStatus::ok) return refuse(asked.id, result->trace.reason);
    const Observed& observed = result->trace.observed;
    Ran ran{observed.live_rows, observed.cached_reads, observed.prefix_hits, observed.chunks,
            observed.steps,     observed.joined_late,  observed.left_early,  observed.threads,
            observed.device,    observed.precision,    observed.kv,          observed.kernels,
            observed.library,   observed.decode};
    if (hooks_.done) hooks_.done(asked, ran);
    finish(asked.id, ran);
    return flush();
  }

  /// One row as it was computed. What was drawn from it follows from the row.
  void send(const Request& asked, const GenerateRequest& request, int prompt, std::int64_t position,
            std::span<const std::byte> bytes) {
    const std::span<const float> values(reinterpret_cast<const float*>(bytes.data()),
                                        bytes.size() / sizeof(float));
    ServedRow out;
    out.row.id = asked.id;
    out.row.sequence = prompt;
    out.row.position = position;
    const PromptTokens& tokens = request.prompts[std::size_t(prompt)];
    out.row.token =
        request.sampler.temperature == 0.0
            ? std::int32_t(std::max_element(values.begin(), values.end()) - values.begin())
            : sample(values, request.sampler, prompt_hash(tokens.tokens), position + 1);
    if (!tokens.teacher.empty()) {
      const std::int64_t index = position + 1 - std::int64_t(tokens.tokens.size());
      out.row.fed = tokens.teacher[std::size_t(index)];
    }
    if (evidence_ == Evidence::logits) out.values.assign(values.begin(), values.end());
    if (evidence_ == Evidence::logprobs) add_logprobs(values, row_log_sum(bytes, false), out.row);
    if (hooks_.row && !hooks_.row(asked, out)) return;
    write(out);
  }

  static void add_logprobs(std::span<const float> values, double log_sum, Row& row) {
    TopEntries best;
    for (std::size_t i = 0; i < values.size(); ++i) {
      best.offer(std::int32_t(i), double(values[i]), int(kTopServed));
    }
    row.logprob = double(values[std::size_t(row.token)]) - log_sum;
    for (std::size_t i = 0; i < std::size_t(best.count); ++i) {
      row.top.emplace_back(best.ids[i], best.values[i] - log_sum);
    }
  }

  void write(const ServedRow& out) {
    const Row& row = out.row;
    Json json{{"reply", "row"},
              {"id", row.id},
              {"sequence", row.sequence},
              {"position", row.position},
              {"token", row.token}};
    if (row.fed) json["fed"] = *row.fed;
    if (row.logprob) {
      json["logprob"] = *row.logprob;
      json["top"] = row.top;
    }
    if (!out.values.empty()) json["bytes"] = out.values.size() * sizeof(float);
    put(json);
    out_.write(reinterpret_cast<const char*>(out.values.data()),
               std::streamsize(out.values.size() * sizeof(float)));
  }

  void finish(std::int64_t id, const Ran& ran) {
    Json observed;
    const std::pair<const char*, std::int64_t> numbers[] = {{"live_rows", ran.live_rows},
                                                            {"cached_reads", ran.cached_reads},
                                                            {"prefix_hits", ran.prefix_hits},
                                                            {"chunks", ran.chunks},
                                                            {"steps", ran.steps},
                                                            {"joined_late", ran.joined_late},
                                                            {"left_early", ran.left_early},
                                                            {"threads", ran.threads}};
    for (const auto& [key, value] : numbers) {
      if (value >= 0) observed[key] = value;
    }
    observed["device"] = ran.device;
    observed["precision"] = ran.precision;
    observed["kv"] = ran.kv;
    observed["kernels"] = ran.kernels;
    if (!ran.decode.empty()) observed["decode"] = ran.decode;
    put({{"reply", "done"}, {"id", id}, {"observed", observed}});
  }

  std::ostream& out_;
  const ServeHooks& hooks_;
  Evidence evidence_ = Evidence::logits;
  Precision precision_ = Precision::fp32;
  std::string device_ = "cpu";
  std::unique_ptr<Runtime> runtime_;
  bool ended_ = false;
};

}  // namespace

bool serve(std::istream& in, std::ostream& out, const ServeHooks& hooks) {
  Server server(out, hooks);
  std::string line;
  while (std::getline(in, line)) {
    if (!server.answer(line)) return server.ended();
  }
  return true;
}

}  // namespace isobit::exec
