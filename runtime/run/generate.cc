// Ranks as threads; each runs the same schedule, rank 0 keeps the trace.

#include "runtime/run/generate.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>

#include "runtime/model/arch/architecture.h"
#include "runtime/model/forward.h"
#include "runtime/numerics/bits.h"
#include "runtime/numerics/probes.h"
#include "runtime/run/company.h"
#include "runtime/run/cost.h"
#include "runtime/run/log_sum.h"
#include "runtime/run/observe.h"
#include "runtime/run/ranks.h"
#include "runtime/run/record_row.h"
#include "runtime/run/replicas.h"
#include "runtime/run/trace_recorder.h"

namespace isobit {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Everything one rank does for one cell.
class RankRun {
 public:
  RankRun(const GenerateRequest& request, const RankModel& model, Backend& backend,
          Communicator& communicator, GenerateResult* result)
      : request_(request),
        model_(model),
        backend_(backend),
        comm_(communicator),
        result_(result),
        batcher_(request.prompts, request.max_new_tokens, request.batch, request.cache),
        recorder_(request) {
    for (const PromptTokens& prompt : request.prompts) {
      hashes_.push_back(prompt_hash(prompt.tokens));
    }
    if (request.patch.bank != nullptr) {
      patch_.emplace(request, model.partition, recorder_.prompt_of_slot);
    }
  }

  void run() {
    const Partition& p = model_.partition;
    const ModelConfig& config = model_.config;
    const KvShape shape{config.layers,   p.kv_heads.size(), config.head_dim, config.hidden_size,
                        config.kv_heads, p.kv_heads.begin,  p.heads.size(),  config.heads};
    KvCache cache(backend_, shape, request_.cache, request_.kv, batcher_.demand());
    // Without a recorder the digests of inner rows are not even computed.
    const bool records_rows = request_.level != TraceLevel::logits || request_.values.any();
    recorder_.gives = result_ != nullptr;
    Forward forward(model_, backend_, comm_, cache, records_rows ? &recorder_ : nullptr,
                    request_.residual, patch_ ? &*patch_ : nullptr);
    cache.on_close([&](int sequence) { forward.give_seen(sequence, last_ + 1); });
    for (;;) {
      const Batcher::Step step = batcher_.next(cache);
      if (step.rows.empty()) break;
      note_owners(step);
      const Rows logits = forward.run(step.rows, step.past);
      cache.end_step();
      read(logits);
      draw_all(step, logits, cache);
    }
    kv_ = cache.counters();
    if (result_ != nullptr) finish_trace();
  }

  [[nodiscard]] const ScheduleStats& stats() const { return batcher_.stats(); }
  [[nodiscard]] const KvCounters& kv() const { return kv_; }

 private:
  void note_owners(const Batcher::Step& step) {
    const auto note = [&](const StepRow& row, int owner) {
      auto& slots = recorder_.prompt_of_slot;
      slots.resize(std::max(slots.size(), std::size_t(row.sequence) + 1), -1);
      slots[std::size_t(row.sequence)] = batcher_.prompt_of(owner);
    };
    for (std::size_t i = 0; i < step.rows.size(); ++i) note(step.rows[i], step.owners[i]);
    for (std::size_t i = 0; i < step.past.size(); ++i) note(step.past[i], step.past_owners[i]);
  }

  /// The best entries and digests of a step's rows: all that leaves the backend's memory.
  void read(Rows logits) {
    best_.resize(std::size_t(logits.rows));
    digests_.resize(result_ != nullptr ? best_.size() : 0);
    if (!best_.empty()) record_seconds_ += backend_.read_logits(logits, kTopK, best_, digests_);
  }

  /// Draws from every row that counts, in order: a drafted one counts when it was fed.
  void draw_all(const Batcher::Step& step, Rows logits, KvCache& cache) {
    std::size_t wanted = 0;
    for (std::size_t i = 0; i < step.rows.size(); ++i) {
      const StepRow& row = step.rows[i];
      if (!row.wants_logits) continue;
      const std::size_t at = wanted++;
      if (!batcher_.counts(step.owners[i], row.position)) continue;
      if (row.draft) recorder_.keep_draft(row.sequence, row.position);
      draw(step.owners[i], row, logits, at, cache);
    }
    recorder_.drop_drafts();
  }

  /// Draws from one row, records it, and feeds the sequence.
  void draw(int index, const StepRow& row, Rows logits, std::size_t at, KvCache& cache) {
    const std::int64_t position = row.position;
    const int prompt = batcher_.prompt_of(index);
    const TopEntries& top = best_[at];
    TokenRecord token;
    token.position = position;
    token.non_finite = top.non_finite;
    keep_top(top, token);
    token.id = top.count > 0 ? top.ids[0] : 0;
    if (result_ != nullptr) token.digest = digests_[at];

    const bool by_value =
        request_.spill || !request_.capture.empty() || request_.log_sums || request_.fed_logits;
    const bool needs_row = result_ != nullptr && by_value;
    if (request_.sampler.temperature != 0.0 || needs_row) fetch(logits, at);
    if (request_.sampler.temperature != 0.0 && !token.non_finite) {
      token.id = sample_row(prompt, row);
    }
    token.fed = batcher_.fed(index, token.id);
    if (needs_row) give_row(prompt, position);
    const bool eos =
        std::find(request_.eos.begin(), request_.eos.end(), token.id) != request_.eos.end();
    if (result_ != nullptr) {
      keep(prompt, token);
      result_->trace.prompts[std::size_t(prompt)].ended = eos;
    }
    last_ = position;
    batcher_.accept(index, token.id, eos || token.non_finite, cache);
  }

  void fetch(Rows logits, std::size_t at) {
    bytes_.resize(std::size_t(logits.cols) * backend_.real_size());
    const char* row = static_cast<const char*>(logits.data) +
                      at * std::size_t(logits.stride) * backend_.real_size();
    backend_.download(bytes_.data(), row, bytes_.size());
  }

  template <class T>
  std::span<const T> values() const {
    return {reinterpret_cast<const T*>(bytes_.data()), bytes_.size() / sizeof(T)};
  }

  std::int32_t sample_row(int prompt, const StepRow& row) {
    Draw draw{request_.sampler, hashes_[std::size_t(prompt)], row.position + 1, int(row.sequence)};
    drew_ = true;
    if (request_.change_draw) request_.change_draw(draw);
    return backend_.mode().wide()
               ? sample(values<double>(), draw.options, draw.prompt, draw.position)
               : sample(values<float>(), draw.options, draw.prompt, draw.position);
  }

  void give_row(int prompt, std::int64_t position) {
    if (request_.spill) request_.spill(prompt, position, bytes_);
    const std::pair<int, std::int64_t> key{prompt, position};
    const auto& wanted = request_.capture;
    if (std::find(wanted.begin(), wanted.end(), key) == wanted.end()) return;
    RowValues& out = result_->captured[key];
    if (backend_.mode().wide()) {
      out.assign(values<double>().begin(), values<double>().end());
    } else {
      out.assign(values<float>().begin(), values<float>().end());
    }
  }

  /// Stores a token; a prompt that several sequences repeat must give the same bits again.
  void keep(int prompt, TokenRecord token) {
    const Clock::time_point start = Clock::now();
    const bool wide = backend_.mode().wide();
    if (request_.log_sums) token.log_sum = row_log_sum(bytes_, wide);
    if (request_.fed_logits) token.fed_logit = row_logit(bytes_, wide, token.fed);
    CellTrace& trace = result_->trace;
    auto& tokens = trace.prompts[std::size_t(prompt)].tokens;
    const auto at =
        std::lower_bound(tokens.begin(), tokens.end(), token.position,
                         [](const TokenRecord& t, std::int64_t p) { return t.position < p; });
    if (at == tokens.end() || at->position != token.position) {
      tokens.insert(at, token);
    } else if (!depends_on_steps(request_) &&  // else what is computed beside a prompt counts
               (at->digest != token.digest || at->id != token.id)) {
      fail(CellStatus::recomputed_differs,
           place_of(prompt, token) + ": identical sequences in one batch differ");
    }
    if (token.non_finite) {
      fail(CellStatus::non_finite, place_of(prompt, token) + ": non-finite logit");
    }
    record_seconds_ += seconds_since(start);
  }

  [[nodiscard]] std::string place_of(int prompt, const TokenRecord& token) const {
    return name_of_prompt(request_, std::size_t(prompt)) + ", position " +
           std::to_string(token.position);
  }

  void fail(CellStatus status, const std::string& reason) {
    if (result_->trace.status != CellStatus::ok) return;
    result_->trace.status = status;
    result_->trace.reason = reason;
  }

  void finish_trace() {
    CellTrace& trace = result_->trace;
    trace.record_seconds = record_seconds_ + recorder_.seconds;
    trace.observed.decode = text_of(drew_ ? request_.sampler : SamplerOptions{});
    if (!recorder_.conflict.empty()) fail(CellStatus::recomputed_differs, recorder_.conflict);
    for (std::size_t p = 0; p < request_.prompts.size(); ++p) {
      PromptTrace& prompt = trace.prompts[p];
      const auto& tokens = request_.prompts[p].tokens;
      prompt.prompt_tokens = std::int64_t(tokens.size());
      prompt.tokens_digest = tokens_digest(tokens);
      prompt.observations = recorder_.observations(int(p));
    }
  }

  const GenerateRequest& request_;
  const RankModel& model_;
  Backend& backend_;
  Communicator& comm_;
  GenerateResult* result_;
  Batcher batcher_;
  TraceRecorder recorder_;
  std::optional<PatchHook> patch_;
  KvCounters kv_;
  std::vector<std::uint64_t> hashes_;
  std::vector<std::byte> bytes_;
  std::vector<TopEntries> best_;  // of the step's wanted rows, as the next
  std::vector<Digest> digests_;
  std::int64_t last_ = -1;  // position of the row that was drawn from last
  double record_seconds_ = 0;
  bool drew_ = false;  // some token by the sampler
};

Result<void> check_request(const GenerateRequest& request, const ModelConfig& config) {
  if (const std::string why = refuse_ranks(config, request.ranks); !why.empty()) {
    return Error{why, ""};
  }
  if (auto ok = check_orders(request.backend); !ok) return ok;
  if (const std::string why = refuse_replicas(request); !why.empty()) return Error{why, ""};
  if (auto ok = check_kv_policy(request.kv, kv_model(config)); !ok) return ok;
  if (auto ok = check_kv_policy(request.kv, request.cache, request.ranks); !ok) return ok;
  for (std::size_t i = 0; i < request.prompts.size(); ++i) {
    const auto& tokens = request.prompts[i].tokens;
    if (tokens.empty()) return Error{name_of_prompt(request, i) + " has no tokens", ""};
    const std::int64_t end = std::int64_t(tokens.size()) + request.max_new_tokens;
    if (end > config.context) {
      return Error{name_of_prompt(request, i) + " needs " + std::to_string(end) +
                       " positions, the model has " + std::to_string(config.context),
                   ""};
    }
    for (const std::int32_t id : tokens) {
      if (id < 0 || id >= config.vocab_size) {
        return Error{name_of_prompt(request, i) + ": token id " + std::to_string(id) +
                         " is outside the vocabulary of " + std::to_string(config.vocab_size),
                     ""};
      }
    }
  }
  return {};
}

/// Where the weights of a request live in this process: a rank each, or a replica each.
std::vector<PackedRequest::Place> places_of(const GenerateRequest& request) {
  std::vector<PackedRequest::Place> places;
  if (request.replicas > 1) {
    for (int r = 0; r < replicas_with_prompts(request); ++r) places.push_back({0, r});
    return places;
  }
  for (const int rank : ranks_here(request)) {
    places.push_back({rank, device_of_rank(request, rank)});
  }
  return places;
}

/// What one thread of a run computes, with the weights and the backend of its place.
struct Seat {
  const GenerateRequest* request = nullptr;
  GenerateResult* result = nullptr;  // null: another rank keeps the trace
  ScheduleStats stats;
  KvCounters kv;
};

/// Computes every seat on a thread of its own. The reason of the first that failed, or empty; a
/// rank that only heard of it does not know.
std::string run_seats(const PackedSet& weights, std::span<const std::unique_ptr<Backend>> backends,
                      Ranks ranks, std::span<Seat> seats) {
  std::mutex failing;
  std::string why;
  const auto fail = [&](const std::string& reason) {
    const std::lock_guard lock(failing);
    if (why.empty() || why == kOtherRankFailed) why = reason;
  };
  const auto run_seat = [&](std::size_t i) {
    Seat& seat = seats[i];
    try {
      ISOBIT_CHECK(check_floating_point_mode().has_value());
      RankRun run(*seat.request, *weights.ranks[i], *backends[i], *ranks[i], seat.result);
      run.run();
      ranks[i]->finish();
      seat.stats = run.stats(), seat.kv = run.kv();
    } catch (const RankFailure&) {
      fail(kOtherRankFailed);
    } catch (const std::bad_alloc& error) {
      fail(memory_text(error));
      ranks[i]->abort();
    } catch (const BackendError& error) {
      fail(error.what());
      ranks[i]->abort();
    }
  };
  if (auto started = run_on_threads(ranks, run_seat); !started) fail(started.error().text());
  return why;
}

void begin_trace(const GenerateRequest& request, GenerateResult& result) {
  result.trace.level = request.level;
  result.trace.prompts.resize(request.prompts.size());
}

/// What every trace has, however its prompts were computed.
void end_trace(const std::string& why, double seconds, const CostMeter& meter, CellTrace& trace) {
  if (!why.empty()) {
    trace.status = CellStatus::failed;
    trace.reason = why;
  }
  trace.seconds = seconds;
  meter.read(trace.observed);
}

}  // namespace

KvModel kv_model(const ModelConfig& config) {
  KvModel model{config.layers, config.heads, config.kv_heads, config.head_dim};
  model.slides = config.sliding_window > 0;
  model.turns = model.turns_by_length = false;
  const Architecture* family = find_architecture(config.architecture);
  for (std::int64_t layer = 0; family != nullptr && layer < config.layers; ++layer) {
    const int rope = family->plan(config, layer).rope;
    if (rope < 0) continue;
    model.turns = true;
    model.turns_by_length |= turns_by_length(config.ropes[std::size_t(rope)]);
  }
  return model;
}

Runtime::Runtime(LoadedModel model)
    : Runtime(std::make_shared<const LoadedModel>(std::move(model))) {}
Runtime::Runtime(std::shared_ptr<const LoadedModel> model)
    : model_(std::move(model)),
      groups_(std::make_unique<RankGroups>()),
      packed_(std::make_unique<PackedCache>(*model_)) {}
Runtime::~Runtime() = default;

std::unique_ptr<Engine> make_whole_engine(std::shared_ptr<const LoadedModel> model,
                                          const EngineChoice& choice) {
  const EngineEntry* row = find_engine(choice.name);
  return row == nullptr || row->whole == nullptr ? nullptr : row->whole(std::move(model), choice);
}

Result<const PackedSet*> Runtime::packed(const GenerateRequest& request) {
  const Batcher plan(request.prompts, request.max_new_tokens, request.batch, request.cache);
  PackedRequest wanted{request.precision, request.backend, request.ranks, {}, {}, request.weights};
  wanted.lengths.positions = plan.longest();
  for (const PromptTokens& prompt : request.prompts) {
    wanted.lengths.prompts.push_back(std::int64_t(prompt.tokens.size()));
  }
  wanted.here = places_of(request);
  return packed_->get(wanted);
}

Result<void> Runtime::prepare(const GenerateRequest& request) {
  if (auto ok = check_request(request, model_->config); !ok) return ok.error();
  auto weights = packed(request);
  ISOBIT_TRY(weights);
  return {};
}

/// What the ranks of one run compute with, by rank of this process.
struct Runtime::Team {
  const PackedSet* weights = nullptr;
  std::vector<std::unique_ptr<Backend>> backends;
};

Result<void> Runtime::equip(const GenerateRequest& request, Team& team) {
  if (auto ok = check_request(request, model_->config); !ok) return ok.error();
  ISOBIT_CHECK(!request.prompts.empty());
  auto weights = packed(request);
  ISOBIT_TRY(weights);
  team.weights = *weights;
  try {
    for (const PackedRequest::Place& place : places_of(request)) {
      BackendOptions options = request.backend;
      options.rank = place.device;
      auto backend = make_backend(options, mode_of(request.precision));
      ISOBIT_TRY(backend);
      team.backends.push_back(request.wrap_backend ? request.wrap_backend(std::move(*backend))
                                                   : std::move(*backend));
    }
  } catch (const BackendError& error) {  // a thread that cannot be started: all processes hear it
    return Error{error.what(), ""};
  }
  return {};
}

Result<GenerateResult> Runtime::generate(const GenerateRequest& request) {
  if (request.patch.spec.patches() && request.patch.bank == nullptr) {
    return generate_patched(request);
  }
  Team team;
  if (auto ok = agree(request, equip(request, team)); !ok) return ok.error();
  if (request.replicas > 1) return run_replicas(request, team);
  auto joined = groups_->join(request, team.backends);
  ISOBIT_TRY(joined);
  const std::vector<std::unique_ptr<Communicator>>& ranks = *joined;

  GenerateResult result;
  begin_trace(request, result);
  std::vector<Seat> seats(ranks.size(), {&request, nullptr, {}, {}});
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    if (ranks[r]->rank() == 0) seats[r].result = &result;
  }
  const std::int64_t weight_bytes = sum_over_processes(request, team.weights->weight_bytes);
  const CostMeter meter(request);
  const Clock::time_point start = Clock::now();
  const std::string why = run_seats(*team.weights, team.backends, ranks, seats);
  end_trace(why, seconds_since(start), meter, result.trace);
  result.trace.communication_seconds = ranks.front()->seconds();
  Observed& observed = result.trace.observed;
  observe(request, seats.front().stats, seats.front().kv, info_of(team.backends), ranks,
          team.weights->changed_weights(), observed);
  observed.weight_bytes = weight_bytes;
  return result;
}

/// Every replica is a group of one rank, on a thread and on weights of its own.
GenerateResult Runtime::run_replicas(const GenerateRequest& request, const Team& team) {
  std::mutex spilling;
  const std::vector<GenerateRequest> shares = deal_prompts(request, spilling);
  std::vector<std::unique_ptr<Communicator>> groups;
  std::vector<GenerateResult> parts(shares.size());
  std::vector<Seat> seats;
  for (std::size_t r = 0; r < shares.size(); ++r) {
    groups.push_back(make_single_rank());
    begin_trace(shares[r], parts[r]);
    seats.push_back({&shares[r], &parts[r], {}, {}});
  }
  const CostMeter meter(request);
  const Clock::time_point start = Clock::now();
  const std::string why = run_seats(*team.weights, team.backends, groups, seats);
  const double seconds = seconds_since(start);
  for (std::size_t r = 0; r < shares.size(); ++r) {
    observe(shares[r], seats[r].stats, seats[r].kv, team.backends[r]->describe(),
            Ranks(groups).subspan(r, 1), team.weights->changed_weights(), parts[r].trace.observed);
  }
  GenerateResult all = join_replicas(std::move(parts));
  end_trace(why, seconds, meter, all.trace);
  all.trace.observed.weight_bytes = team.weights->weight_bytes;
  all.trace.observed.virtual_ranks =
      gpus_of(request.backend, request.replicas).size() < shares.size();
  return all;
}

}  // namespace isobit
