// What every renderer says about a cell or a group, as lines of plain text. Pure; for reports/ and
// harness/cli/.
#pragma once

#include <string>
#include <vector>

#include "reports/report.h"

namespace isobit {

/// A contract was broken or a cell broke: told in full.
bool is_red(Verdict verdict);
/// Nothing is known to be wrong, and nothing is proven: told by reason.
bool is_open(Verdict verdict);

/// "DIFF (near tie)"
std::string verdict_text(Verdict verdict, Severity severity);
/// "name /hash"
std::string cell_text(const ReportCell& cell);

/// Where it parted from what, the digests, the distance when known. Empty when not present.
std::vector<std::string> divergence_lines(const Difference& divergence);

/// The classes of a group's cells in order: "AAAABA", with spaces where a label has two letters.
std::string letters_of(const GroupResult& group, const Report& report);
/// "name /hash = name /hash" of every pair that was equal where it must not be.
std::vector<std::string> equal_pair_lines(const GroupResult& group, const Report& report);
/// The class picture: the letters, then for each class what its cells have in common.
///   AAAABA
///   A  batch {1, 3} cache {off, on}   5 cells
///   B  batch 8 cache on               1 cell
/// Only axes that vary within the group are named. Letters are wrapped at `width`.
std::vector<std::string> picture_lines(const GroupResult& group, const Report& report,
                                       std::size_t width);
/// Of each class of a group, by first appearance: its letter, what its cells have in common as in
/// the picture, and how many they are.
struct ClassPart {
  std::string label, axes;
  std::int64_t cells = 0;
};
std::vector<ClassPart> class_parts(const GroupResult& group, const Report& report);
/// What the group measured: the cells it rests on where these are not all, tokens compared,
/// differing, flips with the bound of their rate, and where the prompts part.
std::string measured_text(const GroupResult& group, const Report& report);
/// Whether it is of single operations: shapes and rows instead of prompts and tokens.
bool of_operation(const Report& report);
/// Whether its rule bounds a score: nothing was compared row by row.
bool of_scores(const GroupResult& group);
/// A line for each cell of a group whose cells need not be equal, against its first cell:
///   batch 48 cache on   95 of 96 rows in 8 of 8 prompts, first at token 1, 2 flips
std::vector<std::string> pair_lines(const GroupResult& group, const Report& report);

/// What a measured group rests on: "12 configurations (1 without a result), 60 prompts (2 left
/// out)".
std::string basis_text(const MeasuredGroup& group);
/// A line for each of its metrics, aligned, with the standard error and the field's name:
///   std_accuracy   1.25 ± 0.41 points   Std@Acc
///   div_index      none: no prompt diverges
std::vector<std::string> metric_lines(const MeasuredGroup& group);
/// Its identity control and its pairs, each with its metrics and a table of its layers; `whole`: of
/// every layer, else of the first and last few:
///   identity control: 1 of 1 pairs exactly 0
///   kv=q8_0 against kv=exact: 36 rows
///     kl   0.00123 ± 0.0001 nats
std::vector<std::string> measured_pair_lines(const MeasuredGroup& group, bool whole);
/// One layer of a pair as the drift is told: both halves of a layer where they were recorded.
struct LayerDrift {
  std::int32_t layer = 0;
  std::string site;
  std::int64_t rows = 0, evicted = 0;
  double mean_distance = 0;        // mean |h - h'|
  std::optional<double> relative;  // to mean |h|; none where that is 0
  double max_abs = 0;
  std::optional<double>
      added;  // of h1 what attention added to mean_distance, of h2 what the MLP did
};
std::vector<LayerDrift> layer_drifts(const MeasuredPair& pair);
/// What an ensemble measured, a line for each number of members and for each spread; none where
/// the group is no ensemble:
///   members   NLL       error     ECE       ambiguity  prompts right
///   4         0.41203   0.12      0.0311    0.0124     11 of 20
std::vector<std::string> ensemble_lines(const GroupResult& group);

/// A line a class of cells with equal bits, whose answers are equal too; never a sum over classes:
///   answers  A  98 of 100 correct  (4 cells, the first is kv%precision=bf16 /3fa91c0d)
std::vector<std::string> answer_lines(const Report& report);

/// Axes with more than one value among the cells, in the order of their names.
std::vector<std::string> varied_axes(const Report& report);

/// The table of scores, its header first; a row a value and cell, the cells of one value beside
/// each other. Empty: none was asked for. (scores.cc)
std::vector<std::vector<std::string>> score_rows(const Report& report);
/// What the differences are from, in lines for people.
std::vector<std::string> score_notes(const Report& report);

/// The table of costs, its header first; a column an axis that varies, and of every cell with a
/// trace the correct answers, tokens a second (median of the executions, least and most), memory,
/// bytes of weights, cache and messages, and energy. "not measured" is said so. Empty: not asked
/// for. (cost.cc)
std::vector<std::vector<std::string>> cost_rows(const Report& report);
/// What its numbers are, in lines for people.
std::vector<std::string> cost_notes(const Report& report);

/// Red cells that would be told in the same words: same verdict and reason and, where they differ
/// from something, same bits. Told by the first of them.
struct AlikeCells {
  std::size_t first = 0;  // index among the report's cells
  std::int64_t others = 0;
};
std::vector<AlikeCells> alike_red_cells(const Report& report);
/// "and 19 more cells with the same reason", or empty.
std::string others_text(const AlikeCells& alike);

/// Red and open groups that would be told in the same words: same rule, verdict, reason and counts.
/// Groups with differences are never alike: each has a picture of its own.
struct AlikeGroups {
  std::size_t first = 0;            // index among the report's groups
  std::vector<std::string> others;  // their keys
};
std::vector<AlikeGroups> alike_bad_groups(const Report& report);
/// "and 2 more groups with the same reason: [precision=bf16], [precision=fp16]", or empty.
std::string others_text(const AlikeGroups& alike);

/// "imported from vllm.jsonl"; empty for a cell that was executed.
std::string origin_text(const ReportCell& cell);
/// "2 groups, 6 cells (2 executed, 4 cached), 480 tokens compared, 3.20 s"
std::string totals_text(const Report& report);
/// "6 cells: 5 PASS, 1 DIFF": PASS, and every other verdict that was given, in the order of the
/// list.
std::string counts_text(const Report& report);
/// What the agreement of the run can have missed: "0 of 480 rows differ; 3 executions of each cell
/// agree: a fault in more than 63.2 % of executions would have been seen (95 %)". Empty where
/// nothing was compared, or executions of one cell did not agree. The trials are executions, each
/// a process lifetime of its own: the rows of one share all that could go wrong in it.
std::string agreement_text(const Report& report);
/// N of that rate: executions of the cell that has fewest, 1 when all were in the same processes.
/// 0: there is no agreement to speak of.
std::int64_t independent_executions(const Report& report);
/// "a fault in more than 63.2 % of executions would have been seen (95 %)"
std::string seen_text(std::int64_t executions);
/// One word for the whole: PASS, or the verdict that decided the exit code.
std::string outcome_text(const Report& report);

/// One line on stderr while a run goes on; at most `width` code points. (progress.cc)
std::string progress_text(std::int64_t done, std::int64_t total, std::int64_t failed,
                          double seconds, const std::string& current, std::size_t width, bool bar);

}  // namespace isobit
