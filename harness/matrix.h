// Scenario -> cells. Pure: no file, no clock, no machine.
//
// The product of the axes (zip groups in lock-step), minus exclude, plus include, in a stable
// order. Each cell has a name of sorted non-default axes and a hash of its meaning, stable when
// values are added or reordered and when files are renamed.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "harness/scenario.h"

namespace invar {

struct Cell {
  std::string scenario;                     // name
  std::map<std::string, AxisValue> axes;    // every known axis
  std::vector<std::string> named_axes;      // those the scenario names: shown in the name
  std::vector<std::string> tags;
  std::string hash;                         // 16 hex digits of the SHA-256 of the meaning
  int index = 0;                            // position in the matrix

  [[nodiscard]] const AxisValue& at(const std::string& axis) const { return axes.at(axis); }
  [[nodiscard]] const std::string& value(const std::string& axis) const {
    return axes.at(axis).text;
  }
  /// "kv-cache-equivalence%batch=3,cache=off,precision=bf16 /3fa91c0d"
  [[nodiscard]] std::string name() const;
  [[nodiscard]] Filter::Subject subject() const;
};

struct Matrix {
  std::vector<Cell> cells;
};
/// `allow_large`: no size guard. Errors: too many cells (with the number), exclude or include that
/// matches nothing, a contract rule that selects no cell.
Result<Matrix> expand(const Scenario& scenario, bool allow_large);

/// Cells that a contract rule compares with each other: equal on every axis but `across`.
struct Group {
  int rule = 0;                 // index in Scenario::expect
  std::string key;              // the fixed axes, as text: "engine=reference,precision=bf16"
  std::vector<int> cells;       // indices into Matrix::cells, in matrix order
};
/// All groups of all rules. Overlapping same_bits rules stay separate here (a cell may be in
/// several groups); `joined` unites same_bits groups that share a cell (for class pictures).
std::vector<Group> groups_of(const Scenario& scenario, const Matrix& matrix);

/// The axes part of the class recipe of a cell as sorted "axis=value" text: lossless axes are
/// dropped for engine=reference; vendor engines keep all.
std::string class_axes(const Cell& cell);

}  // namespace invar
