// What GGUF calls things: ggml tensor types, llama.cpp tensor names, its order of q and k rows.
// Called by the GGUF reader only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/checkpoint/weights.h"

namespace isobit {

/// The supported type with this ggml number, or nothing.
std::optional<TensorType> ggml_type(std::uint32_t number);
/// "Q5_0", ...; "type 99" for a number that no ggml type has.
std::string ggml_type_name(std::uint32_t number);

/// Hugging Face's name of a tensor of architecture "llama": "blk.3.attn_q.weight" becomes
/// "model.layers.3.self_attn.q_proj.weight". A name without a counterpart stays as it is.
std::string hugging_face_name(const std::string& gguf_name);

/// Whether `name` (Hugging Face's) is a query or key projection, whose rows llama.cpp permutes.
bool is_query(const std::string& name);
bool is_key(const std::string& name);

/// Row r of Hugging Face's half-split order is stored at element r of the result: row i of half a
/// of a head is stored at 2 i + a of that head. REQUIRES: head_dim even, both positive.
std::vector<std::int64_t> interleaved_order(std::int64_t heads, std::int64_t head_dim);

}  // namespace isobit
