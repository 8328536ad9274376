// Defects of attention over key blocks: what a kernel's author forgets.

#include <algorithm>

#include "harness/selftest/defects.h"
#include "runtime/kv_layout.h"
#include "runtime/numerics/flash_call.h"

namespace isobit::selftest {
namespace {

/// The plan's schedule, without splits: flash:16+p:bf16.
constexpr std::int32_t kBlock = 16;

/// Attention made again on the host, wrong in one thing, in a precision of fp32 pools.
class FlashDefect : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override {
    ForwardingBackend::attention(q, args, k_pool, v_pool, out);
    if (!strikes()) return;
    const std::vector<float> queries = fetch(q);
    std::vector<float> outputs(std::size_t(out.rows * out.cols));
    for (std::size_t r = 0; r < args.rows.size(); ++r) {
      read_cache(args, args.rows[r], k_pool, v_pool);
      for (std::int64_t h = 0; h < args.heads; ++h) {
        const std::int64_t at = std::int64_t(r) * q.cols + h * args.head_dim;
        head(args, args.rows[r], args.kv_of_head[std::size_t(h)], queries.data() + at,
             outputs.data() + at);
      }
    }
    store(outputs, out);
  }

 protected:
  [[nodiscard]] virtual bool strikes() const = 0;
  /// The rule, and what a state is when the next block's outputs follow.
  virtual void change(FlashRule& rule) const { static_cast<void>(rule); }
  virtual void change(FlashState<float>& state, std::int64_t block) const {
    static_cast<void>(state), static_cast<void>(block);
  }

 private:
  void read_cache(const AttentionRows& args, const AttentionRows::Row& row, const void* k_pool,
                  const void* v_pool) {
    std::vector<std::int64_t> slots;
    for (std::int64_t p = 0; p <= row.position; ++p) {
      slots.push_back(std::int64_t(row.table[p / args.page_size]) * args.page_size +
                      p % args.page_size);
    }
    const auto n = std::int64_t(slots.size());
    width_ = args.kv_heads * args.head_dim;
    keys_.resize(std::size_t(n * width_));
    values_.resize(keys_.size());
    inner_->read_kv(slots, args.kv_heads, args.page_size, k_pool, v_pool,
                    {keys_.data(), n, width_, width_}, {values_.data(), n, width_, width_});
  }

  void head(const AttentionRows& args, const AttentionRows::Row& row, std::int64_t kv,
            const float* q, float* out) const {
    FlashRule rule;
    rule.block = kBlock;
    rule.p = Format::bf16;
    change(rule);
    const int d = int(args.head_dim);
    const auto visible = [](std::int64_t) { return true; };
    const auto at = [&](const std::vector<float>& x, std::int64_t p, int i) {
      return x[std::size_t(p * width_ + kv * d + i)];
    };
    FlashState<float> state;
    for (std::int64_t begin = 0; begin <= row.position; begin += kBlock) {
      const std::int64_t end = std::min<std::int64_t>(begin + kBlock - 1, row.position);
      float p[kBlock], m = 0;
      flash_scores(
          rule, q, d, float(args.scale), 0.0f, begin, end, visible,
          [&](std::int64_t j, int i) { return at(keys_, j, i); }, p, m);
      state.raise(m);
      change(state, begin / kBlock);
      state.add(flash_terms(rule, begin, end, visible, state.m, p));
      for (int i = 0; i < d; ++i) {
        float o = state.started ? out[i] * state.a : 0.0f;
        for (std::int64_t j = begin; j <= end; ++j) o = fma_(p[j % kBlock], at(values_, j, i), o);
        out[i] = o;
      }
      state.started = true;
    }
    for (int i = 0; i < d; ++i) out[i] = out[i] * (1.0f / state.l) + 0.0f;
  }

  std::vector<float> keys_, values_;  // (positions, width_)
  std::int64_t width_ = 0;
};

/// When the maximum rises in block 1, what was summed before is not rescaled.
class LostRescale final : public FlashDefect {
 public:
  using FlashDefect::FlashDefect;

 private:
  [[nodiscard]] bool strikes() const override { return setup_.batch == 3; }
  void change(FlashState<float>& state, std::int64_t block) const override {
    if (block == 1) state.a = 1.0f;
  }
};

/// P goes into P V as it is.
class UnroundedP final : public FlashDefect {
 public:
  using FlashDefect::FlashDefect;

 private:
  [[nodiscard]] bool strikes() const override { return setup_.threads == 2; }
  void change(FlashRule& rule) const override { rule.p = Format::f32; }
};

}  // namespace

std::vector<Defect> flash_defects() {
  std::vector<Defect> all;
  const auto add = [&](auto... words) -> Defect& { return add_defect(all, words...); };
  add("lost-rescale", "batch", "attention in blocks, block 1", "flash", "batch=3").backend =
      backend_of<LostRescale>();
  add("p-not-rounded", "threads", "attention in blocks, P", "flash", "threads=2").backend =
      backend_of<UnroundedP>();
  add("other-attention", "threads", "schedule of attention", "flash", "threads=2", Verdict::fail,
      "attention flash:16+p:bf16 was asked, flash:16 ran")
      .request = [](const Cell& cell, GenerateRequest& request) {
    if (cell.value("threads") == "2") request.backend.attention = *parse_flash("flash:16");
  };
  return all;
}

}  // namespace isobit::selftest
