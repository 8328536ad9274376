// What GGUF calls things: ggml tensor types, llama.cpp tensor names, its order of q and k rows.
// Called by the GGUF reader only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/checkpoint/weights.h"
#include "runtime/model/arch/architecture.h"

namespace isobit {

/// A tensor type of ggml, read or not.
struct GgmlType {
  std::uint32_t number = 0;
  const char* name = "";            // "Q5_0", ...
  TypeLayout layout;                // elements and bytes of a block
  std::optional<TensorType> value;  // nothing: such tensors are not read
};
/// Nothing for a number that no ggml type has.
std::optional<GgmlType> ggml_type(std::uint32_t number);

/// A tensor of a family's table by llama.cpp's name.
struct GgufName {
  std::string hugging_face;  // "model.layers.3.self_attn.q_proj.weight" for "blk.3.attn_q.weight"
  std::int64_t layer = -1;   // -1: of the whole model
  bool experts = false;      // of all experts of the layer: the name is an expert's own
};
/// Nothing for a name that the table does not have.
std::optional<GgufName> read_gguf_name(const Architecture& architecture, const std::string& name);

/// Row r of Hugging Face's half-split order is stored at element r of the result: row i of half a
/// of a head is stored at 2 i + a of that head. REQUIRES: head_dim even, both positive.
std::vector<std::int64_t> interleaved_order(std::int64_t heads, std::int64_t head_dim);

}  // namespace isobit
