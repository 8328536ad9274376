// Reads and writes schedules and their books.
#include "runtime/numerics/schedule_text.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <sstream>

#include "runtime/base/file.h"
#include "runtime/base/option_text.h"
#include "runtime/base/sha256.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

using Book = std::shared_ptr<const ScheduleBook>;

constexpr const char* kHeader = "isobit schedules 1";
constexpr std::size_t kLargestBook = std::size_t{16} << 20;
constexpr std::int64_t kMostRows = std::int64_t{1} << 40;

const std::vector<std::string> kOptions = {"split_k", "slice", "combine", "out"};
const std::vector<std::string> kCombines = {"ascending", "tree"};
const std::vector<std::string> kFormats = {"fp32", "bf16", "fp16"};

const char* name_of(Format format) {
  return format == Format::bf16 ? "bf16" : format == Format::fp16 ? "fp16" : "fp32";
}

/// {from rows: schedule, …}, ascending from 1.
Result<std::vector<ScheduleLine>> table_of(const std::string& text) {
  std::vector<ScheduleLine> lines;
  for (const auto& [from, schedule] : option_pairs(without_parentheses(text))) {
    ScheduleLine line;
    if (!parse_integer(from, 1, kMostRows, line.from_rows)) {
      return Error{"by_rows maps a number of rows to the schedule from there on; " +
                       in_quotes(from) + " is none" + number_hint(from),
                   ""};
    }
    if (lines.empty() ? line.from_rows != 1 : line.from_rows <= lines.back().from_rows) {
      return Error{"the rows of by_rows ascend from 1", ""};
    }
    auto parsed = parse_schedule(without_parentheses(schedule));
    ISOBIT_TRY(parsed);
    line.schedule = *parsed;
    if (!lines.empty()) lines.back().to_rows = line.from_rows - 1;
    lines.push_back(line);
  }
  return lines;
}

std::string table_text(const std::vector<ScheduleLine>& lines) {
  std::string text;
  for (const ScheduleLine& line : lines) {
    text += (text.empty() ? "" : "+") + std::to_string(line.from_rows) + ":(" +
            text_of(line.schedule) + ")";
  }
  return "by_rows:(" + text + ")";
}

bool size_or_any(const std::string& text, std::int64_t& out) {
  out = 0;
  return text == "*" || parse_integer(text, 1, kMostRows, out);
}

/// "*", "n", "n..", "n..m".
bool row_range(const std::string& text, ScheduleLine& line) {
  if (text == "*") return true;
  const std::size_t dots = text.find("..");
  if (!parse_integer(text.substr(0, dots), 1, kMostRows, line.from_rows)) return false;
  if (dots == std::string::npos) {
    line.to_rows = line.from_rows;
    return true;
  }
  const std::string to = text.substr(dots + 2);
  return to.empty() || parse_integer(to, line.from_rows, kMostRows, line.to_rows);
}

Result<ScheduleLine> book_line(const std::string& text) {
  std::istringstream words(text);
  std::string outputs, inputs, rows, schedule, more;
  words >> outputs >> inputs >> rows >> schedule;
  ScheduleLine line;
  if (schedule.empty() || words >> more) {
    return Error{"a line is N K M SCHEDULE, e.g. 576 1536 1..32 split_k:3+slice:64", ""};
  }
  if (!size_or_any(outputs, line.outputs) || !size_or_any(inputs, line.inputs)) {
    return Error{"N and K are whole numbers above 0, or *", ""};
  }
  if (!row_range(rows, line)) return Error{"M is n, n.., n..m or *", ""};
  auto parsed = parse_schedule(schedule);
  ISOBIT_TRY(parsed);
  line.schedule = *parsed;
  return line;
}

/// Books that this process has read, by their canonical texts.
class Shelf {
 public:
  Book find(const std::string& text) {
    const std::lock_guard hold(mutex_);
    const auto found = books_.find(text);
    return found == books_.end() ? nullptr : found->second;
  }
  Book keep(Book book) {
    const std::lock_guard hold(mutex_);
    return books_.emplace(book->text, book).first->second;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Book> books_;
};

Shelf& shelf() {
  static Shelf all;
  return all;
}

Result<Book> read_book(const std::string& file, const std::string& folder) {
  const std::filesystem::path path = std::filesystem::path(folder) / file;
  const std::string name = path.filename().string();
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
  };
  if (name.empty() || !std::all_of(name.begin(), name.end(), plain)) {
    return Error{"a schedule book's name has letters, digits, '.', '-' and '_'; " +
                     in_quotes(name) + " has others",
                 ""};
  }
  auto bytes = read_file(path.string(), kLargestBook, "a schedule book");
  if (!bytes) return Error{bytes.error().text(), ""};
  auto lines = parse_schedule_lines(*bytes, path.string());
  if (!lines) return Error{lines.error().text(), ""};  // the place is the scenario's
  const std::string digest = to_hex(sha256(bytes->data(), bytes->size())).substr(0, 16);
  return shelf().keep(std::make_shared<const ScheduleBook>(
      ScheduleBook{"book:" + name + "@" + digest, std::move(*lines)}));
}

}  // namespace

bool ScheduleBook::by_rows() const {
  return std::any_of(lines.begin(), lines.end(), [](const ScheduleLine& line) {
    return line.from_rows > 1 || line.to_rows > 0;
  });
}

const GemmSchedule* ScheduleBook::find(std::int64_t outputs, std::int64_t inputs,
                                       std::int64_t rows) const {
  const auto fits = [&](const ScheduleLine& line) {
    return (line.outputs == 0 || line.outputs == outputs) &&
           (line.inputs == 0 || line.inputs == inputs) && rows >= line.from_rows &&
           (line.to_rows == 0 || rows <= line.to_rows);
  };
  const auto found = std::find_if(lines.begin(), lines.end(), fits);
  return found == lines.end() ? nullptr : &found->schedule;
}

std::string text_of(const GemmSchedule& schedule) {
  std::string text = "split_k:" + std::to_string(schedule.split_k);
  const GemmSchedule usual;
  if (schedule.combine != usual.combine) text += "+combine:tree";
  if (schedule.out != usual.out) text += "+out:" + std::string(name_of(schedule.out));
  if (schedule.slice != usual.slice) text += "+slice:" + std::to_string(schedule.slice);
  return text;
}

Result<GemmSchedule> parse_schedule(const std::string& text) {
  OptionArgs args{"gemm", "", {}};
  for (const auto& [key, value] : option_pairs(text)) {
    if (std::find(kOptions.begin(), kOptions.end(), key) == kOptions.end()) {
      return Error{
          "unknown option " + in_quotes(key) + " of a schedule" + did_you_mean(key, kOptions), ""};
    }
    if (!args.options.emplace(key, value).second) {
      return Error{"option " + in_quotes(key) + " of gemm is given twice", ""};
    }
  }
  if (args.options.count("split_k") == 0) return Error{"a schedule needs split_k", ""};
  auto split_k = args.whole("split_k", 1, kMostSlices, 1);
  ISOBIT_TRY(split_k);
  auto slice = args.whole("slice", 1, kLargestSlice, GemmSchedule{}.slice);
  ISOBIT_TRY(slice);
  auto combine = args.word("combine", kCombines, kCombines[0]);
  ISOBIT_TRY(combine);
  auto out = args.word("out", kFormats, kFormats[0]);
  ISOBIT_TRY(out);
  return GemmSchedule{
      std::int32_t(*split_k), std::int32_t(*slice),
      *combine == "tree" ? GemmSchedule::Combine::tree : GemmSchedule::Combine::ascending,
      *out == "bf16"   ? Format::bf16
      : *out == "fp16" ? Format::fp16
                       : Format::f32};
}

Result<std::vector<ScheduleLine>> parse_schedule_lines(const std::string& bytes,
                                                       const std::string& name) {
  std::vector<ScheduleLine> lines;
  std::istringstream text(bytes);
  std::string line;
  bool begun = false;
  for (int number = 1; std::getline(text, line); ++number) {
    const std::string place = name + ":" + std::to_string(number);
    line.erase(std::min(line.find('#'), line.size()));
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r')) {
      line.pop_back();
    }
    if (line.empty()) continue;
    if (!begun) {
      if (line != kHeader) {
        return Error{"a schedule book begins with \"" + std::string(kHeader) + "\"", place};
      }
      begun = true;
      continue;
    }
    auto parsed = book_line(line);
    if (!parsed) return Error{parsed.error().message, place};
    lines.push_back(*parsed);
  }
  if (lines.empty()) return Error{"the schedule book has no line", name};
  return lines;
}

Result<Book> parse_schedules(const std::string& text, const std::string& folder) {
  const auto pairs = option_pairs(text);
  const auto& [key, value] = pairs.front();
  const bool own = key == "by_rows" || key == "book";
  if (own && pairs.size() > 1) return Error{key + " stands alone", ""};
  if (key == "by_rows") {
    auto lines = table_of(value);
    ISOBIT_TRY(lines);
    const std::string canonical = table_text(*lines);
    return std::make_shared<const ScheduleBook>(ScheduleBook{canonical, std::move(*lines)});
  }
  if (key == "book") {
    if (Book known = shelf().find(text)) return known;
    return read_book(value, folder);
  }
  auto schedule = parse_schedule(text);
  ISOBIT_TRY(schedule);
  ScheduleLine line;
  line.schedule = *schedule;
  return std::make_shared<const ScheduleBook>(ScheduleBook{text_of(*schedule), {line}});
}

}  // namespace isobit
