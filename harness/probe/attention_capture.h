// What a library's fused attention returned, kept as text: calls of drawn operands at a few rows.
//
// adapters/probe_torch.py writes it where the GPU is; attention_judge.h reads it anywhere. The file
// begins with "isobit attention capture 1", then lines
//   fact NAME VALUE
//   attention ASKED PRECISION BATCH HEADS KV_HEADS QUERIES KEYS HEAD_DIM MASK DRAW | KERNELS
//   row SEQUENCE HEAD QUERY HEX  the outputs of one query of the call before, four digits each
//   end OUTPUTS                  of the whole file
// MASK: free, causal, left:P,P,… (columns of padding before each sequence). KERNELS: what the call
// started, "NAME zXxYxZ + …" with the sizes of its grid. Callers: this folder, cli, tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/probe/capture.h"
#include "runtime/numerics/fused.h"

namespace isobit::probe {

/// One query's outputs. All are within their call.
struct AttentionRow {
  std::int64_t line = 0;  // of the file
  std::int64_t sequence = 0, head = 0, query = 0;
  std::vector<std::uint16_t> bits;  // (head_dim)
};
struct AttentionCall {
  std::string asked;              // which backend: fa2, cudnn, efficient; default: the library's
  Format format = Format::bf16;   // bf16 or fp16
  FusedShape shape;               // kv_heads divides heads
  std::vector<std::int64_t> pad;  // (batch) with mask left, each below keys; else empty
  std::int64_t draw = 0;
  std::string kernels;
  std::vector<AttentionRow> rows;
};
struct AttentionCapture {
  Facts facts;
  std::vector<AttentionCall> calls;
};

std::string text_of(const AttentionCapture& capture);
/// Errors have the place "NAME:line", or NAME where the end is missing.
Result<AttentionCapture> parse_attention_capture(const std::string& bytes, const std::string& name);

}  // namespace isobit::probe
