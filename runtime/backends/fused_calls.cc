// Cuts the rows of a step into a kernel's calls.
#include "runtime/backends/fused_calls.h"

namespace isobit {

std::string fused_unsupported(const FlashSchedule& attention, const Mode& mode) {
  const bool half = mode.stored == Format::bf16 || mode.stored == Format::fp16;
  if (!attention.is_fused() || half) return "";
  return "attention " + attention.text + " is in bf16 or fp16, not " + mode.name;
}

Result<std::vector<FusedSequence>> fused_calls(const FusedChoice& choice,
                                               const AttentionRows& args) {
  const auto lacks = [&](const std::string& what) {
    return Error{"attention fused has no " + what, ""};
  };
  if (args.softcap != 0) return lacks("soft cap");
  if (fused_lacks(choice, args.head_dim, FusedMask::causal) != nullptr)
    return lacks("heads of width " + std::to_string(args.head_dim));
  std::vector<FusedSequence> out;
  const auto count = std::int64_t(args.rows.size());
  for (std::int64_t begin = 0, end; begin < count; begin = end) {
    const AttentionRows::Row& first = args.rows[std::size_t(begin)];
    for (end = begin; end < count; ++end) {
      const AttentionRows::Row& row = args.rows[std::size_t(end)];
      if (row.first != 0) return lacks("sliding window");
      if (row.keep != nullptr) return lacks("evicted keys");
      if (row.table != first.table || row.position != first.position + end - begin) break;
    }
    FusedSequence s{begin, end - begin, 0, {}, {}};
    s.shape = {1,
               args.heads,
               args.kv_heads,
               s.rows,
               args.rows[std::size_t(end - 1)].position + 1,
               args.head_dim,
               s.rows > 1 ? FusedMask::causal : FusedMask::free};
    s.plan = fused_plan(choice, s.shape, kUsualMultiprocessors);
    out.push_back(s);
  }
  return out;
}

}  // namespace isobit
