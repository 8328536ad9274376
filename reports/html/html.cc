// One page of any number of reports (reports/report.h): its head with the rules of content, its
// sections in order, and one block of data for its scripts.
//
// The page asks for nothing: style and scripts are in it, and the rules allow exactly these by
// their SHA-256. Without scripts it has every word and number; scripts add charts, sorting, filters
// and another arrangement of the matrix. It holds no clock, no pointer and no locale.
#include <string>

#include "reports/describe.h"
#include "reports/html/assets.h"
#include "reports/html/sections.h"
#include "runtime/base/sha256.h"
#include "runtime/base/text.h"

namespace isobit {
namespace html {
namespace {

std::string base64(const Sha256& bytes) {
  constexpr const char* kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8 | (i + j < bytes.size() ? bytes[i + j] : 0u);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      const bool padding = i + j > bytes.size();
      out += padding ? '=' : kLetters[group >> (18 - 6 * j) & 63];
    }
  }
  return out;
}

std::string source_hash(const std::string& content) {
  return "'sha256-" + base64(sha256(content.data(), content.size())) + "'";
}

/// The library after its terms; empty where there is none.
std::string chart_script() {
  const std::string library = kChartLibrary;
  if (library.empty()) return "";
  return "/*!\n" + std::string(kChartLicense) + "*/\n" + library;
}

std::string rules() {
  std::string scripts = source_hash(kPageJs);
  if (const std::string library = chart_script(); !library.empty()) {
    scripts += " " + source_hash(library);
  }
  return "default-src 'none'; script-src " + scripts + "; style-src " + source_hash(kPageCss) +
         "; img-src data:; base-uri 'none'; form-action 'none'";
}

Markup meta(const char* key, const char* value, const std::string& content) {
  return tag("meta", {{key, value}, {"content", content}}) + trusted("\n");
}

Markup head(const std::string& title) {
  Markup out = tag("meta", Attributes{{"charset", "utf-8"}}) + trusted("\n");
  // The hashes hold characters that would be escaped: they are the program's own.
  out += trusted("<meta http-equiv=\"Content-Security-Policy\" content=\"" + rules() + "\">\n");
  out += meta("name", "viewport", "width=device-width, initial-scale=1");
  out += meta("name", "color-scheme", "light dark");
  out += meta("name", "referrer", "no-referrer");
  out += tag("title", text(title)) + trusted("\n");
  out += tag("link", {{"rel", "icon"}, {"href", "data:,"}}) + trusted("\n");
  out += tag("style", trusted(kPageCss)) + trusted("\n");
  return tag("head", out);
}

std::string title_of(const std::vector<Report>& reports) {
  if (reports.size() == 1)
    return outcome_text(reports[0]) + ": " + reports[0].scenario + " – Isobit";
  std::int64_t fine = 0;
  for (const Report& report : reports) fine += report.exit_code == kExitOk ? 1 : 0;
  return text::count(fine) + " of " + text::count(std::int64_t(reports.size()), "scenario") +
         " pass – Isobit";
}

std::vector<Section> sections_of(const Report& report, const Place& place) {
  std::vector<Section> out;
  for (const auto& make : {failures_section, matrix_section, histograms_section, measures_section,
                           environment_section, groups_section, cells_section}) {
    Section section = make(report, place);
    if (!section.content.empty()) out.push_back(std::move(section));
  }
  return out;
}

Markup contents(const std::vector<Section>& sections, const std::string& label) {
  Markup items;
  for (const Section& section : sections) {
    items += tag("li", tag("a", {{"href", "#" + section.id}}, text(section.title)));
  }
  return tag("nav", {{"aria-label", label}}, tag("ul", items)) + trusted("\n");
}

Markup article(const Report& report, const Place& place) {
  std::vector<Section> sections = sections_of(report, place);
  Markup out = verdict_banner(report, place) + trusted("\n");
  out += contents(sections, "Sections of " + report.scenario);
  for (const Section& section : sections) {
    out += tag("section", {{"aria-labelledby", section.id}}, section.content) + trusted("\n");
  }
  return tag("article", out);
}

/// Where several scenarios are told: which, and how each ended.
Markup overview(const std::vector<Report>& reports) {
  Markup items;
  for (std::size_t i = 0; i < reports.size(); ++i) {
    const Place place{int(i), 3};
    const bool fine = reports[i].exit_code == kExitOk;
    items +=
        tag("li", tag("span", {{"class", fine ? "badge fine" : "badge red"}},
                      text(outcome_text(reports[i]))) +
                      text(" ") +
                      tag("a", {{"href", "#" + place.id("verdict")}}, text(reports[i].scenario)));
  }
  return heading(1, title_of(reports)) + tag("ul", {{"class", "counts"}}, items);
}

Markup body(const std::vector<Report>& reports) {
  Markup out = tag("noscript", paragraph("Scripts are off: every word and number is here; charts, "
                                         "sorting and filters are not."));
  const bool several = reports.size() != 1;
  if (several) out += overview(reports);
  for (std::size_t i = 0; i < reports.size(); ++i) {
    out += article(reports[i], {int(i), several ? 3 : 2});
  }
  const Section words = words_section(2);
  out += tag("section", {{"aria-labelledby", words.id}}, words.content);
  out = tag("main", out);
  std::string foot = "Written by Isobit " ISOBIT_VERSION ". ";
  foot +=
      chart_script().empty()
          ? "Charts are missing: the program was built without d3. The tables hold their numbers."
          : "Charts by d3, whose terms stand before its source in this page.";
  out += tag("footer", paragraph(foot)) + trusted("\n");
  out += trusted("<script type=\"application/json\" id=\"data\">" +
                 script_safe(data_json(reports)) + "</script>\n");
  if (const std::string library = chart_script(); !library.empty()) {
    out += tag("script", trusted(library)) + trusted("\n");
  }
  out += tag("script", trusted(kPageJs)) + trusted("\n");
  return tag("body", out);
}

}  // namespace
}  // namespace html

std::string render_html(const std::vector<Report>& reports) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n" + html::head(html::title_of(reports)).bytes() +
         "\n" + html::body(reports).bytes() + "\n</html>\n";
}

}  // namespace isobit
