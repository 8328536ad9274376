// Reads and writes orders of products and their books.
#include "runtime/numerics/product_book.h"

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <sstream>
#include <tuple>

#include "runtime/base/file.h"
#include "runtime/base/option_text.h"
#include "runtime/base/sha256.h"
#include "runtime/base/words.h"
#include "runtime/numerics/tensorcore_text.h"

namespace isobit {
namespace {

using Evidence = ProductLine::Evidence;

constexpr const char* kHeader = "isobit products 1";
constexpr std::size_t kLargestBook = std::size_t{64} << 20;
constexpr std::int64_t kMostColumns = std::int64_t{1} << 24, kMostRows = std::int64_t{1} << 40;

const std::vector<std::string> kOptions = {"group", "slice", "tile", "deal",
                                           "lanes", "block", "meet", "operands"};
const std::vector<std::string> kTaken = {"exact", "tf32", "tf32-away"};
const std::vector<std::string> kMeets = {"ascending", "halves", "paired", "nested"};
const std::vector<std::string> kEvidence = {"proved", "forecast", "open"};
const std::vector<std::pair<std::string, Format>> kOperands = {{"bf16", Format::bf16},
                                                               {"fp16", Format::fp16},
                                                               {"tf32", Format::tf32},
                                                               {"fp32", Format::f32},
                                                               {"fp8-e4m3", Format::e4m3}};

Result<Format> operand_of(const std::string& text) {
  std::vector<std::string> known;
  for (const auto& [name, format] : kOperands) {
    if (text == name) return format;
    known.push_back(name);
  }
  return Error{"unknown precision " + in_quotes(text) + among_known(text, known), ""};
}

std::string rows_text(const ProductLine& line) {
  const std::string from = std::to_string(line.from_rows);
  return line.to_rows == line.from_rows ? from : from + ".." + std::to_string(line.to_rows);
}

bool row_range(const std::string& text, ProductLine& line) {
  const std::size_t dots = text.find("..");
  if (!parse_integer(text.substr(0, dots), 1, kMostRows, line.from_rows)) return false;
  line.to_rows = line.from_rows;
  return dots == std::string::npos ||
         parse_integer(text.substr(dots + 2), line.from_rows + 1, kMostRows, line.to_rows);
}

auto key_of(const ProductLine& line) {
  return std::tuple(line.operand, line.outputs, line.inputs, line.from_rows);
}

std::string line_text(const ProductLine& line) {
  std::string out = name_of_operand(line.operand) + " " + std::to_string(line.outputs) + " " +
                    std::to_string(line.inputs) + " " + rows_text(line) + " " +
                    text_of(line.order) + " " + kEvidence[std::size_t(line.evidence)];
  if (line.evidence != Evidence::forecast) {
    out += " " + std::to_string(line.calls) + " " + std::to_string(line.results);
  }
  return out + "\n";
}

Result<ProductLine> book_line(const std::string& text) {
  std::istringstream words(text);
  std::string operand, outputs, inputs, rows, order, evidence, calls, results, more;
  words >> operand >> outputs >> inputs >> rows >> order >> evidence >> calls >> results;
  ProductLine line;
  if (evidence.empty() || words >> more) {
    return Error{
        "a line is PRECISION N K M ORDER EVIDENCE, e.g. bf16 576 1536 1..32 "
        "sm90+slice:512 proved 4 272",
        ""};
  }
  auto format = operand_of(operand);
  ISOBIT_TRY(format);
  line.operand = *format;
  if (!parse_integer(outputs, 1, kMostColumns, line.outputs) ||
      !parse_integer(inputs, 1, kMostColumns, line.inputs)) {
    return Error{"N and K are whole numbers above 0", ""};
  }
  if (!row_range(rows, line)) return Error{"M is n or n..m", ""};
  auto parsed = parse_product_order(order);
  ISOBIT_TRY(parsed);
  line.order = *parsed;
  if (line.order.chip && !unit_of(line.order, line.operand)) {
    return Error{text_of(*line.order.chip) + " has no tensor core for " + operand, ""};
  }
  const std::int64_t slices =
      line.order.slice > 0 ? (line.inputs + line.order.slice - 1) / line.order.slice : 1;
  if (slices * line.order.lanes > kMostLanes) {
    return Error{"an order has at most " + std::to_string(kMostLanes) + " lanes, this one " +
                     std::to_string(slices * line.order.lanes),
                 ""};
  }
  const auto known = std::find(kEvidence.begin(), kEvidence.end(), evidence);
  if (known == kEvidence.end()) {
    return Error{"unknown evidence " + in_quotes(evidence) + among_known(evidence, kEvidence), ""};
  }
  line.evidence = Evidence(known - kEvidence.begin());
  const bool counted = line.evidence != Evidence::forecast;
  const std::int64_t least = line.evidence == Evidence::proved ? 1 : 0;
  if (counted ? !parse_integer(calls, least, kMostRows, line.calls) ||
                    !parse_integer(results, least, kMostRows, line.results)
              : !calls.empty()) {
    return Error{
        counted ? evidence + " is followed by two whole numbers" : "nothing follows forecast", ""};
  }
  return line;
}

/// Line ends, spaces around and comments away.
std::string bare(std::string line) {
  line.erase(std::min(line.find('#'), line.size()));
  while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r')) {
    line.pop_back();
  }
  return line;
}

Result<void> read_key(const std::string& line, ProductBook& book) {
  std::istringstream words(line);
  std::string key, name, value;
  words >> key >> name;
  std::getline(words >> std::ws, value);
  if (name.empty() || value.empty()) return Error{"a key is: key NAME VALUE", ""};
  if (!is_one_line(value)) return Error{"the value holds a control character", ""};
  if (!book.keys.emplace(name, value).second) {
    return Error{"key " + in_quotes(name) + " is given twice", ""};
  }
  return {};
}

/// Sorted, with no two lines for one product.
Result<void> in_order(ProductBook& book, const std::string& name) {
  std::stable_sort(book.lines.begin(), book.lines.end(),
                   [](const auto& a, const auto& b) { return key_of(a) < key_of(b); });
  for (std::size_t i = 1; i < book.lines.size(); ++i) {
    const ProductLine &a = book.lines[i - 1], &b = book.lines[i];
    if (a.operand == b.operand && a.outputs == b.outputs && a.inputs == b.inputs &&
        b.from_rows <= a.to_rows) {
      std::string text = line_text(b);
      text.pop_back();
      return Error{"two lines speak of one product: " + text, name};
    }
  }
  return {};
}

}  // namespace

std::string name_of_operand(Format operand) {
  const auto found = std::find_if(kOperands.begin(), kOperands.end(),
                                  [&](const auto& row) { return row.second == operand; });
  ISOBIT_CHECK(found != kOperands.end());
  return found->first;
}

std::string text_at(const BookKeys& keys, const std::string& name) {
  const auto found = keys.find(name);
  return found == keys.end() ? std::string() : found->second;
}

std::int64_t multiprocessors_of(const BookKeys& keys) {
  std::int64_t n = 0;
  return parse_integer(text_at(keys, "multiprocessors"), 1, 1024, n) ? n : kUsualMultiprocessors;
}

bool keeps_fp8(const ProductBook& book) {
  return text_at(book.keys, "engine").find("operands:fp8") != std::string::npos;
}

Format operand_of(const ProductBook& book, const Mode& mode, bool scaled) {
  return keeps_fp8(book) && scaled && mode.gemm_input == Format::e4m3 ? Format::e4m3
                                                                      : library_operand(mode);
}

std::string text_of(const ProductOrder& order) {
  const ProductOrder usual;
  std::string text = order.chip ? text_of(*order.chip) : "fma";
  const auto add = [&](const char* name, std::int64_t value, std::int64_t otherwise) {
    if (value != otherwise) text += std::string("+") + name + ":" + std::to_string(value);
  };
  add("group", order.group, usual.group);
  add("slice", order.slice, usual.slice);
  add("tile", order.tile, usual.tile);
  add("deal", order.deal, usual.deal);
  add("lanes", order.lanes, usual.lanes);
  add("block", order.block, usual.block);
  if (order.meet != usual.meet) text += "+meet:" + kMeets[std::size_t(order.meet)];
  if (order.operands != usual.operands) text += "+operands:" + kTaken[std::size_t(order.operands)];
  return text;
}

Result<ProductOrder> parse_product_order(const std::string& text) {
  ProductOrder order;
  const auto pairs = option_pairs(text);
  if (pairs.front().first != "fma" || !pairs.front().second.empty()) {
    auto chip = parse_tensor_core(pairs.front().first);
    if (!chip || !pairs.front().second.empty()) {
      return Error{"an order begins with fma or a tensor core (sm90); " +
                       in_quotes(pairs.front().first) + " is none",
                   ""};
    }
    order.chip = *chip;
  }
  OptionArgs args{"an order", "", {}};
  for (std::size_t i = 1; i < pairs.size(); ++i) {
    const auto& [key, value] = pairs[i];
    if (std::find(kOptions.begin(), kOptions.end(), key) == kOptions.end()) {
      return Error{
          "unknown option " + in_quotes(key) + " of an order" + did_you_mean(key, kOptions), ""};
    }
    if (!args.options.emplace(key, value).second) {
      return Error{"option " + in_quotes(key) + " of an order is given twice", ""};
    }
  }
  const auto number = [&](const char* name, std::int64_t least, std::int64_t most,
                          std::int64_t usual, auto& to) -> Result<void> {
    const auto value = args.whole(name, least, most, usual);
    if (!value) return value.error();
    to = std::remove_reference_t<decltype(to)>(*value);
    return {};
  };
  for (const auto& read :
       {number("group", 4, 32, 0, order.group), number("slice", 1, kMostColumns, 0, order.slice),
        number("tile", 1, 4096, 0, order.tile), number("deal", 1, kMostColumns, 0, order.deal),
        number("lanes", 1, kMostLanes, 1, order.lanes),
        number("block", 1, kMostColumns, 0, order.block)}) {
    if (!read) return read.error();
  }
  const auto meet = args.word("meet", kMeets, kMeets[0]);
  ISOBIT_TRY(meet);
  order.meet = ProductOrder::Meet(std::find(kMeets.begin(), kMeets.end(), *meet) - kMeets.begin());
  const auto operands = args.word("operands", kTaken, kTaken[0]);
  ISOBIT_TRY(operands);
  order.operands =
      ProductOrder::Operands(std::find(kTaken.begin(), kTaken.end(), *operands) - kTaken.begin());
  if (order.operands != ProductOrder::Operands::exact && !order.chip) {
    return Error{"operands are rounded by a tensor core", ""};
  }
  if (order.deal == 0 && order.lanes > 1) {
    return Error{"lanes are of columns that are dealt: deal", ""};
  }
  if (order.tile > 0 && order.block > 0) {
    return Error{"tile and block do not go together", ""};
  }
  if (order.deal > 0 && order.chip) return Error{"a tensor core's columns are not dealt", ""};
  if ((order.group > 0 || order.tile > 0) && !order.chip) {
    return Error{"group and tile are a tensor core's", ""};
  }
  return order;
}

const ProductLine* ProductBook::find(Format operand, std::int64_t outputs, std::int64_t inputs,
                                     std::int64_t rows) const {
  const auto wanted = std::tuple(operand, outputs, inputs, rows);
  auto next =
      std::upper_bound(lines.begin(), lines.end(), wanted,
                       [](const auto& key, const ProductLine& l) { return key < key_of(l); });
  if (next == lines.begin()) return nullptr;
  const ProductLine& line = *--next;
  const bool fits = line.operand == operand && line.outputs == outputs && line.inputs == inputs &&
                    rows <= line.to_rows;
  return fits ? &line : nullptr;
}

std::string text_of(const ProductBook& book) {
  std::vector<ProductLine> lines = book.lines;
  std::stable_sort(lines.begin(), lines.end(),
                   [](const auto& a, const auto& b) { return key_of(a) < key_of(b); });
  std::string out = std::string(kHeader) + "\n";
  for (const auto& [name, value] : book.keys) out += "key " + name + " " + value + "\n";
  for (const ProductLine& line : lines) out += line_text(line);
  std::vector<AttentionLine> attention = book.attention;
  if (!order_attention(attention)) attention = book.attention;  // told by whoever reads it
  for (const AttentionLine& line : attention) out += line_text(line);
  return out;
}

Result<ProductBook> parse_product_book(const std::string& bytes, const std::string& name) {
  ProductBook book;
  std::istringstream text(bytes);
  std::string line;
  bool begun = false;
  for (int number = 1; std::getline(text, line); ++number) {
    const std::string place = name + ":" + std::to_string(number);
    line = bare(std::move(line));
    if (line.empty()) continue;
    if (!begun) {
      if (line != kHeader)
        return Error{"a book begins with \"" + std::string(kHeader) + "\"", place};
      begun = true;
    } else if (line.starts_with("key ")) {
      if (auto read = read_key(line, book); !read) return Error{read.error().message, place};
    } else if (line.starts_with("attention ")) {
      auto parsed = parse_attention_line(line);
      if (!parsed) return Error{parsed.error().message, place};
      book.attention.push_back(*parsed);
    } else {
      auto parsed = book_line(line);
      if (!parsed) return Error{parsed.error().message, place};
      book.lines.push_back(*parsed);
    }
  }
  if (book.lines.empty()) return Error{"the book has no line", name};
  if (auto sorted = in_order(book, name); !sorted) return sorted.error();
  if (auto sorted = order_attention(book.attention); !sorted) {
    return Error{sorted.error().message, name};
  }
  return book;
}

Result<std::shared_ptr<const ProductBook>> read_product_book(const std::string& file,
                                                             const std::string& folder) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<const ProductBook>> read;
  const std::filesystem::path path = std::filesystem::path(folder) / file;
  const std::lock_guard hold(mutex);
  if (const auto known = read.find(path.string()); known != read.end()) return known->second;
  auto bytes = read_file(path.string(), kLargestBook, "a schedule book");
  ISOBIT_TRY(bytes);
  auto book = parse_product_book(*bytes, path.string());
  ISOBIT_TRY(book);
  book->name = path.stem().string();
  book->digest = to_hex(sha256(bytes->data(), bytes->size())).substr(0, 16);
  return read[path.string()] = std::make_shared<const ProductBook>(std::move(*book));
}

}  // namespace isobit
