// Stores and merges task vectors (task_store.h).
#include "harness/models/task_store.h"

#include <cmath>
#include <limits>

namespace isobit::models {
namespace {

static_assert(kMostTaskBits == kMostGridBits);

Result<Quantised> quantised(std::span<const float> values, int bits, const std::string& what) {
  const Result<UniformGrid> grid = uniform_grid(values, bits);
  if (!grid) return Error{what + ": " + grid.error().message, ""};
  Quantised out{*grid, std::vector<std::uint8_t>(values.size())};
  for (std::size_t i = 0; i < values.size(); ++i) out.codes[i] = grid->code(values[i]);
  return out;
}

std::string of_task(std::size_t task) {
  return "task " + std::to_string(task + 1);
}

/// The mean of the fine-tuned models less the base: summed, divided and subtracted in fp64.
std::vector<float> mean_difference(std::span<const float> pre,
                                   std::span<const std::vector<float>> tuned) {
  std::vector<float> out(pre.size());
  for (std::size_t i = 0; i < pre.size(); ++i) {
    double sum = 0;
    for (const std::vector<float>& values : tuned) sum += double(values[i]);
    out[i] = float(sum / double(tuned.size()) - double(pre[i]));
  }
  return out;
}

}  // namespace

float StoredTensor::vector_at(std::size_t task, std::size_t i, float pre) const {
  const float value = tasks[task].value(i);
  if (kind == TaskStore::Kind::rtvq) return base[0].value(i) + value;
  return kind == TaskStore::Kind::rtn ? value - pre : value;
}

Result<StoredTensor> store_tensor(const TaskStore& store, std::span<const float> pre,
                                  std::span<const std::vector<float>> tuned) {
  ISOBIT_CHECK(store.kind != TaskStore::Kind::none && !tuned.empty());
  StoredTensor out;
  out.kind = store.kind;
  std::vector<float> from(pre.begin(), pre.end());  // what a task's values are counted from
  if (store.kind == TaskStore::Kind::rtn) from.assign(pre.size(), 0.0F);
  if (store.kind == TaskStore::Kind::rtvq) {
    auto base = quantised(mean_difference(pre, tuned), store.base_bits, "the shared base");
    ISOBIT_TRY(base);
    for (std::size_t i = 0; i < pre.size(); ++i) from[i] = pre[i] + base->value(i);
    out.base.push_back(std::move(*base));
  }
  std::vector<float> difference(pre.size());
  for (std::size_t task = 0; task < tuned.size(); ++task) {
    ISOBIT_CHECK(tuned[task].size() == pre.size());
    for (std::size_t i = 0; i < pre.size(); ++i) difference[i] = tuned[task][i] - from[i];
    auto codes = quantised(difference, store.bits, of_task(task));
    ISOBIT_TRY(codes);
    out.tasks.push_back(std::move(*codes));
  }
  return out;
}

void add_difference(std::span<const float> pre, std::span<const float> tuned,
                    std::span<double> sum) {
  for (std::size_t i = 0; i < pre.size(); ++i) sum[i] += double(tuned[i]) - double(pre[i]);
}

void add_stored(const StoredTensor& stored, std::size_t task, std::span<const float> pre,
                std::span<double> sum) {
  for (std::size_t i = 0; i < pre.size(); ++i) {
    sum[i] += double(stored.vector_at(task, i, pre[i]));
  }
}

Result<std::vector<float>> merged_tensor(std::span<const float> pre, double scale,
                                         std::span<const double> sum) {
  std::vector<float> out(pre.size());
  for (std::size_t i = 0; i < pre.size(); ++i) {
    const double change = scale * sum[i];
    out[i] = float(double(pre[i]) + change);
    const float size = std::fabs(out[i]);
    const bool tiny = size < std::numeric_limits<float>::min() && out[i] != pre[i] && size != 0;
    if (std::isfinite(out[i]) && !tiny) continue;
    return Error{"element " + std::to_string(i) + (tiny ? " underflows" : " is not finite") +
                     " after the merge",
                 ""};
  }
  return out;
}

StoredBits stored_bits(const TaskStore& store, std::size_t tasks, std::int64_t values,
                       std::int64_t tensors) {
  constexpr double kGridBits = 64;
  const double shared = store.kind == TaskStore::Kind::rtvq ? 1.0 / double(tasks) : 0.0;
  StoredBits out;
  out.codes = double(store.bits) + double(store.base_bits) * shared;
  out.all = out.codes + kGridBits * (1.0 + shared) * double(tensors) / double(values);
  return out;
}

}  // namespace isobit::models
