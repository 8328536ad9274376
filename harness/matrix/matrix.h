// Scenario -> cells. Pure: no file, no clock, no machine but for whether its memory is enough.
//
// The product of the axes (zip groups in lock-step), minus exclude, with `pairwise` reduced to an
// all-pairs subset, plus include; first axis slowest, included cells last. Each cell has a name of
// its sorted axes and a hash of its meaning, stable when values are added or reordered and when
// files are renamed.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/axes/axes.h"
#include "harness/scenario/scenario.h"

namespace isobit {

struct Cell {
  std::string scenario;                 // name
  AxisPoint axes;                       // every axis of a scenario of its kind, those of a model
  std::vector<std::string> named_axes;  // those the scenario names: shown in the name
  std::vector<std::string> tags;
  std::string hash;  // 16 hex digits of the SHA-256 of cell_meaning()
  int index = 0;     // position in the matrix

  [[nodiscard]] const AxisValue& at(const std::string& axis) const { return axes.at(axis); }
  [[nodiscard]] const std::string& value(const std::string& axis) const {
    return axes.at(axis).text;
  }
  /// What its values ask of the runtime: a request without prompts.
  [[nodiscard]] GenerateRequest requested() const { return isobit::requested(axes); }
  /// Whether its engine, and that of what is put into it, is of family F: it has a golden class
  /// that drops lossless values.
  [[nodiscard]] bool deterministic() const;
  /// "kv-cache-equivalence%batch=3,cache=off,precision=bf16 /3fa91c0d"
  [[nodiscard]] std::string name() const;
  [[nodiscard]] Filter::Subject subject() const;
};

struct Matrix {
  std::vector<Cell> cells;
  std::vector<Cell> unselected;  // left out by a filter: never run, but counted in their groups
};
/// `allow_large`: the guard is kLargestProduct instead of max_cells. Errors: too many cells (with
/// the number), exclude or include that changes nothing, a cell twice, a cache policy in a cache
/// mode that it cannot share, a contract rule or an xfail that selects no cell, nothing left.
///
/// exclude: an entry removes the cells that match all its axes; values match as in filters, so
/// {engine: openblas} removes every core type. pairwise: a subset in which every pair of values of
/// two axes that occurs in the product still occurs (pairwise.h); with `per`, the same inside every
/// combination of those axes' values. include, as in GitHub Actions: an entry whose values
/// contradict no product cell extends the cells it agrees with by its other axes; one that agrees
/// with none makes a cell of its own, defaults elsewhere. A list of values is one entry a value.
Result<Matrix> expand(const Scenario& scenario, bool allow_large);
constexpr std::int64_t kLargestProduct = 1000000;

/// How a cell decodes: what the key says, with the cell's value of the axis.
Decode decode_of(const Scenario& scenario, const Cell& cell);
/// The word of a cell's model, for open_model().
std::string model_of(const Cell& cell);

/// The text whose hash names a cell: scenario name, model (last component of a path), the decode
/// parameters and axes that differ from their defaults, skip, take and pad_to of the prompts, one a
/// line. Not in it: file names, trace level, the axes' other values, limits and tags. So a new axis
/// or option with a default changes no hash; the files' contents are in the recipe (recipe.h).
std::string cell_meaning(const Scenario& scenario, const Cell& cell);

/// Cells that a contract rule compares with each other: equal on every axis but `across`.
struct Group {
  int rule = 0;                 // index in Scenario::expect
  std::string key;              // the fixed axes, as text: "engine=reference,precision=bf16"
  std::vector<int> cells;       // indices into Matrix::cells, in matrix order
  std::int64_t unselected = 0;  // cells that would be in it and were not selected
  /// Axes of `across` that its comparison must exercise: those that vary in it, these cells
  /// included, and those that vary in no group of the rule, of which the rule would say something
  /// all the same.
  std::set<std::string> ranges;
};
/// All groups of all rules that have a selected cell; a cell may be in several.
std::vector<Group> groups_of(const Scenario& scenario, const Matrix& matrix);
/// The groups of `measure`: `rule` is an index in Scenario::measures, and cells of one group may
/// differ on `over` too.
std::vector<Group> measured_groups(const Scenario& scenario, const Matrix& matrix);
/// Whether a measure that the cell is in, or a score, needs the log-sum-exp of its rows.
bool needs_log_sums(const Scenario& scenario, const Cell& cell);
/// Whether a metric of pairs of a measure that the cell is in needs its rows by value: any of them,
/// or with `inner` those of `observe: {values: …}`.
bool needs_pair_values(const Scenario& scenario, const Cell& cell, bool inner);
/// Every cell of the matrix once, cells that share a group together: what may not be separated.
/// In order of their first cells.
std::vector<std::vector<int>> united(const std::vector<Group>& groups, const Matrix& matrix);

/// The requirements that a cell must meet: those whose subject is one of its values ("openblas" is
/// {openblas: Haswell} too) or an axis on which it is not at the default.
std::vector<Requirement> requirements_of(const Scenario& scenario, const Cell& cell);

/// Whether what a cell, or its donor, gives depends on its steps: on batch and cache, and on the
/// prompts of a batch (a cache as shipped, a schedule by rows or by length).
bool depends_on_steps(const Cell& cell);
/// Whether it depends on the number of ranks: a schedule is of the product that one rank makes, a
/// split by length of the heads that it has.
bool depends_on_ranks(const Cell& cell);
/// The axes part of the class recipe of a cell: sorted "axis=value" lines. Lossless values are
/// dropped for a deterministic engine, but for batch, cache and rows where steps matter, and for
/// gpus where ranks do; other engines keep all, and a twin has the engine and the device that it
/// stands for. engine and precision always stand there, another axis when it is not at its default,
/// so that a later axis makes no golden stale.
std::string class_axes(const Cell& cell);

}  // namespace isobit
