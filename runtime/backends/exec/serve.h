// The other end of PROTOCOL.md: the reference runtime as an engine in another process, in static
// batches. It is what the protocol costs and loses, measured against itself, and the example of an
// engine in C++. Callers: the verb serve, the selftest's fake engines.
#pragma once

#include <functional>
#include <iosfwd>
#include <vector>

#include "runtime/backends/exec/messages.h"

namespace isobit::exec {

/// A row on its way out.
struct ServedRow {
  Row row;
  std::vector<float> values;  // empty where it goes without
};

/// Who changes what is served: the selftest's defects.
struct ServeHooks {
  std::function<void(Request&)> request;
  /// False: the row does not go out.
  std::function<bool(const Request&, ServedRow&)> row;
  std::function<void(const Request&, Ran&)> done;
};

/// Answers until `end` or the end of `in`; a message that is none is answered with an error. Gives
/// false when `out` is gone.
bool serve(std::istream& in, std::ostream& out, const ServeHooks& hooks);

}  // namespace isobit::exec
