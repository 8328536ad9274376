// Defects of value: one number, one row or one position is wrong in some cells.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <limits>
#include <thread>

#include "harness/selftest/defects.h"
#include "harness/selftest/model.h"
#include "runtime/numerics/bits.h"

namespace isobit::selftest {
namespace {

/// Changes the finished logits of the cells for which When(setup, isa) holds.
class Logits : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void finish(std::span<const Rows> parts, const WeightMatrix& matrix, const void* row_scale,
              const void* bias, Format stored, Rows out) override {
    ForwardingBackend::finish(parts, matrix, row_scale, bias, stored, out);
    if (out.rows > 0 && is(matrix, Gemm::head)) spoil(out);
  }

 protected:
  virtual void spoil(Rows logits) = 0;
};

class OneUlp final : public Logits {
 public:
  using Logits::Logits;

 protected:
  void spoil(Rows logits) override {
    if (setup_.threads < 2) return;
    change(logits, [](std::vector<float>& v) { v[3] = std::nextafter(v[3], 1e30f); });
  }
};

class SwappedRows final : public Logits {
 public:
  using Logits::Logits;

 protected:
  void spoil(Rows logits) override {
    if (logits.rows < 2) return;
    change(logits, [&](std::vector<float>& v) {
      std::swap_ranges(v.begin(), v.begin() + logits.cols, v.begin() + logits.cols);
    });
  }
};

class NotANumber final : public Logits {
 public:
  using Logits::Logits;

 protected:
  void spoil(Rows logits) override {
    if (logits.rows != 8) return;
    change(logits, [](std::vector<float>& v) { v[5] = std::numeric_limits<float>::quiet_NaN(); });
  }
};

/// Zero keeps its value and changes its sign: only bits tell.
class MinusZero final : public Logits {
 public:
  using Logits::Logits;

 protected:
  void spoil(Rows logits) override {
    if (setup_.ranks < 2) return;
    change(logits, [](std::vector<float>& v) {
      std::replace_if(
          v.begin(), v.end(), [](float x) { return x == 0.0f; }, -0.0f);
    });
  }
};

class ConstantLogits final : public Logits {
 public:
  using Logits::Logits;

 protected:
  void spoil(Rows logits) override {
    change(logits, [](std::vector<float>& v) { std::fill(v.begin(), v.end(), 0.5f); });
  }
};

/// A path that answers without looking at its input.
class FrozenLogits final : public Logits {
 public:
  using Logits::Logits;

 protected:
  void spoil(Rows logits) override {
    change(logits, [&](std::vector<float>& v) {
      for (std::size_t i = 0; i < v.size(); ++i) {
        v[i] = float((i % std::size_t(logits.cols)) * 37 % 101);
      }
    });
  }
};

/// What races do: another value in every process.
class Race final : public Logits {
 public:
  using Logits::Logits;

 protected:
  void spoil(Rows logits) override {
    if (setup_.threads < 2) return;
    change(logits,
           [](std::vector<float>& v) { v[9] = v[9] + float(::getpid() % 4096) * 0x1p-12f; });
  }
};

/// Every cell computes the same wrong thing: the contract is kept, the golden is not.
class SameEverywhere final : public Logits {
 public:
  using Logits::Logits;

 protected:
  void spoil(Rows logits) override {
    change(logits, [](std::vector<float>& v) {
      for (float& x : v) x = std::nextafter(x, 1e30f);
    });
  }
};

class Crash final : public Logits {
 public:
  using Logits::Logits;

 protected:
  void spoil(Rows logits) override {
    if (logits.rows < 3) return;
    ::kill(::getpid(), SIGKILL);
  }
};

class Hang final : public Logits {
 public:
  using Logits::Logits;

 protected:
  void spoil(Rows logits) override {
    if (logits.rows >= 3) std::this_thread::sleep_for(std::chrono::hours(1));
  }
};

/// Positions counted from the chunk's start.
class ChunkPositions final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
            const Rotation& rotation) override {
    std::vector<std::int64_t> wrong(positions.begin(), positions.end());
    const bool run = std::adjacent_find(wrong.begin(), wrong.end(),
                                        [](auto a, auto b) { return b != a + 1; }) == wrong.end();
    if (run && wrong.size() > 1) {
      const std::int64_t start = wrong.front();
      for (std::int64_t& position : wrong) position -= start;
    }
    ForwardingBackend::rope(x, heads, wrong, rotation);
  }
};

/// One bit of one activation in layer 1, in steps of three rows.
class LayerOneAct final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void gated(Activation f, Rows gate, Rows up, Rows out) override {
    ForwardingBackend::gated(f, gate, up, out);
    if (layer() != 1 || out.rows != 3 || out.cols == 0) return;
    change(out, [](std::vector<float>& v) { v[0] = std::nextafter(v[0], 1e30f); });
  }
};

/// Attention's output in layer 2 of ranks after the first.
class LayerTwoAttention final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override {
    ForwardingBackend::attention(q, args, k_pool, v_pool, out);
    if (layer() != 2 || setup_.ranks < 2 || out.cols == 0) return;
    change(out, [](std::vector<float>& v) { v.back() = std::nextafter(v.back(), 1e30f); });
  }
};

/// bf16 is rounded by cutting off.
class Truncated16 final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void add(Rows h, Rows y) override {
    if (mode_.precision != Precision::bf16 || h.rows != 3) return ForwardingBackend::add(h, y);
    const std::vector<float> b = fetch(y);
    change(h, [&](std::vector<float>& a) {
      for (std::size_t i = 0; i < a.size(); ++i) {
        a[i] = float_of(bits_of(a[i] + b[i]) & 0xffff0000u);
      }
    });
  }
};

/// Greedy takes the runner-up in every place of a step but the first.
class SlotSampler final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void finish(std::span<const Rows> parts, const WeightMatrix& matrix, const void* row_scale,
              const void* bias, Format stored, Rows out) override {
    ForwardingBackend::finish(parts, matrix, row_scale, bias, stored, out);
    if (is(matrix, Gemm::head)) drawn_ = 0;
  }
  TopEntries top(Rows row, int count) override {
    TopEntries best = ForwardingBackend::top(row, count);
    if (drawn_++ > 0 && best.count > 1) std::swap(best.ids[0], best.ids[1]);
    return best;
  }

 private:
  int drawn_ = 0;
};

}  // namespace

std::vector<Defect> value_defects() {
  std::vector<Defect> all;
  const auto add = [&](auto... words) -> Defect& { return add_defect(all, words...); };
  constexpr Verdict kDiff = Verdict::diff, kFail = Verdict::fail;
  add("one-ulp", "threads", "one logit", "star", "threads=2", kDiff).backend = backend_of<OneUlp>();
  add("swapped-rows", "batch", "logits of places 0 and 1", "star", "batch>1", kDiff).backend =
      backend_of<SwappedRows>();
  add("nan-logit", "batch", "one logit in steps of 8 rows", "star", "batch=8", kFail,
      "non-finite logit")
      .backend = backend_of<NotANumber>();
  add("minus-zero", "gpus", "sign of zero logits", "star", "gpus>1", kDiff).backend =
      backend_of<MinusZero>();
  add("constant-logits", "all", "every logit", "star", "", Verdict::mistrusted, "constant logits")
      .backend = backend_of<ConstantLogits>();
  add("frozen-logits", "all", "every row of logits", "pair", "", Verdict::mistrusted,
      "the same logits at every position")
      .backend = backend_of<FrozenLogits>();
  add("chunk-positions", "cache", "rope", "star",
      "cache=chunked:17 or cache=chunked:256 or cache=prefix", kDiff)
      .backend = backend_of<ChunkPositions>();
  add("layer-1-act", "batch", "layer 1, act", "ops", "batch=3", kDiff, "layer 1, act").backend =
      backend_of<LayerOneAct>();
  add("layer-2-attention", "gpus", "layer 2, attn", "ops", "gpus=2", kDiff, "layer 2, attn")
      .backend = backend_of<LayerTwoAttention>();
  add("cut-bf16", "precision", "residual add in bf16", "precision", "precision=bf16 and batch=3",
      kDiff)
      .backend = backend_of<Truncated16>();
  add("slot-sampler", "batch", "greedy choice", "star", "batch>1", kDiff).backend =
      backend_of<SlotSampler>();
  Defect& race = add("race", "threads", "one logit, by process", "star", "threads=2",
                     Verdict::nondet, "attempt 2 differs");
  race.backend = backend_of<Race>();
  race.settings = [](RunOptions& options) { options.repeat = 2; };
  Defect& golden = add("same-wrong-everywhere", "golden", "every logit", "pair", "", kDiff,
                       "differs from the golden");
  golden.backend = backend_of<SameEverywhere>();
  golden.against_golden = true;
  add("crash", "batch", "worker process", "pair", "batch=3", kFail, "killed").backend =
      backend_of<Crash>();
  add("hang", "batch", "worker process", "limit", "batch=3", kFail, "no result within").backend =
      backend_of<Hang>();
  return all;
}

}  // namespace isobit::selftest
