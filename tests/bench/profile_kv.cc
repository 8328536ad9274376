// What a cache policy costs: one decode step at a long context under each of several policies, in
// turn, round by round, so that what else the machine does hits all of them.
//
// The model has SmolLM2-135M's shape (30 layers, 9 heads, 3 KV heads of 64, hidden 576, inner 1536,
// vocabulary 49,152) and synthetic weights; the context is written into the caches, not computed.
// Prints the median step of each policy in processor time, which a busy machine lengthens less than
// time on the wall, its ratio to the first one's of the same round (median of both times), and the
// bytes of keys and values that the cache holds. Needs no library but the runtime.
// Usage: profile_kv [--mode bf16] [--threads N] [--context N] [--steps N] [--isa NAME] POLICY…
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <numeric>
#include <string>
#include <vector>

#include "runtime/backends/registry.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/model/forward.h"
#include "runtime/numerics/formats.h"

namespace isobit {
namespace {

struct Arguments {
  const Mode* mode = &mode_of(Precision::bf16);
  std::int64_t context = 4096;
  int steps = 30;
  BackendOptions backend;
  std::vector<std::string> policies;
};

ModelConfig config_of_smollm2() {
  ModelConfig c;
  c.architecture = "llama";
  c.name = "synthetic weights in the shape of SmolLM2-135M";
  c.vocab_size = 49152;
  c.hidden_size = 576;
  c.intermediate_size = 1536;
  c.layers = 30;
  c.heads = 9;
  c.kv_heads = 3;
  c.head_dim = 64;
  c.context = 8192;
  c.ropes.front().base = 100000.0;
  return c;
}

/// Pseudo-random numbers of up to 1/32 that bf16 holds.
std::vector<std::uint16_t> numbers(std::size_t count) {
  std::vector<std::uint16_t> out(count);
  std::uint64_t state = 2026;
  for (std::uint16_t& value : out) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    value = bf16_from_float((float(state >> 40) * 0x1p-24F - 0.5F) * 0x1p-4F);
  }
  return out;
}

LoadedModel make_model() {
  LoadedModel model;
  model.config = config_of_smollm2();
  const std::vector<TableTensor> needed = needed_tensors(model.config);
  std::size_t total = 0;
  for (const TableTensor& wanted : needed) {
    const Tensor shape = tensor_of(wanted, TensorType::bf16);
    total += std::size_t(shape.rows * shape.cols);
  }
  const auto values = std::make_shared<std::vector<std::uint16_t>>(numbers(total));
  const auto ones =
      std::make_shared<std::vector<float>>(std::size_t(model.config.hidden_size), 1.F);
  std::size_t at = 0;
  for (const TableTensor& wanted : needed) {
    const bool is_norm = wanted.shape.size() == 1;
    Tensor tensor = tensor_of(wanted, is_norm ? TensorType::f32 : TensorType::bf16);
    const std::size_t count = std::size_t(tensor.rows * tensor.cols);
    if (is_norm) tensor.bytes = std::as_bytes(std::span(*ones));
    if (!is_norm) tensor.bytes = std::as_bytes(std::span(*values).subspan(at, count));
    at += is_norm ? 0 : count;
    model.weights.add(std::move(tensor));
  }
  model.weights.keep(values);
  model.weights.keep(ones);
  return model;
}

/// One sequence under one policy, its context already there.
class Sequence {
 public:
  Sequence(const RankModel& model, Backend& backend, Communicator& communicator,
           const Arguments& arguments, const std::string& policy)
      : name(policy),
        spec_(*parse_kv_policy(policy)),
        backend_(backend),
        shape_{model.config.layers, model.config.kv_heads, model.config.head_dim,
               model.config.hidden_size, model.config.kv_heads},
        cache_(backend, shape_, *parse_cache_mode("on"), spec_,
               demand_of(arguments.context, arguments.context + arguments.steps + 2)),
        forward_(model, backend, communicator, cache_, nullptr, none_),
        position_(arguments.context) {
    sequence_ = cache_.open(arguments.context);
    cache_.reserve(sequence_, arguments.context);
    for (std::int64_t layer = 0; layer < shape_.layers; ++layer) write_context(layer);
    cache_.end_step();
  }

  struct Times {
    std::vector<double> processor, wall;  // seconds of each step
  };
  void step(bool keep) {
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t begun = std::clock();
    const StepRow row{sequence_, position_, std::int32_t(position_ * 7919 % 49152), true};
    cache_.reserve(sequence_, position_ + 1);
    (void)forward_.run({&row, 1}, {});
    cache_.end_step();
    ++position_;
    if (!keep) return;
    times.processor.push_back(double(std::clock() - begun) / CLOCKS_PER_SEC);
    times.wall.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  [[nodiscard]] const KvCounters& counters() const { return cache_.counters(); }

  std::string name;
  Times times;

 private:
  static KvDemand demand_of(std::int64_t prompt, std::int64_t total) {
    KvDemand demand;
    demand.passing = {{prompt, total}};
    return demand;
  }

  void write_context(std::int64_t layer) {
    const std::int64_t width = shape_.kv_heads * shape_.head_dim;
    std::vector<float> k, v;
    for (const std::uint16_t x : numbers(std::size_t(position_ * width))) {
      k.push_back(32.0F * float_from_bf16(x));
      v.push_back(float_from_bf16(x));
    }
    const Rows k_rows{k.data(), position_, width, width}, v_rows{v.data(), position_, width, width};
    std::vector<std::int64_t> positions(static_cast<std::size_t>(position_)), slots;
    std::iota(positions.begin(), positions.end(), std::int64_t(0));
    for (const std::int64_t p : positions) slots.push_back(cache_.slot(sequence_, p));
    if (cache_.keeps_exact()) {
      backend_.write_kv(k_rows, v_rows, slots, shape_.kv_heads, cache_.mode().page_size,
                        cache_.k_pool(layer), cache_.v_pool(layer));
    }
    if (cache_.policy() == nullptr) return;
    const std::vector<int> sequences(positions.size(), sequence_);
    cache_.code_rows(layer, k_rows, v_rows, sequences, positions, false);
    if (cache_.policy()->selects(position_, position_ - 1)) {
      cache_.select(layer, sequence_, std::vector<double>(std::size_t(position_), 0.5));
    }
    cache_.code(layer, sequence_, cache_.policy()->coded(position_, position_));
  }

  KvPolicySpec spec_;
  Backend& backend_;
  KvShape shape_;
  KvCache cache_;
  ResidualHook none_;
  Forward forward_;
  std::int64_t position_;
  int sequence_ = 0;
};

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

double median_ratio(const std::vector<double>& x, const std::vector<double>& y) {
  std::vector<double> ratio;
  for (std::size_t i = 0; i < x.size(); ++i) ratio.push_back(x[i] / y[i]);
  return median(ratio);
}

void report(const Sequence& first, const Sequence& each) {
  const std::vector<double>& used = each.times.processor;
  const KvCounters& kv = each.counters();
  std::printf("%-12s %7.2f ms, best %7.2f | %.3f of %s (wall %.3f) | %7.2f MiB of %7.2f (%.4f)\n",
              each.name.c_str(), median(used) * 1e3,
              *std::min_element(used.begin(), used.end()) * 1e3,
              median_ratio(used, first.times.processor), first.name.c_str(),
              median_ratio(each.times.wall, first.times.wall), double(kv.bytes) / 0x1p20,
              double(kv.exact_bytes) / 0x1p20, double(kv.bytes) / double(kv.exact_bytes));
}

int run(const Arguments& arguments) {
  auto backend = make_backend(arguments.backend, *arguments.mode);
  if (!backend) {
    std::fprintf(stderr, "%s\n", backend.error().text().c_str());
    return 1;
  }
  const LoadedModel loaded = make_model();
  const SequenceLengths lengths{arguments.context + arguments.steps + 2, {arguments.context}};
  const auto model = build_rank_model(loaded, **backend, **backend, 0, 1, lengths);
  const auto communicator = make_single_rank();
  std::vector<std::unique_ptr<Sequence>> all;
  for (const std::string& policy : arguments.policies) {
    all.push_back(std::make_unique<Sequence>(*model, **backend, *communicator, arguments, policy));
  }
  for (int i = 0; i < arguments.steps + 1; ++i) {
    for (const auto& each : all) each->step(i > 0);  // the first step takes its memory
  }
  std::printf("%s, kernels %s, %d threads, context %ld, %d rounds\n", arguments.mode->name,
              (*backend)->describe().isa.c_str(), int(arguments.backend.threads),
              long(arguments.context), arguments.steps);
  for (const auto& each : all) report(*all.front(), *each);
  return 0;
}

}  // namespace
}  // namespace isobit

int main(int argc, char** argv) {
  using namespace isobit;
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.rfind("--", 0) != 0) {
      arguments.policies.push_back(word);
    } else if (++i < argc) {
      const std::string value = argv[i];
      if (word == "--context") arguments.context = std::atoll(value.c_str());
      if (word == "--steps") arguments.steps = std::atoi(value.c_str());
      if (word == "--threads") arguments.backend.threads = std::atoi(value.c_str());
      if (word == "--isa") arguments.backend.isa = value;
      for (const Mode& mode : kModes) {
        if (word == "--mode" && value == mode.name && !mode.wide()) arguments.mode = &mode;
      }
    }
  }
  if (arguments.policies.empty()) arguments.policies = {"exact", "q8_0"};
  for (const std::string& policy : arguments.policies) {
    if (parse_kv_policy(policy)) continue;
    std::fprintf(stderr, "no such policy: %s\n", policy.c_str());
    return 1;
  }
  if (arguments.context < 1 || arguments.context > 8000 || arguments.steps < 1) return 1;
  return run(arguments);
}
