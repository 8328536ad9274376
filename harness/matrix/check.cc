// Cells whose axes do not go together, and rules that select nothing.
#include "harness/matrix/check.h"

#include <algorithm>

#include "harness/axes/axes.h"
#include "harness/matrix/patches.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

/// Why attention over key blocks cannot read this cache, or empty.
std::string unfit_for_flash(const KvPolicySpec& kv, bool by_length) {
  if (kv.shipped != nullptr) return "a cache as shipped has an attention of its own";
  if (kv.policy == nullptr) return "";
  constexpr std::int64_t kPrompt = std::int64_t(1) << 20, kLate = std::int64_t(1) << 30;
  if (kv.policy->coded(1, kLate) != CodedView{}) return "it reads exact keys and values, not codes";
  for (std::int64_t q = kPrompt - 64; q < kPrompt + 64; ++q) {
    if (kv.policy->observes(kPrompt, q)) return "it has no weights for a policy to choose by";
  }
  return by_length ? "splits: by_length counts the rows of a step, which a policy takes apart" : "";
}

/// A library's kernel and what it can stand with.
Result<void> check_fused(const GenerateRequest& asked) {
  const std::string attention = "attention " + asked.backend.attention.text;
  if (asked.precision != Precision::bf16 && asked.precision != Precision::fp16) {
    return Error{attention + " is in precision bf16 or fp16", ""};
  }
  if (!asked.kv.exact()) return Error{attention + " reads exact keys and values", ""};
  return {};
}

/// A flash schedule and what it can stand with.
Result<void> check_attention(const GenerateRequest& asked) {
  const FlashSchedule& flash = asked.backend.attention;
  if (flash.is_fused()) return check_fused(asked);
  if (!flash.emulated()) return {};
  const Mode mode = mode_of(asked.precision);
  if (flash.p != Format::f32 && mode.wide()) {
    return Error{"attention p: in precision fp64 P is fp64, and is not rounded to 16 bits", ""};
  }
  const std::string why = unfit_for_flash(asked.kv, flash.by_length);
  if (why.empty()) return {};
  return Error{"attention " + flash.text + " and kv " + asked.kv.text + ": " + why, ""};
}

/// What a cell asks of cache and orders fits together. `place`: of errors, where it is not the
/// axis's own.
Result<void> check_asked(const Cell& cell, const std::string& name, const std::string& place) {
  const GenerateRequest asked = cell.requested();
  const auto wrong = [&](const Result<void>& why, const char* axis) {
    return Error{name + ": " + why.error().message, place.empty() ? cell.at(axis).place : place};
  };
  if (auto fits = check_kv_policy(asked.kv, asked.cache, asked.ranks); !fits)
    return wrong(fits, "kv");
  if (auto fits = check_attention(asked); !fits) return wrong(fits, "attention");
  if (auto fits = check_orders(asked.backend); !fits) return wrong(fits, "gemm");
  return {};
}

/// Members must predict the same positions from the same tokens.
Result<void> check_ensemble(const Expectation& rule, const Matrix& matrix) {
  if (rule.kind != Expectation::Kind::ensemble) return {};
  for (const Cell& cell : matrix.cells) {
    if (cell.value("teacher_forced") != "false" || !rule.where.matches(cell.subject())) continue;
    return Error{
        rule.text() + ": " + cell.name() +
            " is fed its own tokens; an ensemble needs teacher_forced: answer, or true, under "
            "decode, and in the entries of include",
        rule.place};
  }
  return {};
}

/// What the model, or a draw, of a cell is, is said.
Result<void> check_values(const Scenario& scenario, const Cell& cell) {
  if (scenario.operation.kind != OperationKind::none) return {};
  const bool by_axis = scenario.model.empty() && !values_on(scenario, "model").empty();
  if (by_axis && cell.value("model").empty()) {
    return scenario_error(scenario, cell.name() +
                                        " has no model: where model is an axis, entries of include "
                                        "that make cells of their own name one");
  }
  const AxisValue& seed = cell.at("seed");
  if (is_usual("seed", seed) || decode_of(scenario, cell).strategy != "greedy") return {};
  return Error{cell.name() + ": seed " + seed.text +
                   " has no meaning with decode greedy; exclude: [{decode: greedy, seed: [" +
                   seed.text + "]}]",
               seed.place};
}

}  // namespace

Result<void> check_matrix(const Scenario& scenario, const Matrix& matrix) {
  if (matrix.cells.empty()) return scenario_error(scenario, "exclude leaves no cell");
  std::map<std::string, const Cell*> seen;
  for (const Cell& cell : matrix.cells) {
    if (!seen.emplace(cell.hash, &cell).second)
      return scenario_error(scenario, "two cells are the same: " + seen[cell.hash]->name() +
                                          " and " + cell.name() +
                                          "; drop one include or zip entry");
    if (auto fits = check_values(scenario, cell); !fits) return fits;
    if (auto fits = check_asked(cell, cell.name(), ""); !fits) return fits;
    if (auto fits = check_patch(scenario, cell); !fits) return fits;
    const auto donor = donor_of(cell);
    if (!donor) continue;
    const std::string& place = cell.at("patch").place;
    if (auto fits = check_asked(*donor, cell.name() + ": the donor", place); !fits) return fits;
  }
  const auto selects = [&](const Filter& where) {
    const auto selected = [&](const Cell& cell) { return where.matches(cell.subject()); };
    return std::any_of(matrix.cells.begin(), matrix.cells.end(), selected);
  };
  for (const Expectation& rule : scenario.expect) {
    if (!selects(rule.where)) return Error{rule.text() + ": selects no cell", rule.place};
    if (auto fits = check_ensemble(rule, matrix); !fits) return fits;
  }
  for (const Measure& measure : scenario.measures)
    if (!selects(measure.where)) return Error{measure.text() + ": selects no cell", measure.place};
  for (const ExpectedFailure& expected : scenario.xfail)
    if (!selects(expected.where))
      return Error{"xfail where " + expected.where.text() + ": selects no cell", expected.place};
  if (!selects(scenario.golden.where))
    return Error{"golden where " + scenario.golden.where.text() + ": selects no cell",
                 scenario.golden.place};
  return {};
}

}  // namespace isobit
