// A library of another machine as an engine: its products on this CPU, in the order that a schedule
// book has for each shape (numerics/product_book.h), every bit.
//
// Everything but the products is the reference's, as in the engine that it stands for. A product
// that the book has not proved is refused; so is one that it forecasts, but where that is asked
// for. Its cells are in the class of the engine and machine that the book names. Callers:
// registry.cc.
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

}  // namespace isobit
