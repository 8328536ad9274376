// Traces recorded elsewhere in the place of executions: each stands for one cell of a scenario, and
// is recorded and judged as what was executed is. Format: FORMAT.md of this folder.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "harness/execute/compute.h"

namespace isobit {

/// One file, held against the scenario.
struct ImportedTrace {
  std::string file;    // its name, without folders
  std::string engine;  // "vllm 0.9.1"
  std::map<std::string, std::string> environment;
  std::string cell;  // Cell::hash
  Sha256 key{};      // of the stored cell: no plan asks for it, so that it is never reused
  CellTrace trace;
};

/// Reads and checks every file. `cells` names the cell of each, or is empty: then the axes of the
/// header select it. Several files may stand for one cell, as attempts of it.
/// Errors: what a file says is broken, or is not of this scenario's cells, prompts or vocabulary.
Result<std::vector<ImportedTrace>> read_traces(const Loaded& loaded,
                                               const std::vector<std::string>& files,
                                               const std::vector<std::string>& cells,
                                               bool allow_large);

/// Prepares the plan: an imported cell needs nothing of this machine, and has a golden class only
/// where that does not depend on libraries. An error when a selection left its cell out.
Result<void> stand_for(const std::vector<ImportedTrace>& traces, Plan& plan);
/// What the recorders say of their machines; where they differ, "A | B" in the order of the files.
Environment environment_of(const std::vector<ImportedTrace>& traces);
/// One sentence a file, for the report.
std::vector<std::string> notes_of(const std::vector<ImportedTrace>& traces);
/// In the place of compute(): records the traces; cells that none stands for are not run.
Result<Traces> take(std::vector<ImportedTrace> traces, const Plan& plan, Records& records);

}  // namespace isobit
