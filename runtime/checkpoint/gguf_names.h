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

/// The supported type with this ggml number, or nothing.
std::optional<TensorType> ggml_type(std::uint32_t number);
/// "Q5_0", ...; "type 99" for a number that no ggml type has.
std::string ggml_type_name(std::uint32_t number);

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
