// A library of another machine as an engine: its products on this CPU, in the order that a schedule
// book has for each shape (numerics/product_book.h), every bit.
//
// A book of a library's products has everything else from the reference, as the engine that it
// stands for has (products.h). A book of transformers has that library's norms, RoPE, attention and
// activations too (transformers.h). What the book has not proved is refused; so is what it
// forecasts, but where that is asked for. Cells are in the class of the engine and machine that the
// book names. Callers: registry.cc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/backends/registry.h"

namespace isobit {

/// Functions of its row in the table (registry.h, EngineEntry).
Result<EngineChoice> parse_twin(const EnginePairs& pairs);
std::string twin_unsupported(const BackendOptions& options, const Mode& mode);
Result<void> check_twin(const EngineChoice& choice);
Result<std::unique_ptr<Backend>> make_twin(const BackendOptions& options, const Mode& mode);
std::vector<std::string> twin_libraries(const EngineChoice& choice);
std::vector<EngineStatus> twin_status();
std::optional<OriginalEngine> twin_original(const EngineChoice& choice);
std::string twin_refuse(const GenerateRequest& request);

}  // namespace isobit
