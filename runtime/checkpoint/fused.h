// Matrices that a file holds as one become the parts that the forward pass reads.
// Callers: gguf.cc, load.cc.
#pragma once

#include <string>

#include "runtime/base/result.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {

/// Which way a file writes the matrices that FusedRow::transposed names.
enum class FileForm : std::uint8_t { hugging_face, gguf };

/// Some rows of a tensor, or some elements of a vector: a view. REQUIRES: rows in their own order.
Tensor some_rows_of(const Tensor& tensor, std::string name, std::int64_t begin, std::int64_t count);

/// Replaces every fused tensor of the family by its parts, their names being those of the table.
/// A transposed one is copied. REQUIRES: a valid config.
Result<void> split_fused(const ModelConfig& config, FileForm form, const std::string& place,
                         Weights& weights);

}  // namespace isobit
