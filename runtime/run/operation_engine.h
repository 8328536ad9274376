// The engine of a cell that is one operation: launches of watched rows and their neighbours on the
// backend that the request names. Every shape is a "prompt" of the trace, every watched row one of
// its records: its number is the position, there is no token, and the digest is of the results.
#pragma once

#include "runtime/run/generate.h"

namespace isobit {

class OperationEngine final : public Engine {
 public:
  /// Errors are what cannot be asked; a backend that throws is its caller's to catch (worker.cc).
  Result<GenerateResult> generate(const GenerateRequest& request) override;
};

}  // namespace isobit
