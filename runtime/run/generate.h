// One cell's computation: prompts in, trace out, on as many ranks as asked.
//
// The only entry point of the runtime for the harness, next to loading a model. Everything that
// varies between cells is in GenerateRequest; nothing else is read (no environment, no clock but
// for the two times in the trace).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/backends/registry.h"
#include "runtime/cache/store.h"
#include "runtime/checkpoint/weights.h"
#include "runtime/model/sampler.h"
#include "runtime/numerics/weight_change.h"
#include "runtime/parallel/communicator.h"
#include "runtime/parallel/world.h"
#include "runtime/run/engine.h"
#include "runtime/run/operation.h"
#include "runtime/run/patch.h"
#include "runtime/run/weight_cache.h"
#include "runtime/schedule/batcher.h"
#include "runtime/trace.h"

namespace isobit {

/// A logits row as computed: fp32 values are exact as double.
using RowValues = std::vector<double>;

/// What one token is drawn with.
struct Draw {
  SamplerOptions options;
  std::uint64_t prompt = 0;   // prompt_hash()
  std::int64_t position = 0;  // of the token that is drawn
  int slot = 0;               // of the sequence in the cache: nothing may depend on it
};

struct GenerateRequest {
  Precision precision = Precision::fp32;
  BackendOptions backend;
  int ranks = 1;
  int replicas = 1;  // data parallel: the prompts are dealt to so many, each of one rank
  CacheMode cache;
  KvPolicySpec kv;  // exact by default
  WeightChange weights;
  BatchShape batch;
  std::vector<PromptTokens> prompts;
  std::int64_t max_new_tokens = 16;
  SamplerOptions sampler;
  std::vector<std::int32_t> eos;  // empty: never stop early
  TraceLevel level = TraceLevel::logits;
  bool log_sums = false;    // of every recorded row of logits
  bool fed_logits = false;  // the logit of the token that is fed behind each of them
  OperationRequest
      operation;  // of kind none: a model runs; else nothing but its rows (operation.h)

  /// Changes a draw behind the record of it, on every rank; selftest's defects.
  std::function<void(Draw&)> change_draw;
  ResidualHook residual;  // sees and changes the residual stream
  PatchRequest patch;     // rows of another run that are put in
  /// Called for each rank's parts before use; selftest wraps them in defects.
  std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend>)> wrap_backend;
  std::function<std::unique_ptr<Communicator>(std::unique_ptr<Communicator>)> wrap_communicator;

  /// Logits rows to give back by value: (prompt, position).
  std::vector<std::pair<int, std::int64_t>> capture;
  /// Every logits row as it is computed, rank 0 (spill files).
  std::function<void(int prompt, std::int64_t position, std::span<const std::byte> row)> spill;
  /// Inner rows by value, as Reals of the precision: the same on every rank; rank 0 gives each once
  /// to `value_row`, those of k_seen and v_seen when its prompt has ended.
  ValueChoice values;
  std::function<void(const ValueKey& key, std::span<const std::byte> row)> value_row;
  bool time_communication = false;       // also where it costs: a device's collectives
  std::uint64_t arrival_seed = 0;        // shuffles message arrival between ranks
  Topology topology = Topology::direct;  // of ranks that are threads
  World* world = nullptr;  // the processes that are the ranks, one each; null: this process alone
};

/// Behind the text of a change of weights in Observed::weights: every weight kept its bits.
inline constexpr const char* kNothingChanged = ", which changed no weight";

/// The reason of a rank that knows only that another one has failed.
inline constexpr const char* kOtherRankFailed = "another rank failed";

struct GenerateResult {
  CellTrace trace;  // prompts: one a request prompt, ids left empty
  std::map<std::pair<int, std::int64_t>, RowValues> captured;
  std::shared_ptr<const CellTrace> donor;  // of a patched run: what its donor gave
};

/// What a cache policy may know of a model.
KvModel kv_model(const ModelConfig& config);

class RankGroups;

/// The reference runtime: a loaded model with the rounded, sliced weights of the last few
/// (precision, ranks, backend).
class Runtime final : public Engine {
 public:
  explicit Runtime(LoadedModel model);
  explicit Runtime(std::shared_ptr<const LoadedModel> model);
  ~Runtime() override;
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  [[nodiscard]] const LoadedModel& model() const { return *model_; }
  /// Errors are what cannot be asked (ranks that do not divide, a prompt past the context, a
  /// missing library). What goes wrong in the computation is the trace's status.
  Result<GenerateResult> generate(const GenerateRequest& request) override;
  /// Packs the weights that a request needs and computes nothing: before a fork, whose children
  /// then share them.
  Result<void> prepare(const GenerateRequest& request);

 private:
  struct Team;
  Result<const PackedSet*> packed(const GenerateRequest& request);
  Result<GenerateResult> generate_patched(const GenerateRequest& request);
  Result<void> equip(const GenerateRequest& request, Team& team);
  GenerateResult run_replicas(const GenerateRequest& request, const Team& team);

  std::shared_ptr<const LoadedModel> model_;
  std::unique_ptr<RankGroups> groups_;
  std::unique_ptr<PackedCache> packed_;
};

}  // namespace isobit
