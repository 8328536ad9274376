// HTML that cannot be broken by what it tells: text enters through one function that escapes, tags
// and attributes through one that quotes. For reports/html/ alone.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace isobit::html {

/// Escaped HTML. There is no way from a string into it but text(), tag() and trusted().
class Markup {
 public:
  Markup() = default;
  Markup& operator+=(const Markup& more) {
    bytes_ += more.bytes_;
    return *this;
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  [[nodiscard]] bool empty() const { return bytes_.empty(); }

 private:
  explicit Markup(std::string bytes) : bytes_(std::move(bytes)) {}
  friend Markup text(std::string_view, std::size_t);
  friend Markup tag(const char*, const std::vector<std::pair<const char*, std::string>>&,
                    const Markup&);
  friend Markup trusted(std::string);
  std::string bytes_;
};
inline Markup operator+(Markup a, const Markup& b) {
  return a += b;
}

/// Any bytes as text: markup escaped; broken UTF-8, control characters and characters that reorder
/// a line made visible. At most `limit` code points, then "…".
Markup text(std::string_view bytes, std::size_t limit = 4000);

/// Names and values; a value is escaped like text. An empty value of "open", "hidden" or "selected"
/// stands alone.
using Attributes = std::vector<std::pair<const char*, std::string>>;
/// <name attributes>content</name>
Markup tag(const char* name, const Attributes& attributes, const Markup& content = {});
Markup tag(const char* name, const Markup& content);
/// The program's own bytes as they are: assets, and JSON that was made safe.
Markup trusted(std::string bytes);

Markup paragraph(std::string_view words, const char* kind = "");
/// A paragraph that begins with a capital and ends with a full stop.
Markup sentence(std::string words);
/// A heading of the level 1 to 6.
Markup heading(int level, std::string_view words, const std::string& id = "");
/// <details><summary>…</summary>…</details>
Markup fold(const Markup& summary, const Markup& content, bool open, const char* kind = "");

/// A table that says what a chart shows: open until a script draws the chart.
inline Markup numbers(const Markup& table) {
  return fold(text("Numbers"), table, true, "numbers");
}

/// The one way in which a number becomes text here: six significant digits, whatever the locale.
std::string number(double value);

/// Bytes as the content of <script type="application/json">: no text can close the element.
std::string script_safe(std::string json);

/// A column of a table. Rows may give the cells' order by a number: data-v.
struct Column {
  std::string title;
  bool numeric = false;
};
/// A cell of a table, and what it is sorted by when that is not its text.
struct TableCell {
  Markup content;
  std::string sort;
  std::string kind;  // class
};
struct TableRow {
  std::vector<TableCell> cells;
  std::string id, kind;
};
/// A table whose columns a script makes sortable. The first cell of a row is its header.
Markup table(const std::string& caption, const std::vector<Column>& columns,
             const std::vector<TableRow>& rows, const char* kind = "sortable");
/// The same of plain texts, the first row being the titles.
Markup table_of(const std::string& caption, const std::vector<std::vector<std::string>>& rows);
/// What may be wider than a phone: it scrolls by itself, by keyboard too.
Markup scroll(const std::string& label, const Markup& content);

}  // namespace isobit::html
