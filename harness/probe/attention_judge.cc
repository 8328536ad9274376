// Captures of fused attention against its rules (attention_judge.h).
#include "harness/probe/attention_judge.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "harness/probe/draw.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/words.h"
#include "runtime/numerics/attention_book.h"
#include "runtime/numerics/formats.h"
#include "runtime/numerics/product_book.h"

namespace isobit::probe {
namespace {

constexpr std::int64_t kToldEvery = 100;  // calls

/// One kernel of "NAME zXxYxZ + NAME zXxYxZ".
struct Started {
  std::string name;
  std::int64_t grid[3] = {1, 1, 1};
};

Started started_of(const std::string& text) {
  Started out;
  const std::size_t end = text.rfind(" z");
  out.name = text.substr(0, end);
  if (end == std::string::npos) return out;
  std::size_t at = end + 2;
  for (std::int64_t& size : out.grid) {
    const std::size_t next = std::min(text.find('x', at), text.size());
    if (!parse_integer(text.substr(at, next - at), 0, std::int64_t{1} << 31, size)) size = 0;
    at = std::min(next + 1, text.size());
  }
  return out;
}

std::vector<Started> all_started(const std::string& text) {
  std::vector<Started> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(" + ", at), text.size());
    out.push_back(started_of(text.substr(at, end - at)));
    at = end + 3;
  }
  return out;
}

/// The names alone, without what all of cuDNN's share.
std::string names_of(const std::vector<Started>& kernels) {
  constexpr std::string_view shared = "cudnn_generated_fort_native_sdpa_";
  std::string out;
  for (const Started& kernel : kernels) {
    const bool cudnn = kernel.name.starts_with(shared);
    const std::string name = cudnn ? "cudnn " + kernel.name.substr(shared.size()) : kernel.name;
    out += (out.empty() ? "" : " + ") + name.substr(0, name.find("_cga"));
  }
  return out.empty() ? "none" : out;
}

/// Which kernel of fused.h was started; `none` where it is of no kind that a rule knows.
FusedChoice choice_of(const std::vector<Started>& kernels) {
  if (kernels.empty()) return {};
  const std::string& first = kernels[0].name;
  const auto has = [&first](const char* word) { return first.find(word) != std::string::npos; };
  if (kernels.size() == 2) {
    const bool split = first == "flash_fwd_splitkv_kernel" &&
                       kernels[1].name == "flash_fwd_splitkv_combine_kernel";
    return split ? FusedChoice{FusedKernel::fa2, 0} : FusedChoice{};
  }
  if (kernels.size() != 1) return {};
  if (first == "flash_fwd_kernel") return {FusedKernel::fa2, 0};
  if (first.starts_with("fmha_cutlassF_") && has("_aligned_64x") && first.ends_with("_rf_sm80")) {
    return {FusedKernel::efficient, 0};
  }
  if (has("sdpa_sm90_flash_fprop_wgmma") && has("_64x128x")) return {FusedKernel::cudnn_sm90, 0};
  if (!has("sdpa_sm80_flash_fprop_wmma")) return {};
  if (has("_knob_2_64x32x")) return {FusedKernel::cudnn_sm80, 32};
  return has("_knob_3_64x64x") ? FusedChoice{FusedKernel::cudnn_sm80, 64} : FusedChoice{};
}

/// Where a 16-bit value stands among all of its format; both zeros at 0.
int place_of(std::uint16_t bits) {
  const int magnitude = bits & 0x7fff;
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

bool is_nan_of(Format format, std::uint16_t bits) {
  return (bits & 0x7fff) > (format == Format::bf16 ? 0x7f80 : 0x7c00);
}

/// Keys and values of one KV head, drawn when a row first asks for it.
struct HeadOperands {
  std::int64_t number = -1;
  std::vector<float> keys, values;  // (keys, head_dim)

  void draw(const AttentionCall& call, std::int64_t wanted) {
    if (number == wanted) return;
    number = wanted;
    const FusedShape& shape = call.shape;
    keys = attention_rows(call.draw, AttentionSide::keys, number, 0, shape.keys, shape.head_dim,
                          call.format);
    values = attention_rows(call.draw, AttentionSide::values, number, 0, shape.keys, shape.head_dim,
                            call.format);
  }
};

/// A row's outputs, computed.
std::vector<std::uint16_t> computed_row(const AttentionCall& call, const FusedPlan& plan,
                                        const AttentionRow& row, HeadOperands& head) {
  const FusedShape& shape = call.shape;
  const std::int64_t d = shape.head_dim, last = row.query + shape.keys - shape.queries;
  head.draw(call, row.sequence * shape.kv_heads + row.head / (shape.heads / shape.kv_heads));
  const std::vector<float> q =
      attention_rows(call.draw, AttentionSide::queries, row.sequence * shape.heads + row.head,
                     row.query, 1, d, call.format);
  const std::int64_t pad = shape.mask == FusedMask::left ? call.pad[std::size_t(row.sequence)] : 0;
  const bool all = shape.mask == FusedMask::free;
  std::vector<float> out(static_cast<std::size_t>(d));
  fused_row(
      plan, *tensor_unit(TensorCore::sm90, call.format),
      fused_scale(float(1.0 / std::sqrt(double(d)))), shape.keys, d,
      [&](std::int64_t i) { return q[std::size_t(i)]; },
      [&](std::int64_t j, std::int64_t i) { return head.keys[std::size_t(j * d + i)]; },
      [&](std::int64_t j, std::int64_t i) { return head.values[std::size_t(j * d + i)]; },
      [&](std::int64_t j) { return all || (j >= pad && j <= last); }, out.data());
  std::vector<std::uint16_t> bits;
  for (const float value : out) {
    bits.push_back(call.format == Format::bf16 ? bf16_from_float(value) : fp16_from_float(value));
  }
  return bits;
}

/// One call of the captures, and what came of it.
struct Judged {
  const AttentionCall* call;
  AttentionRule rule;
  AttentionCount count;
  std::vector<AttentionMiss> misses;
};

void judge(Judged& one) {
  if (one.rule.plan) {
    one.count = judge_call(*one.call, *one.rule.plan, one.misses);
    one.count.wrong_splits = one.rule.splits_started == one.rule.plan->splits ? 0 : 1;
    return;
  }
  one.count.calls = 1;
  one.count.outputs = std::int64_t(one.call->rows.size()) * one.call->shape.head_dim;
}

/// Runs judge() over all, on so many threads or as many as there are to be had.
void judge_all(std::vector<Judged>& all, const JudgeOptions& options) {
  std::atomic<std::size_t> next{0};
  std::mutex guard;
  std::int64_t done = 0;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      for (std::size_t i = next++; i < all.size() && interrupted == 0; i = next++) {
        judge(all[i]);
        const std::lock_guard lock(guard);
        ++done;
        const bool tell = done % kToldEvery == 0 || done == std::int64_t(all.size());
        if (tell && options.progress) options.progress(done, std::int64_t(all.size()));
      }
    } catch (...) {
      const std::lock_guard lock(guard);
      failure = std::current_exception();
      next = all.size();
    }
  };
  {
    std::vector<std::jthread> others;
    try {
      const auto most = std::min<std::size_t>(std::size_t(options.threads), all.size());
      for (std::size_t i = 1; i < most; ++i) others.emplace_back(work);
    } catch (const std::system_error&) {  // those that are there do all of it
    }
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

AttentionRule rule_of(const AttentionCall& call, const Facts& facts) {
  const std::vector<Started> kernels = all_started(call.kernels);
  const FusedChoice choice = choice_of(kernels);
  AttentionRule rule;
  rule.kernel = names_of(kernels);
  if (choice.kernel == FusedKernel::none || !is_hopper(facts)) return rule;
  const FusedPlan plan = fused_plan(choice, call.shape, multiprocessors_of(facts));
  if (choice.kernel == FusedKernel::efficient &&
      rule.kernel.find("_64x" + std::to_string(plan.order.block) + "_") == std::string::npos) {
    return rule;  // blocks of another size
  }
  rule.plan = plan;
  rule.choice = choice;
  rule.kernel = text_of(choice);
  if (kernels.size() == 1) return rule;
  rule.kernel += " split";
  rule.splits_started = std::int32_t(std::min<std::int64_t>(kernels[0].grid[1], 1024));
  return rule;
}

Miss miss_of(Format format, std::uint16_t a, std::uint16_t b) {
  if (is_nan_of(format, a) || is_nan_of(format, b)) return Miss::other;
  const int apart = std::abs(place_of(a) - place_of(b));
  return apart == 0 ? Miss::zero : apart == 1 ? Miss::neighbour : Miss::other;
}

const char* name_of(Miss miss) {
  return miss == Miss::neighbour ? "one unit" : miss == Miss::zero ? "sign of zero" : "other";
}

void AttentionCount::add(const AttentionCount& more) {
  calls += more.calls;
  outputs += more.outputs;
  neighbours += more.neighbours;
  zeros += more.zeros;
  others += more.others;
  wrong_splits += more.wrong_splits;
}

AttentionCount AttentionJudgement::total(bool ruled) const {
  AttentionCount out;
  for (const auto& [kind, count] : kinds) {
    if (kind.ruled == ruled) out.add(count);
  }
  return out;
}

AttentionCount judge_call(const AttentionCall& call, const FusedPlan& plan,
                          std::vector<AttentionMiss>& misses) {
  AttentionCount count;
  count.calls = 1;
  HeadOperands head;
  for (const AttentionRow& row : call.rows) {
    if (interrupted != 0) break;
    const std::vector<std::uint16_t> computed = computed_row(call, plan, row, head);
    count.outputs += std::int64_t(computed.size());
    for (std::size_t i = 0; i < computed.size(); ++i) {
      if (computed[i] == row.bits[i]) continue;
      const Miss kind = miss_of(call.format, row.bits[i], computed[i]);
      (kind == Miss::neighbour ? count.neighbours
       : kind == Miss::zero    ? count.zeros
                               : count.others) += 1;
      if (misses.size() >= kListedMisses) continue;
      misses.push_back({0, row.line, row.sequence, row.head, row.query, std::int64_t(i),
                        row.bits[i], computed[i], kind});
    }
  }
  return count;
}

AttentionJudgement judge_attention(const std::vector<AttentionCapture>& captures,
                                   const JudgeOptions& options) {
  std::vector<Judged> all;
  std::vector<std::size_t> capture_of;
  for (std::size_t c = 0; c < captures.size(); ++c) {
    for (const AttentionCall& call : captures[c].calls) {
      all.push_back({&call, rule_of(call, captures[c].facts), {}, {}});
      capture_of.push_back(c);
    }
  }
  judge_all(all, options);
  AttentionJudgement out;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Judged& one = all[i];
    const AttentionKind kind = {one.rule.kernel, name_of_operand(one.call->format),
                                one.call->shape.head_dim, name_of_mask(one.call->shape.mask),
                                one.rule.plan.has_value()};
    out.kinds[kind].add(one.count);
    out.calls.push_back({one.call, one.rule.choice, one.count});
    for (AttentionMiss miss : one.misses) {
      if (out.misses.size() >= kListedMisses) break;
      miss.capture = capture_of[i];
      out.misses.push_back(miss);
    }
  }
  return out;
}

}  // namespace isobit::probe
