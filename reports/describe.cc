// The sentences shared by the renderers (describe.h).
#include "reports/describe.h"

#include <algorithm>
#include <set>

#include "runtime/base/text.h"

namespace isobit {
namespace {

constexpr std::size_t kTokenText = 40;  // code points of a token's text

std::string token_text(std::int32_t id, const std::string& bytes) {
  std::string out = id < 0 ? "none" : std::to_string(id);
  if (!bytes.empty()) out += " " + text::quoted(bytes, kTokenText);
  return out;
}

std::string distance_text(const RowDistance& distance, bool of_tokens) {
  std::string out = text::count(distance.differing, "element") + " differ";
  if (distance.differing == 1) out += "s";
  if (distance.first_element >= 0) {
    out += ", the first is " + text::count(distance.first_element);
    if (distance.first_segment >= 0) {
      out += " (segment " + std::to_string(distance.first_segment) + " of 8)";
    }
  }
  out += "; max " + std::to_string(distance.max_ulp) + " ulp, max abs " +
         text::with_bits(distance.max_abs);
  return of_tokens ? out + ", KL " + text::number(distance.kl) : out;
}

// Values of each axis over some cells.
using AxisValues = std::map<std::string, std::set<std::string>>;

void add_axes(const ReportCell& cell, AxisValues& values) {
  for (const auto& [axis, value] : cell.axes) values[axis].insert(value);
}

// Numbers in their order, then words.
std::vector<std::string> sorted_values(const std::set<std::string>& values) {
  std::vector<std::string> sorted(values.begin(), values.end());
  const auto is_number = [](const std::string& s) {
    return !s.empty() && s.size() < 18 && s.find_first_not_of("0123456789") == std::string::npos;
  };
  std::sort(sorted.begin(), sorted.end(), [&](const std::string& a, const std::string& b) {
    if (is_number(a) != is_number(b)) return is_number(a);
    if (is_number(a)) return std::stoll(a) < std::stoll(b);
    return a < b;
  });
  return sorted;
}

// The axes of `cells` that vary in `all`: "batch {1, 3} cache on".
std::string axes_text(const AxisValues& cells, const AxisValues& all) {
  std::string out;
  for (const auto& [axis, values] : cells) {
    const auto everywhere = all.find(axis);
    if (everywhere == all.end() || everywhere->second.size() < 2) continue;
    std::string list;
    for (const std::string& value : sorted_values(values)) {
      list += (list.empty() ? "" : ", ") + text::printable(value);
    }
    if (values == everywhere->second) {
      list = "any";
    } else if (values.size() > 1) {
      list = "{" + list + "}";
    }
    out += (out.empty() ? "" : " ") + text::printable(axis) + " " + list;
  }
  return out;
}

const ReportCell& cell_at(const Report& report, int index) {
  ISOBIT_CHECK(index >= 0 && std::size_t(index) < report.cells.size());
  return report.cells[std::size_t(index)];
}

/// Axes of all cells of a group.
AxisValues axes_of(const GroupResult& group, const Report& report) {
  AxisValues all;
  for (const int cell : group.cells) add_axes(cell_at(report, cell), all);
  return all;
}

struct ClassOfCells {
  std::string label;
  std::int64_t cells = 0;
  AxisValues axes;
};

// In the order of first appearance; cells that were not executed have no class.
std::vector<ClassOfCells> classes_of(const GroupResult& group, const Report& report) {
  std::vector<ClassOfCells> classes;
  for (const int index : group.cells) {
    const ReportCell& cell = cell_at(report, index);
    const std::string& label = cell.class_label;
    if (label.empty() || label == "-") continue;
    auto place = std::find_if(classes.begin(), classes.end(),
                              [&](const ClassOfCells& c) { return c.label == label; });
    if (place == classes.end()) place = classes.insert(classes.end(), {label, 0, {}});
    ++place->cells;
    add_axes(cell, place->axes);
  }
  return classes;
}

}  // namespace

bool is_red(Verdict verdict) {
  using enum Verdict;
  return verdict == diff || verdict == nondet || verdict == fail || verdict == mistrusted ||
         verdict == xpass;
}

bool is_open(Verdict verdict) {
  using enum Verdict;
  return verdict == nogold || verdict == stale || verdict == obsolete || verdict == not_run ||
         verdict == deferred;
}

std::string verdict_text(Verdict verdict, Severity severity) {
  std::string out = name_of(verdict);
  if (severity != Severity::none) out += std::string(" (") + name_of(severity) + ")";
  return out;
}

std::string cell_text(const ReportCell& cell) {
  const std::string hash = " /" + cell.hash.substr(0, 8);
  const bool named = cell.hash.empty() || cell.name.ends_with(hash);
  return text::printable(named ? cell.name : cell.name + hash);
}

namespace {

/// Both sides have the row, and no token was drawn from it.
bool is_row_of_operation(const Difference& divergence) {
  return divergence.position >= 0 && divergence.id_a < 0 && divergence.id_b < 0 &&
         !divergence.digest_a.empty() && !divergence.digest_b.empty();
}

}  // namespace

bool of_operation(const Report& report) {
  return std::any_of(report.cells.begin(), report.cells.end(),
                     [](const ReportCell& cell) { return cell.axes.count("rows") != 0; });
}

std::vector<std::string> divergence_lines(const Difference& divergence) {
  if (!divergence.present) return {};
  std::vector<std::string> lines;
  lines.push_back("first difference from " + text::printable(divergence.against));
  const bool of_tokens = !is_row_of_operation(divergence);
  std::string place =
      (of_tokens ? "prompt " : "shape ") + text::quoted(divergence.prompt_id, kTokenText);
  if (divergence.index >= 0 && of_tokens) {
    place += ", generated token " + text::count(divergence.index);
  }
  if (divergence.position >= 0) {
    place += (of_tokens ? ", position " : ", row ") + text::count(divergence.position);
  }
  if (!divergence.layer_site.empty()) place += ", " + text::printable(divergence.layer_site);
  lines.push_back(place);
  const std::string a = token_text(divergence.id_a, divergence.text_a);
  if (!of_tokens) {
    // Nothing was drawn from it.
  } else if (divergence.id_a == divergence.id_b) {
    lines.push_back("token " + a + " on both sides, margin " + text::with_bits(divergence.margin));
  } else {
    lines.push_back("token " + a + " against " + token_text(divergence.id_b, divergence.text_b) +
                    ", margin " + text::with_bits(divergence.margin));
  }
  if (!divergence.digest_a.empty() || !divergence.digest_b.empty()) {
    const auto shown = [](const std::string& digest) {
      return digest.empty() ? std::string("none") : text::printable(digest);
    };
    lines.push_back("digest " + shown(divergence.digest_a) + " against " +
                    shown(divergence.digest_b));
  }
  if (!divergence.cause.empty()) lines.push_back("cause: " + text::printable(divergence.cause));
  if (divergence.has_distance) lines.push_back(distance_text(divergence.distance, of_tokens));
  if (divergence.tokens > 0) {
    const std::string flipped = ", " + text::count(divergence.flipped) + " flipped";
    lines.push_back(text::count(divergence.differing) + " of " +
                    text::count(divergence.tokens, of_tokens ? "token" : "row") +
                    " with other bits" + (of_tokens ? flipped : ""));
  }
  return lines;
}

std::string letters_of(const GroupResult& group, const Report& report) {
  std::vector<std::string> labels;
  bool single = true;
  for (const int cell : group.cells) {
    const std::string& label = cell_at(report, cell).class_label;
    labels.push_back(label.empty() ? "-" : text::printable(label));
    single &= labels.back().size() == 1;
  }
  std::string out;
  for (const std::string& label : labels) out += (single || out.empty() ? "" : " ") + label;
  return out;
}

std::vector<std::string> equal_pair_lines(const GroupResult& group, const Report& report) {
  std::vector<std::string> lines;
  for (const auto& [a, b] : group.equal_pairs) {
    lines.push_back(cell_text(cell_at(report, a)) + " = " + cell_text(cell_at(report, b)));
  }
  return lines;
}

std::vector<ClassPart> class_parts(const GroupResult& group, const Report& report) {
  const AxisValues all = axes_of(group, report);
  std::vector<ClassPart> out;
  for (const ClassOfCells& each : classes_of(group, report)) {
    out.push_back({each.label, axes_text(each.axes, all), each.cells});
  }
  return out;
}

std::vector<std::string> picture_lines(const GroupResult& group, const Report& report,
                                       std::size_t width) {
  std::vector<std::string> lines;
  const std::size_t step = std::max<std::size_t>(width, 10);
  std::string letters = letters_of(group, report);
  while (letters.size() > step) {
    // Labels of two letters stay whole.
    const std::size_t space = letters.rfind(' ', step);
    const std::size_t end = space == std::string::npos || space == 0 ? step : space;
    lines.push_back(letters.substr(0, end));
    letters.erase(0, letters[end] == ' ' ? end + 1 : end);
  }
  if (!letters.empty()) lines.push_back(letters);

  const std::vector<ClassPart> classes = class_parts(group, report);
  constexpr std::size_t kMost = 12;
  for (std::size_t i = 0; i < std::min(classes.size(), kMost); ++i) {
    const ClassPart& each = classes[i];
    lines.push_back(text::printable(each.label) + "  " +
                    (each.axes.empty() ? "" : each.axes + "   ") + text::count(each.cells, "cell"));
  }
  if (classes.size() > kMost) {
    lines.push_back("and " + text::count(std::int64_t(classes.size() - kMost)) + " more classes");
  }
  return lines;
}

bool of_scores(const GroupResult& group) {
  return group.rule.starts_with("score ");
}

std::string measured_text(const GroupResult& group, const Report& report) {
  const bool of_tokens = !of_operation(report);
  const auto cells = std::int64_t(group.cells.size());
  std::string out = text::count(cells, "cell") + ", ";
  if (group.compared_cells < cells && (group.compared_cells > 0 || group.compared_tokens == 0)) {
    out = "rests on " + text::count(group.compared_cells) + " of " + out;
  }
  if (of_scores(group)) return out + text::count(group.compared_tokens, "token") + " scored";
  out += text::count(group.compared_tokens, of_tokens ? "token" : "row") + " compared";
  if (group.differing > 0) out += ", " + text::count(group.differing) + " with other bits";
  // Without a difference nothing could flip: a rate would be one of something else.
  if (group.differing > 0 && group.comparable_rows > 0 && of_tokens) {
    out += ", " + text::count(group.flipped, "flip") + " (rate below " +
           text::number(group.flip_rate_bound) + " of " +
           text::count(group.comparable_rows, "row") + ", 95 %)";
  }
  std::vector<std::int64_t> parted;
  for (const std::int64_t index : group.divergence_index) {
    if (index >= 0) parted.push_back(index);
  }
  if (parted.empty()) return out;
  std::sort(parted.begin(), parted.end());
  const std::string where =
      text::count(std::int64_t(parted.size())) + " of " +
      text::count(std::int64_t(group.divergence_index.size()), of_tokens ? "prompt" : "shape");
  if (!of_tokens) return out + ", in " + where;
  return out + ", first difference at token " + text::count(parted.front()) + " (median " +
         text::count(parted[parted.size() / 2]) + ") in " + where;
}

std::vector<std::string> answer_lines(const Report& report) {
  struct Answers {
    const ReportCell* first;
    std::int64_t cells;
  };
  std::vector<Answers> classes;
  for (const ReportCell& cell : report.cells) {
    if (cell.score.scored == 0 || !cell.scores.empty()) continue;  // the table of scores has it
    const auto same = [&](const Answers& known) {
      return known.first->class_label == cell.class_label &&
             known.first->score.scored == cell.score.scored &&
             known.first->score.correct == cell.score.correct;
    };
    const auto at = std::find_if(classes.begin(), classes.end(), same);
    if (at == classes.end()) {
      classes.push_back({&cell, 1});
    } else {
      ++at->cells;
    }
  }
  std::vector<std::string> lines;
  for (const Answers& each : classes) {
    const ReportCell& first = *each.first;
    lines.push_back("answers  " + text::printable(first.class_label) + "  " +
                    text::count(first.score.correct) + " of " + text::count(first.score.scored) +
                    " correct  (" + text::count(each.cells, "cell") +
                    (each.cells == 1 ? ": " : ", the first is ") + cell_text(first) + ")");
  }
  return lines;
}

std::vector<std::string> pair_lines(const GroupResult& group, const Report& report) {
  std::vector<std::string> lines;
  if (group.pairs.empty()) return lines;
  const AxisValues all = axes_of(group, report);
  const auto label = [&](int index) {
    AxisValues own;
    add_axes(cell_at(report, index), own);
    const std::string axes = axes_text(own, all);
    return axes.empty() ? cell_text(cell_at(report, index)) : axes;
  };
  const bool of_tokens = !of_operation(report);
  lines.push_back("against " + label(group.base) + ":");
  for (const PairResult& pair : group.pairs) {
    std::string line = label(pair.cell) + "   " + text::count(pair.differing) + " of " +
                       text::count(pair.rows, "row");
    if (pair.prompts_differing > 0) {
      line += " in " + text::count(pair.prompts_differing) + " of " +
              text::count(pair.prompts, of_tokens ? "prompt" : "shape");
      if (of_tokens) {
        line += ", first at token " + text::count(pair.earliest) + ", " +
                text::count(pair.flipped, "flip");
      }
    }
    lines.push_back(line);
  }
  return lines;
}

namespace {

/// Columns of equal width, two blanks between them.
std::string padded(const std::vector<std::string>& columns) {
  constexpr std::size_t kWidth = 11;
  std::string line;
  for (const std::string& column : columns) {
    line += column;
    line.append(column.size() < kWidth ? kWidth - column.size() : 1, ' ');
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

std::string spread_line(const std::string& over, const EnsembleSpread& spread) {
  if (spread.of < 2) return "";
  return "deviation over " + over + ": NLL " + text::number(spread.nll) +
         ", target's probability " + text::number(spread.probability);
}

}  // namespace

std::vector<std::string> ensemble_lines(const GroupResult& group) {
  const EnsembleResult& e = group.ensemble;
  if (e.sizes.empty()) return {};
  std::vector<std::string> lines = {
      text::count(e.targets, "target") + " in " + text::count(e.prompts, "prompt") + ", ECE of " +
          text::count(e.bins, "bin"),
      padded({"members", "NLL", "error", "ECE", "ambiguity", "member NLL", "prompts right"})};
  for (const EnsembleSize& size : e.sizes) {
    lines.push_back(
        padded({text::count(size.members), text::number(size.nll), text::number(size.error),
                text::number(size.ece), text::number(size.ambiguity), text::number(size.member_nll),
                text::count(size.right) + " of " + text::count(e.prompts)}));
  }
  for (const EnsembleMember& member : e.alone) {
    lines.push_back(padded({"alone", text::number(member.nll), text::number(member.error),
                            text::number(member.ece), "", "",
                            text::count(member.right) + " of " + text::count(e.prompts)}) +
                    "  " + text::printable(member.weights));
  }
  for (const std::string& line :
       {spread_line(text::count(e.members.of, "member"), e.members),
        spread_line(text::count(e.runtime.of, "runtime configuration"), e.runtime)}) {
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

std::vector<AlikeCells> alike_red_cells(const Report& report) {
  std::map<std::vector<std::string>, std::size_t> known;  // what is told -> index in out
  std::vector<AlikeCells> out;
  for (std::size_t i = 0; i < report.cells.size(); ++i) {
    const ReportCell& cell = report.cells[i];
    if (!is_red(cell.verdict)) continue;
    const auto [at, is_new] = known.emplace(
        std::vector<std::string>{verdict_text(cell.verdict, cell.severity), cell.reason,
                                 cell.divergence.present ? cell.class_label : ""},
        out.size());
    if (is_new) {
      out.push_back({i, 0});
    } else {
      ++out[at->second].others;
    }
  }
  return out;
}

std::string others_text(const AlikeCells& alike) {
  if (alike.others == 0) return "";
  return "and " + text::count(alike.others) + " more " + (alike.others == 1 ? "cell" : "cells") +
         " with the same reason";
}

std::vector<AlikeGroups> alike_bad_groups(const Report& report) {
  std::map<std::vector<std::string>, std::size_t> known;  // what is told -> index in out
  std::vector<AlikeGroups> out;
  for (std::size_t i = 0; i < report.groups.size(); ++i) {
    const GroupResult& group = report.groups[i];
    if (!is_red(group.judgement.verdict) && !is_open(group.judgement.verdict)) continue;
    std::vector<std::string> told{name_of(group.judgement.verdict), group.rule,
                                  group.judgement.reason, measured_text(group, report)};
    if (group.differing > 0 || !group.equal_pairs.empty()) told.push_back(std::to_string(i));
    const auto [at, is_new] = known.emplace(std::move(told), out.size());
    if (is_new) {
      out.push_back({i, {}});
    } else {
      out[at->second].others.push_back(group.key);
    }
  }
  return out;
}

std::string others_text(const AlikeGroups& alike) {
  constexpr std::size_t kMost = 8;  // keys
  const std::size_t others = alike.others.size();
  if (others == 0) return "";
  std::string out = "and " + text::count(std::int64_t(others)) + " more " +
                    (others == 1 ? "group" : "groups") + " with the same reason";
  for (std::size_t i = 0; i < std::min(others, kMost); ++i) {
    out += (i == 0 ? ": [" : ", [") + text::printable(alike.others[i]) + "]";
  }
  return out + (others > kMost ? ", …" : "");
}

}  // namespace isobit
