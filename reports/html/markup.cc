// Escaping, tags and tables (markup.h).
#include "reports/html/markup.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "runtime/base/text.h"

namespace isobit::html {

Markup text(std::string_view bytes, std::size_t limit) {
  return Markup(text::xml(text::printable(bytes, limit)));
}

Markup trusted(std::string bytes) {
  return Markup(std::move(bytes));
}

Markup tag(const char* name, const Attributes& attributes, const Markup& content) {
  constexpr std::array<std::string_view, 3> kAlone = {"open", "hidden", "selected"};
  constexpr std::array<std::string_view, 4> kVoid = {"br", "link", "meta", "input"};
  std::string out = std::string("<") + name;
  for (const auto& [key, value] : attributes) {
    const bool alone = std::find(kAlone.begin(), kAlone.end(), key) != kAlone.end();
    if (value.empty() && !alone) continue;
    out += std::string(" ") + key;
    if (!value.empty()) out += "=\"" + text::xml(text::printable(value)) + "\"";
  }
  out += ">";
  if (std::find(kVoid.begin(), kVoid.end(), name) != kVoid.end()) return Markup(std::move(out));
  return Markup(out + content.bytes() + "</" + name + ">");
}

Markup tag(const char* name, const Markup& content) {
  return tag(name, {}, content);
}

Markup paragraph(std::string_view words, const char* kind) {
  return tag("p", {{"class", kind}}, text(words));
}

Markup sentence(std::string words) {
  if (!words.empty() && words[0] >= 'a' && words[0] <= 'z') words[0] = char(words[0] - 'a' + 'A');
  return paragraph(words + ".");
}

Markup heading(int level, std::string_view words, const std::string& id) {
  const std::string name = "h" + std::to_string(std::clamp(level, 1, 6));
  return tag(name.c_str(), {{"id", id}}, text(words));
}

Markup fold(const Markup& summary, const Markup& content, bool open, const char* kind) {
  Attributes attributes = {{"class", kind}};
  if (open) attributes.emplace_back("open", "");
  return tag("details", attributes, tag("summary", summary) + content);
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "infinite" : "-infinite";
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::general, 6);
  return {buffer, end.ptr};
}

std::string script_safe(std::string json) {
  std::string out;
  out.reserve(json.size());
  for (const char c : json) {
    if (c == '<') {
      out += "\\u003c";
    } else if (c == '>') {
      out += "\\u003e";
    } else if (c == '&') {
      out += "\\u0026";
    } else {
      out += c;
    }
  }
  return out;
}

Markup table(const std::string& caption, const std::vector<Column>& columns,
             const std::vector<TableRow>& rows, const char* kind) {
  Markup head;
  for (const Column& column : columns) {
    head += tag("th", {{"scope", "col"}, {"class", column.numeric ? "n" : ""}}, text(column.title));
  }
  Markup body;
  for (const TableRow& row : rows) {
    Markup cells;
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      const TableCell& cell = row.cells[i];
      const bool numeric = i < columns.size() && columns[i].numeric;
      const std::string classes =
          cell.kind + (numeric ? std::string(cell.kind.empty() ? "n" : " n") : std::string());
      const Attributes attributes = {
          {"scope", i == 0 ? "row" : ""}, {"class", classes}, {"data-v", cell.sort}};
      cells += tag(i == 0 ? "th" : "td", attributes, cell.content);
    }
    body += tag("tr", {{"id", row.id}, {"class", row.kind}}, cells) + trusted("\n");
  }
  const Markup whole = tag("caption", text(caption)) + tag("thead", tag("tr", head)) +
                       trusted("\n") + tag("tbody", body);
  return scroll(caption, tag("table", {{"class", kind}}, whole));
}

Markup table_of(const std::string& caption, const std::vector<std::vector<std::string>>& rows) {
  if (rows.empty()) return {};
  std::vector<Column> columns;
  for (const std::string& title : rows[0]) columns.push_back({title});
  std::vector<TableRow> out;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    TableRow& row = out.emplace_back();
    for (const std::string& cell : rows[i]) row.cells.push_back({text(cell, 300), "", ""});
  }
  return table(caption, columns, out);
}

Markup scroll(const std::string& label, const Markup& content) {
  return tag("div",
             {{"class", "scroll"}, {"tabindex", "0"}, {"role", "group"}, {"aria-label", label}},
             content);
}

}  // namespace isobit::html
