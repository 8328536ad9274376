// Fused attention of libraries on the CPU beside the reference's own attention, in one run, on one
// thread: each line times both in turn, several rounds, and prints the best of each, in GFLOP/s of
// the products with visible keys (4 width a key, query head and query). Usage: compare_fused [ISA]
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "runtime/backends/registry.h"
#include "runtime/numerics/flash_text.h"
#include "runtime/numerics/random.h"

namespace isobit {
namespace {

constexpr std::int64_t kHeads = 9, kKvHeads = 3, kWidth = 64;
constexpr std::int32_t kPage = 256;

/// The thread's own clock, so that other processes of a shared machine do not count.
double now() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
}

std::vector<float> drawn(std::int64_t n, std::uint64_t stream, float scale) {
  std::vector<float> out;
  for (std::int64_t i = 0; i < n; ++i) {
    const float x = float(draw24(stream, std::uint64_t(i), 0, 0)) * 0x1p-23f - 1.0f;
    out.push_back(round_to(Format::bf16, scale * x));
  }
  return out;
}

/// The last `queries` of `keys` positions.
class Call {
 public:
  Call(Backend& backend, std::int64_t queries, std::int64_t keys)
      : backend_(backend), queries_(drawn(queries * kHeads * kWidth, 2, 2.0f)) {
    const std::int64_t pages = (keys + kPage - 1) / kPage;
    const auto bytes = std::size_t(pages * kPage * kKvHeads * kWidth * 2);
    k_ = backend.allocate(bytes);
    v_ = backend.allocate(bytes);
    std::vector<float> rows = drawn(keys * kKvHeads * kWidth, 1, 1.0f);
    std::vector<std::int64_t> slots;
    for (std::int64_t i = 0; i < keys; ++i) slots.push_back(i);
    const Rows kv{rows.data(), keys, kKvHeads * kWidth, kKvHeads * kWidth};
    backend.write_kv(kv, kv, slots, kKvHeads, kPage, k_, v_);
    for (std::int64_t i = 0; i < pages; ++i) table_.push_back(std::int32_t(i));
    for (std::int64_t r = 0; r < queries; ++r) {
      AttentionRows::Row row;
      row.position = keys - queries + r;
      row.table = table_.data();
      places_.push_back(row);
      seen_ += row.position + 1;
    }
    args_.rows = places_;
    args_.heads = kHeads;
    args_.head_dim = kWidth;
    args_.kv_heads = kKvHeads;
    for (std::int64_t h = 0; h < kHeads; ++h) {
      args_.kv_of_head.push_back(std::int32_t(h / (kHeads / kKvHeads)));
    }
    args_.scale = 0.125;
    args_.page_size = kPage;
    out_.resize(queries_.size());
  }
  ~Call() {
    backend_.release(k_);
    backend_.release(v_);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// Seconds of one call.
  double run(int times) {
    const std::int64_t cols = kHeads * kWidth, rows = std::int64_t(places_.size());
    const double start = now();
    for (int i = 0; i < times; ++i) {
      backend_.attention({queries_.data(), rows, cols, cols}, args_, k_, v_,
                         {out_.data(), rows, cols, cols});
    }
    return (now() - start) / times;
  }
  [[nodiscard]] double work() const { return 4.0 * kWidth * kHeads * double(seen_); }

 private:
  Backend& backend_;
  std::vector<float> queries_, out_;
  std::vector<std::int32_t> table_;
  std::vector<AttentionRows::Row> places_;
  AttentionRows args_;
  std::int64_t seen_ = 0;
  void *k_ = nullptr, *v_ = nullptr;
};

std::unique_ptr<Backend> backend_of(const std::string& isa, const std::string& attention) {
  BackendOptions options;
  auto engine = parse_engine("model:sm90");
  ISOBIT_CHECK(engine.has_value());
  options.engine = *engine;
  options.isa = isa;
  if (!attention.empty()) {
    auto schedule = parse_flash(attention);
    ISOBIT_CHECK(schedule.has_value());
    options.attention = *schedule;
  }
  auto backend = make_backend(options, mode_of(Precision::bf16));
  if (!backend) {
    std::fprintf(stderr, "error: %s\n", backend.error().text().c_str());
    std::exit(2);
  }
  return std::move(*backend);
}

void measure(const std::string& isa) {
  constexpr int kRounds = 7;
  const auto plain = backend_of(isa, "");
  for (const char* kernel : {"fa2", "cudnn:sm90", "cudnn:sm80:64", "efficient"}) {
    const auto fused = backend_of(isa, std::string("fused:") + kernel);
    for (const auto& [queries, keys] : {std::pair{1, 1024}, std::pair{512, 512}}) {
      Call ours(*fused, queries, keys), theirs(*plain, queries, keys);
      const int times = queries == 1 ? 20 : 1;
      double best = 1e9, reference = 1e9;
      for (int round = 0; round < kRounds; ++round) {
        best = std::min(best, ours.run(times));
        reference = std::min(reference, theirs.run(times));
      }
      std::printf("%-14s %3d queries of %4d keys  %6.2f GFLOP/s  reference %6.2f  ratio %.2f\n",
                  kernel, queries, keys, ours.work() / best * 1e-9,
                  theirs.work() / reference * 1e-9, reference / best);
    }
  }
}

}  // namespace
}  // namespace isobit

int main(int argc, char** argv) {
  isobit::measure(argc > 1 ? argv[1] : "auto");
}
