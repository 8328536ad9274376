// What `{exec: …}` says: a program with its arguments, and options that only it understands.
// Callers: the table of engines, engine.cc.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/backends/registry.h"

namespace isobit::exec {

struct ExecSettings : EngineSettings {
  std::string adapter;                         // a shipped one, or empty
  std::vector<std::string> command;            // without an adapter: the program and its arguments
  std::map<std::string, std::string> options;  // by name

  /// The program and its arguments. Errors: the adapter's file is not there.
  [[nodiscard]] Result<std::vector<std::string>> words() const;
};

/// A file of the adapters' folder, such as probe_torch.py: beside an installed program, or in the
/// checkout around a built one. Error: it is in neither.
Result<std::string> adapter_path(const std::string& file);
/// Shipped adapters: NAME for adapters/NAME.py.
const std::vector<std::string>& adapter_names();
/// Row of the table (registry.h, EngineEntry::parse).
Result<EngineChoice> parse_exec(const EnginePairs& pairs);
/// REQUIRES: the choice comes from parse_exec().
const ExecSettings& settings_of(const EngineChoice& choice);

}  // namespace isobit::exec
