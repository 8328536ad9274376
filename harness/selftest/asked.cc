// Defects that leave the bits alone: something else ran than the cell asked for, or the axis was
// never exercised. Only requested against observed tells.

#include "harness/selftest/defects.h"
#include "runtime/numerics/schedule_text.h"
#include "runtime/numerics/weight_text.h"

namespace isobit::selftest {
namespace {

using Change = std::function<void(GenerateRequest&)>;

/// Changes the request of the cells whose axis has the value.
std::function<void(const Cell&, GenerateRequest&)> where(const std::string& axis,
                                                         const std::string& value, Change change) {
  return [=](const Cell& cell, GenerateRequest& request) {
    if (cell.value(axis) == value) change(request);
  };
}

class SaysCuda final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  [[nodiscard]] BackendInfo describe() const override {
    BackendInfo info = ForwardingBackend::describe();
    if (setup_.batch > 1) info.device = "cuda";
    return info;
  }
};

/// In taught cells greedy takes the runner-up: what is drawn is not what must be fed.
class RunnerUp final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  TopEntries top(Rows row, int count) override {
    TopEntries best = ForwardingBackend::top(row, count);
    if (setup_.taught && best.count > 1) std::swap(best.ids[0], best.ids[1]);
    return best;
  }
};

/// The teacher's tokens arrive one late.
void late_teacher(const Cell&, GenerateRequest& request) {
  for (PromptTokens& prompt : request.prompts) {
    if (prompt.teacher.empty()) continue;
    prompt.teacher.insert(prompt.teacher.begin(), prompt.teacher.front());
    prompt.teacher.pop_back();
  }
}

void no_teacher(const Cell&, GenerateRequest& request) {
  for (PromptTokens& prompt : request.prompts) prompt.teacher.clear();
}

/// Another cache mode than was asked.
void add_cache_defects(std::vector<Defect>& all) {
  constexpr Verdict kFail = Verdict::fail, kMistrusted = Verdict::mistrusted;
  const auto add = [&](auto... words) -> Defect& { return add_defect(all, words...); };
  add("cache-never-hit", "cache", "cache mode", "star", "cache=paged", kMistrusted,
      "the cache was never hit")
      .request = where("cache", "paged:16", [](GenerateRequest& r) { r.cache.keeps = false; });
  add("cache-not-off", "cache", "cache mode", "star", "cache=off", kFail, "cache off was asked")
      .request = where("cache", "off", [](GenerateRequest& r) { r.cache.keeps = true; });
  add("prefix-not-shared", "cache", "cache mode", "star", "cache=prefix", kMistrusted,
      "no prefix was shared")
      .request =
      where("cache", "prefix", [](GenerateRequest& r) { r.cache.shares_prefix = false; });
  add("not-recomputed", "cache", "cache mode", "star", "cache=recomputed", kMistrusted,
      "no position was recomputed")
      .request =
      where("cache", "recomputed", [](GenerateRequest& r) { r.cache.recomputes = false; });
  add("not-chunked", "cache", "cache mode", "star", "cache=chunked:17", kFail,
      "16 was asked, 1 ran")
      .request = where("cache", "chunked:17", [](GenerateRequest& r) { r.cache.chunk = 0; });
  add("other-chunk", "cache", "cache mode", "star", "cache=chunked:17", kFail,
      "16 was asked, 8 ran")
      .request = where("cache", "chunked:17", [](GenerateRequest& r) { r.cache.chunk = 34; });
  add("other-page", "cache", "cache mode", "star", "cache=paged", kFail, "page size 16 was asked")
      .request = where("cache", "paged:16", [](GenerateRequest& r) { r.cache.page_size = 64; });
}

}  // namespace

std::vector<Defect> asked_defects() {
  std::vector<Defect> all;
  constexpr Verdict kFail = Verdict::fail, kMistrusted = Verdict::mistrusted;
  const auto add = [&](auto... words) -> Defect& { return add_defect(all, words...); };
  add("other-isa", "isa", "backend choice", "isa", "isa=avx2", kFail, "isa avx2 was asked")
      .request = where("isa", "avx2", [](GenerateRequest& r) { r.backend.isa = "scalar"; });
  add("other-precision", "precision", "precision", "precision", "precision=bf16", kFail,
      "precision bf16 was asked, fp32 ran")
      .request =
      where("precision", "bf16", [](GenerateRequest& r) { r.precision = Precision::fp32; });
  add("other-engine", "engine", "backend choice", "engine", "engine=openblas", kFail,
      "engine openblas was asked, reference ran")
      .request = where("engine", "openblas", [](GenerateRequest& r) { r.backend.engine = {}; });
  add("other-device", "device", "what the backend says it is", "pair", "batch=3", kFail,
      "device cpu was asked, cuda ran")
      .backend = backend_of<SaysCuda>();
  add("one-rank", "gpus", "ranks", "star", "gpus=4", kFail, "gpus 4 was asked, 1 ran").request =
      where("gpus", "4", [](GenerateRequest& r) { r.ranks = 1; });
  add("one-replica", "replicas", "replicas", "dealt", "replicas=2", kFail,
      "replicas 2 was asked, 1 ran")
      .request = where("replicas", "2", [](GenerateRequest& r) { r.replicas = 1; });
  add("one-thread", "threads", "threads", "star", "threads=2", kMistrusted, "2 threads were asked")
      .request = where("threads", "2", [](GenerateRequest& r) { r.backend.threads = 1; });
  add("one-row", "batch", "schedule", "star", "batch=8", kMistrusted, "never had more than 1")
      .request = where("batch", "8", [](GenerateRequest& r) { r.batch.size = 1; });
  add("joins-together", "batch", "schedule", "star", "batch=join:staggered", kMistrusted,
      "no row joined or left")
      .request = where("batch", "join:staggered+size:3",
                       [](GenerateRequest& r) { r.batch.staggered = false; });
  add("order-ignored", "batch", "schedule", "star", "batch=order:reversed", kFail, "order")
      .request = where("batch", "order:reversed+size:3",
                       [](GenerateRequest& r) { r.batch.order = BatchShape::Order::given; });
  add_cache_defects(all);
  add("other-schedule", "batch", "schedule of products", "scheduled", "batch=8", kFail,
      "gemm split_k:3+out:bf16 was asked")
      .request = where(
      "batch", "8", [](GenerateRequest& r) { r.backend.gemm = *parse_schedules("split_k:3", ""); });
  add("other-weights", "gpus", "changed weights", "drawn", "gpus=2", kFail,
      "weights bsr:4+seed:1 was asked, bsr:4+seed:2 ran")
      .request = where(
      "gpus", "2", [](GenerateRequest& r) { r.weights = *parse_weight_change("bsr:4+seed:2"); });
  add("drawn-by-rank", "gpus", "draws of changed weights", "drawn", "gpus=2", Verdict::diff, "")
      .request = where("gpus", "2", [](GenerateRequest& r) { ++r.weights.seed; });
  add("late-teacher", "teacher_forced", "teacher", "teacher", "teacher_forced=true", kFail,
      "teacher")
      .request = late_teacher;
  add("no-teacher", "teacher_forced", "teacher", "teacher", "teacher_forced=true", kFail, "teacher")
      .request = no_teacher;
  all.back().backend = backend_of<RunnerUp>();
  return all;
}

}  // namespace isobit::selftest
