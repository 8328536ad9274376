// Why the bits of two executions may differ: what is not the same in their recipes, prompts,
// programs and machines, gravest first. Words only; no value is computed.
#pragma once

#include <map>
#include <memory>
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
  std::map<std::string, std::string> axes;     // all axes of the cell, lossless ones too
  std::map<std::string, std::string> prompts;  // hex digest of a prompt's tokens by its id
  Environment environment;
  std::string imported{};  // "FILE (vllm 0.9.1)" of a trace that was recorded elsewhere
  std::string evidence{};  // level of its digests
};

/// Digests of a trace's prompts by their ids.
std::map<std::string, std::string> prompt_digests(const CellTrace& trace);
/// Of a stored cell; `run` is the one that executed it.
Provenance provenance_of(const CellInfo& cell, const CellTrace& trace, const RunInfo& run);

/// In this order: level of evidence, where each was recorded, model, tokenizer, prompts, decode
/// parameters, axes of the class, numerics, library file, variables and variant of a vendor's
/// engine, the other axes, program, driver and what else differs between the machines. Empty:
/// nothing that is recorded differs.
std::vector<std::string> causes_of(const Provenance& a, const Provenance& b);
/// The causes, joined by "; ". Nothing differs: says that, and what it leaves.
std::string cause_text(const std::vector<std::string>& causes);

/// "cause of 60 cells: library …" for each cause, by how many `things` have it.
std::vector<std::string> counted_causes(const std::map<std::string, std::int64_t>& causes,
                                        const std::string& thing);

/// A stored execution that gave a golden block's bits.
struct Witness {
  std::shared_ptr<const CellTrace> trace;
  int prompt = -1;  // the block's, among the trace's
  std::int64_t run = 0;
  Provenance from;  // with the block's prompt alone
};
/// Looks them up. What the database does not hold, or holds damaged, is no witness.
class Witnesses {
 public:
  /// nullptr: no database, no witnesses. Executions of run `but_not` do not count.
  explicit Witnesses(Store* store, std::int64_t but_not = 0) : store_(store), but_not_(but_not) {}
  /// The newest one; of the cell with the hash `rather` when there is one.
  std::optional<Witness> of(const GoldenBlock& block, const std::string& rather = "");

 private:
  Store* store_;
  std::int64_t but_not_;
  std::int64_t last_cell_ = 0;  // neighbouring blocks are mostly of one cell
  std::shared_ptr<const CellTrace> last_trace_;
  std::map<std::int64_t, Environment> environments_;  // by run
};

/// Gives every difference from a golden or the baseline its cause, from what this database knows of
/// the execution that gave the other side. A cause that cannot be found leaves the verdict alone.
void name_causes(const GoldenFile& golden, const StoredBaseline* baseline, const Traces& traces,
                 const Records& records, Judged& judged);

}  // namespace isobit
