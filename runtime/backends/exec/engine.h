// Engine `exec`: a whole inference engine in another process, by PROTOCOL.md.
//
// One process serves the cells of one worker that have the same engine, precision and device. What
// goes wrong in it (a crash, a message that is none, a row of another length, a token that its own
// row does not give) is the cell's status with one line that says so, and the next cell gets a new
// process. Callers: the table of engines.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/backends/registry.h"
#include "runtime/run/engine.h"

namespace isobit::exec {

// Columns of the table (registry.h, EngineEntry). The program is asked what it is once in a
// process, before the first cell; that loads no model.
std::string exec_unsupported(const BackendOptions& options, const Mode& mode);
Result<void> exec_check(const EngineChoice& choice);
std::string exec_refuse(const GenerateRequest& request);
std::vector<std::string> exec_libraries(const EngineChoice& choice);
std::string exec_variant(const BackendOptions& options);
std::vector<EngineStatus> exec_status();
std::unique_ptr<Engine> make_exec(std::shared_ptr<const LoadedModel> model,
                                  const EngineChoice& choice);

}  // namespace isobit::exec
