// What the tests of fused attention share: kernels, cases, and a case's rows by the literal text of
// numerics/fused.h.
#pragma once

#include <algorithm>

#include "runtime/numerics/fused.h"
#include "tests/conformance/flash_scene.h"

namespace isobit::fused_test {

using cpu::testing::Data;
using flash_test::Case;
using flash_test::Scene;

inline const char* const kFusedKernels[] = {"fused:fa2", "fused:cudnn:sm90", "fused:cudnn:sm80:32",
                                            "fused:cudnn:sm80:64", "fused:efficient"};

inline std::string kernel_name(const ::testing::TestParamInfo<const char*>& info) {
  std::string name = std::string(info.param).substr(6);
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}

/// The plan of the call that one sequence's rows are, on a GPU of 132 multiprocessors.
inline FusedPlan plan_of(const Case& c, std::int64_t length) {
  const std::int64_t rows = std::min(c.queries, length);
  const FusedShape shape{
      1, c.heads, c.kv_heads, rows, length, c.d, rows > 1 ? FusedMask::causal : FusedMask::free};
  return fused_plan(parse_flash(c.schedule)->fused, shape, 132);
}

/// Most splits that a sequence of the case has.
inline std::int32_t splits_of(const Case& c) {
  std::int32_t most = 1;
  for (const std::int64_t length : c.lengths) most = std::max(most, plan_of(c, length).splits);
  return most;
}

/// Whether a case's results must have a finite number other than zero: 60 binades leave fp16's
/// range, so that every row has an infinity or NaN.
inline bool has_substance(const Case& c) {
  return c.data != Data::special && !(c.data == Data::wide && c.precision == Precision::fp16);
}

/// All rows of a case, (rows, heads, d).
inline std::vector<double> literal(const Case& c, const Scene& scene) {
  const AttentionRows args = scene.arguments();
  const TensorUnit unit = tensor_unit(TensorCore::sm90, mode_of(c.precision).stored).value();
  std::vector<double> all;
  std::size_t r = 0;
  for (std::size_t s = 0; s < c.lengths.size(); ++s) {
    const std::int64_t length = c.lengths[s], rows = std::min(c.queries, length);
    const FusedPlan plan = plan_of(c, length);
    std::vector<float> keys, values, row(std::size_t(c.d));  // of all KV heads, then positions
    for (std::int64_t h = 0; h < c.kv_heads; ++h) {
      for (std::int64_t p = 0; p < length; ++p) {
        for (const double x : scene.key(s, p, h)) keys.push_back(float(x));
        for (const double x : scene.value(s, p, h)) values.push_back(float(x));
      }
    }
    for (std::int64_t i = 0; i < rows; ++i, ++r) {
      for (std::int64_t h = 0; h < c.heads; ++h) {
        const auto numbers = scene.query(r, h);
        const std::vector<float> q(numbers.begin(), numbers.end());
        const std::int64_t at = args.kv_of_head[std::size_t(h)] * length;
        const auto number = [&](const std::vector<float>& x, std::int64_t p, std::int64_t k) {
          return x[std::size_t((at + p) * c.d + k)];
        };
        fused_row(
            plan, unit, fused_scale(float(args.scale)), length, c.d,
            [&](std::int64_t k) { return q[std::size_t(k)]; },
            [&](std::int64_t p, std::int64_t k) { return number(keys, p, k); },
            [&](std::int64_t p, std::int64_t k) { return number(values, p, k); },
            [&](std::int64_t p) { return p <= length - rows + i; }, row.data());
        all.insert(all.end(), row.begin(), row.end());
      }
    }
  }
  return all;
}

/// Cases of a kernel that differ in one thing or two each; both formats.
inline std::vector<Case> cases_of(const char* kernel) {
  std::vector<Case> all;
  const auto add = [&](const auto& change) {
    for (const Precision precision : {Precision::bf16, Precision::fp16}) {
      Case& c = all.emplace_back();
      c.schedule = kernel;
      c.precision = precision;
      c.ascending = true;
      c.queries = 1;
      c.heads = 4, c.kv_heads = 2;
      change(c);
    }
  };
  // Decode steps: ends of groups, of blocks and of splits on either side.
  for (const std::int64_t d : {40, 48, 64, 96, 128}) {
    add([&](Case& c) { c.d = d, c.lengths = {1, 15, 16, 17, 31, 33, 64, 65}; });
    add([&](Case& c) { c.d = d, c.lengths = {127, 128, 129, 257, 600}; });
  }
  for (const std::int64_t sharing : {1, 3, 4}) {
    add([&](Case& c) { c.heads = 2 * sharing, c.lengths = {2, 100, 300}; });
  }
  add([](Case& c) { c.heads = 1, c.kv_heads = 1, c.lengths = {511, 513}, c.page_size = 17; });
  // Prompts, whole or their ends, of which some rows see no key of the last blocks.
  for (const std::int64_t d : {40, 64, 96, 128}) {
    add([&](Case& c) { c.d = d, c.queries = 40, c.lengths = {1, 2, 40, 150}, c.heads = 2; });
  }
  add([](Case& c) { c.queries = 150, c.lengths = {150}, c.heads = 1, c.kv_heads = 1; });
  add([](Case& c) { c.queries = 5, c.lengths = {600, 3, 70}, c.heads = 3, c.kv_heads = 1; });
  for (const Data data : {Data::wide, Data::cancelling, Data::special}) {
    add([&](Case& c) { c.data = data, c.lengths = {3, 40, 290}; });
    add([&](Case& c) { c.data = data, c.queries = 6, c.lengths = {6, 150}, c.page_size = 1; });
  }
  return all;
}

/// Fused attention of wide heads is FlashAttention-2's alone.
inline std::vector<Case> wide_heads() {
  std::vector<Case> all;
  for (const std::int64_t d : {136, 192, 256}) {
    for (const std::int64_t queries : {1, 20}) {
      Case& c = all.emplace_back();
      c.schedule = "fused:fa2";
      c.precision = Precision::bf16;
      c.ascending = true;
      c.d = d, c.queries = queries, c.heads = 2, c.kv_heads = 1;
      c.lengths = {64, 65, 300};
    }
  }
  return all;
}

}  // namespace isobit::fused_test
