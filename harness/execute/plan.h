// Which cells of a scenario are to be judged here, and what names each of them.
//
// A filter, a list of cells, the failures of an earlier run and a partition select; what a cell
// needs and this machine lacks is its skip reason. Pure but for the questions to the machine.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "golden/golden.h"
#include "harness/environment/environment.h"
#include "harness/execute/session.h"

namespace isobit {

/// A scenario with everything that its cells share.
struct Loaded {
  Scenario scenario;
  Session session;
};

struct Selection {
  std::string filter;              // -k, empty: all
  std::vector<std::string> cells;  // names, hashes, starts of hashes; empty: all
  bool only_failed = false;
  std::set<std::string> failed;       // hashes, for only_failed
  int partition = 1, partitions = 1;  // whole classes are dealt to partitions
  bool allow_large = false;
  [[nodiscard]] bool active() const {
    return !filter.empty() || !cells.empty() || only_failed || partitions > 1;
  }
};

/// What names one cell beyond its place in the matrix.
struct PlannedCell {
  std::string skip_reason;   // empty: it can run here
  std::string class_recipe;  // what its bits may depend on
  std::string class_hash;    // of its goldens; empty: it has none
  std::string asked_class;   // asked_class() of the recipe; empty: no golden is wanted
  Sha256 key{};              // of stored results that may stand for an execution
};

struct Plan {
  Matrix matrix;                   // the selected cells, and apart from them the others
  std::vector<PlannedCell> cells;  // by matrix.cells
  bool filtered = false;           // some cells may be missing on purpose: no golden is obsolete
  [[nodiscard]] std::int64_t unselected() const { return std::int64_t(matrix.unselected.size()); }
};
/// A scenario with all of its models, or with those of the cells that are selected. Errors: those
/// of the file, of prompts and models, and of the selection.
Result<Loaded> load(const std::string& path, const std::vector<std::string>& overrides);
Result<Loaded> load(Scenario scenario, const Selection& selection);

/// Errors: the matrix does not expand, the filter is wrong, a word of `cells` names several cells,
/// a cache policy cannot serve the model.
Result<Plan> make_plan(const Loaded& loaded, const Selection& selection, const Environment& here);

/// The cell that a word names: its name with or without hash, its hash or a start of that which no
/// other cell has, with or without '/'. -1: none. Several: an error that lists them.
Result<int> cell_named(const Matrix& matrix, const std::string& word);
/// asked_key() of the golden blocks that a plan's cells stand for, whether they can run here or
/// not.
std::set<GoldenKey> asked_blocks(const Loaded& loaded, const Plan& plan);
/// Cells for which a stored result may stand: not those that are needed by value, nor those of an
/// engine that says so.
std::vector<bool> may_be_reused(const Scenario& scenario, const Matrix& matrix);
/// Cells that a `within` rule, an ensemble or a metric of pairs needs by value.
std::vector<bool> needs_values(const Scenario& scenario, const Matrix& matrix);

}  // namespace isobit
