// Who computes whole cells: prompts in, trace out.
//
// The reference runtime (generate.h) is one, with any backend; an engine that is not ours, in this
// process or another, is one by a row of the table whose `whole` makes it (backends/registry.h).
// One object serves one worker process and is called by one thread.
#pragma once

#include <memory>

#include "runtime/base/result.h"

namespace isobit {

struct EngineChoice;
struct GenerateRequest;
struct GenerateResult;
struct LoadedModel;

class Engine {
 public:
  virtual ~Engine() = default;
  /// Errors are what cannot be asked of this engine. What goes wrong in the computation is the
  /// trace's status; what really ran is its `observed`, which the judge holds against the request.
  virtual Result<GenerateResult> generate(const GenerateRequest& request) = 0;
};

/// The engine behind a choice; nullptr when it is a backend, which the reference runtime runs.
std::unique_ptr<Engine> make_whole_engine(std::shared_ptr<const LoadedModel> model,
                                          const EngineChoice& choice);

}  // namespace isobit
