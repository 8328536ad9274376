// In-process ranks on the CPU: every topology, shuffled arrivals, heads that do not divide.
//
// The uneven model has SmolLM2's 9 query heads and 3 KV heads: eight ranks have one or two query
// heads each, and a KV head is computed on several. The shipped default model is the other one.
#include <gtest/gtest.h>

#include <cstring>

#include "runtime/model/rank_model.h"
#include "tests/conformance/ranks_cases.h"
#include "tests/fakes/model.h"

namespace isobit::ranks_test {
namespace {

/// Nine heads on three KV heads, which no number of ranks divides.
LoadedModel uneven_model() {
  ModelConfig c = fakes::odd_config("llama");
  c.head_dim = 8;
  c.layers = 2;
  c.tied_embeddings = true;
  c.attention_bias = c.mlp_bias = false;
  return fakes::toy_model(c);
}

constexpr Topology kTopologies[] = {Topology::direct, Topology::ring, Topology::doubling,
                                    Topology::tree};

/// The run's bits; with ranks, what was observed must name the topology.
std::string run(Runtime& runtime, const GenerateRequest& r) {
  auto result = runtime.generate(r);
  if (!result) return result.error().text();
  const Observed& o = result->trace.observed;
  EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
  EXPECT_EQ(o.ranks, r.ranks);
  EXPECT_EQ(o.virtual_ranks, r.ranks > 1);
  if (r.ranks > 1) {
    EXPECT_EQ(o.transport, std::string("threads, ") + name_of(r.topology));
    EXPECT_GT(o.bytes_moved, 0);
  }
  return bits_of_trace(result->trace);
}

class Ranks : public ::testing::TestWithParam<int> {
 protected:
  [[nodiscard]] static Precision precision() { return Precision(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Precision, Ranks, ::testing::Range(0, kPrecisions), precision_name);

TEST_P(Ranks, UnevenHeadsInEveryTopology) {
  Runtime runtime(uneven_model());
  GenerateRequest one = request(runtime, precision(), 1, 3, "on");
  one.level = TraceLevel::ops;
  one.prompts.resize(4);
  const std::string want = run(runtime, one);
  ASSERT_GT(want.size(), 100000u);
  for (const int ranks : {2, 4, 8}) {
    const Partition last(runtime.model().config, ranks - 1, ranks);
    EXPECT_NE(last.heads.size() * ranks, runtime.model().config.heads) << "the heads are even";
    for (const Topology topology : kTopologies) {
      GenerateRequest r = one;
      r.ranks = ranks;
      r.topology = topology;
      r.arrival_seed = 3;
      EXPECT_EQ(want, run(runtime, r)) << ranks << " ranks, " << name_of(topology);
    }
  }
}

/// Packing the weights is most of the time, so every number of ranks has one topology here.
TEST(RanksOfDefaultModel, TwoFourAndEight) {
  auto model = load_model(ISOBIT_SOURCE_DIR "/scenarios/models/default-7m");
  ASSERT_TRUE(model) << model.error().text();
  Runtime runtime(std::move(*model));
  for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp8_e4m3}) {
    const auto some = [&](int ranks, Topology topology) {
      GenerateRequest r = request(runtime, precision, ranks, 2, "on");
      r.prompts.resize(2);
      r.max_new_tokens = 3;
      r.topology = topology;
      return r;
    };
    const std::string want = run(runtime, some(1, Topology::direct));
    EXPECT_EQ(want, run(runtime, some(2, Topology::tree)));
    EXPECT_EQ(want, run(runtime, some(4, Topology::doubling)));
    EXPECT_EQ(want, run(runtime, some(8, Topology::ring)));
  }
}

/// One rank's memory runs out in the middle of a cell: the cell fails with that reason, every other
/// rank ends, and the same runtime computes the next cell.
TEST(RanksFault, ARankThatFailsEndsTheCell) {
  class Failing final : public Communicator {
   public:
    Failing(std::unique_ptr<Communicator> inner, int at) : inner_(std::move(inner)), at_(at) {}
    [[nodiscard]] int rank() const override { return inner_->rank(); }
    [[nodiscard]] int size() const override { return inner_->size(); }
    [[nodiscard]] bool is_virtual() const override { return inner_->is_virtual(); }
    [[nodiscard]] std::string transport() const override { return inner_->transport(); }
    [[nodiscard]] Traffic traffic() const override { return inner_->traffic(); }
    void abort() override { inner_->abort(); }
    void all_gather(const void* mine, void* all, std::span<const std::size_t> sizes) override {
      if (rank() == size() - 1 && ++calls_ == at_) throw std::bad_alloc();
      inner_->all_gather(mine, all, sizes);
    }

   private:
    std::unique_ptr<Communicator> inner_;
    int at_, calls_ = 0;
  };
  Runtime runtime(uneven_model());
  for (const Topology topology : kTopologies) {
    for (const int ranks : {2, 4, 8}) {
      GenerateRequest r = request(runtime, Precision::fp32, ranks, 3, "on");
      r.topology = topology;
      r.wrap_communicator = [](std::unique_ptr<Communicator> inner) {
        return std::make_unique<Failing>(std::move(inner), 20);
      };
      auto result = runtime.generate(r);
      ASSERT_TRUE(result) << result.error().text();
      EXPECT_EQ(result->trace.status, CellStatus::failed) << name_of(topology);
      EXPECT_EQ(result->trace.reason, "out of memory") << name_of(topology);
      r.wrap_communicator = nullptr;
      EXPECT_EQ(runtime.generate(r)->trace.status, CellStatus::ok);
    }
  }
}

}  // namespace
}  // namespace isobit::ranks_test
