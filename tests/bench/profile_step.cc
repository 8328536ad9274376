// Where the time of one step goes: the operations of a forward pass at SmolLM2-135M's shape
// (30 layers, 9 heads, 3 KV heads of 64, hidden 576, inner 1536, vocabulary 49,152), each timed.
//
// Weights are synthetic; every layer has its own, so that memory is read as a model's is. The
// order of operations is forward.cc's for one rank. Prints milliseconds and shares, the best of the
// rounds. Needs no library but the runtime.
// Usage: profile_step [--mode fp32|bf16] [--threads N,N] [--context N] [--rounds N] [--isa NAME]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "runtime/backends/cpu/cpu_backend.h"

namespace isobit::cpu {
namespace {

constexpr std::int64_t kLayers = 30, kHidden = 576, kInner = 1536, kVocabulary = 49152;
constexpr std::int64_t kHeads = 9, kKvHeads = 3, kHeadDim = 64, kLongest = 4608;
constexpr std::int32_t kPage = 256;

enum Part {
  kGemm,
  kHead,
  kAttention,
  kNorm,
  kRope,
  kFinish,
  kSilu,
  kAdd,
  kRound,
  kWriteKv,
  kParts
};
constexpr const char* kNames[kParts] = {"gemm",   "lm_head", "attention", "norm",  "rope",
                                        "finish", "silu",    "add",       "round", "write_kv"};

double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

/// Memory of a backend as rows.
struct Array {
  std::vector<float> data;
  Rows rows(std::int64_t count, std::int64_t cols) {
    if (data.size() < std::size_t(count * cols)) data.resize(std::size_t(count * cols), 0.01f);
    return {data.data(), count, cols, cols};
  }
};

struct Model {
  struct Layer {
    std::shared_ptr<WeightMatrix> q, k, v, o, gate, up, down;
    std::vector<std::byte> k_pool, v_pool;
  };
  std::vector<Layer> layers;
  std::shared_ptr<WeightMatrix> head;
  std::vector<float> norm = std::vector<float>(kHidden, 1.0f);
  std::vector<float> cosine, sine;
  std::vector<std::int32_t> table;
};

std::shared_ptr<WeightMatrix> matrix(Backend& backend, std::int64_t n, std::int64_t k,
                                     Format format) {
  MatrixSource source;
  source.outputs = n;
  source.inputs = k;
  for (int s = 0; s <= 8; ++s) source.bounds.push_back(k * s / 8);
  source.format = format;
  source.read = [](std::int64_t row, std::span<float> out) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = float((row * 31 + std::int64_t(i) * 17) % 255 - 127) / 2048.0f;
    }
  };
  return backend.load_matrix(source);
}

/// Small values that every format holds exactly.
void fill_pools(Backend& backend, Model::Layer& layer) {
  constexpr std::int64_t kWidth = kKvHeads * kHeadDim;
  layer.k_pool.resize(std::size_t(kLongest * kWidth) * backend.cache_size());
  layer.v_pool.resize(layer.k_pool.size());
  std::vector<float> k(std::size_t(kLongest * kWidth)), v(k.size());
  for (std::size_t i = 0; i < k.size(); ++i) {
    k[i] = float(int(i * 29 % 63) - 31) / 64.0f;
    v[i] = float(int(i * 37 % 63) - 31) / 64.0f;
  }
  std::vector<std::int64_t> slots(std::size_t(kLongest), 0);
  std::iota(slots.begin(), slots.end(), std::int64_t(0));
  backend.write_kv({k.data(), kLongest, kWidth, kWidth}, {v.data(), kLongest, kWidth, kWidth},
                   slots, kKvHeads, kPage, layer.k_pool.data(), layer.v_pool.data());
}

Model make_model(Backend& backend) {
  const Format format = backend.mode().matrix;
  Model m;
  for (std::int64_t i = 0; i < kLayers; ++i) {
    m.layers.push_back({matrix(backend, kHeads * kHeadDim, kHidden, format),
                        matrix(backend, kKvHeads * kHeadDim, kHidden, format),
                        matrix(backend, kKvHeads * kHeadDim, kHidden, format),
                        matrix(backend, kHidden, kHeads * kHeadDim, format),
                        matrix(backend, kInner, kHidden, format),
                        matrix(backend, kInner, kHidden, format),
                        matrix(backend, kHidden, kInner, format),
                        {},
                        {}});
    fill_pools(backend, m.layers.back());
  }
  m.head = matrix(backend, kVocabulary, kHidden, backend.mode().head);
  m.cosine.assign(std::size_t(kLongest * kHeadDim / 2), 0.8f);
  m.sine.assign(std::size_t(kLongest * kHeadDim / 2), 0.6f);
  m.table.resize(std::size_t(kLongest / kPage));
  std::iota(m.table.begin(), m.table.end(), 0);
  return m;
}

/// One step of `count` rows at neighbouring positions (a prompt), or all at one (a batch).
class Step {
 public:
  Step(Backend& backend, Model& model, std::int64_t count, std::int64_t first, bool prompt)
      : backend_(backend), model_(model), count_(count) {
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t position = first + (prompt ? r : 0);
      positions_.push_back(position);
      slots_.push_back(position);
      places_.push_back({position, 0, model.table.data(), nullptr});
    }
    args_.rows = places_;
    args_.heads = kHeads;
    args_.head_dim = kHeadDim;
    args_.kv_heads = kKvHeads;
    for (int h = 0; h < kHeads; ++h) args_.kv_of_head.push_back(h / int(kHeads / kKvHeads));
    args_.scale = 0.125;
    args_.page_size = kPage;
  }

  void run() {
    std::fill(seconds_, seconds_ + kParts, 0.0);
    Rows h = h_.rows(count_, kHidden), x = x_.rows(count_, kHidden);
    std::fill(h_.data.begin(), h_.data.end(), 0.25f);
    for (Model::Layer& layer : model_.layers) {
      timed(kNorm, [&] { backend_.rms_norm(h, model_.norm.data(), 1e-5, x); });
      const Rows q = linear(x, *layer.q, q_), k = linear(x, *layer.k, k_);
      timed(kRope, [&] {
        backend_.rope(q, kHeads, positions_, {model_.cosine.data(), model_.sine.data(), kHeadDim});
        backend_.rope(k, kKvHeads, positions_,
                      {model_.cosine.data(), model_.sine.data(), kHeadDim});
      });
      const Rows v = linear(x, *layer.v, v_);
      timed(kWriteKv, [&] {
        backend_.write_kv(k, v, slots_, kKvHeads, kPage, layer.k_pool.data(), layer.v_pool.data());
      });
      const Rows attended = attended_.rows(count_, kHidden);
      timed(kAttention, [&] {
        backend_.attention(q, args_, layer.k_pool.data(), layer.v_pool.data(), attended);
      });
      const Rows o = linear(attended, *layer.o, y_);
      timed(kAdd, [&] { backend_.add(h, o); });
      timed(kNorm, [&] { backend_.rms_norm(h, model_.norm.data(), 1e-5, x); });
      const Rows gate = linear(x, *layer.gate, gate_), up = linear(x, *layer.up, up_);
      const Rows act = act_.rows(count_, kInner);
      timed(kSilu, [&] { backend_.gated(Activation::silu, gate, up, act); });
      const Rows down = linear(act, *layer.down, y_);
      timed(kAdd, [&] { backend_.add(h, down); });
    }
    Rows last = h;
    if (positions_.back() != positions_.front()) last.rows = 1;
    timed(kHead, [&] {
      const Rows logits = logits_.rows(last.rows, kVocabulary);
      backend_.gemm(last, *model_.head, logits);
      backend_.finish({&logits, 1}, *model_.head, nullptr, nullptr, Format::f32, logits);
    });
  }
  [[nodiscard]] const double* seconds() const { return seconds_; }

 private:
  template <class F>
  void timed(Part part, F&& f) {
    const double start = now();
    f();
    seconds_[part] += now() - start;
  }

  Rows linear(Rows x, const WeightMatrix& w, Array& array) {
    const Rows out = array.rows(x.rows, w.outputs);
    const Mode& mode = backend_.mode();
    if (mode.gemm_input != mode.stored) {
      const Rows rounded = rounded_.rows(x.rows, x.cols);
      timed(kRound, [&] { backend_.quantize(x, nullptr, mode.gemm_input, rounded); });
      x = rounded;
    }
    timed(kGemm, [&] { backend_.gemm(x, w, out); });
    timed(kFinish, [&] { backend_.finish({&out, 1}, w, nullptr, nullptr, mode.stored, out); });
    return out;
  }

  Backend& backend_;
  Model& model_;
  std::int64_t count_;
  std::vector<std::int64_t> positions_, slots_;
  std::vector<AttentionRows::Row> places_;
  AttentionRows args_;
  Array h_, x_, q_, k_, v_, attended_, y_, gate_, up_, act_, logits_, rounded_;
  double seconds_[kParts] = {};
};

void report(const char* what, Step& step, int threads, int rounds, double tokens) {
  double best[kParts] = {}, total = 1e9;
  for (int round = 0; round < rounds + 1; ++round) {
    step.run();
    const double sum = std::accumulate(step.seconds(), step.seconds() + kParts, 0.0);
    if (sum >= total) continue;
    total = sum;
    std::copy(step.seconds(), step.seconds() + kParts, best);
  }
  std::printf("%-22s %d thr %9.2f ms %8.1f tokens/s |", what, threads, total * 1e3, tokens / total);
  for (int part = 0; part < kParts; ++part) {
    if (best[part] > 0) std::printf(" %s %.1f%%", kNames[part], 100 * best[part] / total);
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace
}  // namespace isobit::cpu

int main(int argc, char** argv) {
  using namespace isobit;
  using namespace isobit::cpu;
  std::string mode_name = "fp32", threads = "1,2", isa;
  std::int64_t context = 4096;
  int rounds = 5;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string word = argv[i];
    if (word == "--mode") mode_name = argv[i + 1];
    if (word == "--threads") threads = argv[i + 1];
    if (word == "--context") context = std::atoll(argv[i + 1]);
    if (word == "--rounds") rounds = std::atoi(argv[i + 1]);
    if (word == "--isa") isa = argv[i + 1];
  }
  const Kernels* kernels = nullptr;
  for (const Kernels* each : {avx512_kernels(), avx2_kernels(), &scalar_kernels()}) {
    if (kernels == nullptr && each != nullptr && (isa.empty() || isa == each->isa)) kernels = each;
  }
  const Mode* mode = nullptr;
  for (const Mode& each : kModes) {
    if (mode_name == each.name && !each.wide() && !each.scaled()) mode = &each;
  }
  if (kernels == nullptr || mode == nullptr || context < 1 || context >= kLongest) {
    std::fprintf(stderr, "no such kernels, mode or context here\n");
    return 1;
  }
  std::printf("kernels %s, mode %s\n", kernels->isa, mode->name);
  CpuBackend loader(*mode, *kernels, 1);
  Model model = make_model(loader);
  for (const char* at = threads.c_str(); *at != 0; at += *at == ',' ? 1 : 0) {
    char* end = nullptr;
    const int count = int(std::max(1L, std::strtol(at, &end, 10)));
    if (end == at) break;
    at = end;
    CpuBackend backend(*mode, *kernels, count);
    const auto one = [&](const char* what, std::int64_t rows, std::int64_t first, bool prompt) {
      Step step(backend, model, rows, first, prompt);
      report(what, step, count, rounds, double(rows));
    };
    one("decode at 128", 1, 128, false);
    one("decode at --context", 1, context, false);
    one("decode batch 8 at 128", 8, 128, false);
    one("prefill 512", 512, 0, true);
  }
  return 0;
}
