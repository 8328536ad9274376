// Speed of the store: diff of two runs of a million token rows, look-ups of 1,000 keys, writing;
// and of the fingerprint that every run begins with.
//
// The promises (issue texts and tests do not measure them): diff under a second when every row
// differs, find of 1,000 keys under a second, finish about a microsecond a row, the fingerprint
// under 50 ms.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "harness/environment/environment.h"
#include "harness/store/store.h"
#include "tests/fakes/folder.h"

namespace isobit {
namespace {

constexpr int kCells = 50, kPrompts = 20, kTokens = 1000;  // a million rows a run

/// A run of a million rows; `seed` decides the digests, never the ids.
CellTrace bench_trace(std::uint64_t seed) {
  CellTrace trace;
  for (int p = 0; p < kPrompts; ++p) {
    PromptTrace& prompt = trace.prompts.emplace_back();
    prompt.id = "p" + std::to_string(p);
    prompt.tokens_digest = sha256(&p, sizeof p);
    prompt.tokens.resize(kTokens);
    for (int t = 0; t < kTokens; ++t) {
      TokenRecord& token = prompt.tokens[std::size_t(t)];
      token.position = 100 + t;
      token.id = token.fed = t;
      const std::uint64_t value = seed * 1'000'003 + std::uint64_t(t);
      token.digest = digest_bytes(std::as_bytes(std::span(&value, 1)));
      token.margin = 0.5F;
      token.top_count = kTopK;
    }
  }
  return trace;
}

CellInfo bench_cell(std::int64_t run, int index) {
  CellInfo cell;
  cell.run = run;
  cell.hash = std::to_string(100'000 + index);
  cell.name = "bench%batch=" + cell.hash;
  cell.class_recipe = std::string(400, 'r');
  cell.key = sha256(&index, sizeof index);
  return cell;
}

/// One database for all benchmarks, removed at exit.
class BenchStore {
 public:
  static BenchStore& get() {
    static BenchStore store;
    return store;
  }
  std::vector<CellInfo> write_run(std::uint64_t seed) {
    RunInfo info;
    const auto run = store->begin_run(info);
    ISOBIT_CHECK(run.has_value());
    std::vector<CellInfo> cells;
    for (int i = 0; i < kCells; ++i) cells.push_back(bench_cell(*run, i));
    ISOBIT_CHECK(store->plan(cells).has_value());
    const CellTrace trace = bench_trace(seed);
    for (CellInfo& cell : cells) ISOBIT_CHECK(store->finish(cell, trace).has_value());
    return cells;
  }

  std::unique_ptr<Store> store;
  std::vector<CellInfo> run_a, run_b, run_equal;

 private:
  BenchStore() {
    auto opened = Store::open(folder_.file("bench.db"), Store::Mode::read_write);
    ISOBIT_CHECK(opened.has_value());
    store = std::move(opened.value());
    run_a = write_run(1);
    run_b = write_run(2);
    run_equal = write_run(1);
  }
  ~BenchStore() { store.reset(); }
  fakes::Folder folder_;
};

void diff_runs(benchmark::State& state, const std::vector<CellInfo>& a,
               const std::vector<CellInfo>& b, std::int64_t expected) {
  for (auto unused : state) {
    std::int64_t compared = 0, differing = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const auto diff = BenchStore::get().store->diff(a[i], b[i]);
      ISOBIT_CHECK(diff.has_value());
      compared += diff->compared;
      differing += diff->differing;
    }
    ISOBIT_CHECK(compared == std::int64_t{kCells} * kPrompts * kTokens && differing == expected);
  }
}

void DiffMillionRowsAllDiffer(benchmark::State& state) {
  BenchStore& bench = BenchStore::get();
  diff_runs(state, bench.run_a, bench.run_b, std::int64_t{kCells} * kPrompts * kTokens);
}
BENCHMARK(DiffMillionRowsAllDiffer)->Unit(benchmark::kMillisecond);

void DiffMillionRowsEqual(benchmark::State& state) {
  BenchStore& bench = BenchStore::get();
  diff_runs(state, bench.run_a, bench.run_equal, 0);
}
BENCHMARK(DiffMillionRowsEqual)->Unit(benchmark::kMillisecond);

void FindThousandKeys(benchmark::State& state) {
  BenchStore& bench = BenchStore::get();
  std::vector<Sha256> keys;
  for (int i = 0; i < 1000; ++i) keys.push_back(bench_cell(0, i % kCells).key);
  for (auto unused : state) {
    const auto found = bench.store->find(keys);
    ISOBIT_CHECK(found.has_value() && found->back().has_value());
  }
}
BENCHMARK(FindThousandKeys)->Unit(benchmark::kMillisecond);

void FinishCellOfTwentyThousandRows(benchmark::State& state) {
  BenchStore& bench = BenchStore::get();
  const CellTrace trace = bench_trace(3);
  const auto run = bench.store->begin_run(RunInfo{});
  for (auto unused : state) {
    state.PauseTiming();
    std::vector<CellInfo> cells{bench_cell(*run, 0)};
    ISOBIT_CHECK(bench.store->plan(cells).has_value());
    state.ResumeTiming();
    ISOBIT_CHECK(bench.store->finish(cells[0], trace).has_value());
  }
  state.SetItemsProcessed(state.iterations() * kPrompts * kTokens);
}
BENCHMARK(FinishCellOfTwentyThousandRows)->Unit(benchmark::kMillisecond)->Iterations(20);

void ReuseHundredCells(benchmark::State& state) {
  BenchStore& bench = BenchStore::get();
  const auto run = bench.store->begin_run(RunInfo{});
  for (auto unused : state) {
    std::vector<CellInfo> cells;
    for (int i = 0; i < 100; ++i) cells.push_back(bench_cell(*run, i));
    ISOBIT_CHECK(bench.store->plan(cells).has_value());
    for (CellInfo& cell : cells) {
      ISOBIT_CHECK(bench.store->reuse(cell, bench.run_a[0], false).has_value());
    }
    ISOBIT_CHECK(bench.store->judge(cells, {}).has_value());
  }
}
BENCHMARK(ReuseHundredCells)->Unit(benchmark::kMillisecond)->Iterations(3);

void TraceOfTwentyThousandRows(benchmark::State& state) {
  BenchStore& bench = BenchStore::get();
  for (auto unused : state) {
    const auto trace = bench.store->trace(bench.run_a[0], false);
    ISOBIT_CHECK(trace.has_value());
    benchmark::DoNotOptimize(trace->prompts.size());
  }
}
BENCHMARK(TraceOfTwentyThousandRows)->Unit(benchmark::kMillisecond);

void Fingerprint(benchmark::State& state) {
  for (auto unused : state) benchmark::DoNotOptimize(fingerprint().entries.size());
}
BENCHMARK(Fingerprint)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace isobit
