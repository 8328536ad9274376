// Why the bits of two executions may differ: what is not the same in their recipes, prompts,
// programs and machines, gravest first. Words only; no value is computed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "golden/golden.h"
#include "harness/environment/environment.h"
#include "harness/execute/baseline.h"
#include "harness/execute/compute.h"

namespace isobit {

/// What one execution's bits come from.
struct Provenance {
  std::string recipe;                          // class recipe (matrix/recipe.h)
  std::map<std::string, std::string> prompts;  // hex digest of a prompt's tokens by its id
  Environment environment;
};

/// Digests of a trace's prompts by their ids.
std::map<std::string, std::string> prompt_digests(const CellTrace& trace);
/// Of a stored cell; `run` is the one that executed it.
Provenance provenance_of(const CellInfo& cell, const CellTrace& trace, const RunInfo& run);

/// In this order: model, tokenizer, prompts, decode parameters, axes, numerics, library file,
/// variables and variant of a vendor's engine, program, driver and what else differs between the
/// machines. Empty: nothing that is recorded differs.
std::vector<std::string> causes_of(const Provenance& a, const Provenance& b);
/// The causes, joined by "; ". Nothing differs: says that, and what it leaves.
std::string cause_text(const std::vector<std::string>& causes);

/// A stored execution that gave a golden block's bits, newest first; nothing when the database
/// holds none, or none among the last few of the class.
struct Witness {
  CellInfo cell;
  CellTrace trace;
  int prompt = -1;  // the block's, among the trace's
  RunInfo run;      // that executed it
};
Result<std::optional<Witness>> witness_of(Store& store, const GoldenBlock& block);

/// Gives every difference from a golden or the baseline its cause, from what this database knows of
/// the execution that gave the other side.
Result<void> name_causes(const GoldenFile& golden, const StoredBaseline* baseline,
                         const Traces& traces, const Records& records, Judged& judged);

}  // namespace isobit
