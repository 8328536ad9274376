// The estimate of every cell, and the sum of those that may run at once.
#include "harness/execute/memory.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "harness/execute/compute.h"
#include "runtime/base/memory.h"
#include "runtime/base/text.h"
#include "runtime/run/memory.h"

namespace isobit {
namespace {

/// The cells that will be executed here, on the CPU.
Result<std::vector<bool>> executed(const Loaded& loaded, const Plan& plan,
                                   const std::string& database, bool reuses) {
  std::vector<bool> out(plan.cells.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const Cell& cell = plan.matrix.cells[i];
    const EngineEntry* engine = find_engine(cell.at("engine").head);
    const bool ours = engine != nullptr && engine->make != nullptr;
    out[i] = ours && plan.cells[i].skip_reason.empty() && cell.value("device") == "cpu";
  }
  std::error_code problem;
  if (!reuses || !std::filesystem::exists(database, problem)) return out;
  auto store = Store::open(database, Store::Mode::read_only);
  if (!store) return out;  // the run itself opens it for writing, and says what is wrong
  auto found = find_stored(**store, plan);
  ISOBIT_TRY(found);
  const std::vector<bool> reusable = may_be_reused(loaded.scenario, plan.matrix);
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (reusable[i] && (*found)[i]) out[i] = false;
  }
  return out;
}

std::string gibibytes(std::int64_t bytes) {
  char text[48];
  std::snprintf(text, sizeof text, "%.1f GiB", double(bytes) / double(std::int64_t{1} << 30));
  return text;
}

struct Need {
  MemoryEstimate of;
  std::string weights;  // which set of rounded weights
  const Cell* cell = nullptr;
  [[nodiscard]] std::int64_t own() const { return saturating_sum(of.cache, of.activations); }
};

std::vector<Need> needs_of(const Loaded& loaded, const Plan& plan, const std::vector<bool>& runs) {
  std::map<std::string, MemoryEstimate> known;
  std::vector<Need> out;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!runs[i]) continue;
    const Cell& cell = plan.matrix.cells[i];
    Need need;
    need.cell = &cell;
    need.weights = cell.value("model") + "/" + cell.value("engine") + "/" +
                   cell.value("precision") + "/" + cell.value("gpus") + "/" +
                   cell.value("replicas") + "/" + cell.value("weights");
    std::string key = need.weights + "/" + cell.value("batch") + "/" + cell.value("cache") + "/" +
                      cell.value("kv");
    for (const char* axis : {"patch", "rows", "stride"}) {
      if (cell.axes.count(axis) != 0) key += "/" + cell.value(axis);
    }
    const auto [at, fresh] = known.emplace(key, MemoryEstimate{});
    if (fresh) {
      at->second = estimate_memory(loaded.session.of(cell).model,
                                   request_for(loaded.scenario, loaded.session, cell, {}));
    }
    need.of = at->second;
    out.push_back(std::move(need));
  }
  return out;
}

}  // namespace

Result<void> check_memory(const Loaded& loaded, const Plan& plan, int jobs,
                          const std::string& database, bool reuses) {
  const auto runs = executed(loaded, plan, database, reuses);
  ISOBIT_TRY(runs);
  std::vector<Need> needs = needs_of(loaded, plan, *runs);
  if (needs.empty()) return {};
  const std::size_t at_once = std::min(std::size_t(std::max(1, jobs)), needs.size());
  std::partial_sort(needs.begin(), needs.begin() + std::ptrdiff_t(at_once), needs.end(),
                    [](const Need& a, const Need& b) { return a.own() > b.own(); });
  std::set<std::string> sets;  // of weights: workers that were forked from one share a set
  std::int64_t all = 0;
  for (std::size_t i = 0; i < at_once; ++i) {
    all = saturating_sum(all, needs[i].own());
    if (sets.insert(needs[i].weights).second) all = saturating_sum(all, needs[i].of.weights);
  }
  const std::int64_t available = available_memory();
  if (all <= available) return {};
  const Need& largest = needs.front();
  const std::string several =
      at_once == 1 ? "" : ", and " + std::to_string(at_once) + " jobs at once " + gibibytes(all);
  return Error{"cell " + largest.cell->name() + " needs about " +
                   gibibytes(saturating_sum(largest.own(), largest.of.weights)) +
                   " of memory (weights " + gibibytes(largest.of.weights) + ", keys and values " +
                   gibibytes(largest.of.cache) + ", activations " +
                   gibibytes(largest.of.activations) + ")" + several + "; available are " +
                   gibibytes(available) + ". A smaller batch or shorter prompts need less" +
                   (at_once == 1 ? "" : ", and so do fewer jobs (-j)") +
                   "; --allow-large runs it all the same",
               loaded.scenario.path};
}

}  // namespace isobit
