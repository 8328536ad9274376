// Which steps become graphs, and that the forward pass keeps what a replay rests on: a step of the
// same shape does the same but for what lies in its input arrays. A CPU backend keeps the
// operations of a step on a tape and plays it again, as the CUDA backend does with graphs.
#include "runtime/backends/cuda/step_graphs.h"

#include <gtest/gtest.h>

#include "harness/selftest/wrap.h"
#include "runtime/run/generate.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

using cuda::split_bucket;
using cuda::StepKey;
using Graphs = cuda::StepGraphs<std::shared_ptr<int>>;
using Action = Graphs::Action;

StepKey key_of(std::int64_t rows) {
  return {1, rows, {0}, 1};
}

TEST(StepGraphs, AKeyIsRunThenCapturedThenReplayed) {
  Graphs graphs;
  EXPECT_EQ(graphs.next(key_of(1), 0), Action::run);
  EXPECT_EQ(graphs.next(key_of(1), 0), Action::capture);
  EXPECT_EQ(*graphs.keep(key_of(1), std::make_shared<int>(7)), 7);
  EXPECT_EQ(graphs.next(key_of(1), 0), Action::replay);
  EXPECT_EQ(*graphs.at(key_of(1)), 7);
}

TEST(StepGraphs, EveryPartOfTheKeyCounts) {
  const StepKey key{1, 3, {0, 2}, 4};
  Graphs graphs;
  graphs.next(key, 0);
  graphs.next(key, 0);
  graphs.keep(key, std::make_shared<int>(1));
  StepKey owner = key, rows = key, wanted = key, order = key, splits = key;
  owner.owner = 2;
  rows.rows = 4;
  wanted.wanted = {0, 1, 2};
  order.wanted = {0, 1};
  splits.splits = 8;
  for (const StepKey& other : {owner, rows, wanted, order, splits}) {
    EXPECT_EQ(graphs.next(other, 0), Action::run);
  }
  EXPECT_EQ(graphs.next(key, 0), Action::replay);
}

TEST(StepGraphs, FreedMemoryEndsEveryGraph) {
  Graphs graphs;
  const auto graph = std::make_shared<int>(1);
  graphs.next(key_of(1), 5);
  graphs.next(key_of(1), 5);
  graphs.keep(key_of(1), graph);
  EXPECT_EQ(graph.use_count(), 2);
  EXPECT_EQ(graphs.next(key_of(2), 6), Action::run);
  EXPECT_EQ(graph.use_count(), 1);
  EXPECT_EQ(graphs.next(key_of(1), 6), Action::capture);  // it has run before
}

TEST(StepGraphs, TheirNumberIsBounded) {
  Graphs graphs;
  for (std::int64_t rows = 1; rows <= 10 * std::int64_t(Graphs::kMostGraphs); ++rows) {
    EXPECT_EQ(graphs.next(key_of(rows), 0), Action::run);
    EXPECT_EQ(graphs.next(key_of(rows), 0), Action::capture);
    graphs.keep(key_of(rows), std::make_shared<int>(int(rows)));
    EXPECT_LE(graphs.size(), Graphs::kMostGraphs);
    EXPECT_EQ(graphs.next(key_of(rows), 0), Action::replay);
  }
}

TEST(StepGraphs, SplitsAreBucketed) {
  EXPECT_EQ(split_bucket(1), 1);
  EXPECT_EQ(split_bucket(2), 2);
  EXPECT_EQ(split_bucket(3), 4);
  EXPECT_EQ(split_bucket(4), 4);
  EXPECT_EQ(split_bucket(5), 8);
  EXPECT_EQ(split_bucket(33), 64);
}

/// Counts of one run, outside of the backend that is gone afterwards.
struct Played {
  int run = 0, captured = 0, replayed = 0;
};

/// A graph on the CPU: operations with their pointers, but the inputs of the step that plays it.
class TapeBackend final : public selftest::ForwardingBackend {
 public:
  TapeBackend(std::unique_ptr<Backend> inner, Played& played)
      : ForwardingBackend(std::move(inner), {}), played_(played) {}

  void release(void* memory) override {
    ++epoch_;
    inner_->release(memory);
  }
  void* allocate(std::size_t bytes) override {
    EXPECT_FALSE(capturing_) << "memory is taken while a step is captured";
    return inner_->allocate(bytes);
  }

  bool begin_step(const StepInputs& inputs) override {
    now_ = inputs;
    if (!inputs.repeatable) return false;
    std::int32_t splits = 1;
    for (const auto& rows : inputs.places) {
      for (const auto& row : rows) {
        splits = std::max(splits, std::int32_t(row.position / 256 - row.first / 256 + 1));
      }
    }
    key_ = {inputs.owner,
            std::int64_t(inputs.ids.size()),
            {inputs.wanted.begin(), inputs.wanted.end()},
            split_bucket(splits)};
    const auto action = tapes_.next(key_, epoch_);
    if (action == cuda::StepGraphs<Tape>::Action::replay) {
      for (const auto& operation : tapes_.at(key_)) operation();
      ++played_.replayed;
      return true;
    }
    capturing_ = action == cuda::StepGraphs<Tape>::Action::capture;
    ++(capturing_ ? played_.captured : played_.run);
    return false;
  }
  void end_step() override {
    if (!capturing_) return;
    capturing_ = false;
    for (const auto& operation : tapes_.keep(key_, std::move(tape_))) operation();
    tape_.clear();
  }

  void gather(Rows table, std::span<const std::int32_t> ids, Rows out) override {
    const bool wanted = ids.data() == now_.wanted.data();
    expect_input(ids.data(), wanted ? now_.wanted.data() : now_.ids.data());
    record([=, this] { inner_->gather(table, ids_of(ids, wanted), out); });
  }
  void rms_norm(Rows x, const void* weight, double eps, Rows out) override {
    record([=, this] { inner_->rms_norm(x, weight, eps, out); });
  }
  void amax(Rows x, void* out) override {
    record([=, this] { inner_->amax(x, out); });
  }
  void scales(const void* amax, std::int64_t ranks, std::int64_t rows, Format format,
              void* scale) override {
    record([=, this] { inner_->scales(amax, ranks, rows, format, scale); });
  }
  void quantize(Rows x, const void* scale, Format format, Rows out) override {
    record([=, this] { inner_->quantize(x, scale, format, out); });
  }
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    record([=, this, &matrix] { inner_->gemm(x, matrix, out); });
  }
  void finish(std::span<const Rows> parts, const WeightMatrix& matrix, const void* row_scale,
              const void* bias, Format stored, Rows out) override {
    const std::vector<Rows> all(parts.begin(), parts.end());
    record([=, this, &matrix] { inner_->finish(all, matrix, row_scale, bias, stored, out); });
  }
  void rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
            const Rotation& rotation) override {
    expect_input(positions.data(), now_.positions.data());
    record([=, this] {
      inner_->rope(x, heads, now_.repeatable ? now_.positions : positions, rotation);
    });
  }
  void write_kv(Rows k, Rows v, std::span<const std::int64_t> slots, std::int64_t kv_heads,
                std::int32_t page_size, void* k_pool, void* v_pool) override {
    expect_input(slots.data(), now_.slots.data());
    record([=, this] {
      inner_->write_kv(k, v, now_.repeatable ? now_.slots : slots, kv_heads, page_size, k_pool,
                       v_pool);
    });
  }
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override {
    std::size_t window = 0;
    while (window + 1 < now_.places.size() && now_.places[window].data() != args.rows.data()) {
      ++window;
    }
    expect_input(args.rows.data(), now_.places[window].data());
    const AttentionRows fixed = args;
    record([=, this] {
      AttentionRows with = fixed;
      if (now_.repeatable) with.rows = now_.places[window];
      inner_->attention(q, with, k_pool, v_pool, out);
    });
  }
  void gated(Activation f, Rows gate, Rows up, Rows out) override {
    record([=, this] { inner_->gated(f, gate, up, out); });
  }
  void add(Rows h, Rows y) override {
    record([=, this] { inner_->add(h, y); });
  }
  void activate(Activation f, Rows x) override {
    record([=, this] { inner_->activate(f, x); });
  }
  void scale(Rows x, double factor) override {
    record([=, this] { inner_->scale(x, factor); });
  }
  void softcap(Rows x, double cap) override {
    record([=, this] { inner_->softcap(x, cap); });
  }
  void copy(Rows from, Rows to) override {
    record([=, this] { inner_->copy(from, to); });
  }

 private:
  using Tape = std::vector<std::function<void()>>;

  /// The ids of the step that plays, whatever array the recorded call had.
  [[nodiscard]] std::span<const std::int32_t> ids_of(std::span<const std::int32_t> ids,
                                                     bool wanted) const {
    if (!now_.repeatable) return ids;
    return wanted ? now_.wanted : now_.ids;
  }
  void expect_input(const void* array, const void* input) const {
    EXPECT_TRUE(!capturing_ || array == input) << "a captured step reads an array of its own";
  }
  void record(std::function<void()> operation) {
    if (capturing_) return tape_.push_back(std::move(operation));
    operation();
  }

  Played& played_;
  StepInputs now_;
  StepKey key_;
  std::uint64_t epoch_ = 0;
  bool capturing_ = false;
  cuda::StepGraphs<Tape> tapes_;
  Tape tape_;
};

struct Outcome {
  std::string bits;
  Played played;
};

class Replay : public ::testing::Test {
 protected:
  Outcome run(const GenerateRequest& request, bool tape) { return run(runtime_, request, tape); }
  static Outcome run(Runtime& runtime, GenerateRequest request, bool tape) {
    Outcome outcome;
    if (tape) {
      request.wrap_backend = [&](std::unique_ptr<Backend> inner) -> std::unique_ptr<Backend> {
        return std::make_unique<TapeBackend>(std::move(inner), outcome.played);
      };
    }
    const auto result = runtime.generate(request);
    if (!result) return {result.error().text(), {}};
    outcome.bits = result->trace.reason;
    for (const PromptTrace& prompt : result->trace.prompts) {
      for (const TokenRecord& token : prompt.tokens) {
        outcome.bits += " " + std::to_string(token.position) + ":" + std::to_string(token.id) +
                        ":" + to_hex(token.digest);
      }
    }
    return outcome;
  }
  static GenerateRequest request(std::int64_t batch, const std::string& cache) {
    GenerateRequest r;
    r.precision = Precision::bf16;
    for (const int length : {3, 250, 20, 9, 41}) r.prompts.push_back({fakes::prompt(length), {}});
    r.max_new_tokens = 12;
    r.batch.size = batch;
    r.cache = *parse_cache_mode(cache);
    return r;
  }
  Runtime runtime_{fakes::toy_model(fakes::worked_example())};
};

TEST_F(Replay, ATapeGivesTheBitsOfTheOperations) {
  for (const std::int64_t batch : {1, 3, 8}) {
    for (const char* cache : {"on", "paged:16", "prefix", "chunked:17"}) {
      for (const bool staggered : {false, true}) {
        GenerateRequest r = request(batch, cache);
        r.batch.staggered = staggered;
        const Outcome want = run(r, false), got = run(r, true);
        EXPECT_EQ(want.bits, got.bits) << batch << " " << cache;
        EXPECT_GT(got.played.replayed, 1) << batch << " " << cache;
        EXPECT_GT(got.played.captured, 0);
      }
    }
  }
}

TEST_F(Replay, EveryFamilyWithWindowsThatDifferByLayer) {
  for (const Architecture* family : architectures()) {
    Runtime runtime(fakes::toy_model(fakes::odd_config(family->name)));
    for (const char* cache : {"on", "paged:16"}) {
      const GenerateRequest r = request(3, cache);
      const Outcome want = run(runtime, r, false), got = run(runtime, r, true);
      EXPECT_EQ(want.bits, got.bits) << family->name << " " << cache;
      // Positions that are learned, and rows of experts, are no inputs of a step.
      const bool repeats = family->experts.rows.empty() && std::string_view(family->name) != "gpt2";
      EXPECT_EQ(got.played.replayed > 3, repeats) << family->name << " " << cache;
    }
  }
}

TEST_F(Replay, EveryPrecision) {
  for (const Mode& mode : kModes) {
    GenerateRequest r = request(3, "paged:16");
    r.precision = mode.precision;
    const Outcome want = run(r, false), got = run(r, true);
    EXPECT_EQ(want.bits, got.bits) << mode.name;
    EXPECT_GT(got.played.replayed, 3) << mode.name;
  }
}

TEST_F(Replay, RunsWhatIsNotTheSameEachTime) {
  const auto replays = [&](GenerateRequest r) {
    const Outcome want = run(r, false), got = run(r, true);
    EXPECT_EQ(want.bits, got.bits);
    return got.played.replayed;
  };
  EXPECT_EQ(replays(request(3, "off")), 0);
  EXPECT_EQ(replays(request(3, "recomputed")), 0);
  GenerateRequest recorded = request(3, "on");
  recorded.level = TraceLevel::layers;
  EXPECT_EQ(replays(recorded), 0);
  GenerateRequest ranks = request(3, "on");
  ranks.ranks = 2;
  EXPECT_EQ(replays(ranks), 0);
  GenerateRequest hooked = request(3, "on");
  hooked.residual = [](int, int, std::int64_t, std::span<double>) {};
  EXPECT_EQ(replays(hooked), 0);
  GenerateRequest policy = request(3, "on");
  policy.kv = *parse_kv_policy("tova:20");
  EXPECT_EQ(replays(policy), 0);
}

class NoCollectives final : public selftest::ForwardingCommunicator {
 public:
  using ForwardingCommunicator::ForwardingCommunicator;
  void all_gather(const void*, void*, std::span<const std::size_t>) override {
    ADD_FAILURE() << "a group of one has nobody to gather from";
  }
};

TEST_F(Replay, OneRankMovesNothing) {
  GenerateRequest r = request(3, "on");
  r.precision = Precision::fp8_e4m3;
  r.level = TraceLevel::ops;
  r.wrap_communicator = [](std::unique_ptr<Communicator> inner) -> std::unique_ptr<Communicator> {
    return std::make_unique<NoCollectives>(std::move(inner), selftest::Setup{});
  };
  const auto result = runtime_.generate(r);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->trace.status, CellStatus::ok);
  EXPECT_EQ(result->trace.observed.collectives, 0);
}

}  // namespace
}  // namespace isobit
