// The verdict, first of all that is told, and what the words mean (sections.h).
#include "reports/describe.h"
#include "reports/html/sections.h"
#include "runtime/base/text.h"

namespace isobit::html {
namespace {

/// What the exit code says, for somebody who never saw this program.
std::string meaning_of(const Report& report) {
  switch (report.exit_code) {
    case kExitOk:
      return "Every promise of the scenario holds: configurations that had to give the same bits "
             "gave them, in every token that was compared.";
    case kExitDifferent:
      return "A promise of the scenario is broken: configurations that had to agree gave other "
             "bits, gave other bits when repeated, or failed.";
    case kExitGolden:
      return "Nothing differs, but blessed results are missing or out of date, so that this run "
             "could not be held against them.";
    case kExitMistrusted:
      return "The comparison proves nothing: what was to be varied did not vary, or there was "
             "nothing to compare.";
    case kExitEnvironment:
      return "This machine is not the one that was asked for.";
    case kExitNotRun:
      return "Not every cell was run: what was not compared is not green.";
    case kExitNothing:
      return "Nothing was selected, executed or compared.";
    case kExitSkipped:
      return "Everything was skipped: this machine lacks what the scenario requires.";
    case kExitInterrupted:
      return "The run was interrupted.";
    default:
      return "The scenario could not be run.";
  }
}

std::string tone_of_code(int code) {
  if (code == kExitOk) return "fine";
  const bool open = code == kExitGolden || code == kExitNotRun || code == kExitNothing ||
                    code == kExitSkipped || code == kExitInterrupted;
  return open ? "open" : "red";
}

Markup counts(const Report& report) {
  Markup items;
  for (int i = 0; i < kVerdicts; ++i) {
    const std::int64_t count = report.counts[std::size_t(i)];
    if (count == 0) continue;
    const auto verdict = Verdict(i);
    const char* what = verdict == Verdict::obsolete ? " golden blocks" : "";
    items +=
        tag("li", verdict_badge(verdict, Severity::none) + text(" " + text::count(count) + what));
  }
  return items.empty() ? items : tag("ul", {{"class", "counts"}}, items);
}

Markup fact(const std::string& name, const Markup& value) {
  return tag("dt", text(name)) + tag("dd", value);
}

Markup facts(const Report& report) {
  Markup out;
  const ReportDetail& detail = report.detail;
  std::string run = report.run > 0 ? std::to_string(report.run) : "none";
  if (!detail.started.empty()) run += ", " + detail.started;
  out += fact("Run", text(run));
  out += fact("Command", tag("code", text(report.command)));
  out += fact("Scenario", tag("code", text(report.path)));
  if (!detail.commit.empty()) out += fact("Commit", tag("code", text(detail.commit)));
  out += fact("Exit code", text(std::to_string(report.exit_code)));
  return tag("dl", {{"class", "facts"}}, out);
}

}  // namespace

std::string tone_of(Verdict verdict) {
  if (is_red(verdict)) return "red";
  if (is_open(verdict)) return "open";
  return verdict == Verdict::skip ? "left" : "fine";
}

Markup verdict_badge(Verdict verdict, Severity severity) {
  return tag("span", {{"class", "badge " + tone_of(verdict)}},
             text(verdict_text(verdict, severity)));
}

Markup verdict_banner(const Report& report, const Place& place) {
  const std::string outcome = outcome_text(report);
  const std::string tone = tone_of_code(report.exit_code);
  const char* sign = tone == "fine" ? "✓ " : tone == "red" ? "✗ " : "! ";
  Markup out = tag("p", {{"class", "outcome"}}, text(sign + outcome));
  out += heading(place.level - 1, report.scenario, place.id("verdict"));
  if (!report.question.empty()) out += paragraph(report.question, "question");
  out += paragraph(meaning_of(report));
  out += counts(report);
  out += sentence(totals_text(report));
  if (const std::string agreement = agreement_text(report); !agreement.empty()) {
    out += sentence(agreement);
  }
  Markup notes;
  for (const std::string& note : report.notes) notes += tag("li", text(note));
  for (const std::string& line : answer_lines(report)) notes += tag("li", text(line));
  if (!notes.empty()) out += tag("ul", {{"class", "notes"}}, notes);
  out += facts(report);
  return tag("div", {{"class", "banner " + tone}}, out);
}

Section words_section(int level) {
  const std::vector<std::pair<const char*, const char*>> words = {
      {"Cell",
       "One configuration: a value for every axis, such as batch 3 with the cache on. Every "
       "cell answers the same prompts."},
      {"Same bits",
       "For every generated token the whole row of logits is hashed. Two rows are equal "
       "when every bit is, the sign of zero included; nothing is rounded."},
      {"Class",
       "Cells that gave the same bits in every token share a letter and a colour. Letters "
       "follow the order of the cells: A is the first, not the right one."},
      {"Group", "Cells that a rule of the scenario holds against each other."},
      {"Margin",
       "The best logit minus the second best: how far a token was from becoming another."},
      {"Flip", "A token that differs although everything before it agreed."},
      {"ULP", "Unit in the last place: the distance of two neighbouring floating-point numbers."},
      {"DIFF",
       "Bits differ where they had to be equal, or from the blessed result. "
       "“bits only”: the margin is more than twice the distance, no token could change; "
       "“near tie”: such a distance could change a token; “flipped”: a token changed."},
      {"NONDET", "The same cell gave other bits when it was executed again."},
      {"MISTRUSTED", "The comparison proves nothing, for example since the cache was never hit."},
      {"NOGOLD, STALE", "There is no blessed result, or it is of another recipe."},
      {"XFAIL, XPASS", "It failed as the scenario expects; it passed where that was not expected."},
      {"SKIP, NOT-RUN", "This machine lacks what the cell needs; the run ended before it."},
  };
  Markup list;
  for (const auto& [word, meaning] : words)
    list += tag("dt", text(word)) + tag("dd", text(meaning));
  const std::string id = "words";
  return {id, "What the words mean",
          heading(level, "What the words mean", id) + tag("dl", {{"class", "words"}}, list)};
}

}  // namespace isobit::html
