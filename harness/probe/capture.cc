// The text of captures (capture.h).
#include "harness/probe/capture.h"

#include <charconv>
#include <cstdio>
#include <sstream>

#include "harness/probe/draw.h"
#include "runtime/base/words.h"

namespace isobit::probe {
namespace {

constexpr const char* kHeader = "isobit capture 1";
constexpr std::int64_t kMost = std::int64_t{1} << 24, kMostDraw = 63;

std::string rest_of(std::istringstream& words) {
  std::string rest;
  std::getline(words >> std::ws, rest);
  return rest;
}

bool whole(std::istringstream& words, std::int64_t least, std::int64_t& out,
           std::int64_t most = kMost) {
  std::string word;
  return bool(words >> word) && parse_integer(word, least, most, out);
}

/// What is wrong with a call, or empty.
std::string read_call(std::istringstream& words, const MatrixCapture& matrix, Call& call) {
  if (!whole(words, 1, call.rows) || !whole(words, 0, call.draw, kMostDraw)) {
    return "a call is M DRAW HEX…";
  }
  std::string hex;
  while (words >> hex) {
    std::uint32_t bits = 0;
    const char* const end = hex.data() + hex.size();
    const auto read = std::from_chars(hex.data(), end, bits, 16);
    if (hex.size() != 8 || read.ec != std::errc() || read.ptr != end) {
      return "results have eight hexadecimal digits; " + in_quotes(hex) + " has not";
    }
    call.bits.push_back(bits);
  }
  if (call.bits.size() != kept_places(call.rows, matrix.outputs).size()) {
    return "a call has " + std::to_string(kKeptPlaces) + " results, this one " +
           std::to_string(call.bits.size());
  }
  return "";
}

/// `open`: whether the last matrix has no end yet.
std::string read_line(const std::string& line, Capture& out, bool& open) {
  std::istringstream words(line);
  std::string kind;
  words >> kind;
  if (kind == "fact") {
    std::string name;
    words >> name;
    out.facts[name] = rest_of(words);
    return name.empty() ? "a fact has a name" : "";
  }
  if (kind == "matrix") {
    MatrixCapture matrix;
    if (!(words >> matrix.precision) || !whole(words, 1, matrix.outputs) ||
        !whole(words, 1, matrix.inputs)) {
      return "a matrix is PRECISION N K";
    }
    if (operand_of(matrix.precision) == nullptr) {
      return "unknown precision " + in_quotes(matrix.precision);
    }
    if (open) return "the matrix before it has no end";
    open = true;
    matrix.rounded = text_at(out.facts, "results") == "operand";
    out.matrices.push_back(std::move(matrix));
    return "";
  }
  if (kind != "choice" && kind != "call" && kind != "end") return "unknown word " + in_quotes(kind);
  if (out.matrices.empty()) return "there is no matrix before it";
  MatrixCapture& matrix = out.matrices.back();
  if (!open) return "the matrix before it has ended";
  if (kind == "end") {
    std::int64_t calls = 0;
    open = false;
    const bool all = whole(words, 0, calls) && calls == std::int64_t(matrix.calls.size());
    return all ? "" : "the matrix has " + std::to_string(matrix.calls.size()) + " calls";
  }
  if (kind == "call") return read_call(words, matrix, matrix.calls.emplace_back());
  Choice choice;
  if (!whole(words, 1, choice.from) || !whole(words, choice.from, choice.to)) {
    return "a choice is FROM TO TEXT";
  }
  choice.text = rest_of(words);
  matrix.choices.push_back(std::move(choice));
  return "";
}

}  // namespace

std::string facts_text(const Facts& facts) {
  std::string out = std::string(kHeader) + "\n";
  for (const auto& [name, value] : facts) out += "fact " + name + " " + value + "\n";
  return out;
}

std::string text_of(const MatrixCapture& matrix) {
  std::string out = "matrix " + matrix.precision + " " + std::to_string(matrix.outputs) + " " +
                    std::to_string(matrix.inputs) + "\n";
  for (const Choice& choice : matrix.choices) {
    out += "choice " + std::to_string(choice.from) + " " + std::to_string(choice.to) + " " +
           choice.text + "\n";
  }
  for (const Call& call : matrix.calls) {
    out += "call " + std::to_string(call.rows) + " " + std::to_string(call.draw);
    char hex[10];
    for (const std::uint32_t bits : call.bits) {
      std::snprintf(hex, sizeof hex, " %08x", bits);
      out += hex;
    }
    out += "\n";
  }
  return out + "end " + std::to_string(matrix.calls.size()) + "\n";
}

const Mode* operand_of(const std::string& precision) {
  for (const Precision known :
       {Precision::fp32, Precision::tf32, Precision::bf16, Precision::fp16, Precision::fp8_e4m3}) {
    if (precision == mode_of(known).name) return &mode_of(known);
  }
  return nullptr;
}

bool is_hopper(const Facts& facts) {
  const std::string variant = text_at(facts, "variant");
  for (const char* name : {"H100", "H20", "H800"}) {  // H200 and GH200 among them
    if (variant.find(name) != std::string::npos) return true;
  }
  return false;
}

std::string whole_part(const std::string& bytes) {
  const std::string lines = bytes.substr(0, bytes.rfind('\n') + 1);  // npos + 1 is 0
  const std::size_t last = lines.rfind("\nend ");
  if (last == std::string::npos) return "";
  return lines.substr(0, lines.find('\n', last + 1) + 1);
}

Result<Capture> parse_capture(const std::string& bytes, const std::string& name) {
  Capture out;
  bool open = false;
  std::istringstream text(bytes);
  std::string line;
  for (int number = 1; std::getline(text, line); ++number) {
    const std::string place = name + ":" + std::to_string(number);
    if (number == 1) {
      if (line != kHeader) return Error{std::string("a capture begins with ") + kHeader, place};
      continue;
    }
    if (const std::string why = read_line(line, out, open); !why.empty()) return Error{why, place};
  }
  if (out.matrices.empty()) return Error{"the capture holds no matrix", name};
  if (open) return Error{"the last matrix has no end", name};
  return out;
}

}  // namespace isobit::probe
