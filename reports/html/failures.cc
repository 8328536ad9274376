// What broke: groups with their picture, cells with severity, first divergence, cause and the line
// that repeats them (sections.h).
#include <algorithm>

#include "reports/describe.h"
#include "reports/html/sections.h"
#include "runtime/base/text.h"

namespace isobit::html {
namespace {

constexpr std::size_t kMostGroups = 24;
constexpr std::size_t kMostCells = 40;
constexpr std::size_t kMostSquares = 400;
constexpr std::size_t kMostPairs = 20;
constexpr std::size_t kTokenText = 60;

/// What a rule promises, in words; empty for one that promises nothing.
std::string promise_of(const std::string& rule) {
  const std::pair<const char*, const char*> kinds[] = {
      {"same_bits", "All cells of this group had to give the same bits: one letter."},
      {"within", "The values of every pair of cells had to stay within a bound."},
      {"differ_all", "Every pair of cells had to differ."},
      {"differ",
       "Some pair of cells had to differ: a control that shows that a difference is seen."},
      {"score", "A score of every cell had to stay within a bound."},
  };
  for (const auto& [name, words] : kinds) {
    if (rule.starts_with(name)) return words;
  }
  return "";
}

Markup squares(const Report& report, const GroupResult& group, const Place& place) {
  Markup out;
  for (std::size_t i = 0; i < std::min(group.cells.size(), kMostSquares); ++i) {
    const ReportCell& cell = report.cells[std::size_t(group.cells[i])];
    out += tag("a",
               {{"class", "k " + class_colour(cell.class_label)},
                {"href", "#" + cell_id(place, group.cells[i])},
                {"aria-label", "class " + cell.class_label + ", cell " + cell.hash.substr(0, 8)}},
               text(cell.class_label.empty() ? "-" : cell.class_label));
  }
  if (group.cells.size() > kMostSquares) {
    out += text(" and " + text::count(std::int64_t(group.cells.size() - kMostSquares)) + " more");
  }
  return tag("p", {{"class", "squares"}}, out);
}

Markup picture(const Report& report, const GroupResult& group, const Place& place) {
  const std::vector<ClassPart> parts = class_parts(group, report);
  if (parts.empty()) return {};
  std::string words;
  const auto classes = std::int64_t(std::count_if(
      parts.begin(), parts.end(), [](const auto& each) { return each.label != "!"; }));
  if (classes == 1) words = "Every cell that gave bits gave the same ones.";
  if (classes > 1) {
    words =
        "The cells gave " + text::count(classes) +
        " different results. Each square is a cell, in the order of the scenario; equal letters "
        "mean equal bits.";
  }
  std::vector<TableRow> rows;
  constexpr std::size_t kMost = 12;
  for (std::size_t i = 0; i < std::min(parts.size(), kMost); ++i) {
    const std::string in_common = parts[i].axes.empty() ? "no axis varies" : parts[i].axes;
    rows.push_back({{{class_square(parts[i].label), parts[i].label, ""},
                     {text(text::count(parts[i].cells)), "", ""},
                     {text(in_common, 300), "", ""}},
                    "",
                    ""});
  }
  Markup out = paragraph(words) + squares(report, group, place);
  out += table("Classes of this group", {{"class"}, {"cells", true}, {"axes of its cells"}}, rows,
               "plain");
  if (parts.size() > kMost) {
    out += paragraph("and " + text::count(std::int64_t(parts.size() - kMost)) + " more classes");
  }
  return out;
}

Markup red_group(const Report& report, const AlikeGroups& alike, const Place& place) {
  const GroupResult& group = report.groups[alike.first];
  const Verdict verdict = group.judgement.verdict;
  Markup head = verdict_badge(verdict, Severity::none) + text(" ") + tag("code", text(group.rule));
  if (!group.key.empty()) head += text(" for ") + tag("code", text(group.key));
  const std::string level = "h" + std::to_string(place.level + 1);
  Markup out = tag(level.c_str(), head);
  std::string words = promise_of(group.rule);
  if (!group.judgement.reason.empty()) {
    words += (words.empty() ? "" : " ") + std::string("Here: ") + group.judgement.reason + ".";
  }
  out += paragraph(words);
  out += picture(report, group, place);
  out += paragraph("Measured: " + measured_text(group, report) + ".");
  const std::vector<std::string> equal = equal_pair_lines(group, report);
  Markup pairs;
  for (std::size_t i = 0; i < std::min(equal.size(), kMostPairs); ++i) {
    pairs += tag("li", tag("code", text(equal[i])));
  }
  if (!pairs.empty()) out += paragraph("Equal although they had to differ:") + tag("ul", pairs);
  if (const std::string others = others_text(alike); !others.empty()) out += sentence(others);
  return tag("div", {{"class", "card " + tone_of(verdict)}}, out);
}

std::string meaning_of(Severity severity) {
  switch (severity) {
    case Severity::flipped:
      return "A token changed: the generated text is another one.";
    case Severity::near_tie:
      return "No token changed here, but the two best tokens were so close that a difference of "
             "this size can change one with another prompt.";
    case Severity::bits_only:
      return "Bits alone: the best token was more than twice as far ahead as the rows are apart, "
             "so "
             "no token could change at this place.";
    case Severity::none:
      break;
  }
  return "";
}

Markup fact(const std::string& name, const Markup& value) {
  return tag("dt", text(name)) + tag("dd", value);
}

Markup token(std::int32_t id, const std::string& bytes) {
  if (id < 0) return text("none");
  Markup out = text(std::to_string(id));
  if (!bytes.empty()) out += text(" ") + tag("code", text(text::quoted(bytes, kTokenText)));
  return out;
}

/// The names of the two sides, as difference and window have them.
struct Sides {
  std::string a, b;
  bool own_is_b = false;
};

Sides sides_of(const Report& report, const ReportCell& cell, const ReportCell*& other) {
  const Difference& d = cell.divergence;
  other = nullptr;
  for (const ReportCell& each : report.cells) {
    const bool named = d.against == each.name || d.against == cell_text(each);
    if (&each != &cell && named) other = &each;
  }
  if (other != nullptr) return {d.against, "this cell", true};
  return {"this cell", d.against, false};
}

/// Where in the model it parts, or how to find out.
Markup layer_fact(const Report& report, const ReportCell& cell, const ReportCell* other) {
  const Difference& d = cell.divergence;
  if (!d.layer_site.empty()) return text(d.layer_site);
  if (other == nullptr || other->hash.empty()) {
    return text("not recorded; with ") + tag("code", text("observe: ops")) +
           text(" in the scenario every operation is");
  }
  const std::string run = std::to_string(report.run) + ":/";
  return text("not recorded; found by ") +
         tag("code", text("isobit diff " + run + other->hash.substr(0, 8) + " " + run +
                          cell.hash.substr(0, 8)));
}

Markup distance_facts(const Difference& d) {
  if (!d.has_distance) return {};
  const RowDistance& r = d.distance;
  std::string words = text::count(r.differing, "logit") + " of this row differ, by at most " +
                      text::count(std::int64_t(r.max_ulp)) + " ULP or " + number(r.max_abs) +
                      "; KL divergence " + number(r.kl) + " nats";
  if (r.first_element >= 0) words += "; the first is logit " + text::count(r.first_element);
  return fact("How far", text(words));
}

Markup divergence(const Report& report, const ReportCell& cell) {
  const Difference& d = cell.divergence;
  if (!d.present) return {};
  const bool of_tokens = !of_operation(report);
  const ReportCell* other = nullptr;
  const Sides sides = sides_of(report, cell, other);
  Markup out = fact("Differs from", tag("code", text(d.against)));
  out += fact(of_tokens ? "First at prompt" : "First at shape", tag("code", text(d.prompt_id)));
  if (d.position >= 0) {
    const std::string at = "position " + text::count(d.position);
    out += fact(of_tokens ? "Generated token" : "Row",
                text(of_tokens && d.index >= 0 ? text::count(d.index) + " (" + at + ")" : at));
  }
  if (of_tokens) {
    if (d.id_a == d.id_b) {
      const char* later = d.flipped > 0 ? " on both sides; a flip comes later" : " on both sides";
      out += fact("Token", token(d.id_a, d.text_a) + text(later));
    } else {
      out += fact("Token of " + sides.a, token(d.id_a, d.text_a));
      out += fact("Token of " + sides.b, token(d.id_b, d.text_b));
    }
    out += fact("Margin", text(number(d.margin) + " of the first side"));
    out += fact("Layer and operation", layer_fact(report, cell, other));
  }
  out += distance_facts(d);
  if (d.tokens > 0) {
    std::string extent = text::count(d.differing) + " of " +
                         text::count(d.tokens, of_tokens ? "token" : "row") + " with other bits";
    if (of_tokens) extent += ", " + text::count(d.flipped) + " flipped";
    out += fact("Extent", text(extent));
  }
  if (!d.digest_a.empty() || !d.digest_b.empty()) {
    out += fact("Digests", tag("code", text(d.digest_a.empty() ? "none" : d.digest_a)) +
                               text(" against ") +
                               tag("code", text(d.digest_b.empty() ? "none" : d.digest_b)));
  }
  return out;
}

/// Why the bits may differ: what was recorded, or the axes in which the two cells do.
Markup cause(const Report& report, const ReportCell& cell) {
  const Difference& d = cell.divergence;
  if (!d.present) return {};
  if (!d.cause.empty()) return fact("Cause", text(d.cause));
  const ReportCell* other = nullptr;
  sides_of(report, cell, other);
  if (other == nullptr) return {};
  std::string words;
  for (const auto& [axis, value] : cell.axes) {
    const auto theirs = other->axes.find(axis);
    if (theirs == other->axes.end() || theirs->second == value) continue;
    words += (words.empty() ? "" : ", ") + axis + " " + theirs->second + " against " + value;
  }
  if (words.empty()) return {};
  return fact("Cause", text("the two cells ran alike but for " + words));
}

Markup red_cell(const Report& report, const AlikeCells& alike, const Place& place) {
  const ReportCell& cell = report.cells[alike.first];
  const std::string level = "h" + std::to_string(place.level + 1);
  Markup out = tag(level.c_str(), verdict_badge(cell.verdict, cell.severity) + text(" ") +
                                      tag("code", text(cell_text(cell))));
  if (const std::string words = meaning_of(cell.severity); !words.empty()) out += paragraph(words);
  Markup facts;
  if (!cell.reason.empty()) facts += fact("Reason", text(cell.reason));
  facts += divergence(report, cell) + cause(report, cell);
  if (!cell.imported.empty()) facts += fact("Origin", text(origin_text(cell)));
  if (!cell.repro.empty())
    facts += fact("Repeat it", tag("code", {{"class", "line"}}, text(cell.repro)));
  out += tag("dl", {{"class", "facts"}}, facts);
  if (const std::string others = others_text(alike); !others.empty()) {
    out += sentence(others + ", in the table of cells");
  }
  for (std::size_t w = 0; w < report.detail.windows.size(); ++w) {
    if (report.detail.windows[w].cell == int(alike.first)) out += window_part(report, w, place);
  }
  return tag("div", {{"class", "card " + tone_of(cell.verdict)}}, out);
}

Markup left_out(std::size_t all, std::size_t shown, const char* what) {
  if (all <= shown) return {};
  return sentence("and " + text::count(std::int64_t(all - shown)) + " more " + what +
                  ", in the tables below");
}

/// Differences that nobody counts as a failure: expected ones, those of controls.
Markup other_windows(const Report& report, const Place& place) {
  Markup out;
  for (std::size_t w = 0; w < report.detail.windows.size(); ++w) {
    const ReportCell& cell = report.cells[std::size_t(report.detail.windows[w].cell)];
    if (is_red(cell.verdict)) continue;
    out += fold(
        verdict_badge(cell.verdict, cell.severity) + text(" ") + tag("code", text(cell_text(cell))),
        tag("dl", {{"class", "facts"}}, divergence(report, cell) + cause(report, cell)) +
            window_part(report, w, place),
        false);
  }
  if (out.empty()) return out;
  return heading(place.level + 1, "Differences that are allowed or expected") + out;
}

}  // namespace

Section failures_section(const Report& report, const Place& place) {
  const std::vector<AlikeGroups> groups = alike_bad_groups(report);
  const std::vector<AlikeCells> cells = alike_red_cells(report);
  Markup out;
  for (std::size_t i = 0; i < std::min(groups.size(), kMostGroups); ++i) {
    out += red_group(report, groups[i], place);
  }
  out += left_out(groups.size(), kMostGroups, "groups");
  for (std::size_t i = 0; i < std::min(cells.size(), kMostCells); ++i) {
    out += red_cell(report, cells[i], place);
  }
  out += left_out(cells.size(), kMostCells, "cells");
  const bool broken = !out.empty();
  const std::string title = broken ? "What broke" : "Nothing broke";
  const std::string id = place.id("failures");
  out = heading(place.level, title, id) + out;
  if (!broken) out += paragraph("No cell and no group is red, and nothing is left open.");
  if (report.detail.windows_left_out > 0) {
    out +=
        paragraph("Rows of " + text::count(report.detail.windows_left_out, "more difference") +
                  " are left out to keep this page small; isobit diff A B shows those of any two "
                  "cells.");
  }
  out += other_windows(report, place);
  return {id, title, out};
}

}  // namespace isobit::html
