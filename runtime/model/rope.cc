// Frequencies of every kind of RoPE, all of it in fp64 and in the order of NUMERICS.md.
#include "runtime/model/rope.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/result.h"
#include "runtime/numerics/functions.h"

namespace isobit {
namespace {

using Kind = RopeScaling::Kind;

constexpr double kTwoPi = 0x1.921fb54442d18p+2;

double llama3_frequency(const RopeScaling& scaling, double inv) {
  const double wavelength = kTwoPi / inv;
  const double context = double(scaling.original_context);
  if (wavelength < context / scaling.high_freq_factor) return inv;
  if (wavelength > context / scaling.low_freq_factor) return inv / scaling.factor;
  const double s = (context / wavelength - scaling.low_freq_factor) /
                   (scaling.high_freq_factor - scaling.low_freq_factor);
  return ((1.0 - s) * inv) / scaling.factor + s * inv;
}

/// The pair that turns `turns` times over the original context, of `dims` rotary dims.
double yarn_pair(const Rope& rope, std::int64_t dims, double turns) {
  const double context = double(rope.scaling.original_context);
  return (double(dims) * log_(context / (turns * kTwoPi))) / (2.0 * log_(rope.base));
}

double yarn_frequency(const Rope& rope, std::int64_t dims, std::int64_t i, double inv) {
  const RopeScaling& scaling = rope.scaling;
  double low = yarn_pair(rope, dims, scaling.beta_fast);
  double high = yarn_pair(rope, dims, scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, double(dims - 1));
  if (low == high) high = high + 0x1.0624dd2f1a9fcp-10;  // 0.001
  const double ramp = std::clamp((double(i) - low) / (high - low), 0.0, 1.0);
  const double kept = 1.0 - ramp;
  return (inv / scaling.factor) * (1.0 - kept) + inv * kept;
}

/// The base of a dynamic RoPE for a sequence of that length.
double dynamic_base(const Rope& rope, std::int64_t dims, std::int64_t length) {
  const RopeScaling& scaling = rope.scaling;
  const double context = double(scaling.original_context);
  const double stretch = (scaling.factor * double(length)) / context - (scaling.factor - 1.0);
  return rope.base * exp_((double(dims) / double(dims - 2)) * log_(stretch));
}

/// Inverse frequencies of a sequence of that length, (dims / 2).
std::vector<double> frequencies(const Rope& rope, std::int64_t dims, std::int64_t length) {
  const RopeScaling& scaling = rope.scaling;
  const bool is_long = turns_by_length(rope) && length > scaling.original_context;
  const bool stretched = scaling.kind == Kind::dynamic && is_long;
  const double base = stretched ? dynamic_base(rope, dims, length) : rope.base;
  const std::vector<float>& factors =
      scaling.kind == Kind::longrope && is_long ? rope.long_factors : rope.factors;
  std::vector<double> out;
  for (std::int64_t i = 0; i < dims / 2; ++i) {
    double inv = rope_inv_freq(int(i), int(dims), base);
    if (!factors.empty()) inv = inv / double(factors[std::size_t(i)]);
    if (scaling.kind == Kind::linear) inv = inv / scaling.factor;
    if (scaling.kind == Kind::llama3) inv = llama3_frequency(scaling, inv);
    if (scaling.kind == Kind::yarn) inv = yarn_frequency(rope, dims, i, inv);
    out.push_back(inv);
  }
  return out;
}

}  // namespace

bool turns_by_length(const Rope& rope) {
  return rope.scaling.kind == Kind::dynamic || rope.scaling.kind == Kind::longrope;
}

const char* name_of(RopeScaling::Kind kind) {
  static constexpr const char* kNames[] = {"default", "linear", "dynamic",
                                           "llama3",  "yarn",   "longrope"};
  return kNames[int(kind)];
}

bool RopeRows::extend(const ModelConfig& config, std::int64_t n,
                      std::span<const std::int64_t> prompts) {
  alike_ = true;
  for (const Rope& rope : config.ropes) {
    if (!turns_by_length(rope)) continue;
    const bool first = edge_ == std::numeric_limits<std::int64_t>::max();
    alike_ = alike_ && rope.scaling.kind == Kind::longrope &&
             (first || edge_ == rope.scaling.original_context);
    edge_ = std::min(edge_, rope.scaling.original_context);
  }
  std::vector<std::int64_t> missing;
  for (const std::int64_t prompt : prompts) {
    const std::int64_t kind = kind_of(prompt);
    const auto same = [&](const Block& block) { return block.length == kind; };
    if (kind != 0 && std::none_of(blocks_.begin(), blocks_.end(), same)) missing.push_back(kind);
  }
  if (n <= positions_ && missing.empty()) return false;
  if (!missing.empty()) {  // the blocks of earlier runs go
    blocks_.clear();
    for (const std::int64_t prompt : prompts) missing.push_back(kind_of(prompt));
  }
  std::sort(missing.begin(), missing.end());
  missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
  positions_ = std::max(positions_, n);
  for (const std::int64_t kind : missing) {
    if (kind != 0) blocks_.push_back({kind, 0, 0});
  }
  std::int64_t end = positions_;
  for (Block& block : blocks_) {
    block.begin = end;
    block.rows = alike_ ? positions_ : block.length;
    end += block.rows;
  }
  return true;
}

std::int64_t RopeRows::kind_of(std::int64_t prompt) const {
  if (prompt <= edge_) return 0;
  return alike_ ? edge_ + 1 : prompt;
}

std::int64_t RopeRows::row(std::int64_t prompt, std::int64_t position) const {
  ISOBIT_CHECK(position < positions_);
  const std::int64_t kind = position < prompt ? kind_of(prompt) : 0;
  if (kind == 0) return position;
  const auto found = std::find_if(blocks_.begin(), blocks_.end(),
                                  [&](const Block& block) { return block.length == kind; });
  ISOBIT_CHECK(found != blocks_.end() && position < found->rows);
  return found->begin + position;
}

std::vector<RopeRows::Row> RopeRows::all() const {
  std::vector<Row> rows;
  for (std::int64_t p = 0; p < positions_; ++p) rows.push_back({p, p + 1});
  for (const Block& block : blocks_) {
    for (std::int64_t p = 0; p < block.rows; ++p) rows.push_back({p, block.length});
  }
  return rows;
}

RopeTables make_rope_tables(const ModelConfig& config, const Rope& rope,
                            std::span<const RopeRows::Row> all,
                            const std::function<Turn(const RopeAngle&)>& turn) {
  const std::int64_t dims = config.rotary_dims(rope);
  RopeTables tables;
  tables.cosine.reserve(all.size() * std::size_t(dims / 2));
  tables.sine.reserve(all.size() * std::size_t(dims / 2));
  std::int64_t length = 0;  // 0: one within the original context
  std::vector<double> inv = frequencies(rope, dims, length);
  for (const RopeRows::Row& row : all) {
    std::int64_t wanted = 0;
    if (turns_by_length(rope) && row.length > rope.scaling.original_context) {
      const bool alike = rope.scaling.kind == Kind::longrope;
      wanted = alike ? rope.scaling.original_context + 1 : row.length;
    }
    if (wanted != length) inv = frequencies(rope, dims, wanted);
    length = wanted;
    RopeAngle angle{row.position,
                    0,
                    dims,
                    rope.base,
                    0,
                    rope.scaling.attention_factor,
                    rope.scaling.kind == Kind::none && rope.factors.empty()};
    for (const double frequency : inv) {
      angle.frequency = frequency;
      const Turn turned = turn(angle);
      tables.cosine.push_back(turned.cosine);
      tables.sine.push_back(turned.sine);
      ++angle.pair;
    }
  }
  return tables;
}

RopeTables make_rope_tables(const ModelConfig& config, const Rope& rope, std::int64_t first,
                            std::int64_t count) {
  std::vector<RopeRows::Row> rows;
  for (std::int64_t p = first; p < first + count; ++p) rows.push_back({p, p + 1});
  return make_rope_tables(config, rope, rows);
}

}  // namespace isobit
